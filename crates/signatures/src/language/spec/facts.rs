//! Schema of the facts about a provider, and of the evidence for them.

use std::time::Duration;

use serde::Deserialize;

/// Facts about a provider, and the evidence for them.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FactsSpec {
    /// Name of the provider.
    pub name: Option<String>,
    /// Page or repository in which the facts were read.
    pub source: Option<String>,
    /// Evidence for the scheme.
    #[serde(default)]
    pub scheme: Evidence,
    /// Evidence for the facts that have none of their own.
    #[serde(default)]
    pub rest: Evidence,
    /// Evidence that `event.id_kind`, `event.varies` and `event.missing_id` are right.
    #[serde(default)]
    pub identity: IdentityEvidence,
    /// Note about the difference between a redelivery and another event of this provider.
    pub identity_note: Option<String>,
    /// Time span of the provider's retries, in hours.
    pub retry_hours: Option<u64>,
    /// Time span in which a redelivery should be recognized, if it does not follow from
    /// `retry_hours`.
    pub window_days: Option<u64>,
    /// Response timeout of the provider, in milliseconds.
    pub answer_within_ms: Option<u64>,
    /// Number of failures in a row after which the provider disables the webhook.
    pub disabled_after_failures: Option<u32>,
    /// Time of nothing but failures after which the provider disables the webhook, in hours.
    pub disabled_after_hours: Option<u64>,
    /// Largest body that the provider sends, in bytes.
    pub max_body_bytes: Option<usize>,
    /// Steps in the provider's console that lead to the secret.
    pub console: Option<String>,
    /// Note for operators.
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

/// Evidence for the meaning of a provider's ids.
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

/// Default time span in which a redelivery is recognized, in hours.
const MIN_WINDOW_HOURS: u64 = 7 * 24;

impl FactsSpec {
    /// Returns the time span in which an event without a unique id is recognized. It is 1.2 times
    /// the provider's retries, or 1 h if those are unknown, and at least 2 min.
    pub fn retry_span(&self) -> Duration {
        let span = match (self.retry_hours, self.window_days) {
            (Some(hours), _) => Duration::from_secs(hours * 3600 * 6 / 5),
            (None, Some(days)) => Duration::from_secs(days * 24 * 3600),
            (None, None) => Duration::from_secs(3600),
        };
        span.max(Duration::from_secs(120))
    }

    /// Returns the time span in which a redelivery should be recognized: 1.2 times the provider's
    /// retries, at least 7 days.
    pub fn window(&self) -> Duration {
        let hours = match (self.window_days, self.retry_hours) {
            (Some(days), _) => days * 24,
            (None, Some(hours)) => (hours + hours / 5).max(MIN_WINDOW_HOURS),
            (None, None) => MIN_WINDOW_HOURS,
        };
        Duration::from_secs(hours * 3600)
    }
}
