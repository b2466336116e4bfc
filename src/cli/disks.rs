//! The disks below store, spool, file sink and lakehouse: said by `hookweir check`, and at start.

use std::path::Path;

use crate::config::model::{PublisherUrl, StoreUrl};
use crate::config::{Config, ConfigError};
use crate::lakehouse;
use crate::runtime::disk;
use crate::runtime::folder;
use crate::store::{self, SpoolFile};

/// Option of the lakehouse's folder.
const LAKE: &str = "lakehouse.url";

/// Paths that the promise rests on, each with its name and its option.
fn places(config: &Config) -> Vec<(&Path, &'static str, &'static str)> {
    let database = match &config.store.url {
        StoreUrl::Sqlite(path) => Some((path.as_path(), "the database", "store.url")),
        StoreUrl::Postgres(_) => None,
    };
    let events = config.sinks.iter().filter_map(|sink| match &sink.url {
        PublisherUrl::File(folder) => Some((folder.as_path(), "the event folder", "publisher.url")),
        PublisherUrl::Amqp(_) | PublisherUrl::Kafka(_) => None,
    });
    database.into_iter().chain(events).collect()
}

fn spool_place(config: &Config) -> Option<(&Path, &'static str, &'static str)> {
    config
        .spool
        .path
        .as_deref()
        .map(|path| (path, "the spool", "spool.path"))
}

/// Returns the lakehouse's folder, if a writer runs in the service or the folder is there.
fn lake_place(config: &Config) -> Option<(&Path, &'static str, &'static str)> {
    let folder = config.lakehouse.local_folder()?;
    let is_used = lakehouse::runs_in_serve(config) || folder.exists();
    is_used.then_some((folder, "the lakehouse", LAKE))
}

/// The file systems below these paths, in a sentence. None if everything lies on servers.
pub(super) fn describe(config: &Config) -> Option<String> {
    let all = places(config)
        .into_iter()
        .chain(spool_place(config))
        .chain(lake_place(config));
    let described: Vec<String> = all
        .map(|(path, what, _)| format!("{what} {} on {}", path.display(), disk::describe(path)))
        .collect();
    (!described.is_empty()).then(|| described.join("; "))
}

/// Returns a refusal for each disk on which accepted events would not be durable.
pub(super) fn refusals(config: &Config) -> Vec<ConfigError> {
    if config.store.allow_unsafe_durability {
        return Vec::new();
    }
    places(config)
        .iter()
        .filter_map(|(path, what, option)| disk::refusal(path, what, option))
        .map(ConfigError::nowhere)
        .collect()
}

/// Returns warnings about the disks of the database, the event folder, the spool and the lakehouse.
pub(super) fn warnings(config: &Config) -> Vec<String> {
    let mut warnings = Vec::new();
    let all = places(config).into_iter().chain(spool_place(config));
    for (path, what, option) in all.chain(lake_place(config)) {
        warnings.extend(disk::warning(path, what, option));
        let folder = match option {
            "publisher.url" | LAKE => path,
            _ => folder::of(path),
        };
        // A folder for all to write to is there for more than this.
        if let Some(mode) = disk::open_to_others(folder).filter(|mode| mode & 0o002 == 0) {
            warnings.push(format!(
                "{option}: others may look into the folder of {what}, {} (permissions {mode:o}); its files are private. `chmod 700` closes it",
                folder.display()
            ));
        }
    }
    warnings
}

/// Looks at the spool without changing anything; what it found, in a sentence.
pub(super) fn spool(config: &Config, path: &Path) -> Result<String, String> {
    if !config.store.allow_unsafe_durability
        && let Some(refusal) = disk::refusal(path, "the spool", "spool.path")
    {
        return Err(format!("{refusal}. The service starts without it"));
    }
    if !path.exists() {
        store::probe_folder(path).map_err(|error| error.to_string())?;
        return Ok(format!(
            "{} does not exist yet and can be created",
            path.display()
        ));
    }
    let usage = SpoolFile::visit(path).and_then(|file| Ok(file.usage()?));
    let usage =
        usage.map_err(|trouble| format!("{}. The service starts without it", trouble.text()))?;
    Ok(format!("usable, {} events wait in it", usage.events))
}
