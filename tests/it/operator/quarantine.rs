//! `hookweir quarantine`: refused deliveries that are kept, looked at, verified again and deleted.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::Write;
use std::net::TcpStream;
use std::time::{Duration, Instant};

use fastrand::Rng;
use hookweir::domain::delivery::wall_clock;
use hookweir::faults::points::QUARANTINE_POINT;
use hookweir_testkit::app::{App, patient_sources};
use hookweir_testkit::ledger::Answer;
use hookweir_testkit::load::{client, post};
use hookweir_testkit::provider::{Event, Provider, now};
use hookweir_testkit::sink::{files, files_so_far};
use serde_json::Value;

use super::{at_the_address, hookweir, json, raw, traced};
use crate::signals::logs;

/// Deliveries that a provider sends while the secret is wrong, and forged ones among them.
const SENT: usize = 1000;
const FORGED: usize = 60;

const WRONG: &str = "not the secret that GitHub has";

/// The five sources, with a wrong secret for GitHub.
fn wrong() -> String {
    patient_sources().replace(Provider::Github.secret(), WRONG)
}

fn write(app: &App, config: &str) {
    fs::write(app.folder().join("config.toml"), config).expect("written");
}

async fn deliver(app: &App, event: &Event, secret: &str) -> Answer {
    let headers = event.signed(secret, now());
    let path = event.provider.name();
    post(&client(), app.listen, path, headers, event.body.clone()).await
}

/// Lists refused deliveries until there are as many.
pub(super) async fn kept(app: &App, args: &[&str], count: usize) -> Vec<Value> {
    let since = Instant::now();
    loop {
        let listed = [&["quarantine", "--limit", "5000"], args].concat();
        let listed = json(app, &listed);
        if listed.len() == count {
            return listed;
        }
        assert!(
            since.elapsed() < Duration::from_secs(60),
            "{} are kept, not {count}\n{}",
            listed.len(),
            app.log()
        );
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

/// Sends deliveries that nobody at GitHub has signed.
pub(super) async fn forgeries_are_refused(app: &App, count: usize) {
    let mut rng = Rng::with_seed(11);
    for _ in 0..count {
        let event = Provider::Github.event(&mut rng);
        assert_eq!(deliver(app, &event, WRONG).await, Answer::Status(401));
    }
}

fn number(refused: &Value) -> String {
    refused["number"].as_i64().expect("a number").to_string()
}

/// Times of receipt, each with its count.
fn times<'v>(of: impl IntoIterator<Item = &'v Value>) -> BTreeMap<&'v str, usize> {
    let mut times = BTreeMap::new();
    for one in of {
        *times
            .entry(one["received_at"].as_str().expect("a time"))
            .or_default() += 1;
    }
    times
}

/// Sends events that are refused, in parts at once.
async fn refused(app: &App, events: &[Event], forged: usize) {
    let mut rng = Rng::with_seed(99);
    let client = client();
    let mut sent = Vec::new();
    for (at, event) in events.iter().enumerate() {
        let path = event.provider.name();
        let signed = event.signed(event.provider.secret(), now());
        sent.push((path, signed, event.body.clone()));
        if at < forged {
            let (headers, body) = event.provider.event(&mut rng).forged(&mut rng, now());
            sent.push((path, headers, body));
        }
    }
    for part in sent.chunks(20) {
        let posts = part.iter().cloned();
        let posts =
            posts.map(|(path, headers, body)| post(&client, app.listen, path, headers, body));
        for answer in futures_util::future::join_all(posts).await {
            assert_eq!(answer, Answer::Status(401));
        }
    }
}

/// The whole story of a wrong secret, with the service's store.
pub(super) async fn a_wrong_secret_is_mended(store: &str) {
    let mut app = App::start(&format!("{store}{}", wrong())).await;
    let mut rng = Rng::with_seed(23);
    let events: Vec<Event> = (0..SENT)
        .map(|_| Provider::Github.event(&mut rng))
        .collect();
    refused(&app, &events, FORGED).await;
    let before = kept(&app, &["--source", "github"], SENT + FORGED).await;
    app.stop().await;
    app.start_again().await;
    app.ready().await;
    assert_eq!(kept(&app, &[], SENT + FORGED).await, before, "a restart");

    let early = hookweir(&app, &["quarantine", "verify"]).good();
    assert!(
        early.contains("0 accepted, 0 known already, 1060 still refused"),
        "{early}"
    );
    write(&app, &format!("{store}{}", patient_sources()));
    hookweir(&app, &["reload"]).good();
    let mended = wall_clock();
    // GitHub's own button, before the operator's command.
    for event in &events[..5] {
        assert!(
            deliver(&app, event, Provider::Github.secret())
                .await
                .is_taken()
        );
    }
    let plan = hookweir(&app, &["quarantine", "verify", "--dry-run"]).good();
    assert!(
        plan.contains("1060 looked at: 1000 proven, 60 still refused"),
        "{plan}"
    );
    assert_eq!(kept(&app, &[], SENT + FORGED).await, before, "a dry run");
    let done = hookweir(&app, &["quarantine", "verify", "--source", "github"]).good();
    let result = "1060 looked at: 995 accepted, 5 known already, 60 still refused";
    assert!(done.contains(result), "{done}");
    let again = hookweir(&app, &["quarantine", "verify"]).good();
    assert!(
        again.contains("60 looked at: 0 accepted, 0 known already, 60 still"),
        "{again}"
    );

    let forged = kept(&app, &[], FORGED).await;
    let numbers: BTreeSet<String> = forged.iter().map(number).collect();
    let proven = before.iter().filter(|one| !numbers.contains(&number(one)));
    let mut proven = times(proven);
    let stored = json(&app, &["events", "--source", "github", "--limit", "5000"]);
    assert_eq!(stored.len(), SENT);
    let border = jiff::Timestamp::from_millisecond(mended.0).expect("a time");
    let border = format!("{border:.3}");
    let (early, late): (Vec<&Value>, Vec<&Value>) = stored
        .iter()
        .partition(|event| event["received_at"].as_str().expect("a time") < border.as_str());
    assert_eq!((early.len(), late.len()), (SENT - 5, 5));
    for (time, count) in times(early) {
        let first = proven.get_mut(time).expect("a first time of receipt");
        assert!(*first >= count, "{time}");
        *first -= count;
    }

    app.drained().await;
    let mut queued: Vec<String> = files(&app.events())
        .into_iter()
        .map(|of| of.event_id)
        .collect();
    queued.sort_unstable();
    let mut sent: Vec<String> = events.iter().map(|event| event.id.clone()).collect();
    sent.sort_unstable();
    assert_eq!(queued, sent, "each once");
    let because = ["--reason", "forged"];
    hookweir(&app, &[&["quarantine", "discard"], &because[..]].concat()).bad(64);
    let all = ["quarantine", "discard", "--all"];
    hookweir(&app, &all).bad(64);
    let gone = hookweir(&app, &[&all, &because[..]].concat()).good();
    assert_eq!(gone.trim_end(), "60 discarded");
    assert!(json(&app, &["quarantine"]).is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_secret_costs_no_event_and_no_time_of_receipt_once_it_is_mended() {
    a_wrong_secret_is_mended("").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_flood_of_forgeries_keeps_its_bounds_and_deletes_nothing_of_another_source() {
    let bounds = "[quarantine]\nsource_rows = 50\nsource_bytes = 1048576\nsource_per_sec = 1\n";
    let app = App::start(&format!("{bounds}{}", patient_sources())).await;
    let mut rng = Rng::with_seed(5);
    for _ in 0..3 {
        let event = Provider::Stripe.event(&mut rng);
        assert_eq!(deliver(&app, &event, WRONG).await, Answer::Status(401));
    }
    let quiet = kept(&app, &["--source", "stripe"], 3).await;
    let (mut flooded, client) = (0, client());
    for n in 0..500 {
        let size = if n % 5 == 0 { 100_000 } else { 100 };
        let event = Provider::Github.event_of(&mut rng, size);
        let headers = event.signed(WRONG, now());
        let answer = post(&client, app.listen, "github", headers, event.body).await;
        assert_eq!(answer, Answer::Status(401));
        flooded += 1;
    }
    let github = ["source=\"github\""];
    let since = Instant::now();
    loop {
        let metrics = app.metrics().await;
        let count = |name: &str| metrics.sum(name, &github);
        let rate = ["source=\"github\"", "reason=\"rate\""];
        let dropped = metrics.sum("hookweir_quarantine_dropped_total", &rate);
        let (rows, bytes) = (
            count("hookweir_quarantine_rows"),
            count("hookweir_quarantine_bytes"),
        );
        let kept = count("hookweir_quarantined_total");
        if kept + dropped == flooded && rows > 0 && rows <= 50 && bytes <= 1 << 20 {
            assert!(dropped > 0 && kept >= 60, "{kept} kept, {dropped} dropped");
            break;
        }
        assert!(since.elapsed() < Duration::from_secs(60), "{metrics:?}");
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    let listed = json(
        &app,
        &["quarantine", "--source", "github", "--limit", "500"],
    );
    let bytes: u64 = listed
        .iter()
        .map(|one| one["bytes"].as_u64().expect("bytes"))
        .sum();
    assert!(
        listed.len() <= 50 && bytes <= 1 << 20,
        "{} rows, {bytes} bytes",
        listed.len()
    );
    assert_eq!(kept(&app, &["--source", "stripe"], 3).await, quiet);
    // A valid source goes on.
    let event = Provider::Slack.event(&mut rng);
    assert!(
        deliver(&app, &event, Provider::Slack.secret())
            .await
            .is_taken()
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refused_delivery_is_kept_byte_for_byte_with_its_reason_and_where_it_was_cut() {
    let limits = "[limits]\nmax_body_bytes = 100000\n";
    let app = App::start(&format!("{limits}{}", patient_sources())).await;
    let mut rng = Rng::with_seed(6);
    let client = client();
    let stripe = Provider::Stripe.event_of(&mut rng, 300);
    let old = stripe.signed(Provider::Stripe.secret(), now() - 3600);
    let unsigned = vec![("x-note", "\u{e4}".to_owned())];
    for headers in [old, unsigned] {
        let answer = post(&client, app.listen, "stripe", headers, stripe.body.clone()).await;
        assert_eq!(answer, Answer::Status(401));
    }
    let large = Provider::Github.event_of(&mut rng, 200_000);
    let answer = deliver(&app, &large, Provider::Github.secret()).await;
    assert!(
        matches!(answer, Answer::Status(413) | Answer::Broken(_)),
        "{answer:?}"
    );
    let mut chunked = TcpStream::connect(app.listen).expect("connected");
    let head = "POST /ingest/github HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n";
    let chunk = format!("{:x}\r\n{}\r\n", 10_000, "x".repeat(10_000));
    chunked.write_all(head.as_bytes()).expect("sent");
    for _ in 0..20 {
        // It may be closed while it is still sending.
        let _ = chunked.write_all(chunk.as_bytes());
    }
    let listed = kept(&app, &[], 4).await;
    let of = |at: usize| {
        let one = &listed[at];
        let text = |name: &str| one[name].as_str().expect("text");
        (
            text("reason"),
            one["bytes"].as_u64().expect("bytes"),
            one["cut"] == true,
        )
    };
    let whole = stripe.body.len() as u64;
    assert_eq!(of(3), ("timestamp_too_old", whole, false));
    assert_eq!(of(2), ("signature_missing", whole, false));
    assert_eq!(of(1), ("body_too_large", 0, true), "not read at all");
    let (reason, bytes, cut) = of(0);
    assert_eq!((reason, cut), ("body_too_large", true));
    assert!((1..=100_000).contains(&bytes), "{bytes}");
    assert!(
        listed.iter().all(|one| one["peer"] == "127.0.0.1"),
        "{listed:?}"
    );

    let (old, unsigned) = (number(&listed[3]), number(&listed[2]));
    let body = super::output(&app, &["quarantine", "show", &old, "--body"]);
    assert_eq!(body.stdout, stripe.body);
    let headers = hookweir(&app, &["quarantine", "show", &unsigned, "--headers"]).good();
    assert!(
        headers.starts_with("POST /ingest/stripe HTTP/1.1\n"),
        "{headers}"
    );
    assert!(headers.contains("x-note: \u{e4}\n"), "{headers}");
    // What is shown is what `hookweir verify` reads.
    let headers = hookweir(&app, &["quarantine", "show", &old, "--headers"]).good();
    fs::write(app.folder().join("headers.txt"), headers).expect("written");
    fs::write(app.folder().join("body.bin"), &body.stdout).expect("written");
    let at = listed[3]["received_at"].as_str().expect("a time");
    let files = ["--headers", "headers.txt", "--body", "body.bin", "--at", at];
    let verify = [&["verify", "--source", "stripe"], &files[..]].concat();
    let said = hookweir(&app, &verify);
    assert_eq!(said.code, Some(1), "{}", said.err);
    assert!(said.out.contains("timestamp_too_old"), "{}", said.out);
    let missing = hookweir(&app, &["quarantine", "show", "999"]).bad(1);
    assert!(
        missing.contains("`hookweir quarantine` lists them"),
        "{missing}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_nearly_right_secret_in_a_header_is_shown_to_those_only_who_may_open_bodies() {
    let canary = "c4n4ry-0123456789abcdef";
    let config = "[[source]]\nname = \"gitlab\"\nprovider = \"gitlab-token\"\nsecrets = [\"plain:another token of 24 bytes\"]\n\
         [admin.tokens.ann]\nsecret = \"plain:0123456789abcdef\"\nmay = [\"look\"]\n";
    let app = App::start(&format!("{config}{}", patient_sources())).await;
    let headers = vec![
        ("X-Gitlab-Token", canary.to_owned()),
        ("Authorization", format!("Bearer {canary}")),
    ];
    let path = format!("gitlab?token={canary}");
    let answer = post(&client(), app.listen, &path, headers, "{}".into()).await;
    assert_eq!(answer, Answer::Status(401));
    let number = number(&kept(&app, &[], 1).await[0]);
    let mut said = vec![app.log()];
    for args in [
        &["quarantine"][..],
        &["quarantine", "--json"],
        &["quarantine", "show", &number],
        &["quarantine", "show", &number, "--json"],
        &["quarantine", "verify", "--dry-run"],
        &["quarantine", "verify"],
        &["sources"],
    ] {
        let answer = hookweir(&app, args).good();
        assert!(!answer.is_empty(), "{args:?}");
        said.push(answer);
    }
    for path in [
        "/api/v1/quarantine",
        &format!("/api/v1/quarantine/{number}"),
    ] {
        let (status, answer) = raw(&app, "GET", path);
        assert_eq!(status, 200, "{answer}");
        said.push(answer);
    }
    let token = ["Host: localhost", "Authorization: Bearer 0123456789abcdef"];
    for part in ["request", "body"] {
        let path = format!("/api/v1/quarantine/{number}/{part}");
        let (status, answer) = at_the_address(&app, &path, &token);
        assert_eq!(status, 403, "{answer}");
        said.push(answer);
    }
    said.push(app.log());
    for answer in said {
        assert!(!answer.contains(canary), "{answer}");
    }
    let shown = hookweir(&app, &["quarantine", "show", &number, "--headers"]).good();
    assert!(
        shown.contains(&format!("x-gitlab-token: {canary}")),
        "{shown}"
    );
    logs(&app, "open body").await;
    let log = app.log();
    assert!(!log.contains(canary), "{log}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_death_between_the_event_and_the_end_of_its_quarantine_doubles_nothing() {
    let mut app = App::start(&wrong()).await;
    let mut rng = Rng::with_seed(7);
    let events: Vec<Event> = (0..30).map(|_| Provider::Github.event(&mut rng)).collect();
    refused(&app, &events, 0).await;
    kept(&app, &[], 30).await;
    app.stop().await;
    write(&app, &patient_sources());
    app.set_environment(&[("FAILPOINTS", format!("{QUARANTINE_POINT}=return"))]);
    app.start_again().await;
    app.ready().await;
    let died = hookweir(&app, &["quarantine", "verify"]);
    assert_ne!(died.code, Some(0), "{}", died.out);
    app.ended(Duration::from_secs(60)).await;
    app.clear_environment();
    app.start_again().await;
    app.ready().await;
    assert_eq!(kept(&app, &[], 30).await.len(), 30, "they are kept still");
    let done = hookweir(&app, &["quarantine", "verify"]).good();
    assert!(done.contains("0 accepted, 30 known already"), "{done}");
    assert!(json(&app, &["quarantine"]).is_empty());
    let since = Instant::now();
    loop {
        let queued = files_so_far(&app.events()).into_iter().map(|of| of.id);
        let queued: BTreeSet<String> = queued.collect();
        assert!(queued.len() <= 30, "one message id for each");
        if queued.len() == 30 {
            break;
        }
        let patient = since.elapsed() < Duration::from_secs(60);
        assert!(patient, "{} of 30\n{}", queued.len(), app.log());
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_quarantine_that_is_off_keeps_nothing_and_a_kept_delivery_is_verified_all_the_same() {
    let mut app = App::start(&wrong()).await;
    let event = Provider::Github.event(&mut Rng::with_seed(8));
    let right = Provider::Github.secret();
    assert_eq!(deliver(&app, &event, right).await, Answer::Status(401));
    kept(&app, &[], 1).await;
    app.stop().await;
    write(
        &app,
        &format!("[quarantine]\nenabled = false\n{}", patient_sources()),
    );
    app.start_again().await;
    app.ready().await;
    let other = Provider::Github.event(&mut Rng::with_seed(9));
    assert_eq!(deliver(&app, &other, WRONG).await, Answer::Status(401));
    let done = hookweir(&app, &["quarantine", "verify"]).good();
    assert!(done.contains("1 looked at: 1 accepted"), "{done}");
    traced(&app, &event.id, "default", "confirmed").await;
    assert!(json(&app, &["quarantine"]).is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn the_cause_of_a_refusal_is_named_by_show_by_the_api_and_by_verify_and_no_secret_is() {
    let app = App::start(&patient_sources()).await;
    let event = Provider::Github.event(&mut Rng::with_seed(10));
    let wrong = Provider::Shopify.secret();
    assert_eq!(deliver(&app, &event, wrong).await, Answer::Status(401));
    let first = number(&kept(&app, &[], 1).await[0]);
    let shown = hookweir(&app, &["quarantine", "show", &first]).good();
    let cause = "it was signed with secret 1, a secret of source shopify";
    assert!(shown.contains(cause), "{shown}");
    let details = json(&app, &["quarantine", "show", &first]).remove(0);
    assert_eq!(details["diagnosis"]["cause"], "secret_of_other_source");
    let (_, answer) = raw(&app, "GET", &format!("/api/v1/quarantine/{first}"));
    assert!(answer.contains(cause), "{answer}");
    let headers = hookweir(&app, &["quarantine", "show", &first, "--headers"]).good();
    fs::write(app.folder().join("headers.txt"), headers).expect("written");
    fs::write(app.folder().join("body.bin"), &event.body).expect("written");
    let files = ["--headers", "headers.txt", "--body", "body.bin"];
    let verify = [&["verify", "--source", "github"], &files[..]].concat();
    let said = hookweir(&app, &verify);
    assert_eq!(said.code, Some(1), "{}", said.err);
    assert!(said.out.contains(cause), "{}", said.out);

    write(&app, &self::wrong());
    hookweir(&app, &["reload"]).good();
    let right = Provider::Github.secret();
    assert_eq!(deliver(&app, &event, right).await, Answer::Status(401));
    let second = number(&kept(&app, &[], 2).await[0]);
    let removed = hookweir(&app, &["quarantine", "show", &second]).good();
    let before = "a secret that this source had before a reload";
    assert!(removed.contains(before), "{removed}");
    for said in [shown, answer, said.out, removed, app.log()] {
        for provider in Provider::ALL {
            assert!(!said.contains(provider.secret()), "{said}");
        }
        assert!(!said.contains(WRONG), "{said}");
    }
}
