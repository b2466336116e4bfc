//! `/livez` and `/readyz`.

use actix_web::HttpResponse;
use actix_web::http::{StatusCode, header};
use serde_json::{Value, json};

use crate::telemetry::Health;
use crate::telemetry::health::State;

pub(super) fn live() -> HttpResponse {
    HttpResponse::Ok().json(json!({ "status": "alive" }))
}

/// Returns 200 if deliveries are accepted, else 503; in both cases the state of each component.
pub(super) fn ready(health: &Health) -> HttpResponse {
    let ready = health.ready().is_ok();
    let components: Value = health
        .all()
        .into_iter()
        .map(|(name, state)| (name.to_owned(), component(state)))
        .collect();
    let (status, word) = if ready {
        (StatusCode::OK, "ready")
    } else {
        (StatusCode::SERVICE_UNAVAILABLE, "not ready")
    };
    HttpResponse::build(status)
        .insert_header((header::CACHE_CONTROL, "no-store"))
        .json(json!({ "status": word, "components": components }))
}

fn component(state: State) -> Value {
    match state {
        State::Ready => json!({ "status": "ready" }),
        State::Degraded(why) => json!({ "status": "degraded", "reason": why }),
        State::NotReady(why) | State::Unfit(why) => json!({ "status": "not ready", "reason": why }),
    }
}
