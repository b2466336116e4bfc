//! Filter of log lines for some minutes. It goes back by itself: a filter that somebody forgets fills a disk.

use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

use super::reload::record_aside;
use super::republish::log;
use super::views::shown;
use super::{ApiProblem, Operator};
use crate::domain::delivery::{UnixMillis, wall_clock};
use crate::store::{AuditAction, AuditEntry};
use crate::telemetry::log_filter;

/// Minutes unless the order says another number.
const USUAL_MINUTES: u32 = 10;

/// Minutes, at most.
const MOST_MINUTES: u32 = 60;

/// Bytes of a filter, at most.
const LONGEST: usize = 500;

/// Order to log by another filter for some minutes.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct LogFilterOrder {
    /// Directives as in `log.filter`. Without it, the filter of the configuration is in force again at once.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub filter: Option<String>,
    /// Minutes until the filter of the configuration is in force again: 1 to 60, by default 10.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub minutes: Option<u32>,
    /// Reason, for the record.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

/// Filter of log lines at this instance.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LogFilterView {
    /// Id of the instance. The others log by their own.
    pub instance: String,
    /// Filter in force.
    pub filter: String,
    /// Filter of the configuration.
    pub configured: String,
    /// Time at which the filter of the configuration is in force again. None: it is in force.
    pub until: Option<String>,
}

impl Operator {
    /// Returns the filter in force.
    pub fn log_filter(&self) -> LogFilterView {
        let (configured, for_now) = log_filter::in_force();
        let now = Instant::now();
        let until = for_now.as_ref().map(|of| {
            let left = of.until.saturating_duration_since(now).as_millis();
            let left = i64::try_from(left).unwrap_or(i64::MAX);
            shown(UnixMillis(wall_clock().0.saturating_add(left)))
        });
        LogFilterView {
            instance: self.instance.to_string(),
            filter: for_now.map_or_else(|| configured.clone(), |of| of.filter),
            configured,
            until,
        }
    }

    /// Logs by another filter for some minutes, or by that of the configuration again, and records `caller`.
    pub fn set_log_filter(
        &self,
        order: &LogFilterOrder,
        caller: &str,
    ) -> Result<LogFilterView, ApiProblem> {
        let minutes = order.minutes.unwrap_or(USUAL_MINUTES);
        if !(1..=MOST_MINUTES).contains(&minutes) {
            return Err(ApiProblem::bad_question(
                format!("minutes is {minutes}; the log filter was not changed"),
                format!("give 1 to {MOST_MINUTES}; for longer, set log.filter and reload"),
            ));
        }
        let subject = match &order.filter {
            Some(filter) if filter.len() > LONGEST => return Err(too_long(filter.len())),
            Some(filter) => format!("log filter \"{filter}\" for {minutes} minutes"),
            None => "log filter of the configuration".to_owned(),
        };
        let entry = AuditEntry {
            instance: self.instance,
            caller: caller.to_owned(),
            action: AuditAction::LogFilter,
            subject,
            count: 1,
            reason: order.reason.clone(),
        };
        let time = Duration::from_secs(u64::from(minutes) * 60);
        let changed = match &order.filter {
            Some(filter) => log_filter::filter_for(filter, time).map(|()| true),
            None => log_filter::end_now(),
        };
        if changed.map_err(refused)? {
            // A new filter may leave the line out; the record has it.
            log(&entry);
            record_aside(self.archive.clone(), entry);
        }
        Ok(self.log_filter())
    }
}

fn refused(error: String) -> ApiProblem {
    ApiProblem::bad_question(
        format!("{error}; the log filter was not changed"),
        "give directives as in log.filter, such as hookweir=debug,info",
    )
}

fn too_long(bytes: usize) -> ApiProblem {
    ApiProblem::bad_question(
        format!("filter has {bytes} bytes; the log filter was not changed"),
        format!("give at most {LONGEST}"),
    )
}
