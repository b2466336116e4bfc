//! Traces: what a collector gets of a delivery, and that deliveries never wait for it.

mod collector;
mod embedded;
mod with_servers;

use bytes::Bytes;
use fastrand::Rng;
use hookweir_testkit::app::App;
use hookweir_testkit::load::client;
use hookweir_testkit::provider::{Event, Provider, now};
use hookweir_testkit::sink::Message;

use self::collector::{Collector, Span};

/// Trace of a provider, and its span.
const GIVEN: (&str, &str) = ("0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331");

/// Names of the spans from a POST to its confirm.
const WAY: [&str; 6] = [
    "POST /ingest/{path}",
    "verify",
    "store",
    "commit",
    "publish",
    "confirm",
];

/// Header of the provider's span, with these flags.
fn given(flags: &str) -> String {
    format!("00-{}-{}-{flags}", GIVEN.0, GIVEN.1)
}

/// An event of Stripe's, the same for the same seed.
fn event(seed: u64) -> Event {
    Provider::Stripe.event(&mut Rng::with_seed(seed))
}

/// Answer to a POST.
struct Answered {
    status: u16,
    /// The request's id: that of a trace that begins with it.
    request: String,
}

/// Sends an event, signed with `secret`, with more headers.
async fn post(app: &App, event: &Event, secret: &str, more: &[(&str, String)]) -> Answered {
    let mut request = client()
        .post(format!("http://{}/ingest/stripe", app.listen))
        .body(Bytes::clone(&event.body));
    for (name, value) in event.signed(secret, now()) {
        request = request.header(name, value);
    }
    for (name, value) in more {
        request = request.header(*name, value);
    }
    let answer = request.send().await.expect("an answer");
    let id = answer.headers().get("x-request-id").expect("an id");
    Answered {
        status: answer.status().as_u16(),
        request: id.to_str().expect("text").to_owned(),
    }
}

/// Sends an event that is taken. Returns the request's id.
async fn taken(app: &App, event: &Event, more: &[(&str, String)]) -> String {
    let answered = post(app, event, Provider::Stripe.secret(), more).await;
    assert_eq!(answered.status, 200, "{}", app.log());
    answered.request
}

/// Returns the header `traceparent` of a message, if it has one.
fn traceparent(message: &Message) -> Option<String> {
    let header = message.properties.get("traceparent")?;
    Some(header.trim_matches('"').to_owned())
}

/// Checks that the spans are one tree, from the POST to the confirm, of one event.
fn check_way(spans: &[Span], event: &Event, sink: &str) {
    let one = |name: &str| {
        let mut named = spans.iter().filter(|span| span.name == name);
        let first = named.next();
        assert!(named.next().is_none(), "two spans {name}: {spans:#?}");
        first.unwrap_or_else(|| panic!("no span {name}: {spans:#?}"))
    };
    let [post, verify, store, commit, publish, confirm] = WAY.map(one);
    assert_eq!(post.kind, 2, "a server's: {post:?}");
    assert_eq!(post.get("http.request.method"), "POST");
    assert_eq!(post.get("http.response.status_code"), "200");
    assert_eq!(post.get("hookweir.source"), "stripe");
    assert_eq!(post.get("hookweir.outcome"), "accepted");
    assert_eq!(verify.get("hookweir.result"), "verified");
    assert_eq!(store.get("hookweir.outcome"), "accepted");
    assert_eq!(store.get("hookweir.event_id"), event.id);
    assert_eq!(commit.get("hookweir.destination"), "store");
    assert_eq!(publish.kind, 4, "a producer's: {publish:?}");
    assert_eq!(publish.get("hookweir.sink"), sink);
    assert_eq!(publish.get("hookweir.result"), "confirmed");
    assert_eq!(publish.get("hookweir.attempt"), "1");
    assert_eq!(confirm.get("hookweir.sink"), sink);
    for span in spans {
        assert_eq!(span.service, "hookweir");
        assert!(!span.is_error, "{span:?}");
        assert!(span.start <= span.end, "{span:?}");
        assert!(span.name == post.name || span.parent == post.id, "{span:?}");
    }
    assert!(post.start <= verify.start && verify.end <= store.end);
    assert!(commit.end <= publish.start && publish.end <= confirm.end);
}
