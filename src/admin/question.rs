//! Questions of the admin API: read from a request, and answered on another thread.

use std::time::Duration;

use actix_web::http::Method;
use actix_web::{HttpRequest, web};
use percent_encoding::percent_decode_str;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::config::model::Right;
use crate::operate::{ApiProblem, OpenedBody, Operator};

/// Bytes of a request's body, at most. A page of conflicts, each by its longest name, has room.
pub(super) const LARGEST_BODY: usize = 128 * 1024;

/// Path of events that are imported.
pub(super) const IMPORT: &str = "/api/v1/import";

/// Bytes of events that are imported with one request, at most. One body has to fit.
const LARGEST_IMPORT: usize = 1024 * 1024;

/// A question, ready to be answered on another thread. The second argument names its caller.
pub(super) type Question = Box<dyn FnOnce(&Operator, &str) -> Result<Answer, ApiProblem> + Send>;

/// Answer to a question.
pub(super) enum Answer {
    Json(Value),
    Body(OpenedBody),
    /// Nothing new, for a caller who waits.
    NothingYet(Wait),
}

/// Wait of a caller for events that are not there yet.
pub(super) struct Wait {
    /// Answer at its end.
    pub(super) answer: Value,
    /// Time that the caller waits from its first question on.
    pub(super) time: Duration,
    /// Question for the events that have not been read.
    pub(super) again: Question,
}

/// A route: method, path, the right that it needs, and the question that a request with this body asks.
pub(super) struct ApiRoute {
    pub(super) method: Method,
    pub(super) path: &'static str,
    pub(super) needs: Right,
    pub(super) reads: Reads,
    pub(super) ask: fn(&HttpRequest, &[u8]) -> Result<Question, ApiProblem>,
}

impl ApiRoute {
    /// Returns the bound of a request's body, in bytes.
    pub(super) fn largest_body(&self) -> usize {
        match self.path {
            IMPORT => LARGEST_IMPORT,
            _ => LARGEST_BODY,
        }
    }

    /// Returns the room and the right that a question of this route takes.
    pub(super) fn takes(&self) -> Takes {
        Takes {
            needs: self.needs,
            reads: self.reads,
        }
    }
}

/// Room and right that a question takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Takes {
    pub(super) needs: Right,
    pub(super) reads: Reads,
}

/// Place from which the answer to a question comes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Reads {
    /// The store: a question may wait for it.
    Store,
    /// A body in the store, or one after the other: the question takes the room for one, too.
    Body,
    /// This instance, so that it answers whatever becomes of the store.
    Instance,
}

/// Parameters of a route for one event.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Choice {
    /// Name of the source, if the id alone is not enough.
    pub(super) source: Option<String>,
}

/// Parameters of a route without any.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct NoParameters {}

/// Returns the parameters of a request. An unknown one is a mistake.
pub(super) fn parameters<T: for<'p> Deserialize<'p>>(
    request: &HttpRequest,
) -> Result<T, ApiProblem> {
    let parameters = web::Query::<T>::from_query(request.query_string());
    parameters.map(web::Query::into_inner).map_err(|error| {
        ApiProblem::bad_question(
            format!("the parameters cannot be read: {error}"),
            "docs/reference/admin-api.md lists the parameters of each path",
        )
    })
}

/// Returns the body of a request. An unknown field is a mistake.
pub(super) fn from_json<T: DeserializeOwned>(body: &[u8]) -> Result<T, ApiProblem> {
    serde_json::from_slice(body).map_err(|error| {
        ApiProblem::bad_question(
            format!("the body cannot be read: {error}"),
            "docs/reference/admin-api.md shows the body of each path",
        )
    })
}

/// Returns the name of a thing in the path. The router has decoded all but `%`, `/` and `+`.
pub(super) fn name(request: &HttpRequest) -> String {
    let name = percent_decode_str(request.match_info().query("name"));
    name.decode_utf8_lossy().into_owned()
}

pub(super) fn json<T: serde::Serialize>(answer: T) -> Result<Answer, ApiProblem> {
    serde_json::to_value(answer)
        .map(Answer::Json)
        .map_err(|error| {
            ApiProblem::unavailable(
                format!("the answer cannot be written: {error}"),
                "report this as a mistake of Hookweir",
            )
        })
}
