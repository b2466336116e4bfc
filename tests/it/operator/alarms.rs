//! Alarms about providers, each provoked on a running service: in metrics, and in `hookweir sources`.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use diesel::connection::SimpleConnection as _;
use diesel::{Connection as _, SqliteConnection};
use hookweir_testkit::app::{App, patient_sources};
use hookweir_testkit::ledger::Answer;
use hookweir_testkit::load::{client, post};
use hookweir_testkit::provider::{Provider, now};

use super::{hookweir, json, send};

/// Value of a figure of a source.
async fn figure(app: &App, name: &str, source: Provider) -> f64 {
    let series = format!("{name}{{source=\"{}\"}}", source.name());
    app.metrics().await.get(&series)
}

/// Alarms of a source.
fn alarms(app: &App, source: Provider) -> Vec<String> {
    let list = json(app, &["sources", source.name()]).remove(0);
    let alarms = list["sources"][0]["alarms"].as_array().expect("alarms");
    alarms
        .iter()
        .map(|alarm| alarm.as_str().expect("a text").to_owned())
        .collect()
}

/// Has a provider send an event that is signed with this secret at this time.
async fn deliver(app: &App, provider: Provider, secret: &str, at: u64) -> Answer {
    let event = provider.event(&mut fastrand::Rng::new());
    let headers = event.signed(secret, at);
    post(&client(), app.listen, provider.name(), headers, event.body).await
}

#[tokio::test(flavor = "multi_thread")]
async fn half_of_the_failures_after_which_shopify_removes_the_webhook_are_an_alarm_until_one_is_taken()
 {
    let app = App::start(&patient_sources()).await;
    let (shopify, name) = (Provider::Shopify, "hookweir_source_failures_in_a_row");
    let rule = figure(&app, "hookweir_source_disabled_after_failures", shopify).await;
    assert!(rule >= 8.0, "{rule}");
    for _ in 0..4 {
        let answer = deliver(&app, shopify, "another secret of shopify", now()).await;
        assert!(matches!(answer, Answer::Status(400..=499)), "{answer:?}");
    }
    assert!(figure(&app, name, shopify).await >= 4.0);
    let said = alarms(&app, shopify);
    assert!(
        said[0].contains("4 deliveries in a row") && said[0].contains("after 8"),
        "{said:?}"
    );
    let told = hookweir(&app, &["sources"]);
    assert!(told.err.contains("shopify has answered 4"), "{}", told.err);
    assert_eq!(alarms(&app, Provider::Stripe), [""; 0]);

    assert!(
        deliver(&app, shopify, shopify.secret(), now())
            .await
            .is_taken()
    );
    assert!(figure(&app, name, shopify).await < 1.0);
    assert_eq!(alarms(&app, shopify), [""; 0]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_provider_whose_clock_differs_by_more_than_a_minute_is_an_alarm_while_its_events_are_taken()
 {
    let app = App::start(&patient_sources()).await;
    let stripe = Provider::Stripe;
    for (shift, words) in [(-120, "behind the clock"), (120, "ahead of the clock")] {
        let at = now().checked_add_signed(shift).expect("a time");
        let answer = deliver(&app, stripe, stripe.secret(), at).await;
        assert!(answer.is_taken(), "{answer:?}");
        let skew = figure(&app, "hookweir_source_clock_skew_seconds", stripe).await;
        assert!((skew - shift as f64).abs() < 30.0, "{skew}");
        let said = alarms(&app, stripe);
        assert!(said[0].contains(words), "{said:?}");
    }
    assert!(
        deliver(&app, stripe, stripe.secret(), now())
            .await
            .is_taken()
    );
    assert_eq!(alarms(&app, stripe), [""; 0]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_window_that_ends_before_stripe_gives_up_is_warned_of_and_an_alarm() {
    let stripe = Provider::Stripe.config();
    let app = App::start(&format!("{stripe}window_days = 1\n")).await;
    let window = figure(
        &app,
        "hookweir_source_dedup_window_seconds",
        Provider::Stripe,
    )
    .await;
    let retries = figure(&app, "hookweir_source_retries_seconds", Provider::Stripe).await;
    assert!(window < retries, "{window} {retries}");
    let said = alarms(&app, Provider::Stripe);
    assert!(said[0].contains("raise window_days"), "{said:?}");
    let checked = hookweir(&app, &["check", "--offline"]);
    let told = format!("{}{}", checked.out, checked.err);
    assert!(
        told.contains(
            "source stripe: window_days is 1, and its provider sends an event again for 72 hours"
        ),
        "{told}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn deliveries_that_take_more_than_half_of_the_deadline_are_an_alarm() {
    let stripe = Provider::Stripe.config();
    let app = App::start(&format!("{stripe}deadline_ms = 8000\n")).await;
    let deadline = figure(&app, "hookweir_source_deadline_seconds", Provider::Stripe).await;
    assert!((deadline - 8.0).abs() < 0.001, "{deadline}");
    let listen = app.listen;
    std::thread::scope(|threads| {
        for _ in 0..6 {
            threads.spawn(move || slowly(listen));
        }
    });
    let slow = figure(&app, "hookweir_near_deadline_total", Provider::Stripe).await;
    assert!(slow >= 6.0, "{slow}");
    let said = alarms(&app, Provider::Stripe);
    assert!(said[0].contains("6 of 6 deliveries"), "{said:?}");
}

/// Sends an event whose body ends more than half a deadline after its head. No pause is as long as
/// the 3 s that a body may pause.
fn slowly(listen: SocketAddr) {
    let event = Provider::Stripe.event_of(&mut fastrand::Rng::new(), 12_000);
    let mut head = format!(
        "POST /ingest/stripe HTTP/1.1\r\nHost: h\r\nConnection: close\r\nContent-Length: {}\r\n",
        event.body.len()
    );
    for (name, value) in event.signed(Provider::Stripe.secret(), now()) {
        head += &format!("{name}: {value}\r\n");
    }
    let mut stream = TcpStream::connect(listen).expect("it listens");
    stream
        .write_all(format!("{head}\r\n").as_bytes())
        .expect("sent");
    for part in event.body.chunks(event.body.len().div_ceil(3)) {
        std::thread::sleep(Duration::from_millis(1500));
        stream.write_all(part).expect("sent");
    }
    let mut answer = String::new();
    stream.read_to_string(&mut answer).expect("answered");
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_source_that_is_silent_for_longer_than_its_gaps_is_an_alarm() {
    let app = App::start(&patient_sources()).await;
    let stripe = Provider::Stripe;
    for n in 0..19 {
        send(&app, stripe, &format!("evt_{n}"));
    }
    // The first event has no gap.
    let name = "hookweir_source_usual_gap_seconds{";
    let text = app.metrics().await;
    assert!(
        !format!("{text:?}").contains(name),
        "after 18 gaps: {text:?}"
    );
    send(&app, stripe, "evt_19");
    let gap = figure(&app, "hookweir_source_usual_gap_seconds", stripe).await;
    assert!((0.0..300.0).contains(&gap), "{gap}");
    assert_eq!(alarms(&app, stripe), [""; 0]);
    let url = format!("http://{}/control/clock/3600000", app.admin);
    let shifted = client().post(url).send().await.expect("answered");
    assert!(shifted.status().is_success(), "{shifted:?}");
    let said = alarms(&app, stripe);
    assert!(said[0].contains("has accepted nothing for 3"), "{said:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn answers_503_at_the_deadline_are_failures_in_a_row_though_their_events_are_stored_later() {
    let stripe = Provider::Stripe;
    let app = App::start(&format!("{}deadline_ms = 500\n", stripe.config())).await;
    // Another program has the database, until after the deadline.
    let mut other =
        SqliteConnection::establish(&app.folder().join("data/hookweir.db").to_string_lossy())
            .expect("opened");
    other
        .batch_execute("PRAGMA busy_timeout = 5000; BEGIN IMMEDIATE")
        .expect("locked");
    for _ in 0..2 {
        let answer = deliver(&app, stripe, stripe.secret(), now()).await;
        assert_eq!(answer, Answer::Status(503));
    }
    other.batch_execute("COMMIT").expect("unlocked");
    let since = Instant::now();
    while json(&app, &["events"]).len() < 2 {
        assert!(since.elapsed() < Duration::from_secs(60), "{}", app.log());
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    let name = "hookweir_source_failures_in_a_row";
    while figure(&app, name, stripe).await < 2.0 {
        assert!(since.elapsed() < Duration::from_secs(60), "{}", app.log());
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    let event = stripe.event(&mut fastrand::Rng::new());
    super::backup::deliver(&app, &event).await;
    assert!(figure(&app, name, stripe).await < 1.0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_late_attempt_with_its_first_signature_says_nothing_of_the_clocks() {
    let stripe = Provider::Stripe;
    let config = stripe.config().replace(
        "provider = \"stripe\"",
        "scheme = { like = \"stripe\", timestamp = { tolerance_secs = 7200 } }",
    );
    let app = App::start(&format!("{config}deadline_ms = 15000\n")).await;
    let taken = deliver(&app, stripe, stripe.secret(), now() - 5000).await;
    assert!(taken.is_taken(), "{taken:?}");
    let text = format!("{:?}", app.metrics().await);
    assert!(
        !text.contains("hookweir_source_clock_skew_seconds{"),
        "{text}"
    );
    assert_eq!(alarms(&app, stripe), [""; 0]);
}
