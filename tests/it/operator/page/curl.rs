//! A delivery as a command of curl, and charts that begin before somebody looks.

use std::path::Path;
use std::time::Duration;

use hookweir_testkit::app::{App, patient_sources};
use hookweir_testkit::load::{client, post};
use hookweir_testkit::provider::{Provider, now};
use reqwest::Method;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::Visit;
use crate::operator::send;

/// Text of the element with this id, as a browser copies it.
fn text_of(screen: &str, id: &str) -> String {
    let part = screen.split_once(&format!("id=\"{id}\"")).expect("there").1;
    let part = part.split_once("<code>").expect("code").1;
    let part = part.split_once("</code>").expect("its end").0;
    let plain = part.replace("&lt;", "<").replace("&gt;", ">");
    plain.replace("&quot;", "\"").replace("&amp;", "&")
}

/// Runs a command of curl in a folder, against a consumer that answers it. Returns the request.
async fn run(command: &str, folder: &Path) -> String {
    let consumer = tokio::net::TcpListener::bind("127.0.0.1:0").await;
    let consumer = consumer.expect("bound");
    let url = format!("URL=http://{}/", consumer.local_addr().expect("bound"));
    let (_, rest) = command.split_once('\n').expect("lines");
    let mut running = std::process::Command::new("bash")
        .args(["-c", &format!("{url}\n{rest}")])
        .current_dir(folder)
        .spawn()
        .expect("bash");
    let (mut asked, _) = consumer.accept().await.expect("connected");
    let mut request = Vec::new();
    loop {
        let text = String::from_utf8_lossy(&request);
        if let Some((head, body)) = text.split_once("\r\n\r\n") {
            let head = head.to_ascii_lowercase();
            let length = head.split_once("content-length: ").expect("a length").1;
            let length = length
                .lines()
                .next()
                .and_then(|of| of.parse::<usize>().ok());
            if length == Some(body.len()) {
                break;
            }
        }
        assert_ne!(asked.read_buf(&mut request).await.expect("read"), 0);
    }
    let answer = b"HTTP/1.1 204 No Content\r\n\r\n";
    asked.write_all(answer).await.expect("answered");
    drop(asked);
    let ended = tokio::task::spawn_blocking(move || running.wait()).await;
    let ended = ended.expect("ended").expect("its code");
    assert!(ended.success(), "{command}");
    String::from_utf8(request).expect("text")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_delivery_as_a_command_of_curl_sends_its_body_and_headers_and_no_secret() {
    let kept = "[publisher]\nforward_headers = [\"x-note\", \"x-ops-token\", \"user-agent\"]\n";
    let app = App::start(&format!("{kept}{}", patient_sources())).await;
    let visit = Visit::enter(&app).await;
    let mut event = Provider::Stripe.event(&mut fastrand::Rng::with_seed(5));
    let filling = "'$(id)`".repeat(40_000);
    let large = format!("{{\"id\":\"evt_large\",\"type\":\"t\",\"data\":\"{filling}\"}}");
    for (id, body) in [("", event.body.clone()), ("evt_large", large.into())] {
        event.body = body;
        let mut headers = event.signed(Provider::Stripe.secret(), now());
        for (name, value) in [("x-note", "it's \"$HOME\""), ("x-ops-token", "geheim")] {
            headers.push((name, value.to_owned()));
        }
        post(&client(), app.listen, "stripe", headers, event.body.clone()).await;
        let id = if id.is_empty() { &*event.id } else { id };
        let place = format!("/page/events/{id}");
        assert!(visit.screen(&place).await.contains("Copy as curl"));
        let screen = visit.screen(&format!("{place}/body")).await;
        let curl = text_of(&screen, "curl");
        assert!(
            curl.starts_with("URL='http://") && curl.contains("/ingest/stripe'\n"),
            "{curl}"
        );
        assert!(!curl.contains("geheim"), "{curl}");
        assert!(screen.contains("are left out: x-ops-token"), "{screen}");
        let folder = tempfile::tempdir().expect("a folder");
        let download = format!("{place}/download");
        let download = visit.ask(Method::GET, &download, &[], String::new());
        let download = download.await;
        let name = download.headers()["content-disposition"]
            .to_str()
            .expect("text");
        let name = name.split('"').nth(1).expect("a name").to_owned();
        let bytes = download.bytes().await.expect("a body");
        std::fs::write(folder.path().join(name), bytes).expect("written");
        let request = run(&curl, folder.path()).await;
        let (head, body) = request.split_once("\r\n\r\n").expect("a body");
        assert_eq!(body.as_bytes(), event.body);
        let head = head.to_ascii_lowercase();
        assert!(head.contains("x-note: it's \"$home\""), "{head}");
        assert!(head.contains("content-type: application/json"), "{head}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_charts_begin_before_somebody_looks() {
    let app = App::start(&patient_sources()).await;
    send(&app, Provider::Stripe, "evt_1");
    let visit = Visit::enter(&app).await;
    // Nobody looks meanwhile.
    tokio::time::sleep(Duration::from_secs(5)).await;
    let figures = visit.screen("/page/actors/figures").await;
    let figures: serde_json::Value = serde_json::from_str(&figures).expect("JSON");
    let seconds = figures["seconds"].as_array().expect("a column");
    assert!(seconds.len() > 1, "{seconds:?}");
    for chart in figures["charts"].as_array().expect("charts") {
        for series in chart["series"].as_array().expect("series") {
            assert_eq!(
                series["values"].as_array().map(Vec::len),
                Some(seconds.len())
            );
        }
    }
}
