//! Words and types of the routes of unrouted messages.

use serde_json::{Value, json};

use super::Documented;
use super::schemas::{Schemas, schema};
use crate::operate::{UnroutedChanged, UnroutedDecision, UnroutedList, UnroutedQuestion};

pub(super) fn documented(types: &Schemas) -> Vec<Documented> {
    let decision = |fields: Value| (schema::<UnroutedDecision>(), fields);
    let gone = json!({ "sink": "mq", "first": 1, "reason": "a test event" });
    vec![
        Documented::get(
            "/api/v1/unrouted",
            "Lists messages that RabbitMQ has taken although no queue was bound for them.",
            schema::<UnroutedList>(),
            "/api/v1/unrouted?sink=mq",
        )
        .with::<UnroutedQuestion>(types),
        Documented::post(
            "/api/v1/unrouted/retry",
            "Sends such messages to their exchange again.",
            decision(json!({ "sink": "mq", "first": 1 })),
            schema::<UnroutedChanged>(),
        ),
        Documented::post(
            "/api/v1/unrouted/discard",
            "Deletes such messages for good.",
            decision(gone),
            schema::<UnroutedChanged>(),
        ),
    ]
}
