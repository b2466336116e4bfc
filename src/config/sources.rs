//! `[[source]]`: every option of a source, once, and the source "demo" that stands in where none is configured.

use std::collections::BTreeMap;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use http::HeaderName;
use ring::rand::{SecureRandom, SystemRandom};

use super::error::{ConfigError, Problem};
use super::layers::SourceTable;
use super::model::{Config, Source, StoreUrl};
use super::reader::{Places, Reader, Report};
use super::rules;
use super::secret::{Environment, Secret};
use crate::domain::delivery::SourceName;

/// Reads one source. None if it has no usable name; its other mistakes are noted all the same.
pub(super) fn source(
    table: &SourceTable,
    environment: &Environment,
    report: &mut Report,
) -> Option<Source> {
    let prefix = format!("source.{}.", table.named.as_deref().unwrap_or("?"));
    let mut r = Reader::new(prefix, vec![&table.entries], environment, report);
    let source = options(&mut r, table);
    r.finish();
    source
}

fn options(r: &mut Reader<'_>, table: &SourceTable) -> Option<Source> {
    let name = r.text("name", |name| SourceName::parse(name).map(drop));
    if r.place("name").is_none() {
        let problem =
            Problem::Other("every [[source]] needs a name, such as name = \"stripe\"".to_owned());
        r.mistake(&table.place, "name", problem);
    }
    let path = r.text("path", rules::path);
    let provider = r.text("provider", rules::not_empty);
    let secrets = r.secrets("secrets", false);
    let learn_secret = r.flag("learn_secret");
    let public_keys = r.secrets("public_keys", true);
    let jwks = r.text("jwks", rules::web_url);
    let public_url = r.text("public_url", rules::web_url);
    let params = r.texts("params");
    let forward_headers = r.list("forward_headers", |name| name.parse::<HeaderName>());
    let routing_key = r.text("routing_key", rules::routing_key);
    let split = r.choice("batch", &[("whole", false), ("split", true)]);
    let drops = r
        .choice("same_bytes", &[("publish", false), ("drop", true)])
        .unwrap_or(false);
    let span = r.optional_duration("same_bytes_span_secs", 1..=604_800);
    if drops && span.is_none() && r.place("same_bytes_span_secs").is_none() {
        let message =
            "\"drop\" needs same_bytes_span_secs: for how long equal bytes are taken for a copy";
        r.mistake(
            &table.place,
            "same_bytes",
            Problem::Other(message.to_owned()),
        );
    }
    let drop_same_bytes = span.filter(|_| drops);
    let max_body_bytes = r.optional_count("max_body_bytes", 1..=1 << 30);
    let deadline = r.optional_duration("deadline_ms", 100..=60_000);
    let window = r.optional_duration("window_days", 1..=366);
    let allow_unverified_public = r.flag("allow_unverified_public");
    let scheme = r.table("scheme");
    if r.place("provider").is_none() && r.place("scheme").is_none() {
        let message = "a source needs a provider (`hookweir providers` lists them) or a [source.scheme] of its own";
        r.mistake(&table.place, "provider", Problem::Other(message.to_owned()));
    }
    let name = SourceName::parse(&name?).ok()?;
    Some(Source {
        path: path.unwrap_or_else(|| name.as_str().to_owned()),
        name,
        provider,
        secrets,
        learn_secret,
        public_keys,
        jwks,
        public_url,
        params,
        forward_headers,
        routing_key,
        split,
        drop_same_bytes,
        max_body_bytes,
        deadline,
        window,
        allow_unverified_public,
        scheme,
    })
}

/// A mistake in `key` of a source, at the nearest place that was written.
pub(super) fn source_error(
    places: &Places,
    source: &Source,
    key: &str,
    message: String,
) -> ConfigError {
    let full = format!("source.{}.{key}", source.name);
    // One of a list may be written without its brackets.
    let single = full.replace("[0]", "");
    let mut written = full.as_str();
    let place = loop {
        match (
            places.get(written).or_else(|| places.get(&single)),
            written.rfind(['.', '[']),
        ) {
            (Some(place), _) => break Some(place),
            (None, Some(end)) => written = &written[..end],
            (None, None) => break places.get(&format!("source.{}.name", source.name)),
        }
    };
    ConfigError {
        place: place.cloned(),
        key: Some(full),
        problem: Problem::Other(message),
    }
}

/// The names of a source's options.
#[cfg(test)]
pub(super) fn names() -> Vec<&'static str> {
    let entries = BTreeMap::new();
    let table = SourceTable {
        place: super::error::Place::CommandLine(String::new()),
        named: None,
        entries: BTreeMap::new(),
    };
    let (environment, mut report) = (Environment::new(), Report::default());
    let mut r = Reader::new(String::new(), vec![&entries], &environment, &mut report);
    options(&mut r, &table);
    r.finish()
}

impl Config {
    /// Where the secret of the source "demo" is kept: beside the database file.
    pub fn demo_secret_path(&self) -> PathBuf {
        let folder = match &self.store.url {
            StoreUrl::Sqlite(database) => database.parent().unwrap_or(Path::new("")),
            StoreUrl::Postgres(_) => Path::new("data"),
        };
        folder.join("demo-secret")
    }

    /// Adds the source "demo", which signs like GitHub, if no source is configured. Its secret is made at the first call, unless
    /// `only_known`. On a public address there is no such source: loading refuses that.
    pub fn add_demo_source(&mut self, only_known: bool) -> Result<(), String> {
        if !self.sources.is_empty() {
            return Ok(());
        }
        let path = self.demo_secret_path();
        let secret = match read_secret(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound && !only_known => {
                make_secret(&path).and_then(|()| read_secret(&path))
            }
            other => other,
        };
        let secret = secret.map_err(|error| {
            let next = if only_known {
                "; `hookweir serve` makes it at its first start, in the same working directory"
            } else {
                ""
            };
            format!(
                "the secret of the source \"demo\", {}: {error}{next}",
                path.display()
            )
        })?;
        self.sources.push(demo(secret)?);
        Ok(())
    }
}

fn demo(secret: Secret) -> Result<Source, String> {
    Ok(Source {
        name: SourceName::parse("demo")?,
        path: "demo".to_owned(),
        provider: Some("github".to_owned()),
        secrets: vec![secret],
        learn_secret: false,
        public_keys: Vec::new(),
        jwks: None,
        public_url: None,
        params: BTreeMap::new(),
        forward_headers: Vec::new(),
        routing_key: None,
        split: None,
        drop_same_bytes: None,
        max_body_bytes: None,
        deadline: None,
        window: None,
        allow_unverified_public: false,
        scheme: None,
    })
}

fn read_secret(path: &Path) -> io::Result<Secret> {
    let mut text = String::new();
    File::open(path)?.take(1024).read_to_string(&mut text)?;
    let secret = text.trim_end();
    if secret.len() < 32 {
        return Err(io::Error::new(
            io::ErrorKind::InvalidData,
            "it holds no secret; delete the file, and `hookweir serve` makes another",
        ));
    }
    Ok(Secret::new(secret.as_bytes()))
}

/// Writes a random secret to a file of its own and links that to `path`, so that of two that start at once, one wins and both read a
/// whole secret.
fn make_secret(path: &Path) -> io::Result<()> {
    let mut random = [0; 32];
    SystemRandom::new()
        .fill(&mut random)
        .map_err(|_| io::Error::other("the system gives no random bytes"))?;
    let folder = path
        .parent()
        .filter(|folder| !folder.as_os_str().is_empty())
        .unwrap_or(Path::new("."));
    crate::runtime::folder::create(folder)?;
    let draft = folder.join(format!(".demo-secret.{}", std::process::id()));
    let written = OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(&draft)
        .and_then(|mut file| {
            file.write_all(hex::encode(random).as_bytes())?;
            file.sync_all()?;
            match fs::hard_link(&draft, path) {
                Err(error) if error.kind() != io::ErrorKind::AlreadyExists => Err(error),
                _ => Ok(()),
            }
        });
    fs::remove_file(&draft)?;
    written
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn the_demo_secret_is_made_once_and_is_private() {
        let folder = tempfile::tempdir().expect("a folder");
        let toml = format!(
            "[store]\nurl = \"sqlite://{}/data/h.db\"",
            folder.path().display()
        );
        let config = Config::from_toml(&toml).expect("a configuration");

        let missing = config
            .clone()
            .add_demo_source(true)
            .expect_err("not made yet");
        assert!(missing.contains("hookweir serve"), "{missing}");

        let (mut first, mut second) = (config.clone(), config.clone());
        first.add_demo_source(false).expect("made");
        second.add_demo_source(true).expect("found");
        assert_eq!(first.sources[0].secrets, second.sources[0].secrets);
        assert_eq!(first.sources[0].secrets[0].expose().len(), 64);
        let mode = fs::metadata(folder.path().join("data/demo-secret"))
            .expect("there")
            .permissions()
            .mode();
        assert_eq!(mode & 0o777, 0o600);
        assert_eq!(
            fs::read_dir(folder.path().join("data"))
                .expect("a folder")
                .count(),
            1,
            "no draft is left"
        );
    }
}
