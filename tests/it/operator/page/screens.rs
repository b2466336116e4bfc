//! The screens, without JavaScript: what an operator sees and does by links and forms.

use hookweir_testkit::app::{App, patient_sources};
use hookweir_testkit::load::{client, post};
use hookweir_testkit::provider::{Provider, now};
use reqwest::Method;

use super::Visit;
use crate::operator::{SINKS, json, send, traced};

/// The form that reloads, and does not only show what would change.
fn really() -> String {
    super::encoded(&[("really", "true")])
}

#[tokio::test(flavor = "multi_thread")]
async fn an_event_is_found_by_the_providers_id_and_shows_its_way_and_its_body() {
    let app = App::start(&format!("{SINKS}{}", patient_sources())).await;
    for id in ["evt_122", "evt_123"] {
        send(&app, Provider::Stripe, id);
    }
    traced(&app, "evt_123", "default", "confirmed").await;
    let visit = Visit::enter(&app).await;
    let found = visit
        .ask(Method::GET, "/page/find?id=evt_123", &[], String::new())
        .await;
    assert_eq!(found.status(), 303);
    let place = found.headers()["location"]
        .to_str()
        .expect("text")
        .to_owned();
    let event = visit.screen(&place).await;
    for word in [
        "evt_123",
        "received, verified and stored",
        "confirmed",
        "waiting",
    ] {
        assert!(event.contains(word), "{word}: {event}");
    }
    let body = visit.screen(&format!("{place}/body")).await;
    assert!(
        body.contains("&quot;id&quot;: &quot;evt_123&quot;"),
        "{body}"
    );
    let hex = visit.screen(&format!("{place}/body?form=hex")).await;
    assert!(hex.contains("00000000  7b"), "{hex}");
    let record = visit.screen("/page/system/audit").await;
    assert_eq!(record.matches("open body").count(), 2, "{record}");

    let list = visit.screen("/page/events?source=stripe").await;
    assert!(
        list.contains("evt_122") && list.contains("evt_123"),
        "{list}"
    );
    let none = visit.screen("/page/events?source=github").await;
    assert!(
        none.contains("No event fits") && none.contains("hookweir sources"),
        "{none}"
    );
    let unknown = visit
        .ask(Method::GET, "/page/find?id=evt_999", &[], String::new())
        .await;
    let place = unknown.headers()["location"].to_str().expect("text");
    assert_eq!(place, "/page/events?event_id=evt_999");
    let wrong = visit.get("/page/events?from=yesterday").await;
    assert_eq!(wrong.0, 400);
    assert!(
        wrong.1.contains("no time") && wrong.1.contains("Next:"),
        "{}",
        wrong.1
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refused_delivery_shows_its_reason_at_its_source_and_live() {
    let app = App::start(&patient_sources()).await;
    let visit = Visit::enter(&app).await;
    // Outcomes are kept from the first look on.
    visit.screen("/page/live").await;
    let event = Provider::Stripe.event(&mut fastrand::Rng::with_seed(7));
    let forged = event.signed("whsec_another_secret_of_nobody", now());
    post(&client(), app.listen, "stripe", forged, event.body.clone()).await;
    send(&app, Provider::Stripe, "evt_1");
    let live = visit.until("/page/live", "evt_1").await;
    assert!(live.contains("signature_mismatch"), "{live}");
    let only = visit.screen("/page/live?outcome=accepted").await;
    assert!(!only.contains("signature_mismatch"), "{only}");
    let source = visit.screen("/page/sources/stripe").await;
    assert!(source.contains("signature_mismatch"), "{source}");
    assert!(
        source.contains("/ingest/stripe"),
        "the URL to enter: {source}"
    );
    let (status, text) = visit.get("/page/sources/nobody").await;
    assert_eq!(status, 404, "{text}");
}

#[tokio::test(flavor = "multi_thread")]
async fn events_are_published_again_after_a_dry_run_and_once_however_often_it_is_clicked() {
    let app = App::start(&patient_sources()).await;
    for id in ["evt_1", "evt_2", "evt_3"] {
        send(&app, Provider::Stripe, id);
        traced(&app, id, "default", "confirmed").await;
    }
    let visit = Visit::enter(&app).await;
    let empty = visit.screen("/page/republish").await;
    assert!(empty.contains("Nothing is published before"), "{empty}");
    let dry = visit
        .screen("/page/republish?source=stripe&pace=1000")
        .await;
    assert!(dry.contains("Publish 3 events again"), "{dry}");
    assert!(json(&app, &["jobs"]).is_empty(), "nothing was begun");
    let job = dry.split_once("name=\"job\" value=\"").expect("an id").1;
    let job = job.split('"').next().expect("an id");
    let order = [
        ("source", "stripe"),
        ("pace", "1000"),
        ("job", job),
        ("expected", "3"),
    ];
    let place = visit.send("/page/republish", &order).await;
    assert_eq!(visit.send("/page/republish", &order).await, place);
    let done = visit.until(&place, "✓</span> done").await;
    assert!(done.contains("3 of 3"), "{done}");
    assert_eq!(json(&app, &["jobs"]).len(), 1);
    assert!(visit.screen("/page/jobs").await.contains("source stripe"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reload_is_shown_first_and_made_then() {
    let app = App::start(&patient_sources()).await;
    let visit = Visit::enter(&app).await;
    let system = visit.screen("/page/system").await;
    assert!(
        system.contains("deadline_ms") && !system.contains("whsec_"),
        "{system}"
    );
    let path = app.folder().join("config.toml");
    let config = std::fs::read_to_string(&path).expect("read");
    let changed = format!("[limits]\ndeadline_ms = 2345\n{config}");
    std::fs::write(&path, changed).expect("written");
    let origin = [("origin", &*visit.origin)];
    let form = super::encoded(&[("dry_run", "true")]);
    let dry = visit
        .ask(Method::POST, "/page/system/reload", &origin, form)
        .await;
    let dry = dry.text().await.expect("text");
    assert!(
        dry.contains("limits.deadline_ms") && dry.contains("Reload: "),
        "{dry}"
    );
    assert!(!visit.screen("/page/system").await.contains("2345"));
    let real = visit
        .ask(Method::POST, "/page/system/reload", &origin, really())
        .await;
    assert!(real.text().await.expect("text").contains("In force now"));
    assert!(visit.screen("/page/system").await.contains("2345"));
    std::fs::write(&path, "[limts]\n").expect("written");
    let wrong = visit
        .ask(Method::POST, "/page/system/reload", &origin, really())
        .await;
    assert_eq!(wrong.status(), 422);
    let wrong = wrong.text().await.expect("text");
    assert!(wrong.contains("config.toml:1:"), "{wrong}");
    assert_eq!(visit.get("/page").await.0, 200, "the page goes on");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_source_is_paused_and_goes_on() {
    let app = App::start(&patient_sources()).await;
    let visit = Visit::enter(&app).await;
    let why = [("source", "stripe"), ("reason", "its secret leaked")];
    let place = visit.send("/page/pause", &why).await;
    assert!(visit.screen(&place).await.contains("its secret leaked"));
    let place = visit.send("/page/resume", &[("source", "stripe")]).await;
    assert!(!visit.screen(&place).await.contains("its secret leaked"));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_screens_that_read_only_this_instance_answer_while_nothing_is_there_yet() {
    let app = App::start(&patient_sources()).await;
    let visit = Visit::enter(&app).await;
    let overview = visit.screen("/page").await;
    assert!(overview.contains("hookweir send"), "it teaches: {overview}");
    let actors = visit.screen("/page/actors").await;
    assert!(actors.contains("dedup.mailbox_capacity"), "{actors}");
    let figures = visit.screen("/page/actors/figures").await;
    let figures: serde_json::Value = serde_json::from_str(&figures).expect("JSON");
    assert_eq!(figures["charts"].as_array().map(Vec::len), Some(4));
    for (path, command) in [
        ("/page/events", "hookweir send"),
        ("/page/parked", "hookweir sinks"),
        ("/page/conflicts", "hookweir conflicts"),
        ("/page/unrouted", "hookweir sinks"),
        ("/page/jobs", "hookweir republish"),
        ("/page/system/audit", "hookweir events"),
    ] {
        let shown = visit.screen(path).await;
        assert!(shown.contains(command), "{path}: {shown}");
    }
}

/// Opens the stream of outcomes, from a place on.
async fn listen(visit: &Visit, after: &str) -> reqwest::Response {
    let headers = [("last-event-id", after)];
    let stream = visit.ask(Method::GET, "/page/live/stream", &headers, String::new());
    stream.await
}

/// The place and the text of the next message.
async fn message(stream: &mut reqwest::Response) -> Option<(String, String)> {
    let chunk = stream.chunk().await.expect("a message")?;
    let text = String::from_utf8(chunk.to_vec()).expect("text");
    let place = text.split_once("id: ").expect("a place").1;
    let place = place.lines().next().expect("a line").to_owned();
    Some((place, text))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_goes_on_where_it_was_cut_says_so_after_a_restart_and_ends_with_the_session() {
    let app = App::start(&patient_sources()).await;
    let visit = Visit::enter(&app).await;
    let mut stream = listen(&visit, "another-instance.7").await;
    assert_eq!(stream.headers()["content-type"], "text/event-stream");
    let (place, text) = message(&mut stream).await.expect("a message");
    assert!(text.contains("the service was restarted"), "{text}");
    send(&app, Provider::Stripe, "evt_1");
    let (_, text) = message(&mut stream).await.expect("a message");
    assert!(
        text.contains("evt_1") && text.contains("charge.succeeded"),
        "{text}"
    );
    drop(stream);
    send(&app, Provider::Stripe, "evt_2");
    let mut again = listen(&visit, &place).await;
    let (_, text) = message(&mut again).await.expect("a message");
    assert!(text.contains("evt_1") && text.contains("evt_2"), "{text}");
    assert!(!text.contains("lost"), "{text}");
    visit.send("/page/logout", &[]).await;
    send(&app, Provider::Stripe, "evt_3");
    assert_eq!(message(&mut again).await, None);
}

#[tokio::test(flavor = "multi_thread")]
async fn more_browsers_than_may_listen_are_told_and_get_in_when_one_leaves() {
    let app = App::start(&patient_sources()).await;
    let visit = Visit::enter(&app).await;
    let mut all = Vec::new();
    for _ in 0..32 {
        let mut stream = listen(&visit, "another.1").await;
        assert_eq!(stream.status(), 200);
        message(&mut stream).await.expect("a message");
        all.push(stream);
    }
    assert_eq!(listen(&visit, "another.1").await.status(), 503);
    assert_eq!(visit.get("/page").await.0, 200, "the page goes on");
    all.clear();
    for n in 0.. {
        // A closed connection is known by the next message.
        send(&app, Provider::Stripe, &format!("evt_{n}"));
        if listen(&visit, "another.1").await.status() == 200 {
            return;
        }
        assert!(n < 60, "nobody gets in");
        tokio::time::sleep(std::time::Duration::from_millis(500)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_secret_is_named_as_the_cause_and_its_deliveries_are_stored_after_it_was_mended() {
    let right = patient_sources();
    let app = App::start(&right.replace(Provider::Github.secret(), "not what GitHub has")).await;
    let event = Provider::Github.event(&mut fastrand::Rng::with_seed(3));
    let headers = event.signed(Provider::Github.secret(), now());
    post(&client(), app.listen, "github", headers, event.body.clone()).await;
    let visit = Visit::enter(&app).await;
    let list = visit.until("/page/quarantine", "Find the cause of 1").await;
    assert!(list.contains("signature_mismatch"), "{list}");
    let one = visit.screen("/page/quarantine/1").await;
    assert!(one.contains("What was tried"), "{one}");
    let body = visit.screen("/page/quarantine/1/body").await;
    assert!(
        body.contains("x-hub-signature-256") && body.contains("Nobody has proven"),
        "{body}"
    );
    let early = visit.screen("/page/quarantine/verify?number=1").await;
    assert!(
        early.contains("Still refused") && !early.contains("Verify them again"),
        "{early}"
    );

    std::fs::write(app.folder().join("config.toml"), right).expect("written");
    let origin = [("origin", &*visit.origin)];
    let reload = visit.ask(Method::POST, "/page/system/reload", &origin, really());
    assert_eq!(reload.await.status(), 200);
    let dry = visit.screen("/page/quarantine/verify?all=true").await;
    assert!(dry.contains("Verify them again"), "{dry}");
    let form = super::encoded(&[("all", "true")]);
    let done = visit
        .ask(Method::POST, "/page/quarantine/verify", &origin, form)
        .await;
    let done = done.text().await.expect("text");
    assert!(done.contains("Stored as events"), "{done}");
    assert_eq!(json(&app, &["events", "--source", "github"]).len(), 1);
    let list = visit.screen("/page/quarantine").await;
    assert!(list.contains("No refused delivery is kept here"), "{list}");
    let record = visit.screen("/page/system/audit").await;
    assert!(record.contains("by the page"), "{record}");
}
