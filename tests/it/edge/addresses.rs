//! Lists of addresses that may send, and the proxies whose word counts.

use hookweir_testkit::app::App;

use super::{event, raw, request, source, status};
use crate::signals::logs;

const PROXIES: &str = "[server]\ntrusted_proxies = [\"127.0.0.1\"]\n";
const REFUSED: &str = "hookweir_outcomes_total{outcome=\"rejected\",reason=\"address_not_allowed\",source=\"github\"}";

/// Name of the counter of addresses outside of the list.
fn misses(signed: &str) -> String {
    format!("hookweir_address_misses_total{{signed=\"{signed}\",source=\"github\"}}")
}

#[tokio::test(flavor = "multi_thread")]
async fn an_address_outside_of_the_list_is_refused_before_its_body_and_named_in_the_log() {
    let app = App::start(&source("allow_from = [\"203.0.113.0/24\"]")).await;
    let answer = raw(&app, &request(&event(1), ""));
    assert_eq!(status(&answer), "403", "{answer}");
    let expecting = request(&event(1), "expect: 100-continue\r\n");
    let head = expecting.len() - event(1).body.len();
    let answer = raw(&app, &expecting[..head]);
    assert_eq!(status(&answer), "403", "{answer}");
    logs(&app, "127.0.0.1 is not in allow_from of the source").await;
    let metrics = app.metrics().await;
    assert_eq!(metrics.get(REFUSED), 2.0);
    assert_eq!(metrics.get(&misses("yes")), 2.0);
    assert_eq!(
        metrics.sum("hookweir_quarantined_total", &[]),
        0,
        "there is nothing to mend"
    );
    assert_eq!(
        metrics.get("hookweir_source_failures_in_a_row{source=\"github\"}"),
        0.0
    );
    let unsigned = "POST /ingest/github HTTP/1.1\r\nhost: a\r\nconnection: close\r\ncontent-length: 2\r\n\r\n{}";
    assert_eq!(status(&raw(&app, unsigned.as_bytes())), "403");
    assert_eq!(app.metrics().await.get(&misses("no")), 1.0);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_observed_list_refuses_nobody_and_counts_who_would_be() {
    let options = "allow_from = [\"github\"]\nallow_from_mode = \"observe\"";
    let app = App::start(&source(options)).await;
    let answer = raw(&app, &request(&event(1), ""));
    assert!(answer.contains("\"accepted\""), "{answer}");
    logs(&app, "127.0.0.1 is not in allow_from of the source github").await;
    let metrics = app.metrics().await;
    assert_eq!(
        (metrics.get(&misses("yes")), metrics.get(REFUSED)),
        (1.0, 0.0)
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn behind_a_trusted_proxy_the_client_counts_and_not_what_it_writes_itself() {
    let app = App::start(&format!("{PROXIES}{}", source("allow_from = [\"github\"]"))).await;
    let from = |n, forwarded: &str| {
        let header = format!("x-forwarded-for: {forwarded}\r\n");
        status(&raw(&app, &request(&event(n), &header))).to_owned()
    };
    assert_eq!(from(1, "140.82.115.7"), "200");
    assert_eq!(from(2, "2606:50c0::7"), "200");
    assert_eq!(
        from(3, "198.51.100.1, 140.82.115.7"),
        "200",
        "the proxy has written the last"
    );
    assert_eq!(from(4, "140.82.115.7, 198.51.100.1"), "403");
    assert_eq!(from(5, "unknown"), "403");
    let bytes = [b"x-forwarded-for: 140.82.115.7\r\nx-forwarded-for: \xff, 198.51.100.1\r\n"];
    let whole = request(&event(7), "x-here: 1\r\n");
    let at = whole
        .windows(9)
        .position(|part| part == b"x-here: 1")
        .expect("a header");
    let forged = [&whole[..at], &bytes[0][..], &whole[at + 11..]].concat();
    assert_eq!(status(&raw(&app, &forged)), "403");
    assert_eq!(
        status(&raw(&app, &request(&event(6), ""))),
        "403",
        "the proxy itself"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_else_is_believed_about_a_client() {
    let app = App::start(&source("allow_from = [\"github\"]")).await;
    let forged = request(&event(1), "x-forwarded-for: 140.82.115.7\r\n");
    assert_eq!(status(&raw(&app, &forged)), "403");
}
