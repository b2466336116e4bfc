//! An operator's functions: the one place behind the admin API. They use a store of their own, and answer
//! in the words of `views`. A change, and a body that is handed out, is recorded with its caller. The faces above (JSON, and the command line as its client) add
//! nothing.
//!
//! Each function blocks, and is bounded: in rows by [`crate::store::catalog`], in time by
//! `admin.timeout_ms`.

mod advice;
mod bodies;
mod conflicts;
mod decisions;
mod erase;
mod erase_refused;
mod erase_spooled;
mod events;
mod import;
mod instances;
mod job_runner;
#[cfg(feature = "lakehouse")]
mod lake_table;
mod lakehouse;
mod live;
mod log_filter;
mod pauses;
mod problem;
mod quarantine;
mod quarantine_verify;
mod quarantine_views;
mod question;
mod reload;
mod republish;
mod search;
mod shed_advice;
mod source_figures;
mod sources;
mod status;
mod top;
mod traced_jobs;
mod unrouted;
mod views;

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use arc_swap::ArcSwap;

use crate::config::{Config, model};
use crate::domain::delivery::{InstanceId, UnixMillis};
use crate::domain::sink::Sinks;
use crate::quarantine::QuarantineQueue;
use crate::store::{self, Catalog, Intake, OperatorStore, PauseBoard, SpooledEvents, StoreError};

pub use crate::publish::sinks::rabbitmq::HELD_MESSAGES;
pub use advice::{Advice, advise};
pub use bodies::OpenedBody;
pub use decisions::{Decision, ParkedQuestion};
pub use erase::{EraseOrder, ErasePlace, EraseView, ErasedRefusal, ErasedView};
pub use import::{
    ImportOrder, ImportRefusal, ImportView, ImportedEvent, ImportedHeader, ImportedKey,
};
pub use instances::{InstanceList, InstanceView};
pub use job_runner::{JobRunner, JobWaker};
pub use lakehouse::{
    LakeBacklogView, LakeComparisonView, LakeCountsView, LakeHourView, LakeQuestion, LakeTableView,
    LakehouseView,
};
pub use live::{LiveList, LiveQuestion, LiveView};
pub use log_filter::{LogFilterOrder, LogFilterView};
pub use pauses::{PauseOrder, PauseView, PausedView};
pub use problem::ApiProblem;
pub use quarantine_verify::Redeliver;
pub use quarantine_views::{
    DiagnosisView, RefusedChoice, RefusedDetails, RefusedHeader, RefusedList, RefusedQuestion,
    RefusedRequestView, RefusedVerified, RefusedView,
};
pub use question::EventQuestion;
pub use reload::{ChangeView, Reload, ReloadOrder, ReloadView, Reloaded};
pub use republish::{RepublishOrder, RepublishQuestion};
pub use search::{SearchQuestion, SearchView};
pub use shed_advice::advise_in_log;
pub use sources::KnownSource;
pub use status::{
    AuditList, AuditQuestion, AuditView, ComponentView, ConfigurationView, StatusView,
};
pub use top::{
    Instruments, MailboxView, Observed, PartOf, SinkBacklog, SourceCounts, TopOptions, TopView,
};
pub use unrouted::{
    HELD_BYTES, UnroutedChanged, UnroutedDecision, UnroutedList, UnroutedQuestion, UnroutedQueues,
    UnroutedView,
};
pub use views::{
    Changed, ConflictList, ConflictView, EventList, EventView, JobList, JobView, ParkedList,
    ParkedView, RepublishPlan, SecretView, SentBack, SinkState, SinkView, SourceFigures,
    SourceList, SourceRefusal, SourceView, TraceJob, TraceView,
};

/// Facts about the instance and its configuration, on which the functions stand.
pub struct Operator {
    /// Id of this instance.
    pub instance: InstanceId,
    /// Start of the process.
    pub started: UnixMillis,
    /// Sinks, with the events that go to each.
    pub sinks: Sinks,
    /// Sources, in the order of the configuration. A reload replaces them.
    pub sources: Arc<ArcSwap<Vec<KnownSource>>>,
    /// Pauses of this instance.
    pub pauses: PauseBoard,
    /// Reads the configuration again.
    pub reloader: Box<dyn Reload>,
    /// Connection to the store.
    pub archive: Arc<Archive>,
    /// Wakes the job runner of this instance.
    pub jobs: JobWaker,
    /// Storage of new events, as deliveries use it.
    pub intake: Arc<dyn Intake>,
    /// Spool of this instance, if it has one.
    pub spool: Option<Arc<dyn SpooledEvents>>,
    /// Way of a kept delivery to the verifiers.
    pub redeliver: Redeliver,
    /// Refused deliveries on their way into the quarantine.
    pub quarantine: QuarantineQueue,
    /// Configuration of the start, for what no reload changes.
    pub configured: Arc<Config>,
    /// Lock of the command that verifies refused deliveries again.
    pub verifying: tokio::sync::Mutex<()>,
    /// Sinks that keep messages which no queue is bound for.
    pub unrouted: UnroutedQueues,
    /// Places from which the figures of this instance are read.
    pub instruments: Instruments,
}

/// The store as the operator's functions read it: opened at the first question.
pub struct Archive {
    config: model::Store,
    connections: usize,
    store: OnceLock<Arc<dyn OperatorStore>>,
}

impl Archive {
    /// Takes the configuration of the store, with the bounds of the admin API in place of its own.
    pub fn new(store: &model::Store, admin: &model::AdminApi) -> Self {
        let config = model::Store {
            connect_timeout: store.connect_timeout.min(admin.timeout),
            statement_timeout: admin.timeout,
            ..store.clone()
        };
        Self {
            config,
            connections: admin.database_connections,
            store: OnceLock::new(),
        }
    }

    /// Returns the time to answer a question.
    fn patience(&self) -> Duration {
        self.config.statement_timeout
    }

    /// Returns the store.
    fn store(&self) -> Result<&dyn OperatorStore, ApiProblem> {
        Ok(self.opened()?)
    }

    /// Does as [`Archive::store`] does, for a caller in the midst of work on a store.
    fn opened(&self) -> Result<&dyn OperatorStore, StoreError> {
        if let Some(store) = self.store.get() {
            return Ok(&**store);
        }
        let opened = store::open_for_operator(&self.config, self.connections)?;
        Ok(&**self.store.get_or_init(|| opened))
    }

    /// Opens the store once more, with one connection: a lock stays with its transaction.
    fn another(&self) -> Result<Arc<dyn OperatorStore>, ApiProblem> {
        Ok(store::open_for_operator(&self.config, 1)?)
    }

    /// Returns the store as it is read.
    fn catalog(&self) -> Result<&dyn Catalog, ApiProblem> {
        Ok(self.store()?)
    }
}

impl From<StoreError> for ApiProblem {
    fn from(error: StoreError) -> Self {
        Self::unavailable(
            format!("cannot read the store: {error}"),
            "look at /readyz for the state of the store, and ask again once it is ready",
        )
    }
}
