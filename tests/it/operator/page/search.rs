//! Search in bodies, the instances, and the log filter for some minutes.

use bytes::Bytes;
use hookweir_testkit::app::{App, patient_sources};
use hookweir_testkit::load::{client, post};
use hookweir_testkit::provider::{Provider, now};

use super::Visit;
use crate::operator::{hookweir, raw, send};

/// Delivers an event with a text in its body.
async fn deliver(app: &App, id: &str, text: &str) {
    let mut event = Provider::Stripe.event(&mut fastrand::Rng::with_seed(9));
    let body = format!("{{\"id\":\"{id}\",\"type\":\"t\",\"data\":\"{text}\"}}");
    event.body = Bytes::from(body);
    let headers = event.signed(Provider::Stripe.secret(), now());
    let answer = post(&client(), app.listen, "stripe", headers, event.body.clone()).await;
    assert!(answer.is_taken(), "{answer:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_event_is_found_by_a_text_in_its_body_and_the_page_says_how_much_was_searched() {
    bodies_are_searched("").await;
}

/// Searches with the right and without it, within bounds.
pub(super) async fn bodies_are_searched(store: &str) {
    let tokens = "[admin.tokens.ann]\nsecret = \"plain:0123456789abcdef\"\nmay = [\"look\"]\n";
    let store = if store.is_empty() { "[store]\n" } else { store };
    let safety = format!("{store}allow_unsafe_durability = true\n");
    let app = App::start(&format!("{tokens}{safety}{}", patient_sources())).await;
    for n in 0..60 {
        deliver(&app, &format!("evt_{n}"), "nothing").await;
    }
    deliver(&app, "evt_ada", "Ada <Lovelace> 100%").await;
    let large = "x".repeat(300_000);
    deliver(&app, "evt_large", &large).await;
    let visit = Visit::enter(&app).await;
    let list = visit.screen("/page/events?source=stripe").await;
    assert!(list.contains("/page/search?source=stripe"), "{list}");
    let empty = visit.screen("/page/search").await;
    assert!(empty.contains("10,000 events"), "{empty}");
    let found = visit
        .screen("/page/search?contains=%3CLovelace%3E+100%25")
        .await;
    assert!(
        found.contains("evt_ada") && !found.contains("evt_1<"),
        "{found}"
    );
    assert!(found.contains("Searched 62 events, 29"), "{found}");
    assert!(found.contains("all that the filter has"), "{found}");
    for nothing in ["contains=lovelace", "contains=Ada&source=github"] {
        let none = visit.screen(&format!("/page/search?{nothing}")).await;
        assert!(none.contains("has the text"), "{none}");
        assert!(!none.contains("evt_ada"), "{none}");
    }
    // A page is full: the rest is not searched, the page says so, and its link goes on.
    let part = visit.screen("/page/search?contains=nothing").await;
    assert!(part.contains("Searched 52 events"), "{part}");
    assert!(part.contains("older ones are not."), "{part}");
    let next = part.split_once("rel=\"next\" href=\"").expect("a link").1;
    let next = next
        .split('"')
        .next()
        .expect("a link")
        .replace("&amp;", "&");
    let rest = visit.screen(&next).await;
    assert!(rest.contains("Searched 10 events"), "{rest}");
    assert!(
        rest.contains("evt_0") && rest.contains("all that"),
        "{rest}"
    );
    let by_command = hookweir(&app, &["events", "--search", "<Lovelace> 100%"]);
    assert_eq!(by_command.code, Some(0), "{}", by_command.err);
    assert!(by_command.out.contains("evt_ada"), "{}", by_command.out);
    assert!(!by_command.out.contains("evt_1 "), "{}", by_command.out);
    let all = "62 events and";
    assert!(by_command.err.contains(all), "{}", by_command.err);
    let some = ["events", "--search", "nothing", "--limit", "3", "--json"];
    let some = hookweir(&app, &some);
    assert_eq!(some.out.lines().count(), 3, "{}", some.out);
    assert!(some.err.contains("older ones were not"), "{}", some.err);
    hookweir(&app, &["events", "--search", "x", "--id", "evt_1"]).bad(64);
    let record = visit.screen("/page/system/audit").await;
    assert!(record.contains("search bodies"), "{record}");
    assert!(
        !record.contains("Lovelace"),
        "the text is no part of the record"
    );

    let ann = Visit::with(&app, &[("token", "0123456789abcdef")]).await;
    let (status, text) = ann.get("/page/search?contains=Ada").await;
    assert_eq!(status, 403, "{text}");
    assert!(!ann.screen("/page/events").await.contains("/page/search"));
    let (status, text) = visit
        .get(&format!("/page/search?contains={}", "x".repeat(1001)))
        .await;
    assert_eq!(status, 400, "{text}");

    let instances = visit.screen("/page/system/instances").await;
    assert!(
        instances.contains("this one") && instances.contains("alive"),
        "{instances}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn the_log_has_more_lines_for_some_minutes_and_not_when_it_was_ended() {
    let app = App::start(&patient_sources()).await;
    let visit = Visit::enter(&app).await;
    let system = visit.screen("/page/system").await;
    assert!(system.contains("by the configuration."), "{system}");
    let asked = |app: &App| app.log().matches("/api/v1/sources").count();
    raw(&app, "GET", "/api/v1/sources");
    assert_eq!(asked(&app), 0, "{}", app.log());
    let order = [
        ("filter", "hookweir=debug,info"),
        ("reason", "a provider reports 401"),
    ];
    let place = visit.send("/page/system/log-filter", &order).await;
    let system = visit.screen(&place).await;
    assert!(
        system.contains("hookweir=debug,info</code> until"),
        "{system}"
    );
    for n in 0.. {
        raw(&app, "GET", "/api/v1/sources");
        if asked(&app) > 0 {
            break;
        }
        assert!(n < 600, "no line: {}", app.log());
        tokio::time::sleep(std::time::Duration::from_millis(100)).await;
    }
    let (status, text) = visit
        .refused("/page/system/log-filter", &[("filter", "hookweir=[")])
        .await;
    assert_eq!(status, 400, "{text}");
    assert!(text.contains("was not changed"), "{text}");
    let place = visit.send("/page/system/log-filter", &[]).await;
    let system = visit.screen(&place).await;
    assert!(system.contains("by the configuration."), "{system}");
    let record = visit.until("/page/system/audit", "log filter").await;
    assert!(record.contains("for 10 minutes") && record.contains("a provider reports 401"));
    send(&app, Provider::Stripe, "evt_1");
}
