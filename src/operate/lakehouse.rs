//! The lakehouse as an operator sees it: its writer, its table, and the events that are no row.

use serde::{Deserialize, Serialize};

use super::{ApiProblem, Operator};
use crate::config::model::LakeUrl;
use crate::lakehouse;

/// Writer and table of the lakehouse.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct LakehouseView {
    /// True if this process runs the writer.
    pub writes: bool,
    /// Reason for which it does not.
    pub why_off: Option<String>,
    /// With the writer: true while it can write to the table.
    pub up: bool,
    /// With the writer: age of the oldest event that it was handed and that is no row yet, in seconds.
    pub lag_seconds: u64,
    /// Folder or bucket of the lakehouse.
    pub folder: String,
    /// Its table. None: there is none yet.
    pub table: Option<LakeTableView>,
    /// Events that wait in the sink. None: there is no table, or the sink does not say.
    pub waiting: Option<LakeBacklogView>,
}

/// State of the table.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct LakeTableView {
    /// Folder of the table, on this machine or in a bucket.
    pub location: String,
    /// Rows.
    pub rows: u64,
    /// First day of receipt.
    pub first_day: Option<String>,
    /// Last day of receipt.
    pub last_day: Option<String>,
    /// Data files.
    pub files: u64,
    /// Data files below `lakehouse.compact_below_bytes`.
    pub small_files: u64,
    /// Bytes of the data files.
    pub bytes: u64,
    /// Versions that can be read.
    pub versions: u64,
    /// Bytes of metadata.
    pub metadata_bytes: u64,
    /// Time of the last commit.
    pub last_commit: Option<String>,
    /// Latest time of receipt of a row.
    pub newest_event: Option<String>,
    /// True if another engine deleted rows by delete files: rows are counted without them.
    pub has_deletes: bool,
}

/// Events that wait in the sink for the writer.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct LakeBacklogView {
    /// Their number, in `unit`.
    pub count: u64,
    /// Unit: bytes of files, messages of a queue, or records of Kafka.
    pub unit: String,
}

/// Parameters of `GET /api/v1/lakehouse/compare`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LakeQuestion {
    /// Hours back from a minute ago, at most `store.keep_events_days`. 24 if it is left out.
    pub hours: Option<u64>,
}

/// Accepted events of the store against rows of the table. Younger events than a minute are left out: they may be on their way.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct LakeComparisonView {
    /// False if there is no table: nothing was compared.
    pub table: bool,
    /// Earliest time of receipt.
    pub from: String,
    /// Time of receipt that is too late.
    pub until: String,
    /// All hours and sources together.
    pub all: LakeCountsView,
    /// Hours of sources in which events are missing, extra, doubled or waiting, 1,000 at most.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub differing: Vec<LakeHourView>,
    /// Message ids of missing events, 100 at most.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub missing: Vec<String>,
    /// Message ids of extra rows, 100 at most.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub extra: Vec<String>,
    /// Message ids of doubled rows, 100 at most.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub doubled: Vec<String>,
}

/// An hour of a source.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct LakeHourView {
    /// Name of the source.
    pub source: String,
    /// Begin of the hour.
    pub hour: String,
    /// Its events and rows.
    pub counts: LakeCountsView,
}

/// Numbers of events and rows.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct LakeCountsView {
    /// Events of the store that go to the sink of the lakehouse.
    pub accepted: u64,
    /// Rows of the table.
    pub rows: u64,
    /// Events that the sink has taken, and that are no row.
    pub missing: u64,
    /// Rows whose events the store does not have.
    pub extra: u64,
    /// Rows beyond the first one of an event.
    pub doubled: u64,
    /// Events that the sink has not taken yet.
    pub waiting: u64,
}

impl Operator {
    /// Returns the state of the lakehouse.
    pub fn lakehouse(&self) -> Result<LakehouseView, ApiProblem> {
        let config = &*self.configured;
        let writes = lakehouse::runs_in_serve(config);
        let metrics = &self.instruments.metrics;
        let view = LakehouseView {
            writes,
            why_off: (!writes).then(|| lakehouse::why_off(config).to_owned()),
            up: writes && metrics.lakehouse_up.get() == 1,
            lag_seconds: u64::try_from(metrics.lakehouse_lag_seconds.get()).unwrap_or(0),
            folder: match &config.lakehouse.url {
                LakeUrl::Folder(folder) => folder.display().to_string(),
                LakeUrl::Bucket(url) => url.clone(),
            },
            ..LakehouseView::default()
        };
        self.with_table(view)
    }

    /// Compares the accepted events of the last hours with the rows of the table.
    pub fn compare_lakehouse(
        &self,
        question: &LakeQuestion,
    ) -> Result<LakeComparisonView, ApiProblem> {
        const USUAL: u64 = 24;
        let hours = question.hours.unwrap_or(USUAL);
        let most = self.configured.store.keep_events.as_secs() / 3600;
        if hours == 0 || hours > most {
            return Err(ApiProblem::bad_question(
                format!(
                    "hours is {hours}, and events are kept for {most} hours (store.keep_events_days)"
                ),
                format!("ask for 1 to {most} hours: rows of older events would all be extra"),
            ));
        }
        self.compared(hours)
    }
}

#[cfg(not(feature = "lakehouse"))]
impl Operator {
    #[expect(
        clippy::unused_self,
        clippy::unnecessary_wraps,
        reason = "as with the feature"
    )]
    fn with_table(&self, view: LakehouseView) -> Result<LakehouseView, ApiProblem> {
        Ok(view)
    }

    #[expect(
        clippy::unused_self,
        clippy::unnecessary_wraps,
        reason = "as with the feature"
    )]
    fn compared(&self, _hours: u64) -> Result<LakeComparisonView, ApiProblem> {
        Ok(LakeComparisonView::default())
    }
}
