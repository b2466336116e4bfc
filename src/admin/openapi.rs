//! The OpenAPI document, made of the source of the types that the routes read and answer with. It is checked in beside
//! the page of the API: after a change run `HOOKWEIR_UPDATE_DOCS=1 cargo test --lib openapi`.

mod quarantine;
mod schemas;
mod search;
mod unrouted;

use std::collections::BTreeSet;

use actix_web::http::Method;
use serde_json::{Map, Value, json};

use self::schemas::{Schemas, name_of, names_in, parameters, schema, types};
use super::question::Choice;
use super::routes::all;
use crate::config::model::Right;
use crate::operate::{
    ApiProblem, AuditList, AuditQuestion, Changed, ConfigurationView, ConflictList, Decision,
    EraseOrder, EraseView, EventList, EventQuestion, EventView, ImportOrder, ImportView, JobList,
    JobView, LiveList, LiveQuestion, ParkedList, ParkedQuestion, PauseOrder, PauseView,
    ReloadOrder, ReloadView, RepublishOrder, RepublishPlan, RepublishQuestion, SentBack,
    SourceList, StatusView, TopView, TraceView,
};

/// The checked-in document.
const FILE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/reference/openapi.json");

/// Words and types of a route.
struct Documented {
    method: Method,
    path: &'static str,
    does: &'static str,
    /// Name of the thing in the path.
    name: Option<&'static str>,
    parameters: Vec<Value>,
    body: Option<Value>,
    /// Schema of the answer. None: bytes.
    answer: Option<Value>,
    /// Request that a test sends.
    example: (&'static str, Option<Value>),
}

impl Documented {
    fn get(path: &'static str, does: &'static str, answer: Value, example: &'static str) -> Self {
        Self {
            method: Method::GET,
            path,
            does,
            name: None,
            parameters: Vec::new(),
            body: None,
            answer: Some(answer),
            example: (example, None),
        }
    }

    fn post(path: &'static str, does: &'static str, body: (Value, Value), answer: Value) -> Self {
        Self {
            method: Method::POST,
            body: Some(body.0),
            example: (path, Some(body.1)),
            ..Self::get(path, does, answer, path)
        }
    }

    fn named(self, name: &'static str) -> Self {
        Self {
            name: Some(name),
            ..self
        }
    }

    fn with<T>(self, types: &Schemas) -> Self {
        Self {
            parameters: parameters::<T>(types),
            ..self
        }
    }

    /// Returns the operation.
    fn operation(self, needs: Right) -> Value {
        let named = self.name.map(|name| {
            json!({ "name": "name", "in": "path", "required": true, "description": name, "schema": { "type": "string" } })
        });
        let parameters: Vec<Value> = named.into_iter().chain(self.parameters).collect();
        let content = match self.answer {
            Some(schema) => json!({ "application/json": { "schema": schema } }),
            None => json!({ "application/octet-stream": {} }),
        };
        let problem = json!({ "$ref": "#/components/schemas/ApiProblem" });
        let mut operation = json!({
            "summary": self.does,
            "parameters": parameters,
            "responses": {
                "200": { "description": "The answer.", "content": content },
                "default": {
                    "description": "The failure, and the next step.",
                    "content": { "application/problem+json": { "schema": problem } },
                },
            },
            "x-right": match needs {
                Right::Look => "look",
                Right::Bodies => "bodies",
                Right::Operate => "operate",
            },
            "x-example": self.example.0,
        });
        if let (Some(schema), (_, Some(example))) = (self.body, self.example) {
            let content = json!({ "application/json": { "schema": schema, "example": example } });
            operation["requestBody"] = json!({ "required": true, "content": content });
        }
        operation
    }
}

/// Id of the job in the examples.
const JOB: &str = "01a22630-0000-7000-8000-000000000001";

fn events(types: &Schemas) -> Vec<Documented> {
    vec![
        Documented::get(
            "/api/v1/events",
            "Lists events, the newest first.",
            schema::<EventList>(),
            "/api/v1/events?source=stripe&state=parked&limit=5",
        )
        .with::<EventQuestion>(types),
        Documented::get(
            "/api/v1/events/{name}",
            "Shows one event.",
            schema::<EventView>(),
            "/api/v1/events/evt_123",
        )
        .named("The provider's id of the event, or its message id.")
        .with::<Choice>(types),
        Documented::get(
            "/api/v1/events/{name}/trace",
            "Shows the way of one event: received, stored, and each sink.",
            schema::<TraceView>(),
            "/api/v1/events/evt_123/trace?source=stripe",
        )
        .named("The provider's id of the event, or its message id.")
        .with::<Choice>(types),
        Documented {
            answer: None,
            ..Documented::get(
                "/api/v1/events/{name}/body",
                "Returns the body of an event as it was received. It is recorded who opens it.",
                Value::Null,
                "/api/v1/events/evt_123/body",
            )
            .named("The provider's id of the event, or its message id.")
            .with::<Choice>(types)
        },
        Documented::get(
            "/api/v1/sources",
            "Lists the sources of this instance.",
            schema::<SourceList>(),
            "/api/v1/sources",
        ),
        Documented::get(
            "/api/v1/top",
            "Shows the figures of this instance. Two answers give the rates between them.",
            schema::<TopView>(),
            "/api/v1/top",
        ),
    ]
}

/// Returns the routes by which an operator watches the service.
fn watching(types: &Schemas) -> Vec<Documented> {
    vec![
        Documented::get(
            "/api/v1/status",
            "Shows whether this instance is ready, and the state of its components.",
            schema::<StatusView>(),
            "/api/v1/status",
        ),
        Documented::get(
            "/api/v1/config",
            "Shows the configuration in force, without secrets.",
            schema::<ConfigurationView>(),
            "/api/v1/config",
        ),
        Documented::get(
            "/api/v1/live",
            "Lists outcomes of this instance as they happen. They are kept from the first look on, and for a minute after the last one.",
            schema::<LiveList>(),
            "/api/v1/live?source=stripe&outcome=accepted",
        )
        .with::<LiveQuestion>(types),
        Documented::get(
            "/api/v1/audit",
            "Lists changes and opened bodies, the newest first.",
            schema::<AuditList>(),
            "/api/v1/audit?limit=5",
        )
        .with::<AuditQuestion>(types),
    ]
}

fn service() -> Vec<Documented> {
    vec![
        Documented::post(
            "/api/v1/reload",
            "Reads the configuration again, and takes over what can change while the service runs. With a mistake anywhere, changes nothing.",
            (schema::<ReloadOrder>(), json!({ "dry_run": true })),
            schema::<ReloadView>(),
        ),
        Documented::post(
            "/api/v1/erase",
            "Erases events of a source, by their ids or by a value in their bodies: bodies and headers go, keys stay. Without `start`, says which.",
            (
                schema::<EraseOrder>(),
                json!({ "source": "stripe", "ids": ["evt_122"] }),
            ),
            schema::<EraseView>(),
        ),
        Documented::post(
            "/api/v1/import",
            "Stores events that were fetched by hand, by the same dedup as deliveries. Nothing is verified.",
            (
                schema::<ImportOrder>(),
                json!({ "source": "stripe", "events": [{ "line": 1, "body": "{\"id\":\"evt_900\",\"type\":\"ping\"}" }], "dry_run": true }),
            ),
            schema::<ImportView>(),
        ),
        Documented::post(
            "/api/v1/pause",
            "Pauses a source or a sink, for all instances and over restarts.",
            (
                schema::<PauseOrder>(),
                json!({ "kind": "sink", "name": "dead", "reason": "its consumer is down" }),
            ),
            schema::<PauseView>(),
        ),
        Documented::post(
            "/api/v1/resume",
            "Ends a pause.",
            (
                schema::<PauseOrder>(),
                json!({ "kind": "sink", "name": "dead" }),
            ),
            schema::<PauseView>(),
        ),
    ]
}

fn jobs() -> Vec<Documented> {
    let choice = json!({ "source": "stripe", "from": "2026-11-28T00:00:00Z" });
    let order = json!({ "id": JOB, "choice": choice, "pace": 100, "expected": 2, "reason": "a consumer lost them" });
    vec![
        Documented::post(
            "/api/v1/republish/plan",
            "Counts the events that fit a choice, and publishes nothing.",
            (schema::<RepublishQuestion>(), choice),
            schema::<RepublishPlan>(),
        ),
        Documented::post(
            "/api/v1/republish",
            "Begins a job that publishes events again.",
            (schema::<RepublishOrder>(), order),
            schema::<JobView>(),
        ),
        Documented::get(
            "/api/v1/jobs",
            "Lists the last 100 jobs, the newest first.",
            schema::<JobList>(),
            "/api/v1/jobs",
        ),
        Documented::get(
            "/api/v1/jobs/{name}",
            "Shows a job.",
            schema::<JobView>(),
            "/api/v1/jobs/01a22630-0000-7000-8000-000000000001",
        )
        .named("Id of the job."),
        Documented {
            method: Method::POST,
            ..Documented::get(
                "/api/v1/jobs/{name}/cancel",
                "Cancels a job.",
                schema::<JobView>(),
                "/api/v1/jobs/01a22630-0000-7000-8000-000000000001/cancel",
            )
            .named("Id of the job.")
        },
    ]
}

fn decisions(types: &Schemas) -> Vec<Documented> {
    let decision = schema::<Decision>();
    let changed = schema::<Changed>();
    let back = json!({ "sink": "dead", "numbers": [1] });
    let gone = json!({ "sink": "dead", "numbers": [2], "reason": "a test event" });
    let name = |digest: &str| format!("1764000000000-{}-{}", "00".repeat(32), digest.repeat(32));
    let first = json!({ "ids": [name("22")], "reason": "it is another payment" });
    let ids = json!({ "ids": [name("11")], "reason": "the provider has repeated it" });
    vec![
        Documented::get(
            "/api/v1/parked",
            "Lists the events that are parked for a sink, in order of their numbers.",
            schema::<ParkedList>(),
            "/api/v1/parked?sink=dead",
        )
        .with::<ParkedQuestion>(types),
        Documented::post(
            "/api/v1/parked/retry",
            "Puts parked events back.",
            (decision.clone(), back),
            changed.clone(),
        ),
        Documented::post(
            "/api/v1/parked/discard",
            "Deletes parked events for good.",
            (decision.clone(), gone),
            changed.clone(),
        ),
        Documented::get(
            "/api/v1/conflicts",
            "Lists other bodies that came under known ids, the newest first.",
            schema::<ConflictList>(),
            "/api/v1/conflicts?limit=5",
        )
        .with::<ParkedQuestion>(types),
        Documented {
            answer: None,
            ..Documented::get(
                "/api/v1/conflicts/{name}/body",
                "Returns the body of a conflict. It is recorded who opens it.",
                Value::Null,
                concat!(
                    "/api/v1/conflicts/1764000000000-",
                    "0000000000000000000000000000000000000000000000000000000000000000-",
                    "1111111111111111111111111111111111111111111111111111111111111111/body"
                ),
            )
            .named("Name of the conflict.")
        },
        Documented::post(
            "/api/v1/conflicts/send-back",
            "Publishes conflicts as messages of their own.",
            (decision.clone(), first),
            schema::<SentBack>(),
        ),
        Documented::post(
            "/api/v1/conflicts/discard",
            "Deletes conflicts for good.",
            (decision, ids),
            changed,
        ),
    ]
}

/// Returns the document.
fn document() -> Value {
    let types = types();
    let mut documented = events(&types);
    documented.extend(watching(&types));
    documented.extend(service());
    documented.extend(jobs());
    documented.extend(decisions(&types));
    documented.extend(quarantine::documented(&types));
    documented.extend(unrouted::documented(&types));
    documented.extend(search::documented(&types));
    let mut paths = Map::new();
    for operation in documented {
        let mut routes = all();
        let route = routes
            .find(|route| route.path == operation.path && route.method == operation.method)
            .unwrap_or_else(|| panic!("{} is no route", operation.path));
        let method = route.method.as_str().to_ascii_lowercase();
        let path = paths.entry(route.path).or_insert_with(|| json!({}));
        path[method] = operation.operation(route.needs);
    }
    let mut used = BTreeSet::from([name_of::<ApiProblem>().to_owned()]);
    names_in(&Value::from(paths.clone()), &mut used);
    loop {
        let known = used.len();
        for name in used.clone() {
            let schema = types.get(&name);
            names_in(
                schema.unwrap_or_else(|| panic!("no type {name}")),
                &mut used,
            );
        }
        if used.len() == known {
            break;
        }
    }
    let mut schemas = types;
    schemas.retain(|name, _| used.contains(name));
    json!({
        "openapi": "3.1.0",
        "info": {
            "title": "Admin API of Hookweir",
            "version": "1",
            "description": "JSON over the Unix socket of admin.socket, and with a token at server.admin_listen. See admin-api.md. x-right is the right that a path needs, x-example a request that a test sends.",
        },
        "paths": paths,
        "components": { "schemas": schemas },
    })
}

#[test]
fn the_openapi_document_is_what_the_routes_read_and_answer() {
    let document = document();
    let operations = document["paths"].as_object().expect("paths").values();
    let count: usize = operations
        .map(|path| path.as_object().expect("methods").len())
        .sum();
    assert_eq!(count, all().count(), "a route is not documented");
    let text = serde_json::to_string_pretty(&document).expect("JSON") + "\n";
    if std::env::var_os("HOOKWEIR_UPDATE_DOCS").is_some() {
        std::fs::write(FILE, &text).expect("written");
    }
    assert!(
        std::fs::read_to_string(FILE).is_ok_and(|found| found == text),
        "docs/reference/openapi.json is not current: HOOKWEIR_UPDATE_DOCS=1 cargo test --lib openapi"
    );
}
