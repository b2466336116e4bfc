//! Names of the event files.

use crate::domain::delivery::UnixMillis;

/// Name of an event file: `events-20261123T160000Z-000001.jsonl`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct FileName {
    pub(super) begun: UnixMillis,
    pub(super) number: u64,
}

impl FileName {
    pub(super) fn to_text(self) -> String {
        let begun = jiff::Timestamp::from_millisecond(self.begun.0).unwrap_or_default();
        format!(
            "events-{}-{:06}.jsonl",
            begun.strftime("%Y%m%dT%H%M%SZ"),
            self.number
        )
    }

    pub(super) fn parse(text: &str) -> Option<Self> {
        let (begun, number) = text
            .strip_prefix("events-")?
            .strip_suffix(".jsonl")?
            .rsplit_once('-')?;
        let begun: jiff::Timestamp = begun.parse().ok()?;
        Some(Self {
            begun: UnixMillis(begun.as_millisecond()),
            number: number.parse().ok()?,
        })
    }
}
