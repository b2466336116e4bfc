//! `hookweir pause` and `hookweir resume`, of sources and of sinks.

use std::time::{Duration, Instant};

use fastrand::Rng;
use hookweir_testkit::app::{App, five_sources};
use hookweir_testkit::ledger::Answer;
use hookweir_testkit::load::{client, post};
use hookweir_testkit::provider::{Provider, now};

use super::{hookweir, send, traced};

const SINKS: &str = "[publisher]\nurl = \"file://data/events\"\n[[sink]]\nname = \"two\"\nurl = \"file://data/two\"\n";

/// Sends an event of GitHub's as it is. Returns status, `Retry-After` and body.
async fn deliver(app: &App, seed: u64) -> (u16, Option<String>, String) {
    let event = Provider::Github.event(&mut Rng::with_seed(seed));
    let mut request = client()
        .post(format!("http://{}/ingest/github", app.listen))
        .body(event.body.clone());
    for (name, value) in event.signed(Provider::Github.secret(), now()) {
        request = request.header(name, value);
    }
    let answer = request.send().await.expect("an answer");
    let after = answer.headers().get("retry-after");
    let after = after.map(|value| value.to_str().expect("text").to_owned());
    (
        answer.status().as_u16(),
        after,
        answer.text().await.expect("text"),
    )
}

#[tokio::test(flavor = "multi_thread")]
async fn a_paused_source_answers_503_and_says_so_until_it_is_resumed_also_over_a_restart() {
    let mut app = App::start(&five_sources()).await;
    let printed = hookweir(
        &app,
        &[
            "pause",
            "source",
            "github",
            "--reason",
            "its consumer is down",
        ],
    )
    .good();
    assert!(printed.contains("source github is paused"), "{printed}");
    for _ in 0..2 {
        let (status, after, body) = deliver(&app, 1).await;
        assert_eq!(status, 503, "{body}");
        assert!(after.is_some_and(|after| after.parse::<u64>().is_ok()));
        assert!(body.contains("paused by its operator"), "{body}");
        send(&app, Provider::Stripe, &format!("evt_{}", app.pid()));
        let health = app.health().await;
        assert!(
            health.contains("\"status\":\"ready\"") && health.contains("its consumer is down"),
            "{health}"
        );
        let listed = hookweir(&app, &["sources"]);
        assert!(
            listed.err.contains("github is paused since"),
            "{}",
            listed.err
        );
        let metrics = app.metrics().await;
        assert_eq!(metrics.sum("hookweir_source_paused", &["github"]), 1);
        assert!(metrics.sum("hookweir_outcomes_total", &["github", "paused"]) > 0);
        assert_eq!(
            metrics.sum("hookweir_outcomes_total", &["github", "accepted"]),
            0
        );
        app.stop().await;
        app.start_again().await;
        app.ready().await;
    }
    let printed = hookweir(&app, &["resume", "source", "github"]).good();
    assert!(printed.contains("goes on"), "{printed}");
    let (status, _, body) = deliver(&app, 1).await;
    assert!(
        status == 200 && body.contains("accepted"),
        "{status} {body}"
    );
    assert_eq!(
        app.metrics()
            .await
            .sum("hookweir_source_paused", &["github"]),
        0
    );
    let printed = hookweir(&app, &["resume", "source", "github"]).good();
    assert!(printed.contains("was not paused"), "{printed}");
    let error = hookweir(&app, &["pause", "source", "githup"]).bad(64);
    assert!(
        error.contains("no source \"githup\"") && error.contains("github"),
        "{error}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_paused_sink_keeps_its_events_and_gets_them_when_it_is_resumed() {
    let mut app = App::start(&format!("{SINKS}{}", five_sources())).await;
    hookweir(&app, &["pause", "sink", "two"]).good();
    send(&app, Provider::Stripe, "evt_1");
    traced(&app, "evt_1", "default", "confirmed").await;
    app.stop().await;
    app.start_again().await;
    app.ready().await;
    let client = client();
    let mut rng = Rng::with_seed(2);
    for _ in 0..50 {
        let event = Provider::Shopify.event(&mut rng);
        let headers = event.signed(Provider::Shopify.secret(), now());
        let answer = post(&client, app.listen, "shopify", headers, event.body.clone()).await;
        assert!(
            matches!(answer, Answer::Taken { new: true, .. }),
            "{answer:?}"
        );
    }
    traced(&app, "evt_1", "two", "waiting").await;
    let admin = format!("server.admin_listen={}", app.admin);
    let listed = hookweir(&app, &["sinks", "--set", &admin]).good();
    assert!(
        listed.contains("PAUSED, `hookweir resume sink two`"),
        "{listed}"
    );
    let published = |metrics: &hookweir_testkit::metrics::Metrics| {
        metrics.sum(
            "hookweir_sink_published_total",
            &["sink=\"two\"", "confirmed"],
        )
    };
    let metrics = app.metrics().await;
    assert_eq!(published(&metrics), 0);
    assert_eq!(metrics.sum("hookweir_sink_paused", &["two"]), 1);

    hookweir(&app, &["resume", "sink", "two"]).good();
    let since = Instant::now();
    while published(&app.metrics().await) < 51 {
        assert!(since.elapsed() < Duration::from_secs(60), "{}", app.log());
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    app.drained().await;
    assert_eq!(published(&app.metrics().await), 51, "each once");
}
