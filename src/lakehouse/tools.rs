//! Operations on the table for the command line. Blocking. Writers may run meanwhile.

use std::collections::HashSet;
use std::time::Duration;

pub use hookweir_lakehouse::erase::Subject;
use hookweir_lakehouse::erase::{Erased, Selection, erase};
use hookweir_lakehouse::error::LakeError;
use hookweir_lakehouse::event::{Millis, RowId};
#[cfg(feature = "kafka")]
use hookweir_lakehouse::feed::kafka;
use hookweir_lakehouse::feed::{folder, queue};
use hookweir_lakehouse::lake::Lake;
pub use hookweir_lakehouse::status::Status as TableStatus;
use hookweir_lakehouse::status::status;
use hookweir_lakehouse::table::ids;
use hookweir_lakehouse::upkeep::{self, Upkept};
use hookweir_lakehouse::views::{Engine, views};
use tokio::runtime::Runtime;

use super::settings::{FeedPlace, Settings, place, upkeep_limits};
use crate::config::Config;
use crate::domain::delivery::{MessageId, SourceName, UnixMillis};

/// A lakehouse that exists, opened for one command.
pub struct Tools {
    lake: Lake,
    runtime: Runtime,
    limits: upkeep::UpkeepLimits,
}

/// Events that wait in the sink.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unread {
    /// Bytes of the file sink's folder that are not read.
    Bytes(u64),
    /// Messages of the queue that no writer holds.
    Messages(u32),
    /// Records of Kafka that the group has not committed.
    Records(u64),
}

/// A row of the table, without its content.
#[derive(Clone, Debug)]
pub struct Row {
    /// Id of the message.
    pub message_id: MessageId,
    /// Name of the source.
    pub source: String,
    /// Time of receipt.
    pub received_at: UnixMillis,
}

/// Full name of the table.
pub const TABLE: &str = "webhooks.events";

/// Longest look for a row.
const LOOK: Duration = Duration::from_secs(10);

/// Row of an event, if there is one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Found {
    /// There is no table.
    NoTable,
    /// The table has no such row.
    NoRow,
    /// The event is a row.
    Row {
        /// Time of its commit.
        committed_at: UnixMillis,
        /// Version of the table that was read.
        snapshot: i64,
    },
}

/// Rows to erase.
#[derive(Clone, Debug, Default)]
pub struct Chosen {
    /// Ids of messages.
    pub ids: Vec<MessageId>,
    /// Names of sources.
    pub sources: Vec<SourceName>,
    /// Values in JSON bodies.
    pub subjects: Vec<Subject>,
}

impl Tools {
    /// Opens the lakehouse of `config`. None if it has no table yet.
    pub fn open(config: &Config) -> Result<Option<Self>, String> {
        let runtime = runtime()?;
        let place = place(config)?;
        let found = runtime.block_on(Lake::find(&place)).map_err(text)?;
        Ok(found.map(|lake| Self {
            lake,
            runtime,
            limits: upkeep_limits(&config.lakehouse),
        }))
    }

    /// Returns the state of the table.
    pub fn status(&self) -> Result<TableStatus, String> {
        let status = status(&self.lake, self.limits.small_bytes);
        self.runtime.block_on(status).map_err(text)
    }

    /// Hands each row that was received from `from` on and before `until` to `take`.
    pub fn rows(
        &self,
        from: UnixMillis,
        until: UnixMillis,
        mut take: impl FnMut(Row),
    ) -> Result<(), String> {
        let (from, until) = (Millis(from.0), Millis(until.0));
        let read = async {
            let table = self.lake.load().await?;
            ids::received(&table, from, until, |id, source, at| {
                take(Row {
                    message_id: MessageId::from_bytes(*id.as_bytes()),
                    source: source.to_owned(),
                    received_at: UnixMillis(at.0),
                });
            })
            .await
        };
        self.runtime.block_on(read).map_err(text)
    }

    /// Puts all small files together, day by day. Returns their number.
    pub fn compact(&self) -> Result<usize, String> {
        let compact = upkeep::compact_all(&self.lake, &self.limits);
        self.runtime.block_on(compact).map_err(text)
    }

    /// Drops old versions and days, and deletes files that nothing names.
    pub fn expire(&self) -> Result<Upkept, String> {
        let limits = upkeep::UpkeepLimits {
            small_bytes: 0,
            ..self.limits
        };
        let round = upkeep::round(&self.lake, &limits, Millis::now());
        self.runtime.block_on(round).map_err(text)
    }

    /// Erases rows, with the files and versions that held them.
    pub fn erase(&self, chosen: &Chosen) -> Result<Erased, String> {
        let id = |id: &MessageId| RowId::from_bytes(*id.as_bytes());
        let selection = Selection {
            ids: chosen.ids.iter().map(id).collect(),
            sources: chosen
                .sources
                .iter()
                .map(ToString::to_string)
                .collect::<HashSet<_>>(),
            subjects: chosen.subjects.clone(),
        };
        let erase = erase(&self.lake, &selection);
        self.runtime.block_on(erase).map_err(text)
    }
}

/// Looks for the row of the event `id`, received at `at`, for ten seconds at most.
pub fn find_row(config: &Config, id: MessageId, at: UnixMillis) -> Result<Found, String> {
    let found = within(config, LOOK, async |lake| {
        let Some(lake) = lake else {
            return Ok(Found::NoTable);
        };
        let table = lake.load().await?;
        let id = RowId::from_bytes(*id.as_bytes());
        let row = ids::row(&table, id, Millis(at.0)).await?;
        Ok(row.map_or(Found::NoRow, |row| Found::Row {
            committed_at: UnixMillis(row.committed_at.0),
            snapshot: row.snapshot,
        }))
    })?;
    found.ok_or_else(|| not_read(LOOK))
}

/// Returns the state of the table, if there is one, within `patience`.
pub fn look(config: &Config, patience: Duration) -> Result<Option<TableStatus>, String> {
    let small = upkeep_limits(&config.lakehouse).small_bytes;
    let found = within(config, patience, async |lake| match lake {
        Some(lake) => status(&lake, small).await.map(Some),
        None => Ok(None),
    })?;
    found.ok_or_else(|| not_read(patience))
}

/// Hands each row that was received from `from` on and before `until` to `take`. Returns `None` if that was not
/// done within `patience`, and `false` if there is no table.
pub fn rows_within(
    config: &Config,
    (from, until): (UnixMillis, UnixMillis),
    patience: Duration,
    mut take: impl FnMut(Row),
) -> Result<Option<bool>, String> {
    within(config, patience, async |lake| {
        let Some(lake) = lake else {
            return Ok(false);
        };
        let table = lake.load().await?;
        let each = |id: RowId, source: &str, at: Millis| {
            take(Row {
                message_id: MessageId::from_bytes(*id.as_bytes()),
                source: source.to_owned(),
                received_at: UnixMillis(at.0),
            });
        };
        ids::received(&table, Millis(from.0), Millis(until.0), each).await?;
        Ok(true)
    })
}

/// Runs `work` on the lake of `config`, if there is one. Returns `None` if it has not ended within `patience`.
fn within<T>(
    config: &Config,
    patience: Duration,
    work: impl AsyncFnOnce(Option<Lake>) -> Result<T, LakeError>,
) -> Result<Option<T>, String> {
    let place = place(config)?;
    let look = async { work(Lake::find(&place).await?).await };
    let runtime = runtime()?;
    let found = runtime.block_on(async { tokio::time::timeout(patience, look).await });
    // A catalog that does not answer holds a thread.
    runtime.shutdown_background();
    match found {
        Ok(found) => found.map(Some).map_err(text),
        Err(_) => Ok(None),
    }
}

fn not_read(patience: Duration) -> String {
    format!("the table was not read within {} ms", patience.as_millis())
}

/// Returns the events that wait in the sink of `config`.
pub fn backlog(config: &Config) -> Result<Unread, String> {
    match Settings::of(config)?.feed {
        FeedPlace::Folder { events, position } => folder::backlog(&events, &position)
            .map(Unread::Bytes)
            .map_err(|error| format!("cannot read {}: {error}", events.display())),
        FeedPlace::Queue(options) => {
            let depth = runtime()?.block_on(queue::depth(options));
            depth.map(Unread::Messages).map_err(text)
        }
        #[cfg(feature = "kafka")]
        FeedPlace::Kafka(options) => {
            let records = runtime()?.block_on(kafka::backlog(options));
            records.map(Unread::Records).map_err(text)
        }
    }
}

fn runtime() -> Result<Runtime, String> {
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()
        .map_err(|error| format!("no runtime: {error}"))
}

/// Returns the statements that create a view for each of `sources`.
pub fn sql(config: &Config, engine: Engine, sources: &[&str]) -> String {
    views(engine, &config.lakehouse.table(), sources)
}

fn text(error: LakeError) -> String {
    error.to_string()
}
