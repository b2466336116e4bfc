//! Age of a delivery, measured at its arrival.

use crate::UnixMillis;
use crate::language::spec::{TimeUnit, TsSpec};
use crate::{Reason, Refusal};

/// Rule for the age of a delivery.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Freshness {
    pub(crate) unit: TimeUnit,
    /// Maximum age in seconds; 0 accepts any age.
    pub(crate) tolerance: u64,
    pub(crate) future: bool,
}

impl Freshness {
    /// Returns the rule of a scheme's `timestamp`.
    pub(crate) fn of(spec: &TsSpec) -> Self {
        Self {
            unit: spec.unit,
            tolerance: spec.tolerance_secs,
            future: spec.refuse_future,
        }
    }

    /// Returns the time of signing. Refuses a delivery signed at `text` that may not arrive `now`.
    pub(crate) fn check(self, text: &[u8], now: UnixMillis) -> Result<UnixMillis, Refusal> {
        let Some(signed_at) = millis(text, self.unit) else {
            return Err(Refusal::new(
                Reason::TimestampInvalid,
                "the time of signing is not a time",
            ));
        };
        if self.tolerance == 0 {
            return Ok(UnixMillis(signed_at));
        }
        // Senders that sign in whole seconds are aged in whole seconds, as their own libraries do.
        let now = if self.unit == TimeUnit::S {
            now.0.div_euclid(1000) * 1000
        } else {
            now.0
        };
        let age = now.saturating_sub(signed_at);
        let tolerance = i64::try_from(self.tolerance)
            .unwrap_or(i64::MAX)
            .saturating_mul(1000);
        let secs = |millis: i64| millis.unsigned_abs() / 1000;
        if age > tolerance {
            let detail = format!(
                "signed {} s ago; at most {} s are accepted",
                secs(age),
                self.tolerance
            );
            Err(Refusal::new(Reason::TimestampTooOld, detail))
        } else if self.future && age < -tolerance {
            let detail = format!(
                "signed {} s in the future; at most {} s are accepted",
                secs(age),
                self.tolerance
            );
            Err(Refusal::new(Reason::TimestampInFuture, detail))
        } else {
            Ok(UnixMillis(signed_at))
        }
    }
}

/// Milliseconds since 1970.
pub(crate) fn millis(text: &[u8], unit: TimeUnit) -> Option<i64> {
    let text = std::str::from_utf8(text).ok()?;
    if unit == TimeUnit::Rfc3339 {
        return text
            .parse::<jiff::Timestamp>()
            .ok()
            .map(jiff::Timestamp::as_millisecond);
    }
    if text.is_empty() || text.len() > 15 || !text.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    let number: i64 = text.parse().ok()?;
    match unit {
        TimeUnit::Ms => Some(number),
        // 100,000,000,000 s is in the year 5138, and as many ms are in 1973.
        TimeUnit::Auto if number > 100_000_000_000 => Some(number),
        _ => number.checked_mul(1000),
    }
}

/// Returns a time in the format of a sender.
pub(crate) fn write(at: UnixMillis, unit: TimeUnit) -> String {
    match unit {
        TimeUnit::S | TimeUnit::Auto => at.0.div_euclid(1000).to_string(),
        TimeUnit::Ms => at.0.to_string(),
        TimeUnit::Rfc3339 => jiff::Timestamp::from_millisecond(at.0)
            .unwrap_or_default()
            .to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn units() {
        assert_eq!(millis(b"1531420618", TimeUnit::S), Some(1_531_420_618_000));
        assert_eq!(
            millis(b"1531420618123", TimeUnit::Ms),
            Some(1_531_420_618_123)
        );
        assert_eq!(
            millis(b"1531420618123", TimeUnit::Auto),
            Some(1_531_420_618_123)
        );
        assert_eq!(
            millis(b"1531420618", TimeUnit::Auto),
            Some(1_531_420_618_000)
        );
        assert_eq!(
            millis(b"2023-07-19T10:11:12.634234626Z", TimeUnit::Rfc3339),
            Some(1_689_761_472_634)
        );
        assert_eq!(
            millis(b"2021-03-25T05:09:27Z", TimeUnit::Rfc3339),
            Some(1_616_648_967_000)
        );
        for bad in ["", "-1", "1.5", " 1", "x", "99999999999999999999"] {
            assert_eq!(millis(bad.as_bytes(), TimeUnit::S), None, "{bad:?}");
        }
        for unit in [TimeUnit::S, TimeUnit::Ms, TimeUnit::Rfc3339] {
            let at = UnixMillis(1_689_761_472_000);
            assert_eq!(millis(write(at, unit).as_bytes(), unit), Some(at.0));
        }
    }

    #[test]
    fn the_bounds_are_inclusive_and_the_future_is_a_rule_of_its_own() {
        let past_only = Freshness {
            unit: TimeUnit::S,
            tolerance: 300,
            future: false,
        };
        let both = Freshness {
            future: true,
            ..past_only
        };
        let reason = |rule: Freshness, now: i64| {
            rule.check(b"1000000", UnixMillis(now))
                .err()
                .map(|r| r.reason)
        };
        assert_eq!(reason(past_only, 1_000_300_999), None);
        assert_eq!(
            reason(past_only, 1_000_301_000),
            Some(Reason::TimestampTooOld)
        );
        assert_eq!(reason(past_only, 999_000_000), None);
        assert_eq!(reason(both, 999_700_000), None);
        assert_eq!(reason(both, 999_699_999), Some(Reason::TimestampInFuture));
        assert_eq!(
            reason(
                Freshness {
                    tolerance: 0,
                    ..both
                },
                0
            ),
            None
        );
    }
}
