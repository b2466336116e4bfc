//! Routes of the admin API: path, right, and the question that a request asks.

use std::time::Duration;

use actix_web::http::Method;
use actix_web::{HttpRequest, web};
use percent_encoding::percent_decode_str;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::config::model::Right;
use crate::operate::{
    ApiProblem, Decision, EventQuestion, OpenedBody, Operator, ParkedQuestion, PauseOrder,
    ReloadOrder, RepublishOrder, RepublishQuestion,
};

/// Bytes of a request's body, at most. A page of conflicts, each by its longest name, has room.
pub(super) const LARGEST_BODY: usize = 128 * 1024;

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

/// Place from which the answer to a question comes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Reads {
    /// The store: a question may wait for it.
    Store,
    /// This instance, so that it answers whatever becomes of the store.
    Instance,
}

/// All routes.
pub(super) const ROUTES: &[ApiRoute] = &[
    ApiRoute {
        method: Method::GET,
        path: "/api/v1/events",
        needs: Right::Look,
        reads: Reads::Store,
        ask: |request, _| Ok(events(parameters(request)?)),
    },
    ApiRoute {
        method: Method::GET,
        path: "/api/v1/events/{name}",
        needs: Right::Look,
        reads: Reads::Store,
        ask: |request, _| {
            let (name, Choice { source }) = (name(request), parameters(request)?);
            Ok(Box::new(move |operator, _| {
                json(operator.event(&name, source.as_deref())?)
            }))
        },
    },
    ApiRoute {
        method: Method::GET,
        path: "/api/v1/events/{name}/trace",
        needs: Right::Look,
        reads: Reads::Store,
        ask: |request, _| {
            let (name, Choice { source }) = (name(request), parameters(request)?);
            Ok(Box::new(move |operator, _| {
                json(operator.trace(&name, source.as_deref())?)
            }))
        },
    },
    ApiRoute {
        method: Method::GET,
        path: "/api/v1/events/{name}/body",
        needs: Right::Bodies,
        reads: Reads::Store,
        ask: |request, _| {
            let (name, Choice { source }) = (name(request), parameters(request)?);
            Ok(Box::new(move |operator, caller| {
                let opened = operator.body(&name, source.as_deref(), caller)?;
                Ok(Answer::Body(opened))
            }))
        },
    },
    ApiRoute {
        method: Method::GET,
        path: "/api/v1/sources",
        needs: Right::Look,
        reads: Reads::Instance,
        ask: |request, _| {
            let NoParameters {} = parameters(request)?;
            Ok(Box::new(|operator, _| json(operator.sources())))
        },
    },
    ApiRoute {
        method: Method::GET,
        path: "/api/v1/top",
        needs: Right::Look,
        reads: Reads::Instance,
        ask: |request, _| {
            let NoParameters {} = parameters(request)?;
            Ok(Box::new(|operator, _| json(operator.top())))
        },
    },
    ApiRoute {
        method: Method::POST,
        path: "/api/v1/reload",
        needs: Right::Operate,
        reads: Reads::Instance,
        ask: |request, body| {
            let (order, NoParameters {}) = (from_json::<ReloadOrder>(body)?, parameters(request)?);
            Ok(Box::new(move |operator, caller| {
                json(operator.reload(&order, caller)?)
            }))
        },
    },
    ApiRoute {
        method: Method::POST,
        path: "/api/v1/pause",
        needs: Right::Operate,
        reads: Reads::Store,
        ask: |request, body| {
            let (order, NoParameters {}) = (from_json::<PauseOrder>(body)?, parameters(request)?);
            Ok(Box::new(move |operator, caller| {
                json(operator.pause(&order, caller)?)
            }))
        },
    },
    ApiRoute {
        method: Method::POST,
        path: "/api/v1/resume",
        needs: Right::Operate,
        reads: Reads::Store,
        ask: |request, body| {
            let (order, NoParameters {}) = (from_json::<PauseOrder>(body)?, parameters(request)?);
            Ok(Box::new(move |operator, caller| {
                json(operator.resume(&order, caller)?)
            }))
        },
    },
    ApiRoute {
        method: Method::POST,
        path: "/api/v1/republish/plan",
        needs: Right::Look,
        reads: Reads::Store,
        ask: |request, body| {
            let NoParameters {} = parameters(request)?;
            let choice: RepublishQuestion = from_json(body)?;
            Ok(Box::new(move |operator, _| {
                json(operator.republish_plan(&choice)?)
            }))
        },
    },
    ApiRoute {
        method: Method::POST,
        path: "/api/v1/republish",
        needs: Right::Operate,
        reads: Reads::Store,
        ask: |request, body| {
            let NoParameters {} = parameters(request)?;
            let order: RepublishOrder = from_json(body)?;
            Ok(Box::new(move |operator, caller| {
                json(operator.republish(&order, caller)?)
            }))
        },
    },
    ApiRoute {
        method: Method::GET,
        path: "/api/v1/jobs",
        needs: Right::Look,
        reads: Reads::Store,
        ask: |request, _| {
            let NoParameters {} = parameters(request)?;
            Ok(Box::new(|operator, _| json(operator.jobs()?)))
        },
    },
    ApiRoute {
        method: Method::GET,
        path: "/api/v1/jobs/{name}",
        needs: Right::Look,
        reads: Reads::Store,
        ask: |request, _| {
            let (id, NoParameters {}) = (name(request), parameters(request)?);
            Ok(Box::new(move |operator, _| json(operator.job(&id)?)))
        },
    },
    ApiRoute {
        method: Method::POST,
        path: "/api/v1/jobs/{name}/cancel",
        needs: Right::Operate,
        reads: Reads::Store,
        ask: |request, _| {
            let (id, NoParameters {}) = (name(request), parameters(request)?);
            Ok(Box::new(move |operator, caller| {
                json(operator.cancel_job(&id, caller)?)
            }))
        },
    },
    ApiRoute {
        method: Method::GET,
        path: "/api/v1/parked",
        needs: Right::Look,
        reads: Reads::Store,
        ask: |request, _| {
            let question: ParkedQuestion = parameters(request)?;
            Ok(Box::new(move |operator, _| {
                json(operator.parked(&question)?)
            }))
        },
    },
    ApiRoute {
        method: Method::POST,
        path: "/api/v1/parked/retry",
        needs: Right::Operate,
        reads: Reads::Store,
        ask: |request, body| {
            let (decision, NoParameters {}) = (from_json::<Decision>(body)?, parameters(request)?);
            Ok(Box::new(move |operator, caller| {
                json(operator.retry_parked(&decision, caller)?)
            }))
        },
    },
    ApiRoute {
        method: Method::POST,
        path: "/api/v1/parked/discard",
        needs: Right::Operate,
        reads: Reads::Store,
        ask: |request, body| {
            let (decision, NoParameters {}) = (from_json::<Decision>(body)?, parameters(request)?);
            Ok(Box::new(move |operator, caller| {
                json(operator.discard_parked(&decision, caller)?)
            }))
        },
    },
    ApiRoute {
        method: Method::GET,
        path: "/api/v1/conflicts",
        needs: Right::Look,
        reads: Reads::Store,
        ask: |request, _| {
            let question: ParkedQuestion = parameters(request)?;
            Ok(Box::new(move |operator, _| {
                json(operator.conflicts(&question)?)
            }))
        },
    },
    ApiRoute {
        method: Method::GET,
        path: "/api/v1/conflicts/{name}/body",
        needs: Right::Bodies,
        reads: Reads::Store,
        ask: |request, _| {
            let (id, NoParameters {}) = (name(request), parameters(request)?);
            Ok(Box::new(move |operator, caller| {
                Ok(Answer::Body(operator.conflict_body(&id, caller)?))
            }))
        },
    },
    ApiRoute {
        method: Method::POST,
        path: "/api/v1/conflicts/send-back",
        needs: Right::Operate,
        reads: Reads::Store,
        ask: |request, body| {
            let (decision, NoParameters {}) = (from_json::<Decision>(body)?, parameters(request)?);
            Ok(Box::new(move |operator, caller| {
                json(operator.send_back_conflicts(&decision, caller)?)
            }))
        },
    },
    ApiRoute {
        method: Method::POST,
        path: "/api/v1/conflicts/discard",
        needs: Right::Operate,
        reads: Reads::Store,
        ask: |request, body| {
            let (decision, NoParameters {}) = (from_json::<Decision>(body)?, parameters(request)?);
            Ok(Box::new(move |operator, caller| {
                json(operator.discard_conflicts(&decision, caller)?)
            }))
        },
    },
];

/// Returns the question for events. If none fits, and all were read, its caller waits for those that come
/// later.
fn events(asked: EventQuestion) -> Question {
    Box::new(move |operator, _| {
        let list = operator.events(&asked)?;
        let has_moved = list.next != asked.after;
        let is_new = !list.events.is_empty() || list.more || (list.after_deleted && has_moved);
        let time = asked.wait();
        let later = EventQuestion {
            after: list.next.clone(),
            ..asked
        };
        match json(list)? {
            Answer::Json(answer) if !is_new => Ok(Answer::NothingYet(Wait {
                answer,
                time,
                again: events(later),
            })),
            answer => Ok(answer),
        }
    })
}

/// Parameters of a route for one event.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Choice {
    /// Name of the source, if the id alone is not enough.
    source: Option<String>,
}

/// Parameters of a route without any.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct NoParameters {}

/// Returns the parameters of a request. An unknown one is a mistake.
fn parameters<T: for<'p> Deserialize<'p>>(request: &HttpRequest) -> Result<T, ApiProblem> {
    let parameters = web::Query::<T>::from_query(request.query_string());
    parameters.map(web::Query::into_inner).map_err(|error| {
        ApiProblem::bad_question(
            format!("the parameters cannot be read: {error}"),
            "docs/reference/admin-api.md lists the parameters of each path",
        )
    })
}

/// Returns the body of a request. An unknown field is a mistake.
fn from_json<T: DeserializeOwned>(body: &[u8]) -> Result<T, ApiProblem> {
    serde_json::from_slice(body).map_err(|error| {
        ApiProblem::bad_question(
            format!("the body cannot be read: {error}"),
            "docs/reference/admin-api.md shows the body of each path",
        )
    })
}

/// Returns the name of a thing in the path. The router has decoded all but `%`, `/` and `+`.
fn name(request: &HttpRequest) -> String {
    let name = percent_decode_str(request.match_info().query("name"));
    name.decode_utf8_lossy().into_owned()
}

fn json<T: serde::Serialize>(answer: T) -> Result<Answer, ApiProblem> {
    serde_json::to_value(answer)
        .map(Answer::Json)
        .map_err(|error| {
            ApiProblem::unavailable(
                format!("the answer cannot be written: {error}"),
                "report this as a mistake of Hookweir",
            )
        })
}
