//! Reading of events in one order, the oldest first, without gaps: nothing ever appears behind
//! [`Followers::next`].
//!
//! The order is that of the numbers. PostgreSQL takes a number before the commit, so a lower number may
//! appear later than a higher one. A read ends at the highest number below which nothing is under way. The
//! [`EventPosition`] of a single event may lie above that.

use std::fmt;

use super::Seq;
use super::catalog::EventSummary;
use crate::domain::delivery::MessageId;

/// Place of an event in the order. Its text has the number of the event and the first eight digits of its
/// message id: after a restore another event may have the number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EventPosition {
    pub(super) seq: i64,
    mark: [u8; 4],
}

impl EventPosition {
    /// The place before all events.
    pub const START: Self = Self {
        seq: 0,
        mark: [0; 4],
    };

    /// Returns the place of an event.
    pub fn of(seq: Seq, message: MessageId) -> Self {
        let [a, b, c, d, ..] = *message.as_bytes();
        Self {
            seq: seq.0,
            mark: [a, b, c, d],
        }
    }

    /// Returns the number of the event, 0 before all events.
    pub fn number(self) -> Seq {
        Seq(self.seq)
    }

    /// Returns the place in this text. None if the text is no place.
    pub fn parse(text: &str) -> Option<Self> {
        if text == "0" {
            return Some(Self::START);
        }
        let (seq, digits) = text.split_once('-')?;
        let mut mark = [0; 4];
        hex::decode_to_slice(digits, &mut mark).ok()?;
        let seq = seq.parse().ok().filter(|seq| *seq > 0)?;
        Some(Self { seq, mark })
    }
}

impl fmt::Display for EventPosition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::START => f.write_str("0"),
            Self { seq, mark } => write!(f, "{seq}-{}", hex::encode(mark)),
        }
    }
}

/// Events after a position that fit a question, the oldest first.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Followers {
    /// The events.
    pub events: Vec<EventSummary>,
    /// Place to go on from: of the last event that was looked at.
    pub next: EventPosition,
    /// There may be events that were not looked at: the page is full, or enough was read for one.
    pub more: bool,
    /// The event of the position was deleted, and later numbers were given. Later events may have been
    /// deleted, too, before they were read.
    pub after_deleted: bool,
}

/// Answer to a position.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Followed {
    /// The events after it.
    By(Followers),
    /// Another event has the number of the position, or the number was never given: the store was
    /// restored, or has lost events.
    AnotherHistory,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_text_of_a_position_leads_back_to_it_and_no_other_text_is_one() {
        let id = MessageId::parse("0a0b0c0d-0000-8000-8000-000000000001").expect("an id");
        let position = EventPosition::of(Seq(17), id);
        assert_eq!(position.to_string(), "17-0a0b0c0d");
        for position in [position, EventPosition::START] {
            assert_eq!(EventPosition::parse(&position.to_string()), Some(position));
        }
        for text in ["", "17", "17-", "-0a0b0c0d", "0-0a0b0c0d", "17-0a0b0c", "x"] {
            assert_eq!(EventPosition::parse(text), None, "{text}");
        }
    }
}
