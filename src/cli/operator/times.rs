//! Times on the command line: a moment, a day, or so long ago.

use jiff::Timestamp;
use jiff::civil::DateTime;
use jiff::tz::Offset;

/// Returns a time in RFC 3339. Without a zone the time is UTC; `90m` is 90 minutes ago.
pub(super) fn parse(text: &str) -> Result<String, String> {
    at(text, Timestamp::now())
}

fn at(text: &str, now: Timestamp) -> Result<String, String> {
    let moment = text.parse::<Timestamp>().ok();
    let day = || {
        let local = text.parse::<DateTime>().ok()?;
        Offset::UTC.to_timestamp(local).ok()
    };
    let time = moment.or_else(day).or_else(|| ago(text, now));
    time.map(|time| time.to_string()).ok_or_else(|| {
        "expected a time (2026-11-28T09:30:00Z), a day (2026-11-28), or how long ago (90s, 30m, 2h, 7d); without a zone it is UTC".to_owned()
    })
}

/// Returns the time that is so many seconds, minutes, hours or days before now.
fn ago(text: &str, now: Timestamp) -> Option<Timestamp> {
    let unit = text.chars().next_back()?;
    let count: i64 = text.strip_suffix(unit)?.parse().ok()?;
    let seconds: i64 = match unit {
        's' => 1,
        'm' => 60,
        'h' => 3600,
        'd' => 24 * 3600,
        _ => return None,
    };
    let ago = count.checked_mul(seconds)?;
    Timestamp::from_second(now.as_second().checked_sub(ago)?).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_is_a_moment_a_day_or_so_long_ago() {
        let now: Timestamp = "2026-11-28T12:00:00Z".parse().expect("a time");
        for (text, meant) in [
            ("2026-11-28T09:30:00Z", "2026-11-28T09:30:00Z"),
            ("2026-11-28T10:30:00+01:00", "2026-11-28T09:30:00Z"),
            ("2026-11-28T09:30", "2026-11-28T09:30:00Z"),
            ("2026-11-27", "2026-11-27T00:00:00Z"),
            ("90s", "2026-11-28T11:58:30Z"),
            ("30m", "2026-11-28T11:30:00Z"),
            ("2h", "2026-11-28T10:00:00Z"),
            ("7d", "2026-11-21T12:00:00Z"),
        ] {
            assert_eq!(at(text, now).as_deref(), Ok(meant), "{text}");
        }
        for wrong in ["", "yesterday", "2w", "h", "9999999999999999d"] {
            assert!(at(wrong, now).is_err(), "{wrong}");
        }
    }
}
