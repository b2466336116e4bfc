//! Alarms of a source: its figures held against its provider's rules. The alert rules say the same of metrics.

use super::views::SourceFigures;
use crate::domain::delivery::UnixMillis;
use crate::source::Source;

/// Shortest silence that is worth a word, in seconds.
const SHORT_SILENCE: u64 = 600;

/// Largest skew that is left to networks and retries, in seconds.
const USUAL_SKEW: u64 = 60;

/// Least number of slow deliveries that is worth a word.
const FEW: u64 = 5;

impl SourceFigures {
    /// Returns the figures of a source now.
    pub(super) fn of(source: &Source) -> Self {
        let (alarms, rules) = (&source.metrics.alarms, source.rules());
        Self {
            usual_gap_secs: alarms.usual_gap().map(|gap| gap.as_secs()),
            near_deadline: alarms.near_deadline(),
            failures_in_a_row: alarms.failures(),
            disabled_after_failures: rules.disabled_after_failures,
            clock_skew_secs: alarms.clock_skew(),
            dedup_window_secs: rules.window.as_secs(),
            retries_secs: rules.retries.map(|retries| retries.as_secs()),
        }
    }

    /// Returns things that an operator should look at. `received` is the number of deliveries, and
    /// `accepted` the time of the last event.
    pub(super) fn alarms(
        &self,
        received: u64,
        accepted: Option<UnixMillis>,
        now: UnixMillis,
    ) -> Vec<String> {
        let alarms = [
            self.silent(accepted, now),
            self.nearly_disabled(),
            self.near_deadlines(received),
            self.skewed(),
            self.short_window(),
        ];
        alarms.into_iter().flatten().collect()
    }

    fn silent(&self, accepted: Option<UnixMillis>, now: UnixMillis) -> Option<String> {
        let (usual, accepted) = (self.usual_gap_secs?, accepted?);
        let silent = u64::try_from(now.0.saturating_sub(accepted.0) / 1000).unwrap_or(0);
        (silent > SHORT_SILENCE.max(2 * usual)).then(|| {
            format!(
                "has accepted nothing for {silent} s, and its longest gap within eight days was {usual} s: look at the provider's list of deliveries"
            )
        })
    }

    fn nearly_disabled(&self) -> Option<String> {
        let (failures, rule) = (self.failures_in_a_row, self.disabled_after_failures?);
        (failures * 2 >= u64::from(rule)).then(|| {
            format!(
                "has answered {failures} deliveries in a row without 2xx, and its provider disables the webhook after {rule}: remove the cause, see the last refusal"
            )
        })
    }

    fn near_deadlines(&self, received: u64) -> Option<String> {
        let slow = self.near_deadline;
        (slow > FEW && slow * 20 > received).then(|| {
            format!(
                "has answered {slow} of {received} deliveries after more than half of its deadline: `hookweir top` shows what takes the time"
            )
        })
    }

    fn skewed(&self) -> Option<String> {
        let skew = self.clock_skew_secs?;
        let text = match skew {
            _ if skew.unsigned_abs() <= USUAL_SKEW => return None,
            1.. => "ahead of the clock of this machine",
            _ => "behind the clock of this machine",
        };
        Some(format!(
            "signed its last delivery {} s {text}: look at the clock (timedatectl), a larger skew is refused",
            skew.unsigned_abs()
        ))
    }

    fn short_window(&self) -> Option<String> {
        let (window, retries) = (self.dedup_window_secs, self.retries_secs?);
        (window < retries).then(|| {
            format!(
                "recognises a redelivery for {window} s, and its provider sends again for {retries} s: raise window_days"
            )
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn calm() -> SourceFigures {
        SourceFigures {
            usual_gap_secs: Some(3600),
            near_deadline: 50,
            failures_in_a_row: 3,
            disabled_after_failures: Some(8),
            clock_skew_secs: Some(-60),
            dedup_window_secs: 604_800,
            retries_secs: Some(259_200),
        }
    }

    fn alarms(figures: &SourceFigures, silent_secs: i64) -> Vec<String> {
        let now = UnixMillis(1_800_000_000_000);
        let accepted = UnixMillis(now.0 - silent_secs * 1000);
        figures.alarms(1000, Some(accepted), now)
    }

    #[test]
    fn each_alarm_of_a_source_is_said_at_its_bound_and_none_below_it() {
        assert_eq!(alarms(&calm(), 7200), [""; 0]);
        let said = |figures: SourceFigures, silent, words: &str| {
            let alarms = alarms(&figures, silent);
            assert_eq!(alarms.len(), 1, "{alarms:?}");
            assert!(alarms[0].contains(words), "{alarms:?}");
        };
        said(calm(), 7201, "nothing for 7201 s");
        let failing = SourceFigures {
            failures_in_a_row: 4,
            ..calm()
        };
        said(failing, 0, "4 deliveries in a row");
        let slow = SourceFigures {
            near_deadline: 51,
            ..calm()
        };
        said(slow, 0, "51 of 1000");
        let ahead = SourceFigures {
            clock_skew_secs: Some(61),
            ..calm()
        };
        said(ahead, 0, "61 s ahead of the clock");
        let behind = SourceFigures {
            clock_skew_secs: Some(-61),
            ..calm()
        };
        said(behind, 0, "61 s behind the clock");
        let short = SourceFigures {
            dedup_window_secs: 86_400,
            ..calm()
        };
        said(short, 0, "raise window_days");
        let unknown = SourceFigures {
            usual_gap_secs: None,
            ..calm()
        };
        assert_eq!(alarms(&unknown, 1_000_000), [""; 0]);
    }
}
