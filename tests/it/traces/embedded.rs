//! On SQLite and the file sink.

use std::net::TcpListener;
use std::time::{Duration, Instant};

use hookweir_testkit::app::{App, Launch, patient_sources};
use hookweir_testkit::load::Load;
use hookweir_testkit::ports::free_address;
use hookweir_testkit::provider::Provider;
use hookweir_testkit::sink::{files_hold, files_so_far};

use super::collector::config;
use super::{Collector, GIVEN, WAY, check_way, event, given, post, taken, traceparent};
use crate::operator::hookweir;

async fn start(collector: &Collector, ratio: &str) -> App {
    App::start(&format!("{}{}", collector.config(ratio), patient_sources())).await
}

#[tokio::test(flavor = "multi_thread")]
async fn one_trace_leads_from_the_post_to_the_confirm() {
    let collector = Collector::start();
    let app = start(&collector, "1.0").await;
    let event = event(1);
    // The id of the request in the log and in the answer is that of the trace.
    let trace = taken(&app, &event, &[]).await;
    let spans = collector.trace(&trace, &WAY).await;
    check_way(&spans, &event, "default");
    let first = spans
        .iter()
        .find(|span| span.name == WAY[0])
        .expect("a span");
    assert_eq!(first.parent, "");
    files_hold(&app.events(), 1).await;
    let header = traceparent(&files_so_far(&app.events())[0]);
    assert_eq!(header, Some(format!("00-{trace}-{}-01", first.id)));

    // The same event again.
    let trace = taken(&app, &event, &[]).await;
    let spans = collector.trace(&trace, &WAY[..3]).await;
    let [post, verify, store] = &spans[..] else {
        panic!("{spans:#?}");
    };
    assert_eq!(post.get("hookweir.outcome"), "duplicate");
    assert_eq!(verify.get("hookweir.result"), "verified");
    assert_eq!(store.get("hookweir.outcome"), "duplicate");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_trace_of_a_provider_goes_on_and_the_message_carries_it() {
    let collector = Collector::start();
    let key = "authorization=Bearer%20of-the-collector".to_owned();
    let launch = Launch {
        environment: vec![("OTEL_EXPORTER_OTLP_HEADERS", key)],
        ..Launch::default()
    };
    let toml = format!("{}{}", collector.config("0"), patient_sources());
    let app = App::launch_as(&toml, launch).await;
    app.ready().await;
    let event = event(2);
    let state = ("tracestate", "vendor=1".to_owned());
    taken(&app, &event, &[("traceparent", given("01")), state]).await;
    let spans = collector.trace(GIVEN.0, &WAY).await;
    check_way(&spans, &event, "default");
    let first = spans
        .iter()
        .find(|span| span.name == WAY[0])
        .expect("a span");
    assert_eq!(first.parent, GIVEN.1);
    files_hold(&app.events(), 1).await;
    let message = files_so_far(&app.events()).remove(0);
    let header = format!("00-{}-{}-01", GIVEN.0, first.id);
    assert_eq!(traceparent(&message), Some(header));
    assert_eq!(message.properties["tracestate"], "\"vendor=1\"");
    let heads = collector.heads();
    assert!(heads[0].contains("bearer of-the-collector"), "{heads:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_delivery_that_is_not_sampled_leaves_no_span_and_its_header_as_given() {
    let collector = Collector::start();
    let app = start(&collector, "0").await;
    taken(&app, &event(1), &[]).await;
    taken(&app, &event(2), &[("traceparent", given("00"))]).await;
    taken(&app, &event(3), &[("traceparent", "nonsense".to_owned())]).await;
    // The one that is sampled shows that spans would have come.
    let sampled = "4bf92f3577b34da6a3ce929d0e0e4736";
    let header = format!("00-{sampled}-{}-01", GIVEN.1);
    taken(&app, &event(4), &[("traceparent", header)]).await;
    collector.trace(sampled, &WAY).await;
    let spans = collector.spans();
    assert!(spans.iter().all(|span| span.trace == sampled), "{spans:#?}");

    files_hold(&app.events(), 4).await;
    let messages = files_so_far(&app.events());
    let header = |seed| {
        let id = event(seed).id;
        let found = messages.iter().find(|message| message.event_id == id);
        traceparent(found.expect("its message"))
    };
    assert_eq!(header(1), None);
    assert_eq!(header(2), Some(given("00")));
    assert_eq!(header(3), None);
    assert!(header(4).is_some_and(|text| text.contains(sampled)));
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_collector_a_trace_context_is_a_header_like_others() {
    let app = App::start(&patient_sources()).await;
    taken(&app, &event(1), &[("traceparent", given("01"))]).await;
    files_hold(&app.events(), 1).await;
    assert_eq!(traceparent(&files_so_far(&app.events())[0]), None);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refused_delivery_shows_its_reason_and_no_secret_and_nothing_of_its_body() {
    let collector = Collector::start();
    let app = start(&collector, "1.0").await;
    let event = event(1);
    let answered = post(&app, &event, "whsec_of_somebody_else", &[]).await;
    assert_eq!(answered.status, 401);
    let spans = collector.trace(&answered.request, &WAY[..2]).await;
    let [post, verify] = &spans[..] else {
        panic!("{spans:#?}");
    };
    assert_eq!(post.get("hookweir.outcome"), "rejected");
    assert_eq!(post.get("hookweir.reason"), "signature_mismatch");
    assert_eq!(post.get("http.response.status_code"), "401");
    assert!(!post.is_error, "the sender's fault: {post:?}");
    assert_eq!(verify.get("hookweir.reason"), "signature_mismatch");

    let trace = taken(&app, &event, &[]).await;
    collector.trace(&trace, &WAY).await;
    let body = String::from_utf8_lossy(&event.body).into_owned();
    let secret = Provider::Stripe.secret();
    let texts = collector.spans().into_iter();
    for text in texts.flat_map(|span| span.attributes.into_values().chain([span.error])) {
        assert!(!text.contains(secret) && !text.contains("v1="), "{text}");
        // The provider's id may be shown.
        assert!(
            text.is_empty() || text == event.id || text.len() < 16 || !body.contains(&text),
            "{text}"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stranger_cannot_have_its_requests_exported() {
    let collector = Collector::start();
    let app = start(&collector, "0").await;
    let asks = [("traceparent", given("01"))];
    for n in 0..50 {
        let refused = post(&app, &event(n), "whsec_of_somebody_else", &asks).await;
        assert_eq!(refused.status, 401);
    }
    taken(&app, &event(50), &asks).await;
    let spans = collector.trace(GIVEN.0, &WAY).await;
    assert_eq!(spans.len(), WAY.len(), "{spans:#?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_collector_that_is_away_costs_no_delivery() {
    let away = config(free_address(), "1.0");
    let mut app = App::start(&format!("{away}{}", patient_sources())).await;
    let ledger = Load::on(&[app.listen]).send(200).await;
    ledger.check_faultless();
    files_hold(&app.events(), ledger.genuine().count()).await;
    spans_are(&app, "failed").await;
    assert!(app.stop().await.success(), "{}", app.log());
    let lines = app.log().matches("cannot export spans").count();
    assert_eq!(lines, 1, "{}", app.log());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_collector_that_never_answers_costs_spans_and_no_delivery() {
    // Connections wait in the kernel.
    let silent = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let silent_address = silent.local_addr().expect("an address");
    let mut app = App::start(&format!(
        "{}{}",
        config(silent_address, "1.0"),
        patient_sources()
    ))
    .await;
    // Six spans each: more than one batch and the queue.
    let ledger = Load::on(&[app.listen]).send(1000).await;
    ledger.check_faultless();
    files_hold(&app.events(), ledger.genuine().count()).await;
    spans_are(&app, "dropped").await;
    assert!(app.stop().await.success(), "{}", app.log());
}

/// Waits until spans have this result.
async fn spans_are(app: &App, result: &str) {
    let since = Instant::now();
    while app
        .metrics()
        .await
        .sum("hookweir_trace_spans_total", &[result])
        == 0
    {
        assert!(since.elapsed() < Duration::from_secs(60), "{}", app.log());
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_event_that_is_published_after_a_kill_stays_in_its_trace() {
    let collector = Collector::start();
    let mut app = start(&collector, "1.0").await;
    hookweir(&app, &["pause", "sink", "default", "--reason", "a test"]).good();
    let event = event(1);
    let trace = taken(&app, &event, &[]).await;
    let before = collector.trace(&trace, &WAY[..4]).await;
    app.kill();
    app.start_again().await;
    app.ready().await;
    hookweir(&app, &["resume", "sink", "default"]).good();
    let spans = collector.trace(&trace, &WAY).await;
    assert_eq!(spans.len(), before.len() + 2);
    check_way(&spans, &event, "default");
}

#[tokio::test(flavor = "multi_thread")]
async fn spans_of_the_last_second_are_exported_at_a_stop() {
    let collector = Collector::start();
    let mut app = start(&collector, "1.0").await;
    let trace = taken(&app, &event(1), &[]).await;
    assert!(app.stop().await.success(), "{}", app.log());
    let spans = collector.spans();
    for name in WAY {
        let mut of_trace = spans.iter().filter(|span| span.trace == trace);
        assert!(of_trace.any(|span| span.name == name), "{name}: {spans:#?}");
    }
}

#[cfg(feature = "lakehouse")]
#[tokio::test(flavor = "multi_thread")]
async fn the_commit_of_the_lakehouse_links_to_the_delivery() {
    let collector = Collector::start();
    let lake = "[lakehouse]\ncommit_secs = 1\n";
    let toml = format!("{}{lake}{}", collector.config("1.0"), patient_sources());
    let app = App::start_with_lakehouse(&toml).await;
    let trace = taken(&app, &event(1), &[]).await;
    let spans = collector.trace(&trace, &WAY).await;
    let post = spans
        .iter()
        .find(|span| span.name == WAY[0])
        .expect("a span");
    let since = Instant::now();
    let commit = loop {
        let spans = collector.spans();
        let commit = spans
            .into_iter()
            .find(|span| span.name == "lakehouse commit");
        if let Some(commit) = commit {
            break commit;
        }
        assert!(since.elapsed() < Duration::from_secs(60), "{}", app.log());
        tokio::time::sleep(Duration::from_millis(100)).await;
    };
    assert_eq!(commit.links, [(trace, post.id.clone())]);
    assert_eq!(commit.get("hookweir.rows"), "1");
}
