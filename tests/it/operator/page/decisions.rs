//! Decisions on the page: other bodies, parked events and jobs, with real ones, by links and forms.

use hookweir::config::Config;
use hookweir::domain::sink::SinkName;
use hookweir::store::{self, Seq};
use hookweir_testkit::app::{App, patient_sources};
use hookweir_testkit::load::{client, post};
use hookweir_testkit::provider::{Event, Provider, now};
use reqwest::Method;

use super::Visit;
use crate::operator::decisions::in_database;
use crate::operator::{SINKS, json, send, traced};

/// The store of a service on SQLite, as another process opens it.
pub(super) fn sqlite(app: &App) -> String {
    let database = app.folder().join("data/hookweir.db");
    format!("[store]\nurl = \"sqlite://{}\"\n", database.display())
}

/// Has the sink "dead" refuse an event for good. Returns its number.
pub(super) async fn park(app: &App, store: &str, id: &str) -> String {
    send(app, Provider::Stripe, id);
    let waits = traced(app, id, "dead", "waiting").await;
    let number = waits["trace"]["number"].as_i64().expect("a number");
    let config = Config::from_toml(store).expect("valid");
    let store = store::open(&config.store, 1).expect("opened");
    let dead = SinkName::parse("dead").expect("a name");
    store.park(&dead, Seq(number), "too large").expect("parked");
    number.to_string()
}

/// Delivers an event, and other bodies under its id. Returns all, the event first.
pub(super) async fn conflicts(app: &App, seed: u64, others: usize) -> Vec<Event> {
    let mut rng = fastrand::Rng::with_seed(seed);
    let mut all = vec![Provider::Stripe.event(&mut rng)];
    for _ in 0..others {
        all.push(all[0].with_another_body(&mut rng));
    }
    for event in &all {
        let headers = event.signed(Provider::Stripe.secret(), now());
        let answer = post(&client(), app.listen, "stripe", headers, event.body.clone()).await;
        assert!(answer.is_taken(), "{answer:?}");
    }
    all
}

/// Begins a job of a minute, so that it still runs when a test looks. Returns its screen.
pub(super) async fn slow_job(app: &App, visit: &Visit) -> String {
    let mut rng = fastrand::Rng::with_seed(60);
    for _ in 0..60 {
        let event = Provider::Github.event(&mut rng);
        let headers = event.signed(Provider::Github.secret(), now());
        post(&client(), app.listen, "github", headers, event.body.clone()).await;
    }
    let order = [("source", "github"), ("pace", "1"), ("reason", "slow")];
    visit.send("/page/republish", &order).await
}

/// Values of the fields with this name.
pub(super) fn values(screen: &str, field: &str) -> Vec<String> {
    let before = format!("name=\"{field}\" value=\"");
    let parts = screen.split(&before).skip(1);
    let values = parts.filter_map(|part| part.split('"').next());
    values.map(str::to_owned).collect()
}

/// Addresses of links, with this text in them.
fn links(screen: &str, with: &str) -> Vec<String> {
    let parts = screen.split("href=\"").skip(1);
    let links = parts.filter_map(|part| part.split('"').next());
    let links = links.filter(|link| link.contains(with));
    links.map(|link| link.replace("&amp;", "&")).collect()
}

/// A body as it stands in a screen.
fn escaped(event: &Event) -> String {
    let text = String::from_utf8_lossy(&event.body);
    let text = text.replace('&', "&amp;").replace('"', "&quot;");
    text.replace('<', "&lt;").replace('>', "&gt;")
}

impl Visit {
    /// Sends a form that is refused. Returns the status and the text of the answer.
    pub(super) async fn refused(&self, path: &str, fields: &[(&str, &str)]) -> (u16, String) {
        let origin: &[(&str, &str)] = &[("origin", &self.origin)];
        let form = super::encoded(fields);
        let answer = self.ask(Method::POST, path, origin, form).await;
        (answer.status().as_u16(), answer.text().await.expect("text"))
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn another_body_is_read_beside_the_first_one_sent_back_or_deleted_with_a_reason() {
    let app = App::start(&patient_sources()).await;
    conflicts_are_decided(&app).await;
    // The event that came first is deleted before the body beside it.
    conflicts(&app, 8, 1).await;
    in_database(&app, "DELETE FROM event");
    let visit = Visit::enter(&app).await;
    let ids = values(&visit.screen("/page/conflicts").await, "id");
    let alone = format!("/page/conflicts/{}/body", ids[0]);
    let alone = visit.screen(&alone).await;
    assert!(alone.contains("No first body any more"), "{alone}");
    assert!(alone.contains("Other body, kept here"), "{alone}");
}

/// Opens two conflicts, sends one back and deletes the other.
pub(super) async fn conflicts_are_decided(app: &App) {
    let all = conflicts(app, 7, 2).await;
    let visit = Visit::enter(app).await;
    let list = visit.screen("/page/conflicts").await;
    assert!(list.contains(&*all[0].id), "{list}");
    let ids = values(&list, "id");
    assert_eq!(ids.len(), 2, "{list}");
    let place = format!("/page/conflicts/{}/body", ids[0]);
    let pair = visit.screen(&format!("{place}?form=raw")).await;
    let [first, one, two] = [0, 1, 2].map(|n| pair.contains(&escaped(&all[n])));
    assert!(first && one != two, "{first} {one} {two}: {pair}");
    let both = links(&pair, "form=hex");
    assert_eq!(both.len(), 2, "{pair}");
    for link in both {
        let hex = visit.screen(&link).await;
        assert_eq!(hex.matches("00000000  7b").count(), 2, "{link}: {hex}");
    }
    for wrong in ["at=x", "first_at=x", "form=yaml"] {
        let (status, text) = visit.get(&format!("{place}?{wrong}")).await;
        assert_eq!(status, 400, "{text}");
        assert!(text.contains("Next:"), "{text}");
    }
    let nobody = format!("0-{0}-{0}", "0".repeat(64));
    let (status, text) = visit.get(&format!("/page/conflicts/{nobody}/body")).await;
    assert_eq!(status, 404, "{text}");

    let back = [("id", &*ids[0])];
    let done = visit.send("/page/conflicts/send-back", &back).await;
    let done = visit.screen(&done).await;
    assert!(done.contains("1 put into the outbox"), "{done}");
    assert_eq!(values(&done, "id"), ids[1..]);
    let events = visit.screen("/page/events").await;
    assert!(events.contains("other body"), "{events}");

    let (status, text) = visit.get("/page/conflicts/discard").await;
    assert_eq!(status, 400, "nothing is chosen: {text}");
    let gone = format!("/page/conflicts/discard?id={}", ids[1]);
    let form = visit.screen(&gone).await;
    assert!(form.contains("required") && form.contains("Delete 1 for good"));
    assert_eq!(values(&form, "id"), ids[1..]);
    let gone = [("id", &*ids[1])];
    let (status, text) = visit.refused("/page/conflicts/discard", &gone).await;
    assert_eq!(status, 400, "it needs a reason: {text}");
    let gone = [gone[0], ("reason", "the provider has repeated it")];
    let done = visit.send("/page/conflicts/discard", &gone).await;
    let done = visit.screen(&done).await;
    assert!(done.contains("1 deleted"), "{done}");
    assert!(done.contains("There is no conflict."), "{done}");
    let beyond = format!("/page/conflicts?after={}", ids[1]);
    let beyond = visit.screen(&beyond).await;
    assert!(beyond.contains("No more."), "{beyond}");
    let record = visit.screen("/page/system/audit").await;
    assert!(record.contains("the provider has repeated it"), "{record}");
}

#[tokio::test(flavor = "multi_thread")]
async fn parked_events_are_put_back_or_deleted_with_a_reason() {
    let app = App::start(&format!("{SINKS}{}", patient_sources())).await;
    parked_events_are_decided(&app, &sqlite(&app)).await;
}

/// Parks two events, puts one back and deletes the other.
pub(super) async fn parked_events_are_decided(app: &App, store: &str) {
    for id in ["evt_101", "evt_102"] {
        park(app, store, id).await;
    }
    let visit = Visit::enter(app).await;
    let list = visit.screen("/page/parked?sink=dead").await;
    assert!(
        list.contains("too large") && list.contains("evt_102"),
        "{list}"
    );
    let numbers = values(&list, "number");
    assert_eq!(numbers.len(), 2, "{list}");
    let back = [("sink", "dead"), ("number", &*numbers[0])];
    let wrong = [back[0], back[1], ("number", "12x")];
    let (status, text) = visit.refused("/page/parked/retry", &wrong).await;
    assert_eq!(status, 400, "{text}");
    assert!(text.contains("12x") && text.contains("Next:"), "{text}");
    let list = visit.screen("/page/parked?sink=dead").await;
    assert_eq!(values(&list, "number"), numbers, "nothing was changed");
    let place = visit.send("/page/parked/retry", &back).await;
    assert!(visit.screen(&place).await.contains("1 put back"));

    let gone = [("sink", "dead"), ("number", &*numbers[1])];
    let form = format!("/page/parked/discard?{}", super::encoded(&gone));
    let form = visit.screen(&form).await;
    assert!(form.contains("required") && form.contains("Delete 1 for good"));
    assert_eq!(values(&form, "sink"), ["dead"]);
    let (status, text) = visit.refused("/page/parked/discard", &gone).await;
    assert_eq!(status, 400, "it needs a reason: {text}");
    let gone = [gone[0], gone[1], ("reason", "a test event")];
    let place = visit.send("/page/parked/discard", &gone).await;
    assert!(visit.screen(&place).await.contains("No event is parked"));
    let beyond = format!("/page/parked?sink=dead&after={}", numbers[1]);
    assert!(visit.screen(&beyond).await.contains("No more."));
    let record = visit.screen("/page/system/audit").await;
    assert!(
        record.contains("a test event") && record.contains("by the page"),
        "{record}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_job_is_cancelled_and_a_pace_that_is_no_number_begins_none() {
    let app = App::start(&patient_sources()).await;
    let visit = Visit::enter(&app).await;
    let (status, text) = visit.get("/page/republish?source=stripe&pace=abc").await;
    assert_eq!(status, 400, "{text}");
    assert!(text.contains("abc") && text.contains("Next:"), "{text}");
    for wrong in [("pace", "abc"), ("expected", "many")] {
        let order = [("source", "stripe"), wrong];
        let (status, text) = visit.refused("/page/republish", &order).await;
        assert_eq!(status, 400, "{text}");
    }
    assert!(json(&app, &["jobs"]).is_empty(), "nothing was begun");
    let job = slow_job(&app, &visit).await;
    let shown = visit.screen(&job).await;
    assert!(shown.contains("Cancel the job"), "{shown}");
    assert_eq!(visit.send(&format!("{job}/cancel"), &[]).await, job);
    let shown = visit.until(&job, "cancelled").await;
    assert!(!shown.contains("Cancel the job"), "{shown}");
    let jobs = json(&app, &["jobs"]);
    assert_eq!(jobs[0]["state"], "cancelled", "{jobs:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn without_the_rights_no_other_body_opens_and_nothing_is_decided() {
    let tokens = "[admin.tokens.ann]\nsecret = \"plain:0123456789abcdef\"\nmay = [\"look\"]\n[store]\nallow_unsafe_durability = true\n";
    let app = App::start(&format!("{SINKS}{tokens}{}", patient_sources())).await;
    conflicts(&app, 7, 1).await;
    let number = park(&app, &sqlite(&app), "evt_101").await;
    let all = Visit::enter(&app).await;
    let job = slow_job(&app, &all).await;
    let ann = Visit::with(&app, &[("token", "0123456789abcdef")]).await;
    let list = ann.screen("/page/conflicts").await;
    let id = values(&list, "id").remove(0);
    for word in ["Open this body", "Publish the chosen", "Delete the chosen"] {
        assert!(!list.contains(word), "{word}: {list}");
    }
    let parked = ann.screen("/page/parked?sink=dead").await;
    assert!(parked.contains("evt_101") && !parked.contains("Put the chosen"));
    assert!(!ann.screen(&job).await.contains("Cancel the job"));
    for path in [
        format!("/page/conflicts/{id}/body"),
        format!("/page/conflicts/{id}/download"),
        format!("/page/conflicts/discard?id={id}"),
        format!("/page/parked/discard?sink=dead&number={number}"),
    ] {
        let (status, text) = ann.get(&path).await;
        assert_eq!(status, 403, "{path}: {text}");
    }
    let (conflict, event) = (("id", &*id), ("number", &*number));
    let cancel = format!("{job}/cancel");
    let (sink, reason) = (("sink", "dead"), ("reason", "mine"));
    for (path, fields) in [
        ("/page/conflicts/send-back", vec![conflict]),
        ("/page/conflicts/discard", vec![conflict, reason]),
        ("/page/parked/retry", vec![sink, event]),
        ("/page/parked/discard", vec![sink, event, reason]),
        (&*cancel, vec![]),
    ] {
        let (status, text) = ann.refused(path, &fields).await;
        assert_eq!(status, 403, "{path}: {text}");
    }
    let list = all.screen("/page/conflicts").await;
    assert_eq!(values(&list, "id"), [id]);
    let list = all.screen("/page/parked?sink=dead").await;
    assert_eq!(values(&list, "number"), [number]);
    assert!(!all.screen(&job).await.contains("cancelled"));
}
