//! Routes of unrouted messages.

use actix_web::http::Method;

use crate::admin::question::{ApiRoute, NoParameters, Reads, from_json, json, parameters};
use crate::config::model::Right;
use crate::operate::{UnroutedDecision, UnroutedQuestion};

/// Routes under `/api/v1/unrouted`.
pub(super) const ROUTES: &[ApiRoute] = &[
    ApiRoute {
        method: Method::GET,
        path: "/api/v1/unrouted",
        needs: Right::Look,
        reads: Reads::Store,
        ask: |request, _| {
            let question: UnroutedQuestion = parameters(request)?;
            Ok(Box::new(move |operator, _| {
                json(operator.unrouted(&question)?)
            }))
        },
    },
    ApiRoute {
        method: Method::POST,
        path: "/api/v1/unrouted/retry",
        needs: Right::Operate,
        reads: Reads::Store,
        ask: |request, body| {
            let NoParameters {} = parameters(request)?;
            let decision: UnroutedDecision = from_json(body)?;
            Ok(Box::new(move |operator, caller| {
                json(operator.retry_unrouted(&decision, caller)?)
            }))
        },
    },
    ApiRoute {
        method: Method::POST,
        path: "/api/v1/unrouted/discard",
        needs: Right::Operate,
        reads: Reads::Store,
        ask: |request, body| {
            let NoParameters {} = parameters(request)?;
            let decision: UnroutedDecision = from_json(body)?;
            Ok(Box::new(move |operator, caller| {
                json(operator.discard_unrouted(&decision, caller)?)
            }))
        },
    },
];
