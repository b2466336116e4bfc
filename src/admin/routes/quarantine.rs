//! Routes of the quarantine.

use actix_web::http::Method;

use crate::admin::question::{
    Answer, ApiRoute, NoParameters, Reads, from_json, json, name, parameters,
};
use crate::config::model::Right;
use crate::operate::{RefusedChoice, RefusedQuestion};

/// Routes under `/api/v1/quarantine`.
pub(super) const ROUTES: &[ApiRoute] = &[
    ApiRoute {
        method: Method::GET,
        path: "/api/v1/quarantine",
        needs: Right::Look,
        reads: Reads::Store,
        ask: |request, _| {
            let question: RefusedQuestion = parameters(request)?;
            Ok(Box::new(move |operator, _| {
                json(operator.refused(&question)?)
            }))
        },
    },
    ApiRoute {
        method: Method::GET,
        path: "/api/v1/quarantine/{name}",
        needs: Right::Look,
        reads: Reads::Body,
        ask: |request, _| {
            let (number, NoParameters {}) = (name(request), parameters(request)?);
            Ok(Box::new(move |operator, _| {
                json(operator.refused_delivery(&number)?)
            }))
        },
    },
    ApiRoute {
        method: Method::GET,
        path: "/api/v1/quarantine/{name}/request",
        needs: Right::Bodies,
        reads: Reads::Store,
        ask: |request, _| {
            let (number, NoParameters {}) = (name(request), parameters(request)?);
            Ok(Box::new(move |operator, caller| {
                json(operator.refused_request(&number, caller)?)
            }))
        },
    },
    ApiRoute {
        method: Method::GET,
        path: "/api/v1/quarantine/{name}/body",
        needs: Right::Bodies,
        reads: Reads::Store,
        ask: |request, _| {
            let (number, NoParameters {}) = (name(request), parameters(request)?);
            Ok(Box::new(move |operator, caller| {
                Ok(Answer::Body(operator.refused_body(&number, caller)?))
            }))
        },
    },
    ApiRoute {
        method: Method::POST,
        path: "/api/v1/quarantine/verify/plan",
        needs: Right::Look,
        reads: Reads::Body,
        ask: |request, body| {
            let NoParameters {} = parameters(request)?;
            let choice: RefusedChoice = from_json(body)?;
            Ok(Box::new(move |operator, _| {
                json(operator.plan_refused(&choice)?)
            }))
        },
    },
    ApiRoute {
        method: Method::POST,
        path: "/api/v1/quarantine/verify",
        needs: Right::Operate,
        reads: Reads::Body,
        ask: |request, body| {
            let NoParameters {} = parameters(request)?;
            let choice: RefusedChoice = from_json(body)?;
            Ok(Box::new(move |operator, caller| {
                json(operator.verify_refused(&choice, caller)?)
            }))
        },
    },
    ApiRoute {
        method: Method::POST,
        path: "/api/v1/quarantine/discard",
        needs: Right::Operate,
        reads: Reads::Store,
        ask: |request, body| {
            let NoParameters {} = parameters(request)?;
            let choice: RefusedChoice = from_json(body)?;
            Ok(Box::new(move |operator, caller| {
                json(operator.discard_refused(&choice, caller)?)
            }))
        },
    },
];
