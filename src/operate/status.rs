//! State of this instance: ready or not, its version, its configuration, and the record of changes.

use serde::{Deserialize, Serialize};

use super::views::shown;
use super::{ApiProblem, Operator};
use crate::store::AuditRow;
use crate::store::catalog::PAGE;
use crate::telemetry::health::State;

/// Number of entries in a page, unless the question says another.
const USUAL_PAGE: usize = 20;

/// State of an instance.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StatusView {
    /// Id of the instance that answers.
    pub instance: String,
    /// Version of the program.
    pub version: String,
    /// Start of the instance.
    pub started_at: String,
    /// True if deliveries should be sent here.
    pub ready: bool,
    /// Components, as in `/readyz`.
    pub components: Vec<ComponentView>,
}

/// State of a component.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ComponentView {
    /// Its name.
    pub name: String,
    /// `ready`, `off`, `degraded` or `not ready`.
    pub state: String,
    /// Reason, if it is not ready.
    pub reason: Option<String>,
}

/// The configuration in force.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ConfigurationView {
    /// Each option with its value and its place, as TOML. Secrets are shown as their references.
    pub text: String,
}

/// Parameters of `GET /api/v1/audit`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AuditQuestion {
    /// Place to go on from: `next` of the page before.
    pub before: Option<String>,
    /// Number of entries wanted.
    pub limit: Option<usize>,
}

/// Changes and opened bodies, the newest first.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AuditList {
    /// The entries.
    pub entries: Vec<AuditView>,
    /// Place to go on from, for the parameter `before`. None at the end.
    pub next: Option<String>,
}

/// A change, or an opened body.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AuditView {
    /// Its id.
    pub id: String,
    /// Its time.
    pub at: String,
    /// Name of the token, or user and process.
    pub caller: String,
    /// Word for the action.
    pub action: String,
    /// Message id of the event, or the choice of events.
    pub subject: String,
    /// Number of events.
    pub count: u64,
    /// Reason that the caller gave.
    pub reason: Option<String>,
}

impl Operator {
    /// Returns the state of this instance.
    pub fn status(&self) -> StatusView {
        let health = &self.instruments.health;
        let components = health.all().into_iter().map(|(name, state)| {
            let (state, reason) = match state {
                State::Ready => ("ready", None),
                State::Off(why) => ("off", Some(why.into_owned())),
                State::Degraded(why) => ("degraded", Some(why.into_owned())),
                State::NotReady(why) | State::Unfit(why) => ("not ready", Some(why.into_owned())),
            };
            ComponentView {
                name: name.into_owned(),
                state: state.to_owned(),
                reason,
            }
        });
        StatusView {
            instance: self.instance.to_string(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            started_at: shown(self.started),
            ready: health.ready().is_ok(),
            components: components.collect(),
        }
    }

    /// Returns the configuration in force.
    pub fn configuration(&self) -> ConfigurationView {
        ConfigurationView {
            text: self.reloader.in_force(),
        }
    }

    /// Returns a page of the record.
    pub fn audit(&self, asked: &AuditQuestion) -> Result<AuditList, ApiProblem> {
        let limit = asked.limit.unwrap_or(USUAL_PAGE);
        if !(1..=PAGE).contains(&limit) {
            let next = format!("ask for 1 to {PAGE} entries, and go on with `before`");
            return Err(ApiProblem::bad_question(format!("limit is {limit}"), next));
        }
        let before = asked.before.as_deref().map(entry).transpose()?;
        let found = self.archive.store()?.recorded(before, limit)?;
        let last = found.last().map(|row| hex::encode(row.id));
        Ok(AuditList {
            next: last.filter(|_| found.len() == limit),
            entries: found.into_iter().map(view).collect(),
        })
    }
}

fn entry(text: &str) -> Result<[u8; 16], ApiProblem> {
    let mut id = [0; 16];
    hex::decode_to_slice(text, &mut id).map_err(|_| {
        ApiProblem::bad_question(
            format!(
                "before: \"{}\" is no place in the record",
                text.escape_debug()
            ),
            "give `next` of the answer before",
        )
    })?;
    Ok(id)
}

fn view(row: AuditRow) -> AuditView {
    AuditView {
        id: hex::encode(row.id),
        at: shown(row.at),
        caller: row.caller,
        action: row.action,
        subject: row.subject,
        count: row.count,
        reason: row.reason,
    }
}
