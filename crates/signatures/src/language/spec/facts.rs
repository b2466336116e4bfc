//! Schema of the facts about a provider, and of how sure they are.

use std::time::Duration;

use serde::Deserialize;

/// Facts about a provider, and how sure they are.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FactsSpec {
    /// The provider's name.
    pub name: Option<String>,
    /// Source of the facts.
    pub source: Option<String>,
    /// Evidence for the scheme.
    #[serde(default)]
    pub scheme: Evidence,
    /// Evidence for everything else.
    #[serde(default)]
    pub rest: Evidence,
    /// Evidence that `event.id_kind`, `event.varies` and `event.missing_id` are right.
    #[serde(default)]
    pub identity: IdentityEvidence,
    /// Note on how a redelivery is told from another event at this provider, in a sentence or two.
    pub identity_note: Option<String>,
    /// Time for which the provider retries.
    pub retry_hours: Option<u64>,
    /// Time for which a redelivery should be recognised, if it does not follow from `retry_hours`.
    pub window_days: Option<u64>,
    /// Time in which the provider wants its answer.
    pub answer_within_ms: Option<u64>,
    /// Largest body the provider sends.
    pub max_body_bytes: Option<usize>,
    /// Steps in the provider's console.
    pub console: Option<String>,
    /// Further note.
    pub note: Option<String>,
}

/// Evidence for a fact.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Evidence {
    /// Read in the provider's own code or documentation.
    Own,
    /// Read in independent code.
    ThirdParty,
    /// Not confirmed.
    #[default]
    Recalled,
}

/// Origin of what is known of a provider's ids.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum IdentityEvidence {
    /// The provider's documentation says so.
    Documented,
    /// Recorded payloads show it.
    Recorded,
    /// The provider's SDK or its types show it.
    Sdk,
    /// Recalled, not confirmed.
    #[default]
    Recalled,
}

/// Hours that a redelivery is recognised at least, where nothing else is known.
const MIN_WINDOW_HOURS: u64 = 7 * 24;

impl FactsSpec {
    /// Time for which an event is known if its id does not make it the only one: the provider's retries and a fifth; an hour where these are not
    /// known. Two minutes at least, for what proxies send twice.
    pub fn retry_span(&self) -> Duration {
        let span = match (self.retry_hours, self.window_days) {
            (Some(hours), _) => Duration::from_secs(hours * 3600 * 6 / 5),
            (None, Some(days)) => Duration::from_secs(days * 24 * 3600),
            (None, None) => Duration::from_secs(3600),
        };
        span.max(Duration::from_secs(120))
    }

    /// Time for which a redelivery should be recognised: the provider's retries and a fifth, at least seven days.
    pub fn window(&self) -> Duration {
        let hours = match (self.window_days, self.retry_hours) {
            (Some(days), _) => days * 24,
            (None, Some(hours)) => (hours + hours / 5).max(MIN_WINDOW_HOURS),
            (None, None) => MIN_WINDOW_HOURS,
        };
        Duration::from_secs(hours * 3600)
    }
}
