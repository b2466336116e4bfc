//! Routes of the search in bodies, of instances, of the lakehouse and of the log filter.

use actix_web::http::Method;

use crate::admin::question::{ApiRoute, NoParameters, Reads, from_json, json, parameters};
use crate::config::model::Right;
use crate::operate::{LakeQuestion, LogFilterOrder, SearchQuestion};

/// Further routes.
pub(super) const ROUTES: &[ApiRoute] = &[
    ApiRoute {
        method: Method::GET,
        path: "/api/v1/search",
        needs: Right::Bodies,
        reads: Reads::Body,
        ask: |request, _| {
            let question: SearchQuestion = parameters(request)?;
            Ok(Box::new(move |operator, caller| {
                json(operator.search(&question, caller)?)
            }))
        },
    },
    ApiRoute {
        method: Method::GET,
        path: "/api/v1/instances",
        needs: Right::Look,
        reads: Reads::Store,
        ask: |request, _| {
            let NoParameters {} = parameters(request)?;
            Ok(Box::new(|operator, _| json(operator.instances()?)))
        },
    },
    ApiRoute {
        method: Method::GET,
        path: "/api/v1/lakehouse",
        needs: Right::Look,
        reads: Reads::Store,
        ask: |request, _| {
            let NoParameters {} = parameters(request)?;
            Ok(Box::new(|operator, _| json(operator.lakehouse()?)))
        },
    },
    ApiRoute {
        method: Method::GET,
        path: "/api/v1/lakehouse/compare",
        needs: Right::Look,
        reads: Reads::Body,
        ask: |request, _| {
            let question: LakeQuestion = parameters(request)?;
            Ok(Box::new(move |operator, _| {
                json(operator.compare_lakehouse(&question)?)
            }))
        },
    },
    ApiRoute {
        method: Method::GET,
        path: "/api/v1/log-filter",
        needs: Right::Look,
        reads: Reads::Instance,
        ask: |request, _| {
            let NoParameters {} = parameters(request)?;
            Ok(Box::new(|operator, _| json(operator.log_filter())))
        },
    },
    ApiRoute {
        method: Method::POST,
        path: "/api/v1/log-filter",
        needs: Right::Operate,
        reads: Reads::Instance,
        ask: |request, body| {
            let NoParameters {} = parameters(request)?;
            let order: LogFilterOrder = from_json(body)?;
            Ok(Box::new(move |operator, caller| {
                json(operator.set_log_filter(&order, caller)?)
            }))
        },
    },
];
