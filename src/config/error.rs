//! Mistakes in a configuration: where, what was expected, what was found, and the nearest right name.

use std::fmt;
use std::sync::Arc;

pub(crate) use hookweir_signatures::nearest;

/// Location of a value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Place {
    /// In a file; line and column count from 1.
    File {
        /// Its name as given.
        file: Arc<str>,
        /// The line.
        line: usize,
        /// The column, in characters.
        column: usize,
    },
    /// Nowhere: the default holds.
    Default,
    /// In the environment variable of this name.
    Environment(String),
    /// On the command line: `--set` of this key.
    CommandLine(String),
}

/// A file whose places are asked for: many, so that its lines are counted once.
pub(super) struct Lines<'t> {
    file: Arc<str>,
    text: &'t str,
    /// Offset of each line.
    starts: Vec<usize>,
}

impl<'t> Lines<'t> {
    pub(super) fn of(file: &str, text: &'t str) -> Self {
        let starts = std::iter::once(0)
            .chain(text.match_indices('\n').map(|(newline, _)| newline + 1))
            .collect();
        Self {
            file: file.into(),
            text,
            starts,
        }
    }

    /// The place of byte `offset`.
    pub(super) fn place(&self, offset: usize) -> Place {
        let offset = offset.min(self.text.len());
        let line = self.starts.partition_point(|start| *start <= offset).max(1);
        let before = self
            .text
            .get(self.starts[line - 1]..offset)
            .unwrap_or_default();
        Place::File {
            file: self.file.clone(),
            line,
            column: before.chars().count() + 1,
        }
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File { file, line, column } => write!(f, "{file}:{line}:{column}"),
            Self::Default => f.write_str("default"),
            Self::Environment(name) => write!(f, "environment {name}"),
            Self::CommandLine(key) => write!(f, "--set {key}"),
        }
    }
}

/// Mistake of a value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Problem {
    /// No option has this name.
    Unknown {
        /// The most similar name, as it would be written in this place.
        nearest: Option<String>,
    },
    /// The value is not of the kind, or not within the bounds, that the option takes.
    Unexpected {
        /// Values that the option takes.
        expected: String,
        /// Text as written; never that of a secret.
        found: String,
        /// The most similar right value.
        nearest: Option<String>,
    },
    /// Anything else: what, and what to do.
    Other(String),
}

/// One mistake in a configuration. `Display` is one line for the operator; it never holds a secret.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub struct ConfigError {
    /// Location. None: the option is missing.
    pub place: Option<Place>,
    /// Which option: `server.listen`, `source.stripe.secrets`.
    pub key: Option<String>,
    /// The mistake.
    pub problem: Problem,
}

impl ConfigError {
    /// A mistake at `place`.
    pub(super) fn at(place: &Place, key: impl Into<String>, problem: Problem) -> Self {
        Self {
            place: Some(place.clone()),
            key: Some(key.into()),
            problem,
        }
    }

    /// A mistake that has no place, such as a file that cannot be read.
    pub(crate) fn nowhere(message: impl Into<String>) -> Self {
        Self {
            place: None,
            key: None,
            problem: Problem::Other(message.into()),
        }
    }
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(place) = &self.place {
            write!(f, "{place}: ")?;
        }
        match (&self.key, &self.place) {
            (Some(key), Some(Place::CommandLine(named))) if key == named => {}
            (Some(key), _) => write!(f, "{key}: ")?,
            (None, _) => {}
        }
        self.problem.fmt(f)
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let nearest = match self {
            Self::Unknown { nearest } => {
                f.write_str("no such option")?;
                nearest
            }
            Self::Unexpected {
                expected,
                found,
                nearest,
            } => {
                write!(f, "expected {expected}, found {found}")?;
                nearest
            }
            Self::Other(message) => return f.write_str(message),
        };
        match nearest {
            Some(name) => write!(f, "; did you mean {name}?"),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_count_lines_and_characters_from_one() {
        assert_eq!(Lines::of("f", "a\nü=1").place(0).to_string(), "f:1:1");
        assert_eq!(Lines::of("f", "a\nü=1").place(4).to_string(), "f:2:2");
        assert_eq!(Lines::of("f", "a\n").place(99).to_string(), "f:2:1");
        assert_eq!(Lines::of("f", "").place(0).to_string(), "f:1:1");
    }

    #[test]
    fn the_nearest_name_is_similar_or_in_another_section() {
        let names = ["server.listen", "limits.max_body_bytes", "store.url"];
        assert_eq!(nearest("server.lisen", names), Some("server.listen"));
        assert_eq!(
            nearest("server.max_body_bytes", names),
            Some("limits.max_body_bytes")
        );
        assert_eq!(nearest("colour", names), None);
    }
}
