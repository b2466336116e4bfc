//! The source "demo", which stands in where no source is configured.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use ring::rand::{SecureRandom, SystemRandom};

use crate::config::Config;
use crate::config::model::{LogDeliveries, Source, StoreUrl};
use crate::config::secret::Secret;
use crate::runtime::folder;

/// Name of the source.
pub const NAME: &str = "demo";

/// Name of the file with its secret, and of the secret where it is shown. No reference in a file reads so.
const SECRET: &str = "demo-secret";

/// Returns the file that keeps the demo source's secret: beside the database file.
pub fn secret_path(config: &Config) -> PathBuf {
    let folder = match &config.store.url {
        StoreUrl::Sqlite(database) => database.parent().unwrap_or(Path::new("")),
        StoreUrl::Postgres(_) => Path::new("data"),
    };
    folder.join(SECRET)
}

/// Adds the source "demo", which signs as GitHub does, if no source is configured. Its secret is made at the first call, unless
/// `only_known`. Loading refuses a public address without a source, so there is no such source on a public address.
pub fn add(config: &mut Config, only_known: bool) -> Result<(), String> {
    if !config.sources.is_empty() {
        return Ok(());
    }
    let path = secret_path(config);
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
    config.sources.push(source(secret)?);
    config.collect_headers();
    if config.log.deliveries == LogDeliveries::Auto {
        config.log.deliveries = LogDeliveries::All;
    }
    Ok(())
}

/// Returns `true` if the source "demo" stands in, since no source is configured.
pub fn stands_in(config: &Config) -> bool {
    let mut sources = config.sources.iter();
    sources.all(|source| source.name.as_str() == NAME && source.secret_names == [SECRET])
}

fn source(secret: Secret) -> Result<Source, String> {
    let text = "[[source]]\nname = \"demo\"\nprovider = \"github\"\n";
    let demo = Config::from_toml(text)
        .ok()
        .and_then(|mut demo| demo.sources.pop());
    let mut demo = demo.ok_or("the source \"demo\" cannot be made")?;
    demo.secrets = vec![secret];
    demo.secret_names = vec![SECRET.to_owned()];
    Ok(demo)
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
    let folder = folder::of(path);
    folder::create(folder)?;
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

        let missing = add(&mut config.clone(), true).expect_err("not made yet");
        assert!(missing.contains("hookweir serve"), "{missing}");

        let (mut first, mut second) = (config.clone(), config.clone());
        add(&mut first, false).expect("made");
        add(&mut second, true).expect("found");
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
