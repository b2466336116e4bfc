//! Mistakes that a compilation reports.
//!
//! A part of a scheme is a `Result<Part, Reported>`. Only [`Problems::report`] makes a
//! [`Reported`], and the compiler refuses code that drops one: a mistake is told, and its part has
//! no value.

use crate::compile::error::SchemeError;
use crate::language::context::Wrong;
use crate::scheme::SourceKey;

/// Evidence that a mistake was reported.
#[derive(Debug)]
#[must_use = "the part with the mistake has no value: return the evidence in its place"]
pub(super) struct Reported(());

/// Mistakes reported so far.
#[derive(Debug, Default)]
pub(super) struct Problems(Vec<Problem>);

#[derive(Debug)]
struct Problem {
    error: SchemeError,
    /// The source lacks a parameter.
    is_missing_param: bool,
}

/// Number of the mistakes reported before a part.
#[derive(Debug, Clone, Copy)]
pub(super) struct Mark(usize);

impl Problems {
    pub(super) fn report(&mut self, key: SourceKey, wrong: &Wrong) -> Reported {
        self.0.push(Problem {
            is_missing_param: matches!(wrong, Wrong::MissingParam(_)),
            error: SchemeError {
                key,
                text: wrong.to_string(),
            },
        });
        Reported(())
    }

    pub(super) fn mark(&self) -> Mark {
        Mark(self.0.len())
    }

    /// Takes back the mistakes since `mark`, if they are only parameters that the source lacks.
    /// Returns their texts.
    pub(super) fn take_missing_params(
        &mut self,
        mark: Mark,
        reported: Reported,
    ) -> Result<Vec<String>, Reported> {
        let news = self.0.get(mark.0..).unwrap_or_default();
        if news.is_empty() || !news.iter().all(|problem| problem.is_missing_param) {
            return Err(reported);
        }
        let texts = self.0.drain(mark.0..).map(|problem| problem.error.text);
        Ok(texts.collect())
    }

    /// Returns the compiled value, if no mistake was reported.
    pub(super) fn finish<T>(self, compiled: Result<T, Reported>) -> Result<T, Vec<SchemeError>> {
        match compiled {
            Ok(value) if self.0.is_empty() => Ok(value),
            _ => Err(self.0.into_iter().map(|problem| problem.error).collect()),
        }
    }
}

/// Returns every value, or the first piece of evidence. All parts are compiled before, so that all
/// mistakes are told.
pub(super) fn all<T>(parts: Vec<Result<T, Reported>>) -> Result<Vec<T>, Reported> {
    parts.into_iter().collect()
}

/// Returns the values that are present; see [`all`].
pub(super) fn present<T>(parts: Vec<Result<Option<T>, Reported>>) -> Result<Vec<T>, Reported> {
    parts.into_iter().filter_map(Result::transpose).collect()
}
