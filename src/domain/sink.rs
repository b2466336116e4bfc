//! Names of sinks, and the sinks that each event goes to.

mod routes;

use std::fmt;
use std::sync::Arc;

use wildmatch::WildMatch;

pub use self::routes::{Sinks, SourceRoute};

/// Name of a sink: a place that events are published to. A row of the outbox belongs to one sink.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SinkName(Arc<str>);

impl SinkName {
    /// Name of the sink in a configuration with one sink.
    pub const DEFAULT: &'static str = "default";
    /// Bytes of the longest name.
    const LONGEST: usize = 63;

    /// Parses a name: 1 to 63 lower-case letters, digits, `-` or `_`.
    pub fn parse(name: &str) -> Result<Self, String> {
        let fits = (1..=Self::LONGEST).contains(&name.len());
        let plain =
            |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"-_".contains(&byte);
        if fits && name.bytes().all(plain) {
            return Ok(Self(name.into()));
        }
        Err(format!(
            "{:?} is no name of a sink: use 1 to {} lower-case letters, digits, - or _",
            name,
            Self::LONGEST
        ))
    }

    /// Returns a name that the store has, as it is.
    pub(crate) fn stored(name: String) -> Self {
        Self(name.into())
    }

    /// Returns the name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Returns the name of a part of this sink: that of the part alone for the default sink.
    pub fn name_part(&self, part: &str) -> String {
        if self.as_str() == Self::DEFAULT {
            part.to_owned()
        } else {
            format!("{part}-{self}")
        }
    }
}

impl Default for SinkName {
    fn default() -> Self {
        Self(Self::DEFAULT.into())
    }
}

impl fmt::Display for SinkName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Pattern of event types: `*` stands for any text, `?` for one character.
#[derive(Clone, Debug, PartialEq)]
pub struct TypePattern(WildMatch);

impl TypePattern {
    /// Bytes of the longest pattern.
    const LONGEST: usize = 255;

    /// Parses a pattern of 1 to 255 bytes.
    pub fn parse(pattern: &str) -> Result<Self, String> {
        match pattern.len() {
            0 => Err("expected a type such as \"order.*\", found an empty string".to_owned()),
            1..=Self::LONGEST => Ok(Self(WildMatch::new(pattern))),
            len => Err(format!(
                "expected at most {} bytes, found {len}",
                Self::LONGEST
            )),
        }
    }
}

/// Filter of events by their type. Without patterns it lets all events pass.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct EventFilter {
    /// An event passes if one of these fits its type. Empty: every event does.
    pub only: Vec<TypePattern>,
    /// An event does not pass if one of these fits its type.
    pub except: Vec<TypePattern>,
}

impl EventFilter {
    /// Returns `true` if every event passes.
    fn is_open(&self) -> bool {
        self.only.is_empty() && self.except.is_empty()
    }

    /// Returns `true` if an event of this type passes. An event without a type has an empty one.
    pub fn passes(&self, event_type: Option<&str>) -> bool {
        let event_type = event_type.unwrap_or_default();
        let fits = |pattern: &TypePattern| pattern.0.matches(event_type);
        (self.only.is_empty() || self.only.iter().any(fits)) && !self.except.iter().any(fits)
    }
}

/// Sinks out of [`Sinks`], by their positions there.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SinkSet(u64);

impl SinkSet {
    /// Returns `true` if there is no sink in the set.
    pub fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// Returns `true` if the sink at `position` is in the set.
    pub fn has(self, position: usize) -> bool {
        position < Sinks::MOST && self.0 & (1 << position) != 0
    }

    /// Returns the number of sinks.
    pub fn len(self) -> usize {
        self.0.count_ones() as usize
    }

    fn first(count: usize) -> Self {
        Self(u64::MAX >> (Sinks::MOST - count.clamp(1, Sinks::MOST)))
    }

    fn position(self) -> usize {
        self.0.trailing_zeros() as usize
    }
}

impl FromIterator<usize> for SinkSet {
    fn from_iter<I: IntoIterator<Item = usize>>(positions: I) -> Self {
        let fitting = positions.into_iter().filter(|at| *at < Sinks::MOST);
        Self(fitting.fold(0, |set, at| set | 1 << at))
    }
}
