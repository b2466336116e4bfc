//! `[lakehouse]`

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::config::define::{section, words};
use crate::config::option::{
    AddressOrNone, Bytes, Count, DAY_SECS, Days, GIB, LakeUrlText, MIB, OrNone, SecretUrl, Secs,
    Text, Texts, one_of,
};
use crate::config::rules;
use crate::config::secret::Secret;
use crate::domain::sink::SinkName;

/// Folder on this machine of a lakehouse in a bucket.
const BESIDE_BUCKET: &str = "data/lake";

section! {
    /// Table of all events in Apache Iceberg, one row for each message id. The events come from the sink:
    /// from the file sink's folder, from a queue of the lakehouse's own, or from Kafka's topics.
    #[derive(Debug)]
    #[derive(Clone)]
    pub struct Lakehouse {
        /// Folder of the lakehouse: "file://data/lake" on a local disk, or "s3://bucket/folder" in an
        /// S3-compatible store; the table is in its folder "events".
        pub url: LakeUrl = "lakehouse.url", LakeUrlText, "file://data/lake";
        /// Catalog: "" for SQLite in the lakehouse's folder, with "s3://" in "data/lake"; a "postgres://" URL;
        /// or the "https://" URL of an Iceberg REST catalog, without its "/v1". Or a reference to one:
        /// "env:NAME", "file:PATH" or "credential:NAME" (systemd).
        pub catalog: CatalogUrl = "lakehouse.catalog", SecretUrl("`\"\"`, `postgres://`, `https://` or `http://` URL, or a reference to one"), "";
        /// Properties of the REST catalog and of the bucket, by Iceberg's names: credential ("id:secret"), token,
        /// scope, oauth2-server-uri, warehouse, "s3.endpoint", "s3.region", "s3.access-key-id",
        /// "s3.secret-access-key", "s3.session-token", "s3.path-style-access". A value may be a reference:
        /// "env:NAME", "file:PATH" or "credential:NAME".
        pub properties: BTreeMap<String, String> = "lakehouse.properties", Texts, { };
        /// Name of the sink that the events come from; "" is the first one.
        pub sink: Option<String> = "lakehouse.sink", OrNone(Text("name of a sink", sink_name)), "";
        /// "auto" runs the writer in `hookweir serve` if the sink is a folder of files. "on" always runs it
        /// there, "off" never. `hookweir lakehouse` runs it in a process of its own.
        pub in_serve: InServe = "lakehouse.in_serve", one_of::<InServe>(), "auto";
        /// Address of `hookweir lakehouse` for health and metrics, as host:port; "" for none. It has no login,
        /// as server.admin_listen, and must be another address. `hookweir serve` ignores it.
        pub admin_listen: Option<SocketAddr> = "lakehouse.admin_listen", AddressOrNone, "";
        /// Queue of the lakehouse on RabbitMQ. It is declared, and bound to publisher.exchange with "#".
        pub queue: String = "lakehouse.queue", Text("name of a queue", rules::amqp_name), "hookweir.lakehouse";
        /// Consumer group of the lakehouse on Kafka. It reads the topics of the configured sources from their
        /// beginning on.
        pub group: String = "lakehouse.group", Text("name of a consumer group", rules::not_empty), "hookweir.lakehouse";
        /// Longest time that an event waits for its commit. Lower values make more and smaller files until
        /// they are compacted.
        pub commit_age: Duration = "lakehouse.commit_secs", Secs(1..=3600), 5;
        /// Most events in one commit.
        pub commit_rows: usize = "lakehouse.commit_rows", Count(1..=30_000), 20000;
        /// Most bytes of events in one commit, unless one event has more.
        pub commit_bytes: usize = "lakehouse.commit_bytes", Bytes(MIB..=GIB), 33554432;
        /// Free space of the disk at which the writer stops, so that it never takes the last bytes from the store
        /// and the event files. Events wait in the sink. 0 has no such floor.
        pub min_free: u64 = "lakehouse.min_free_bytes", Bytes(0..=1024 * GIB), 268435456;
        /// Message ids kept in memory, 8 bytes each. A message that was received before the oldest of them is
        /// looked up in the table.
        pub known_ids: usize = "lakehouse.known_ids", Count(1000..=1_000_000_000), 1000000;
        /// Interval of upkeep: compaction, expiry of versions, retention, and removal of unused files. 0
        /// leaves upkeep to other programs.
        pub upkeep_interval: Duration = "lakehouse.upkeep_secs", Secs(0..=DAY_SECS), 60;
        /// Size below which data files of a day are put together; 0 leaves compaction to another engine.
        pub compact_below: u64 = "lakehouse.compact_below_bytes", Bytes(0..=GIB), 33554432;
        /// Small files of a day at which they are put together.
        pub compact_files: usize = "lakehouse.compact_files", Count(2..=10_000), 60;
        /// Age at which a version of the table may be dropped. A query on an older version fails. With an hour
        /// or less, about one version a minute stays after five minutes. Jobs that read on from a version's id
        /// need more.
        pub keep_versions_for: Duration = "lakehouse.keep_versions_secs", Secs(60..=366 * DAY_SECS), 3600;
        /// Versions that are kept, however old.
        pub keep_versions: usize = "lakehouse.keep_versions", Count(1..=1000), 20;
        /// Days of events in the table; 0 keeps all.
        pub keep_events: Duration = "lakehouse.keep_days", Days(0..=36_600), 0;
    }
}

/// Checks the name of a sink, or `""`.
fn sink_name(text: &str) -> Result<(), String> {
    match text {
        "" => Ok(()),
        name => SinkName::parse(name).map(drop),
    }
}

/// Place of the lakehouse's files.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LakeUrl {
    /// Folder on a local disk.
    Folder(PathBuf),
    /// `s3://BUCKET/FOLDER`, without a slash at the end.
    Bucket(String),
}

/// Catalog of the lakehouse.
#[derive(Debug, Clone, PartialEq)]
pub enum CatalogUrl {
    /// SQLite in the lakehouse's folder.
    Beside,
    /// A libpq URL; it may hold a password.
    Postgres(Secret),
    /// URL of a REST catalog, without a slash at the end.
    Rest(Secret),
}

impl Lakehouse {
    /// Returns the folder on this machine: of the table, or of what a table in a bucket needs beside it.
    pub fn folder(&self) -> &Path {
        match &self.url {
            LakeUrl::Folder(folder) => folder,
            LakeUrl::Bucket(_) => Path::new(BESIDE_BUCKET),
        }
    }

    /// Returns the folder on this machine, if there is anything of the lakehouse in it.
    pub fn local_folder(&self) -> Option<&Path> {
        let is_used =
            matches!(self.url, LakeUrl::Folder(_)) || matches!(self.catalog, CatalogUrl::Beside);
        is_used.then(|| self.folder())
    }

    /// Returns the place of the table, for a person.
    pub fn table(&self) -> String {
        match &self.url {
            LakeUrl::Folder(folder) => {
                let folder = std::path::absolute(folder).unwrap_or_else(|_| folder.clone());
                folder.join("events").display().to_string()
            }
            LakeUrl::Bucket(url) => format!("{url}/events"),
        }
    }
}

words! {
    /// Place of the lakehouse's writer.
    pub enum InServe {
        /// In `hookweir serve`, if the sink is a folder of files.
        Auto = "auto",
        /// In `hookweir serve`.
        On = "on",
        /// In a process of its own.
        Off = "off",
    }
}
