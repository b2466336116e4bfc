//! Rate limits of a source and of its clients.

use hookweir_testkit::app::App;

use super::{event, raw, request, source, status};
use crate::operator::hookweir;

const PROXIES: &str = "[server]\ntrusted_proxies = [\"127.0.0.1\"]\n";

fn shed(reason: &str) -> String {
    format!("hookweir_outcomes_total{{outcome=\"shed\",reason=\"{reason}\",source=\"github\"}}")
}

#[tokio::test(flavor = "multi_thread")]
async fn deliveries_above_the_rate_of_a_source_get_429_with_retry_after_and_no_body_is_read() {
    let app = App::start(&source("rate_limit_per_sec = 1\nrate_limit_burst = 2")).await;
    let answers: Vec<String> = (0..20)
        .map(|n| raw(&app, &request(&event(n), "")))
        .collect();
    let taken = answers
        .iter()
        .filter(|answer| status(answer) == "200")
        .count();
    let refused: Vec<_> = answers
        .iter()
        .filter(|answer| status(answer) == "429")
        .collect();
    assert!(taken >= 2, "{answers:?}");
    assert_eq!(taken + refused.len(), 20, "{answers:?}");
    for answer in &refused {
        assert!(answer.to_lowercase().contains("retry-after: "), "{answer}");
    }
    let metrics = app.metrics().await;
    assert_eq!(metrics.get(&shed("source_rate")) as usize, refused.len());
    assert_eq!(metrics.get("hookweir_in_flight_bytes"), 0.0);
    // Refused is not lost: the provider sends again.
    let again = (0..600).map(|_| {
        std::thread::sleep(std::time::Duration::from_millis(50));
        raw(&app, &request(&event(19), ""))
    });
    let mut again = again.filter(|answer| status(answer) == "200");
    assert!(again.next().is_some());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_above_its_rate_is_refused_and_another_one_is_not() {
    let limits = "client_rate_limit_per_sec = 1\nclient_rate_limit_burst = 1";
    let app = App::start(&format!("{PROXIES}{}", source(limits))).await;
    let from = |n, client: &str| {
        let header = format!("x-forwarded-for: {client}\r\n");
        status(&raw(&app, &request(&event(n), &header))).to_owned()
    };
    let flood: Vec<String> = (0..50).map(|n| from(n, "198.51.100.1")).collect();
    assert_eq!(flood[0], "200");
    assert!(flood.iter().any(|status| status == "429"), "{flood:?}");
    for n in 0..20 {
        assert_eq!(from(100 + n, &format!("203.0.113.{n}")), "200");
    }
    let metrics = app.metrics().await;
    assert!(metrics.get(&shed("client_rate")) >= 1.0);
    assert_eq!(metrics.get(&shed("source_rate")), 0.0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reload_takes_a_rate_limit_away() {
    let app = App::start(&source("rate_limit_per_sec = 1\nrate_limit_burst = 1")).await;
    let refused = (0..20).any(|n| status(&raw(&app, &request(&event(n), ""))) == "429");
    assert!(refused);
    std::fs::write(app.folder().join("config.toml"), source("")).expect("written");
    hookweir(&app, &["reload"]).good();
    for n in 100..120 {
        assert_eq!(status(&raw(&app, &request(&event(n), ""))), "200");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_has_no_signature_takes_nothing_from_the_source_and_alarms_nobody() {
    let limits = "rate_limit_per_sec = 5\nrate_limit_burst = 5\nclient_rate_limit_per_sec = 100000";
    let app = App::start(&source(limits)).await;
    let unsigned = b"POST /ingest/github HTTP/1.1\r\nhost: a\r\nconnection: close\r\ncontent-length: 2\r\n\r\n{}";
    for n in 0..3 {
        for _ in 0..50 {
            assert_eq!(status(&raw(&app, unsigned)), "401");
        }
        assert_eq!(status(&raw(&app, &request(&event(n), ""))), "200");
    }
    let metrics = app.metrics().await;
    assert_eq!(metrics.get(&shed("source_rate")), 0.0);

    let limits = "client_rate_limit_per_sec = 1\nclient_rate_limit_burst = 1";
    let app = App::start(&source(limits)).await;
    let refused = (0..30).filter(|_| status(&raw(&app, unsigned)) == "429");
    assert!(refused.count() > 0);
    let metrics = app.metrics().await;
    assert_eq!(
        metrics.get("hookweir_source_failures_in_a_row{source=\"github\"}"),
        0.0
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_provider_that_gives_up_after_a_4xx_gets_503_for_both_refusals() {
    let gitlab = |options: &str| {
        format!(
            "[[source]]\nname = \"github\"\nprovider = \"gitlab-token\"\nsecrets = [\"plain:0123456789abcdef\"]\n{options}\n"
        )
    };
    let request = b"POST /ingest/github HTTP/1.1\r\nhost: a\r\nconnection: close\r\nx-gitlab-token: 0123456789abcdef\r\ncontent-length: 2\r\n\r\n{}";
    let app = App::start(&gitlab("rate_limit_per_sec = 1\nrate_limit_burst = 1")).await;
    let answers: Vec<String> = (0..20).map(|_| raw(&app, request)).collect();
    let refused = answers
        .iter()
        .find(|answer| status(answer) != "200")
        .expect("one above the limit");
    assert_eq!(status(refused), "503", "{refused}");
    assert!(
        refused.to_lowercase().contains("retry-after: "),
        "{refused}"
    );
    let app = App::start(&gitlab("allow_from = [\"203.0.113.7\"]")).await;
    let refused = raw(&app, request);
    assert_eq!(status(&refused), "503", "{refused}");
    assert!(
        refused.to_lowercase().contains("retry-after: "),
        "{refused}"
    );
}
