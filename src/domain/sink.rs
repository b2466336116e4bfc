//! Names of sinks.

use std::fmt;
use std::sync::Arc;

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

/// Sinks that every event goes to: one at least, each once. An event gets a row of the outbox for
/// each of them.
#[derive(Clone, Debug)]
pub struct Sinks(Arc<[SinkName]>);

impl Sinks {
    /// Takes the names of all sinks. Fails if there is none, or one twice.
    pub fn new(names: &[SinkName]) -> Result<Self, String> {
        if names.is_empty() {
            return Err("there is no sink: an event needs one at least".into());
        }
        let mut rest = names;
        while let Some((name, others)) = rest.split_first() {
            if others.contains(name) {
                return Err(format!("two sinks have the name {name}"));
            }
            rest = others;
        }
        Ok(Self(names.into()))
    }

    /// Returns the name of the sink, if there is only one.
    pub fn only(&self) -> Option<&SinkName> {
        match &*self.0 {
            [only] => Some(only),
            _ => None,
        }
    }

    /// Returns the names.
    pub fn iter(&self) -> impl Iterator<Item = &SinkName> {
        self.0.iter()
    }
}

impl Default for Sinks {
    /// Returns the default sink.
    fn default() -> Self {
        Self([SinkName::default()].into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sinks_have_names_of_their_own() {
        let name = |name| SinkName::parse(name).expect("a name");
        let one = Sinks::new(&[name("kafka")]).expect("one");
        assert_eq!(one.only(), Some(&name("kafka")));
        let two = Sinks::new(&[name("kafka"), SinkName::default()]).expect("two");
        assert_eq!((two.only(), two.iter().count()), (None, 2));
        assert!(Sinks::new(&[]).is_err());
        assert!(Sinks::new(&[name("a"), name("b"), name("a")]).is_err());
        for wrong in ["", "A", "a b", "\u{e4}", &"a".repeat(64)] {
            assert!(SinkName::parse(wrong).is_err(), "{wrong}");
        }
    }
}
