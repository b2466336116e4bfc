//! An event as the table gets it.

use std::fmt;
use std::str::FromStr;

use bytes::Bytes;
use uuid::Uuid;

/// Id of a message, the same on every copy of an event.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct RowId(Uuid);

impl RowId {
    /// Returns the id with these 16 bytes.
    pub fn from_bytes(bytes: [u8; 16]) -> Self {
        Self(Uuid::from_bytes(bytes))
    }

    /// Returns the 16 bytes of the id.
    pub fn as_bytes(&self) -> &[u8; 16] {
        self.0.as_bytes()
    }

    /// Returns 64 bits that depend on all bits of the id. Two ids have the same with a probability of 2⁻⁶⁴.
    pub(crate) fn fingerprint(&self) -> u64 {
        let (high, low) = self.0.as_u64_pair();
        // Finalizer of SplitMix64, between the halves and after them.
        let mix = |mut x: u64| {
            x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
            x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
            x ^ (x >> 31)
        };
        mix(mix(high).wrapping_add(low))
    }
}

impl FromStr for RowId {
    type Err = uuid::Error;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Uuid::try_parse(text).map(Self)
    }
}

impl fmt::Display for RowId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.hyphenated().fmt(f)
    }
}

impl fmt::Debug for RowId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// A time in milliseconds since 1970 UTC.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub struct Millis(pub i64);

impl Millis {
    /// Returns the wall clock's time.
    pub fn now() -> Self {
        let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
        Self(since.map_or(0, |since| {
            i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
        }))
    }

    /// Returns the number of the UTC day since 1970.
    pub fn day(self) -> i32 {
        i32::try_from(self.0.div_euclid(86_400_000)).unwrap_or(i32::MAX)
    }

    /// Returns the time in microseconds, the unit of the table.
    pub fn micros(self) -> i64 {
        self.0.saturating_mul(1000)
    }
}

/// An event of the queue, exactly as it was received.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Event {
    /// Id of its message.
    pub message_id: RowId,
    /// Name of its source.
    pub source: String,
    /// The provider's id.
    pub event_id: String,
    /// The provider's type, if the event has one.
    pub event_type: Option<String>,
    /// Content type of the body, if the provider sent one.
    pub content_type: Option<String>,
    /// Time of receipt, the same on every copy.
    pub received_at: Millis,
    /// The provider's headers that the source passes on: name and value.
    pub headers: Vec<(String, String)>,
    /// The bytes as received.
    pub body: Bytes,
    /// Message that came first with the same event id and another body.
    pub conflict_of: Option<RowId>,
    /// Message that came first with the same bytes.
    pub same_bytes_as: Option<RowId>,
}

impl Event {
    /// Returns the number of bytes that the event takes in memory, about.
    pub fn size(&self) -> usize {
        let headers: usize = self
            .headers
            .iter()
            .map(|(n, v)| n.len() + v.len() + 48)
            .sum();
        256 + self.body.len() + self.event_id.len() + headers
    }
}
