//! Sources of this instance: where providers send to, and what came last.

use std::sync::Arc;
use std::time::Duration;

use super::Operator;
use super::views::{SecretView, SourceFigures, SourceList, SourceRefusal, SourceView, shown};
use crate::doctor::DoctorSource;
use crate::domain::delivery::{SourceName, wall_clock};
use crate::source::{SecretStage, SecretUse, Source};
use crate::telemetry::{LastRefusal, SourceMetrics};

/// A configured source, as an operator asks about it.
pub struct KnownSource {
    /// Its name.
    pub name: SourceName,
    /// Its provider. None if it has a scheme of its own.
    pub provider: Option<String>,
    /// URL to enter at the provider.
    pub url: String,
    /// True if the URL is its `public_url`; otherwise it is the one on this machine.
    pub url_is_public: bool,
    /// Longest time to an answer.
    pub deadline: Duration,
    /// Its metrics.
    pub metrics: Arc<SourceMetrics>,
    /// The source as deliveries use it.
    pub source: Arc<Source>,
    /// The source as the doctor knows it.
    pub doctor: DoctorSource,
}

impl KnownSource {
    fn view(&self) -> SourceView {
        let last = &self.metrics.last;
        let (received, figures) = (self.metrics.received.get(), SourceFigures::of(&self.source));
        SourceView {
            alarms: figures.alarms(received, last.accepted(), wall_clock()),
            figures,
            source: self.name.to_string(),
            provider: self.provider.clone(),
            url: self.url.clone(),
            url_is_public: self.url_is_public,
            deadline_ms: u64::try_from(self.deadline.as_millis()).unwrap_or(u64::MAX),
            received,
            last_accepted: last.accepted().map(shown),
            last_duplicate: last.duplicate().map(shown),
            last_refused: last.refused().map(refusal),
            last_unavailable: last.unavailable().map(refusal),
            secrets: self.secrets(),
            warning: self.warning(),
            paused: None,
        }
    }

    fn secrets(&self) -> Vec<SecretView> {
        let now = wall_clock();
        let secrets = &self.source.secrets;
        let view = |of| secret(of, secrets.stage(of, now));
        secrets.iter().map(view).collect()
    }

    fn warning(&self) -> Option<String> {
        self.source.secrets.only_retiring(wall_clock()).then(|| {
            format!(
                "only a retiring secret of {} verifies deliveries: enter the new secret at the provider before the old one is removed",
                self.name
            )
        })
    }
}

fn secret(of: &SecretUse, stage: SecretStage) -> SecretView {
    let advice = match stage {
        SecretStage::Current => None,
        SecretStage::SafeToRemove => Some("not used for 3 days: safe to remove"),
        SecretStage::InUse => Some("retiring, and in use within 3 days: keep it"),
        SecretStage::NotUsedYet => {
            Some("retiring, not used since then: safe to remove after 3 days without a use")
        }
        SecretStage::Untried => Some(
            "not used for 3 days, but neither was a current secret since it is retiring: keep it until one has verified a delivery",
        ),
    };
    SecretView {
        secret: of.reference.to_string(),
        retiring: of.retiring,
        last_verified: of.last().map(shown),
        known_since: shown(of.since()),
        advice: advice.map(str::to_owned),
    }
}

fn refusal(last: LastRefusal) -> SourceRefusal {
    SourceRefusal {
        at: shown(last.at),
        reason: last.reason.to_owned(),
        detail: last.detail.into_owned(),
    }
}

impl Operator {
    /// Returns all sources of this instance.
    pub fn sources(&self) -> SourceList {
        SourceList {
            instance: self.instance.to_string(),
            started_at: shown(self.started),
            sources: self.source_views(),
        }
    }

    fn source_views(&self) -> Vec<SourceView> {
        let sources = self.sources.load();
        let view = |source: &KnownSource| SourceView {
            paused: self.paused_source(source.name.as_str()),
            ..source.view()
        };
        sources.iter().map(view).collect()
    }
}
