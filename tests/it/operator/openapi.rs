//! The examples of the OpenAPI document, sent to the real program.

use diesel::prelude::*;
use diesel::sql_query;
use hookweir_testkit::app::{App, five_sources};
use hookweir_testkit::provider::Provider;
use hookweir_testkit::servers::amqp;
use hookweir_testkit::sink::Queues;
use serde_json::Value;

use super::unrouted::{PATIENT, until, without_queue};
use super::{SINKS, raw, send, told, traced};

/// Returns the mistakes of an answer by its schema: fields that it lacks, and fields that nobody documents.
fn mistakes(answer: &Value, schema: &Value, all: &Value) -> Vec<String> {
    if let Some(name) = schema["$ref"].as_str() {
        let name = name.rsplit('/').next().expect("a name");
        return mistakes(answer, &all[name], all);
    }
    let choices = ["oneOf", "anyOf"]
        .iter()
        .find_map(|word| schema[word].as_array());
    if let Some(choices) = choices {
        let mut of_each = choices.iter().map(|choice| mistakes(answer, choice, all));
        let fits = of_each.any(|mistakes| mistakes.is_empty());
        return if fits {
            Vec::new()
        } else {
            vec![format!("{answer} fits none of {schema}")]
        };
    }
    let kind = match answer {
        Value::Null => "null",
        Value::Bool(_) => "boolean",
        Value::Number(_) => "integer",
        Value::String(_) => "string",
        Value::Array(_) => "array",
        Value::Object(_) => "object",
    };
    let meant = &schema["type"];
    let is_meant = meant == kind
        || meant
            .as_array()
            .is_some_and(|kinds| kinds.iter().any(|meant| meant == kind));
    if !is_meant {
        return vec![format!("{answer} is no {meant}")];
    }
    let mut found = Vec::new();
    match answer {
        Value::Array(items) => {
            for item in items {
                found.extend(mistakes(item, &schema["items"], all));
            }
        }
        Value::Object(fields) => {
            let properties = schema["properties"].as_object().expect("properties");
            for (name, field) in fields {
                match properties.get(name) {
                    Some(schema) => found.extend(mistakes(field, schema, all)),
                    None => found.push(format!("{name} is not documented")),
                }
            }
            let required = schema["required"].as_array().into_iter().flatten();
            let required = required.map(|name| name.as_str().expect("a name"));
            let lacking = required.filter(|name| !fields.contains_key(*name));
            found.extend(lacking.map(|name| format!("{name} is missing")));
        }
        _ => {}
    }
    found
}

/// Tests that need a server.
mod with_servers {
    use super::*;

    #[tokio::test(flavor = "multi_thread")]
    async fn the_example_of_every_path_of_the_openapi_document_is_answered_as_it_says() {
        let queues = Queues::new(&amqp());
        let sinks = format!("{PATIENT}{SINKS}{}", without_queue(&queues, "mq"));
        let stripe = "provider = \"stripe\"\n";
        let sources = five_sources().replacen(
            stripe,
            &format!("{stripe}sinks = [\"default\", \"dead\"]\n"),
            1,
        );
        let sources = format!("{sources}sinks = [\"mq\"]\n");
        let app = App::start(&format!("{sinks}{sources}")).await;
        // Outcomes are kept from the first look on.
        raw(&app, "GET", "/api/v1/live");
        for id in ["evt_122", "evt_123"] {
            send(&app, Provider::Stripe, id);
            traced(&app, id, "dead", "waiting").await;
            traced(&app, id, "default", "confirmed").await;
        }
        for id in ["msg_1", "msg_2"] {
            send(&app, Provider::StandardWebhooks, id);
        }
        until(&queues, &queues.unrouted, 2).await;
        let path = app.folder().join("data/hookweir.db");
        let mut database = SqliteConnection::establish(&path.to_string_lossy()).expect("opened");
        for statement in [
        "PRAGMA busy_timeout = 10000",
        "INSERT INTO parked (seq, sink, reason, at) SELECT seq, sink, 'too large', since FROM outbox WHERE sink = 'dead'",
        "DELETE FROM outbox WHERE sink = 'dead'",
        "INSERT INTO conflict (key, digest, source, event_id, headers, received_at, at, body)
         VALUES (zeroblob(32), x'1111111111111111111111111111111111111111111111111111111111111111', 'stripe', 'evt_123', '[]', 1, unixepoch() * 1000, '{}'),
                (zeroblob(32), x'2222222222222222222222222222222222222222222222222222222222222222', 'stripe', 'evt_123', '[]', 1, unixepoch() * 1000, '{}')",
        "INSERT INTO quarantine (number, at, source, received_at, request_id, reason, detail, method, target, peer, cut, bytes, size, headers, body)
         VALUES (1, unixepoch() * 1000, 'github', unixepoch() * 1000, 'a', 'signature_missing', '', 'POST', '/ingest/github', NULL, false, 2, 600, x'782d613a20310a', '{}'),
                (3, unixepoch() * 1000, 'github', unixepoch() * 1000, 'a', 'signature_missing', '', 'POST', '/ingest/github', NULL, false, 2, 600, x'782d613a20310a', '{}')",
    ] {
        sql_query(statement).execute(&mut database).expect(statement);
    }

        let changed = "[limits]\ndeadline_ms = 2400\n[store]\nallow_unsafe_durability = true\n";
        let changed = format!("{changed}{sinks}{sources}");
        std::fs::write(app.folder().join("config.toml"), changed).expect("written");

        let document = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/reference/openapi.json");
        let document = std::fs::read_to_string(document).expect("it is there");
        let document: Value = serde_json::from_str(&document).expect("JSON");
        let all = &document["components"]["schemas"];
        let paths = document["paths"].as_object().expect("paths");
        // A job has to be begun before it is shown, and nothing is discarded before it was listed.
        let mut operations: Vec<_> = paths
            .iter()
            .flat_map(|(path, methods)| {
                methods
                    .as_object()
                    .expect("methods")
                    .iter()
                    .map(move |of| (path, of))
            })
            .collect();
        let late = |path: &str| {
            let ends = [
                "/audit",
                "/jobs",
                "/jobs/{name}",
                "/retry",
                "/cancel",
                "/send-back",
                "/discard",
            ];
            ends.iter()
                .position(|end| path.ends_with(end))
                .map_or(0, |place| place + 1)
        };
        operations.sort_by_key(|(path, _)| late(path));
        for (path, (method, operation)) in operations {
            let example = operation["x-example"].as_str().expect("an example");
            if path.contains("/unrouted") {
                // The broker puts back a moment after the answer.
                until(&queues, &queues.unrouted, 2).await;
            }
            let body = &operation["requestBody"]["content"]["application/json"]["example"];
            let (status, answer) = match method.as_str() {
                "get" => raw(&app, "GET", example),
                _ => {
                    let (status, answer) = told(&app, example, body);
                    (status, answer.to_string())
                }
            };
            assert_eq!(status, 200, "{method} {path}: {answer}");
            let schema = &operation["responses"]["200"]["content"]["application/json"]["schema"];
            if !schema.is_null() {
                let answer: Value = serde_json::from_str(&answer).expect("JSON");
                assert_eq!(
                    mistakes(&answer, schema, all),
                    [] as [String; 0],
                    "{method} {path}: {answer}"
                );
                let is_empty = answer.as_object().is_some_and(|fields| {
                    fields
                        .values()
                        .any(|field| field.as_array().is_some_and(Vec::is_empty))
                });
                assert!(!is_empty, "{method} {path} shows nothing: {answer}");
                assert_ne!(
                    answer["count"], 0,
                    "{method} {path} changes nothing: {answer}"
                );
            }
        }
        queues.delete().await;
    }
}
