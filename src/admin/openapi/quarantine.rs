//! Words and types of the quarantine's routes.

use serde_json::{Value, json};

use super::Documented;
use super::schemas::{Schemas, schema};
use crate::operate::{
    Changed, RefusedChoice, RefusedDetails, RefusedList, RefusedQuestion, RefusedRequestView,
    RefusedVerified,
};

pub(super) fn documented(types: &Schemas) -> Vec<Documented> {
    let number = "Number of the delivery.";
    let choice = |fields: Value| (schema::<RefusedChoice>(), fields);
    let (github, third) = (
        json!({ "source": "github" }),
        json!({ "numbers": [3], "reason": "a scanner" }),
    );
    vec![
        Documented::get(
            "/api/v1/quarantine",
            "Lists refused deliveries that are kept, the newest first.",
            schema::<RefusedList>(),
            "/api/v1/quarantine?source=github&limit=5",
        )
        .with::<RefusedQuestion>(types),
        Documented::get(
            "/api/v1/quarantine/{name}",
            "Shows a refused delivery, and the cause of its refusal.",
            schema::<RefusedDetails>(),
            "/api/v1/quarantine/1",
        )
        .named(number),
        Documented::get(
            "/api/v1/quarantine/{name}/request",
            "Returns target and headers of a refused delivery, which may hold a secret. It is recorded who opens them.",
            schema::<RefusedRequestView>(),
            "/api/v1/quarantine/1/request",
        )
        .named(number),
        Documented {
            answer: None,
            ..Documented::get(
                "/api/v1/quarantine/{name}/body",
                "Returns the body of a refused delivery. It is recorded who opens it.",
                Value::Null,
                "/api/v1/quarantine/1/body",
            )
            .named(number)
        },
        Documented::post(
            "/api/v1/quarantine/verify/plan",
            "Verifies refused deliveries again with the present configuration, at the time of their receipt, and changes nothing.",
            choice(json!({ "all": true })),
            schema::<RefusedVerified>(),
        ),
        Documented::post(
            "/api/v1/quarantine/verify",
            "Verifies refused deliveries again, and stores the proven ones as events. They leave the quarantine.",
            choice(github),
            schema::<RefusedVerified>(),
        ),
        Documented::post(
            "/api/v1/quarantine/discard",
            "Deletes refused deliveries for good, at most 500. Ask again until none is left.",
            choice(third),
            schema::<Changed>(),
        ),
    ]
}
