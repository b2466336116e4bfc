//! Events that were fetched by hand after an outage, brought in by the command of an operator.

use std::fmt::Write as _;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hookweir_testkit::app::{App, five_sources};
use hookweir_testkit::provider::Provider;
use hookweir_testkit::sink::files_hold;
use serde_json::json;

use super::backup::{Kind, copies, deliver, events};
use super::{hookweir, ids, json as listed, traced};

/// A line of the file for an event as its provider has sent it.
fn line(event: &hookweir_testkit::provider::Event) -> String {
    let headers = event.signed(event.provider.secret(), hookweir_testkit::provider::now());
    let headers: serde_json::Map<_, _> = headers
        .into_iter()
        .map(|(name, value)| (name.to_owned(), value.into()))
        .collect();
    let body = STANDARD.encode(&event.body);
    json!({ "source": event.provider.name(), "headers": headers, "body_base64": body, "received_at": "2026-11-28T10:00:00Z" }).to_string()
}

async fn known_and_new(kind: Kind) {
    let app = App::start(&format!("{}{}", kind.config(), five_sources())).await;
    let all = events(200);
    let (known, new) = all.split_at(120);
    for event in known {
        deliver(&app, event).await;
    }
    let mut file = String::new();
    for event in &all {
        let _ = writeln!(file, "{}", line(event));
    }
    file += "\nno JSON\n{\"source\":\"nobody\",\"body\":\"{}\"}\n";
    std::fs::write(app.folder().join("events.jsonl"), &file).expect("written");
    let would = hookweir(&app, &["import", "events.jsonl", "--dry-run"]);
    assert_eq!(would.code, Some(64), "{}{}", would.out, would.err);
    let file = file.replace(
        "{\"source\":\"nobody\",\"body\":\"{}\"}\n",
        "{\"source\":\"stripe\"}\n",
    );
    std::fs::write(app.folder().join("events.jsonl"), &file).expect("written");

    let would = hookweir(&app, &["import", "events.jsonl", "--dry-run"]);
    assert_eq!(would.code, Some(1), "{}{}", would.out, would.err);
    assert!(
        would.out.contains(
            "80 would be new, 120 known, 0 known with another body (not imported), 2 refused"
        ),
        "{}",
        would.out
    );
    assert!(
        would.err.contains("line 202: refused") && would.err.contains("line 203: refused"),
        "{}",
        would.err
    );
    assert_eq!(
        listed(&app, &["events", "--limit", "1000"]).len(),
        120,
        "a dry run stores nothing"
    );

    let done = hookweir(
        &app,
        &["import", "events.jsonl", "--reason", "outage of the 28th"],
    );
    assert!(
        done.out.contains("80 new, 120 known, 0 known"),
        "{}{}",
        done.out,
        done.err
    );
    let again = hookweir(&app, &["import", "events.jsonl"]);
    assert!(
        again.out.contains("0 new, 200 known, 0 known"),
        "{}",
        again.out
    );
    // A delivery of an imported event is a duplicate, whatever it was imported as.
    for event in new {
        let (_, is_new) = deliver(&app, event).await;
        assert!(
            !is_new,
            "{} of {} is stored again",
            event.id,
            event.provider.name()
        );
    }
    files_hold(&app.events(), 200).await;
    app.drained().await;
    let copies = copies(&app.events());
    assert_eq!(copies.len(), 200);
    assert!(copies.values().all(|count| *count == 1));
    let found = listed(&app, &["show", &new[0].id]).remove(0);
    let received = found["received_at"].as_str().expect("a time");
    assert!(received.starts_with("2026-11-28T10:00:00"), "{received}");
}

#[tokio::test(flavor = "multi_thread")]
async fn imported_events_are_published_once_and_known_ones_stay_as_they_are() {
    known_and_new(Kind::Sqlite).await;
}

/// Imports a file in which ids come twice, far from each other, after a dry run of it.
async fn twice_in_a_file(kind: Kind) {
    let app = App::start(&format!("{}{}", kind.config(), five_sources())).await;
    let body = |id: usize, filler: &str| {
        format!("{{\"id\":\"evt_{id}\",\"type\":\"ping\",\"filler\":\"{filler}\"}}")
    };
    let stripe = |id, filler: &str| json!({ "source": "stripe", "body": body(id, filler) });
    let push = |filler: &str| {
        let headers = json!({ "X-GitHub-Delivery": "72d3162e", "X-GitHub-Event": "push" });
        json!({ "source": "github", "headers": headers, "body": format!("{{\"ref\":\"{filler}\"}}") })
    };
    let mut lines: Vec<_> = (0..230).map(|id| stripe(id, "a")).collect();
    lines.extend([stripe(0, "a"), stripe(1, "b"), push("one"), stripe(2, "a")]);
    // Another request each, since the source is another one.
    lines.extend([push("one"), stripe(900, "a"), push("two")]);
    let lines: Vec<String> = lines.iter().map(ToString::to_string).collect();
    std::fs::write(app.folder().join("events.jsonl"), lines.join("\n")).expect("written");
    let would = hookweir(&app, &["import", "events.jsonl", "--dry-run"]).good();
    let done = hookweir(&app, &["import", "events.jsonl"]).good();
    assert!(
        done.contains("233 new, 3 known, 1 known with another body"),
        "{done}"
    );
    assert_eq!(would.replace("would be new", "new"), done);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dry_run_counts_an_id_that_a_file_has_twice_as_the_import_does() {
    twice_in_a_file(Kind::Sqlite).await;
}

/// Imports other bodies under known ids, of a source that signs its ids and of one that does not.
async fn other_bodies(kind: Kind) {
    let app = App::start(&format!("{}{}", kind.config(), five_sources())).await;
    let push = |id: &str, body: &str| {
        let headers = json!({ "x-github-delivery": id, "x-github-event": "push" });
        json!({ "source": "github", "headers": headers, "body": body }).to_string()
    };
    let paid = |id: &str, cents: u32| {
        let body = json!({ "id": id, "object": "event", "type": "invoice.paid", "data": { "object": { "cents": cents } } });
        json!({ "source": "stripe", "body": body.to_string() }).to_string()
    };
    let import = |lines: &[String]| {
        std::fs::write(app.folder().join("events.jsonl"), lines.join("\n")).expect("written");
        hookweir(&app, &["import", "events.jsonl"])
    };
    let first = import(&[push("push-1", r#"{"n":1}"#), paid("evt_1", 1)]);
    assert!(
        first.out.contains("2 new, 0 known, 0 known"),
        "{}",
        first.out
    );

    let pushes = [
        push("push-1", r#"{"n":2}"#),
        push("push-1", r#"{"n":1}"#),
        push("push-1", r#"{"n":3}"#),
        push("push-1", r#"{"n":2}"#),
        // Equal bytes under another id.
        push("push-9", r#"{"n":1}"#),
    ];
    let done = import(&pushes);
    assert_eq!(done.code, Some(0), "{}", done.err);
    assert!(done.out.contains("3 new, 2 known, 0 known"), "{}", done.out);
    let again = import(&pushes);
    assert!(
        again.out.contains("0 new, 5 known, 0 known"),
        "{}",
        again.out
    );
    let marked = listed(&app, &["events", "--source", "github"]);
    assert_eq!(
        marked.len(),
        4,
        "an id that nobody signs tells no bodies apart: {marked:?}"
    );

    let done = import(&[paid("evt_2", 1), paid("evt_2", 2), paid("evt_1", 2)]);
    assert_eq!(done.code, Some(1), "{}{}", done.out, done.err);
    assert!(
        done.out
            .contains("1 new, 0 known, 1 known with another body (not imported), 1 refused"),
        "{}",
        done.out
    );
    assert!(
        done.err.contains("line 2: refused: the id of line 1")
            && done.err.contains("line 3: known with another body"),
        "{}",
        done.err
    );
    files_hold(&app.events(), 6).await;
    let copies = copies(&app.events());
    assert!(
        copies.len() == 6 && copies.values().all(|count| *count == 1),
        "{copies:?}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn another_body_under_an_unsigned_id_is_imported_and_under_a_signed_one_is_named() {
    other_bodies(Kind::Sqlite).await;
}

/// Tests that need a server.
mod with_servers {
    #[tokio::test(flavor = "multi_thread")]
    async fn on_postgresql_a_dry_run_counts_an_id_that_a_file_has_twice_as_the_import_does() {
        super::twice_in_a_file(super::Kind::Postgres).await;
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn on_postgresql_another_body_under_an_unsigned_id_is_imported_and_a_signed_one_named() {
        super::other_bodies(super::Kind::Postgres).await;
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn on_postgresql_imported_events_are_published_once_and_known_ones_stay_as_they_are() {
        super::known_and_new(super::Kind::Postgres).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_list_of_the_providers_api_is_imported_and_one_known_with_other_white_space_is_named() {
    let app = App::start(&five_sources()).await;
    let args = ["send", "--source", "stripe", "--id", "evt_known"];
    hookweir(&app, &args).good();
    let dump = r#"{"object":"list","data":[
        {"id":"evt_known","object":"event","type":"invoice.paid","data":{"object":{}}},
        {"id":"evt_new",  "object":"event","type":"invoice.paid","data":{"object":{}}}
    ],"has_more":false}"#;
    std::fs::write(app.folder().join("dump.json"), dump).expect("written");
    let args = [
        "import",
        "dump.json",
        "--form",
        "dump",
        "--source",
        "stripe",
    ];
    let done = hookweir(&app, &args);
    assert_eq!(done.code, Some(0), "{}", done.err);
    assert!(
        done.out
            .contains("1 new, 0 known, 1 known with another body"),
        "{}",
        done.out
    );
    assert!(
        done.err.contains("line 1: known with another body"),
        "{}",
        done.err
    );
    let found = traced(&app, "evt_new", "default", "confirmed").await;
    assert_eq!(found["trace"]["event"]["type"], "invoice.paid");
    assert_eq!(ids(&listed(&app, &["events"])), ["evt_new", "evt_known"]);
    let body = hookweir(&app, &["show", "evt_new", "--body"]).good();
    assert!(
        body.contains(r#"{"id":"evt_new",  "object""#),
        "byte for byte: {body}"
    );
    let conflicts = hookweir(&app, &["conflicts"]);
    assert!(conflicts.err.contains("no conflicts"), "{}", conflicts.err);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_event_without_the_header_that_has_its_id_is_refused_with_its_line() {
    let app = App::start(&five_sources()).await;
    std::fs::write(app.folder().join("bodies"), "{\"ref\":\"main\"}\n").expect("written");
    let args = [
        "import",
        "bodies",
        "--form",
        "bodies",
        "--source",
        Provider::Github.name(),
    ];
    let done = hookweir(&app, &args);
    assert_eq!(done.code, Some(1), "{}{}", done.out, done.err);
    assert!(done.err.contains("line 1: refused"), "{}", done.err);
    hookweir(&app, &["import", "missing.jsonl"]).bad(69);
    hookweir(&app, &["import", "bodies", "--form", "bodies"]).bad(64);
}
