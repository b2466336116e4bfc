//! Errors of the admin API: what failed, and the next step.

use serde::{Deserialize, Serialize};

/// Error of the admin API, as `application/problem+json` (RFC 9457).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[error("{detail}; {next}")]
pub struct ApiProblem {
    /// HTTP status.
    pub status: u16,
    /// Kind of the error, in words.
    pub title: String,
    /// Failure, with the thing that it is about.
    pub detail: String,
    /// Next step of the operator.
    pub next: String,
}

impl ApiProblem {
    fn new(status: u16, title: &str, detail: impl Into<String>, next: impl Into<String>) -> Self {
        Self {
            status,
            title: title.to_owned(),
            detail: detail.into(),
            next: next.into(),
        }
    }

    /// Returns the error of a question that cannot be understood.
    pub fn bad_question(detail: impl Into<String>, next: impl Into<String>) -> Self {
        Self::new(400, "bad question", detail, next)
    }

    /// Returns the error of a configuration with mistakes, one on each line of `detail`.
    pub fn mistaken(detail: impl Into<String>, next: impl Into<String>) -> Self {
        Self::new(422, "mistakes in the configuration", detail, next)
    }

    /// Returns the error of a caller whom nobody knows.
    pub fn unauthorized(detail: impl Into<String>, next: impl Into<String>) -> Self {
        Self::new(401, "unauthorized", detail, next)
    }

    /// Returns the error of a request for another host.
    pub fn misdirected(detail: impl Into<String>, next: impl Into<String>) -> Self {
        Self::new(421, "misdirected", detail, next)
    }

    /// Returns the error of a caller without the right.
    pub fn forbidden(detail: impl Into<String>, next: impl Into<String>) -> Self {
        Self::new(403, "forbidden", detail, next)
    }

    /// Returns the error of a thing that is not there.
    pub fn not_found(detail: impl Into<String>, next: impl Into<String>) -> Self {
        Self::new(404, "not found", detail, next)
    }

    /// Returns `true` for a thing that is not there.
    pub fn is_not_found(&self) -> bool {
        self.status == 404
    }

    /// Returns the error of a name that several things have.
    pub fn ambiguous(detail: impl Into<String>, next: impl Into<String>) -> Self {
        Self::new(409, "ambiguous", detail, next)
    }

    /// Returns the error of a change that the present state does not allow.
    pub fn conflict(detail: impl Into<String>, next: impl Into<String>) -> Self {
        Self::new(409, "conflict", detail, next)
    }

    /// Returns the error of something that does not work now.
    pub fn unavailable(detail: impl Into<String>, next: impl Into<String>) -> Self {
        Self::new(503, "unavailable", detail, next)
    }

    /// Returns the error of a change that may have been made.
    pub fn perhaps_changed(detail: impl Into<String>) -> Self {
        let next = "look at `hookweir jobs`, `hookweir parked list` or `hookweir conflicts` before asking again";
        Self::unavailable(detail, next)
    }
}
