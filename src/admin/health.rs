//! `/livez` and `/readyz`.

use actix_web::HttpResponse;
use actix_web::http::{StatusCode, header};
use serde_json::{Value, json};

use crate::telemetry::health::State;
use crate::telemetry::{Health, Metrics};

pub(super) fn live() -> HttpResponse {
    HttpResponse::Ok().json(json!({ "status": "alive" }))
}

/// Returns 200 if deliveries are accepted, else 503; in both cases the state of each component, and
/// the figures of each sink.
pub(super) fn ready(health: &Health, metrics: &Metrics) -> HttpResponse {
    let ready = health.ready().is_ok();
    let components: Value = health
        .all()
        .into_iter()
        .map(|(name, state)| (name.into_owned(), component(state)))
        .collect();
    let (status, word) = if ready {
        (StatusCode::OK, "ready")
    } else {
        (StatusCode::SERVICE_UNAVAILABLE, "not ready")
    };
    HttpResponse::build(status)
        .insert_header((header::CACHE_CONTROL, "no-store"))
        .json(json!({ "status": word, "components": components, "sinks": metrics.sinks() }))
}

fn component(state: State) -> Value {
    match state {
        State::Ready => json!({ "status": "ready" }),
        State::Off(why) => json!({ "status": "off", "reason": why }),
        State::Degraded(why) => json!({ "status": "degraded", "reason": why }),
        State::NotReady(why) | State::Unfit(why) => json!({ "status": "not ready", "reason": why }),
    }
}
