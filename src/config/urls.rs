//! The URLs of the database and of the queue. They may hold a password: parsed here, shown without it.

use std::fmt;
use std::net::IpAddr;
use std::path::PathBuf;

use url::Url;

use super::amqp_url::AmqpUrl;
use super::kafka_url::KafkaUrl;
use super::model::{CatalogUrl, LakeUrl, PublisherUrl, StoreUrl};
use super::option::ConnectionUrl;
use super::postgres_url::PostgresUrl;
use super::secret::Secret;

/// A URL that only the service can read.
pub(super) const UNREAD: &str = "(a URL that cannot be read here)";

impl StoreUrl {
    /// Parses `sqlite://PATH` or `postgres://…`. The error never repeats the text.
    pub fn parse(text: &str) -> Result<Self, String> {
        let expected = "expected \"sqlite://data/hookweir.db\" or \"postgres://user:password@host:port/database\"";
        if let Some(path) = text.strip_prefix("sqlite:") {
            return local_path(path, "sqlite://", "database file").map(Self::Sqlite);
        }
        match text.split_once("://") {
            Some(("postgres" | "postgresql", _)) => {
                let text = text.trim();
                PostgresUrl::parse(text)
                    .map_err(|why| format!("no URL that PostgreSQL's client can use: {why}"))?;
                Ok(Self::Postgres(Secret::new(text.as_bytes())))
            }
            Some(("file", _)) => Err(format!(
                "{expected}; to read the URL from a file, write \"file:PATH\" with one colon and no slashes but the path's own"
            )),
            Some((scheme, _)) => Err(format!(
                "{expected}, found a URL that begins with \"{}://\"",
                scheme.escape_debug()
            )),
            None => Err(format!("{expected}, found no URL")),
        }
    }
}

impl StoreUrl {
    /// `text`, which the database or its client library said, without the URL's user and password.
    pub fn hide(&self, text: &str) -> String {
        match self {
            Self::Sqlite(_) => text.to_owned(),
            Self::Postgres(url) => postgres(url).map_or_else(
                || "(not shown: it may hold a password)".to_owned(),
                |url| url.hide(text),
            ),
        }
    }

    /// The host to which a connection may go unencrypted over a network.
    pub fn in_plain_text_to(&self) -> Option<String> {
        match self {
            Self::Sqlite(_) => None,
            Self::Postgres(url) => postgres(url)?.in_plain_text_to(),
        }
    }
}

fn postgres(url: &Secret) -> Option<PostgresUrl> {
    std::str::from_utf8(url.expose())
        .ok()
        .and_then(|text| PostgresUrl::parse(text).ok())
}

impl PublisherUrl {
    /// The host to which a connection goes unencrypted over a network.
    pub fn in_plain_text_to(&self) -> Option<String> {
        match self {
            Self::Amqp(url) => url.in_plain_text_to(),
            Self::Kafka(url) => url.in_plain_text_to(),
            Self::File(_) => None,
        }
    }

    /// Parses `file://FOLDER`, `amqp(s)://…` or `kafka(s)://…`. The error never repeats the text.
    pub fn parse(text: &str) -> Result<Self, String> {
        let expected = "expected \"file://data/events\" or \"amqp://user:password@host:5672/vhost\" (\"amqps://\" with TLS), or \"kafka://host:9092,host:9092\" \
                        (\"kafkas://\" with TLS)";
        if let Some(path) = text.strip_prefix("file://") {
            return local_path(path, "file://", "folder").map(Self::File);
        }
        match text.split_once("://") {
            Some(("amqp" | "amqps", _)) => AmqpUrl::parse(text).map(Self::Amqp),
            Some(("kafka" | "kafkas", _)) => KafkaUrl::parse(text).map(Self::Kafka),
            Some((scheme, _)) => Err(format!(
                "{expected}, found a URL that begins with \"{}://\"",
                scheme.escape_debug()
            )),
            None => Err(format!("{expected}, found no URL")),
        }
    }
}

impl ConnectionUrl for StoreUrl {
    const FROM_FILE: bool = true;

    fn unread() -> Self {
        Self::Postgres(Secret::unread())
    }

    fn wrong() -> Self {
        Self::Sqlite(PathBuf::new())
    }

    fn parse(text: &str) -> Result<Self, String> {
        Self::parse(text)
    }
}

impl ConnectionUrl for PublisherUrl {
    // `file:` begins the URL of the file sink.
    const FROM_FILE: bool = false;

    fn unread() -> Self {
        Self::Amqp(AmqpUrl::unread())
    }

    fn wrong() -> Self {
        Self::File(PathBuf::new())
    }

    fn parse(text: &str) -> Result<Self, String> {
        Self::parse(text)
    }
}

impl ConnectionUrl for CatalogUrl {
    const FROM_FILE: bool = true;

    fn unread() -> Self {
        Self::Postgres(Secret::unread())
    }

    fn wrong() -> Self {
        Self::Beside
    }

    fn parse(text: &str) -> Result<Self, String> {
        if text.is_empty() {
            return Ok(Self::Beside);
        }
        if text.starts_with("https://") || text.starts_with("http://") {
            return rest_catalog(text);
        }
        match StoreUrl::parse(text) {
            Ok(StoreUrl::Postgres(url)) => Ok(Self::Postgres(url)),
            Ok(StoreUrl::Sqlite(_)) => Err(
                "expected \"\" for SQLite in the lakehouse's folder, a \"postgres://\" URL, or the \"https://\" URL of a REST catalog"
                    .to_owned(),
            ),
            Err(_) => {
                Err("expected \"\", \"postgres://user:password@host:port/database\", or \"https://catalog.example\"".to_owned())
            }
        }
    }
}

/// Parses `file://FOLDER` or `s3://BUCKET/FOLDER`.
pub(super) fn lake(text: &str) -> Result<LakeUrl, String> {
    match text.split_once("://") {
        Some(("file", path)) => local_path(path, "file://", "folder").map(LakeUrl::Folder),
        Some(("s3", place)) => match place.trim_end_matches('/').split_once('/') {
            Some((bucket, folder)) if !bucket.is_empty() && folder.split('/').all(is_segment) => {
                Ok(LakeUrl::Bucket(format!("s3://{bucket}/{folder}")))
            }
            _ => Err("expected \"s3://bucket/folder\"".to_owned()),
        },
        _ => Err("expected \"file://data/lake\" or \"s3://bucket/folder\"".to_owned()),
    }
}

/// Returns `true` for a part of a key that every client writes in the same way.
fn is_segment(part: &str) -> bool {
    !matches!(part, "" | "." | "..") && part.trim() == part
}

/// Parses the URL of a REST catalog. The error never repeats the text.
fn rest_catalog(text: &str) -> Result<CatalogUrl, String> {
    let url = url::Url::parse(text).map_err(|error| format!("no URL: {error}"))?;
    if url.host_str().is_none() || url.query().is_some() || url.fragment().is_some() {
        return Err("expected \"https://host/path\" without a query".to_owned());
    }
    if !url.username().is_empty() || url.password().is_some() {
        return Err(
            "a REST catalog takes no user and password in its URL: use lakehouse.properties"
                .to_owned(),
        );
    }
    let text = text.trim().trim_end_matches('/');
    Ok(CatalogUrl::Rest(Secret::new(text.as_bytes())))
}

impl fmt::Display for StoreUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Sqlite(path) => write!(f, "sqlite://{}", path.display()),
            Self::Postgres(url) if url.is_unread() => f.write_str(UNREAD),
            Self::Postgres(url) => {
                f.write_str(&without_password(&String::from_utf8_lossy(url.expose())))
            }
        }
    }
}

impl fmt::Display for PublisherUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File(path) => write!(f, "file://{}", path.display()),
            Self::Kafka(url) => write!(f, "{url}"),
            Self::Amqp(url) => write!(f, "{url}"),
        }
    }
}

/// A URL fit to be shown: no password, and of its query, which may hold one too, only that there is one. A password with unescaped
/// "/" or "@" is hidden as well, so this looks for the last "@".
pub(super) fn without_password(url: &str) -> String {
    let Some((scheme, rest)) = url.split_once("://") else {
        return if url.is_empty() { "" } else { "***" }.to_owned();
    };
    let (rest, query) = match rest.rsplit_once('@') {
        Some((login, rest)) => match login.split_once(':') {
            Some((user, _)) => (
                format!("{user}:***@{}", before_query(rest)),
                rest.contains('?'),
            ),
            None if login.contains(['/', '?']) => ("***".to_owned(), false),
            None => (
                format!("{login}@{}", before_query(rest)),
                rest.contains('?'),
            ),
        },
        None => (before_query(rest).to_owned(), rest.contains('?')),
    };
    format!("{scheme}://{rest}{}", if query { "?…" } else { "" })
}

/// Returns true if a host is this machine: loopback, or a local socket.
pub(super) fn is_this_machine(host: &str) -> bool {
    host.is_empty()
        || host.starts_with(['/', '@'])
        || host == "localhost"
        || host.ends_with(".localhost")
        || host
            .parse::<IpAddr>()
            .is_ok_and(|address| address.to_canonical().is_loopback())
}

fn before_query(text: &str) -> &str {
    text.split('?').next().unwrap_or_default()
}

fn local_path(path: &str, scheme: &str, what: &str) -> Result<PathBuf, String> {
    let path = path.strip_prefix("//").unwrap_or(path);
    if path.is_empty() {
        return Err(format!(
            "the URL names no {what}: {scheme}data/… is relative to the working directory, {scheme}/var/lib/… is absolute"
        ));
    }
    if path.starts_with(":memory:") || path.contains(['?', '#', '\0']) {
        return Err(format!(
            "the URL does not name a {what}: {scheme} is followed by a plain path, without \"?\" and \"#\""
        ));
    }
    Ok(PathBuf::from(path))
}

pub(super) fn parse(text: &str) -> Result<Url, String> {
    Url::parse(text).map_err(|error| {
        format!(
            "not a URL ({error}); in a password write \"@\" as %40, \":\" as %3A, \"/\" as %2F, \"#\" as %23, \"?\" as %3F, \"%\" as %25"
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bucket_has_one_spelling_for_each_key() {
        let bucket = |text: &str| match lake(text) {
            Ok(LakeUrl::Bucket(url)) => Some(url),
            _ => None,
        };
        for same in ["s3://b/a/c", "s3://b/a/c/"] {
            assert_eq!(bucket(same).as_deref(), Some("s3://b/a/c"));
        }
        for wrong in [
            "s3://b",
            "s3://b/",
            "s3://b//a",
            "s3://b/a//c",
            "s3://b/../a",
            "s3://b/ a",
        ] {
            assert_eq!(bucket(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn urls_are_parsed() {
        assert!(
            matches!(StoreUrl::parse("sqlite://data/h.db"), Ok(StoreUrl::Sqlite(path)) if path.as_os_str() == "data/h.db")
        );
        assert!(
            matches!(StoreUrl::parse("sqlite:h.db"), Ok(StoreUrl::Sqlite(path)) if path.as_os_str() == "h.db")
        );
        assert!(
            matches!(StoreUrl::parse("sqlite:///var/h.db"), Ok(StoreUrl::Sqlite(path)) if path.as_os_str() == "/var/h.db")
        );
        for postgres in [
            "postgres://u:p@h:5432/d",
            "postgresql:///d?host=/run/postgresql",
            "postgres://u:p@a:1,b:2/d",
            "postgres://u:p@h/d?sslmode=require",
        ] {
            assert!(
                matches!(StoreUrl::parse(postgres), Ok(StoreUrl::Postgres(url)) if url.expose() == postgres.as_bytes()),
                "{postgres}"
            );
        }
        assert!(
            matches!(PublisherUrl::parse("file://data/events"), Ok(PublisherUrl::File(path)) if path.as_os_str() == "data/events")
        );
        for amqp in [
            "amqp://localhost",
            "amqps://u:p@h:5671/%2f",
            "amqp://h/v?heartbeat=5",
        ] {
            assert!(
                matches!(PublisherUrl::parse(amqp), Ok(PublisherUrl::Amqp(_))),
                "{amqp}"
            );
        }
    }

    #[test]
    fn wrong_urls_are_refused_and_not_repeated() {
        for wrong in [
            "",
            "hookweir.db",
            "mysql://u:hunter2@h/d",
            "postgres://u:hunter2#@h/d",
            "sqlite://",
            "sqlite::memory:",
            "file://x",
        ] {
            let error = StoreUrl::parse(wrong).expect_err(wrong);
            assert!(!error.contains("hunter2"), "{error}");
        }
        for wrong in [
            "",
            "data",
            "http://h",
            "amqp://",
            "amqp://u:hunter2@h/a/b",
            "amqp://u:hunter2/@h",
            "file://",
            "kafka://hunter2@h",
        ] {
            let error = PublisherUrl::parse(wrong).expect_err(wrong);
            assert!(!error.contains("hunter2"), "{error}");
        }
    }

    #[test]
    fn shown_urls_hold_no_password() {
        for (url, shown) in [
            (
                "postgres://u:hunter2@h:5432/d?sslmode=require&password=hunter2",
                "postgres://u:***@h:5432/d?…",
            ),
            ("postgres://u@h/d", "postgres://u@h/d"),
            ("postgres:///d?host=/run", "postgres:///d?…"),
            ("amqp://u:hunter2/@x@h/v", "amqp://u:***@h/v"),
            ("postgres://h/d?password=hunter@2", "postgres://***"),
            ("hunter2", "***"),
        ] {
            assert_eq!(without_password(url), shown);
        }
        assert_eq!(
            StoreUrl::parse("postgres://u:hunter2@h/d")
                .expect("a URL")
                .to_string(),
            "postgres://u:***@h/d"
        );
    }
}
