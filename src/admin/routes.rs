//! Routes of the admin API: path, right, and the question that a request asks.

mod quarantine;
mod search;
mod unrouted;

use actix_web::http::Method;

use super::question::{
    Answer, ApiRoute, Choice, IMPORT, NoParameters, Question, Reads, Wait, from_json, json, name,
    parameters,
};
use crate::config::model::Right;
use crate::operate::{
    AuditQuestion, Decision, EraseOrder, EventQuestion, ImportOrder, LiveQuestion, ParkedQuestion,
    PauseOrder, ReloadOrder, RepublishOrder, RepublishQuestion,
};

/// Returns all routes.
pub(super) fn all() -> impl Iterator<Item = &'static ApiRoute> {
    let more = quarantine::ROUTES.iter().chain(unrouted::ROUTES);
    ROUTES.iter().chain(more).chain(search::ROUTES)
}

/// Routes but for those in modules of their own.
const ROUTES: &[ApiRoute] = &[
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
        method: Method::GET,
        path: "/api/v1/status",
        needs: Right::Look,
        reads: Reads::Instance,
        ask: |request, _| {
            let NoParameters {} = parameters(request)?;
            Ok(Box::new(|operator, _| json(operator.status())))
        },
    },
    ApiRoute {
        method: Method::GET,
        path: "/api/v1/config",
        needs: Right::Look,
        reads: Reads::Instance,
        ask: |request, _| {
            let NoParameters {} = parameters(request)?;
            Ok(Box::new(|operator, _| json(operator.configuration())))
        },
    },
    ApiRoute {
        method: Method::GET,
        path: "/api/v1/live",
        needs: Right::Look,
        reads: Reads::Instance,
        ask: |request, _| Ok(live(parameters(request)?)),
    },
    ApiRoute {
        method: Method::GET,
        path: "/api/v1/audit",
        needs: Right::Look,
        reads: Reads::Store,
        ask: |request, _| {
            let question: AuditQuestion = parameters(request)?;
            Ok(Box::new(move |operator, _| {
                json(operator.audit(&question)?)
            }))
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
        path: "/api/v1/erase",
        needs: Right::Operate,
        reads: Reads::Store,
        ask: |request, body| {
            let (order, NoParameters {}) = (from_json::<EraseOrder>(body)?, parameters(request)?);
            Ok(Box::new(move |operator, caller| {
                json(operator.erase(&order, caller)?)
            }))
        },
    },
    ApiRoute {
        method: Method::POST,
        path: IMPORT,
        needs: Right::Operate,
        reads: Reads::Store,
        ask: |request, body| {
            let (order, NoParameters {}) = (from_json::<ImportOrder>(body)?, parameters(request)?);
            Ok(Box::new(move |operator, caller| {
                json(operator.import(&order, caller)?)
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

/// Returns the question for outcomes. If none fits, its caller waits for those that come later.
fn live(asked: LiveQuestion) -> Question {
    Box::new(move |operator, _| {
        let list = operator.live(&asked)?;
        let is_new = !list.outcomes.is_empty() || list.lost > 0 || list.restarted;
        let time = asked.wait();
        let later = LiveQuestion {
            after: Some(list.next.clone()),
            ..asked
        };
        match json(list)? {
            Answer::Json(answer) if !is_new => Ok(Answer::NothingYet(Wait {
                answer,
                time,
                again: live(later),
            })),
            answer => Ok(answer),
        }
    })
}
