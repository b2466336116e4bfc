//! The public face of the ingest listener: what is answered, and what reaches the verifier.

use hookweir::runtime::listener::StopMode;
use hookweir::telemetry::health::State;

use crate::http_support::{Client, Options, Server, eventually, post};

#[test]
fn an_outcome_becomes_an_answer() {
    let server = Server::start(Options::default());
    let mut client = server.client();
    let mut ask = |wish: &str| {
        client.send(post("demo", wish, "{}").as_bytes());
        client.response()
    };

    let accepted = ask("");
    assert_eq!(accepted.status, 200);
    assert_eq!(accepted.header("content-type"), Some("application/json"));
    assert!(
        accepted.body.ends_with(r#"","status":"accepted"}"#)
            && accepted.body.starts_with(r#"{"id":""#),
        "{}",
        accepted.body
    );
    let duplicate = ask("x-do: duplicate\r\n");
    assert_eq!(
        (duplicate.status, duplicate.body),
        (200, accepted.body.replace("accepted", "duplicate")),
        "the same id"
    );

    let rejected = ask("x-do: reject\r\n");
    assert_eq!(
        (rejected.status, rejected.header("content-type")),
        (401, Some("application/problem+json"))
    );
    assert!(
        !rejected.body.contains("detail") && !rejected.body.contains("secret"),
        "{}",
        rejected.body
    );
    let id = rejected.header("x-request-id").expect("an id");
    assert!(
        rejected.body.contains(id),
        "the operator finds it by the id"
    );
    assert_ne!(
        accepted.header("x-request-id"),
        rejected.header("x-request-id")
    );

    for wish in ["x-do: fail\r\n", "x-do: drop\r\n"] {
        let failed = ask(wish);
        assert_eq!(failed.status, 503);
        let after: u64 = failed
            .header("retry-after")
            .and_then(|v| v.parse().ok())
            .expect("when to try again");
        assert!((1..=5).contains(&after), "{after}");
    }

    let challenge = ask("x-do: challenge\r\n");
    assert_eq!((challenge.status, challenge.body.as_str()), (202, "echo"));
    assert_eq!(
        (challenge.header("content-type"), challenge.header("x-hook")),
        (Some("text/x-challenge"), Some("yes"))
    );

    assert_eq!(
        server.metric("hookweir_http_answers_total{code=\"503\"}"),
        2
    );
    assert_eq!(server.metric("hookweir_outcomes_total{outcome=\"rejected\",reason=\"signature_mismatch\",source=\"demo\"}"), 1);
    server.settled();
}

#[test]
fn the_request_reaches_the_verifier_as_it_was_sent() {
    let server = Server::start(Options::default());
    let body = "\u{1f}\u{8b}not really gzip";
    let headers = "content-encoding: gzip\r\nX-Sig: one\r\nx-sig: two\r\n";
    assert_eq!(
        server
            .once(&post("a/b?x=%41&y=a%20b", headers, body))
            .status,
        200
    );
    assert_eq!(server.once(&post("%64emo", "", "")).status, 200);
    let chunked = "POST /ingest/demo HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n3\r\nabc\r\n2;ext=1\r\nde\r\n0\r\n\r\n";
    assert_eq!(server.once(chunked).status, 200);
    let large = "x".repeat(300_000);
    assert_eq!(server.once(&post("demo", "", &large)).status, 200);

    let seen = server.seen.lock().expect("no panic");
    let [first, second, third, fourth] = &seen.requests[..] else {
        panic!("{} requests", seen.requests.len())
    };
    assert_eq!(
        (first.target.as_str(), &first.body[..]),
        ("/ingest/a/b?x=%41&y=a%20b", body.as_bytes())
    );
    let name = "x-sig".parse().expect("a name");
    assert_eq!(
        first
            .headers
            .all(&name)
            .map(|v| v.to_str().expect("ascii"))
            .collect::<Vec<_>>(),
        ["one", "two"]
    );
    assert_eq!(
        (second.target.as_str(), second.body.len()),
        ("/ingest/%64emo", 0)
    );
    assert_eq!(&third.body[..], b"abcde");
    assert_eq!(&fourth.body[..], large.as_bytes());
}

#[test]
fn an_http_thread_verifies_by_itself_while_there_is_little_to_do() {
    let server = Server::start(Options::default());
    // A 32nd of the 64 that may be in hand.
    let hold = |count| {
        let mut client = server.client();
        client.send(post("demo", "x-do: hold\r\n", "{}").as_bytes());
        eventually("the delivery is in hand", || {
            server.seen.lock().unwrap().held.len() == count
        });
        client
    };
    let waiting = [hold(1), hold(2), hold(3), hold(4)];
    assert_eq!(
        server.seen.lock().unwrap().by,
        ["verifier-http", "verifier-http", "verifier", "verifier"]
    );
    drop(waiting);
    server.seen.lock().unwrap().held.clear();
    server.settled();
    for (bytes, by) in [(64 << 10, "verifier-http"), ((64 << 10) + 1, "verifier")] {
        assert_eq!(
            server.once(&post("demo", "", &"x".repeat(bytes))).status,
            200
        );
        assert_eq!(
            server.seen.lock().unwrap().by.last(),
            Some(&by),
            "{bytes} bytes"
        );
    }
}

#[test]
fn paths_and_methods() {
    let server = Server::start(Options::default());
    for path in ["nowhere", "demo/", "demo/../demo", "a%2fb/x", "", "DEMO"] {
        let answer = server.once(&post(path, "", "{}"));
        assert_eq!(
            (answer.status, answer.header("content-type")),
            (404, Some("application/problem+json")),
            "{path}"
        );
    }
    assert_eq!(server.once("GET / HTTP/1.1\r\nhost: a\r\n\r\n").status, 404);
    for method in ["PUT", "DELETE", "PATCH", "TRACE", "BREW"] {
        let answer = server.once(&format!(
            "{method} /ingest/demo HTTP/1.1\r\nhost: a\r\n\r\n"
        ));
        assert_eq!(
            (answer.status, answer.header("allow")),
            (405, Some("GET, HEAD, OPTIONS, POST")),
            "{method}"
        );
    }
    let mut client = server.client();
    for (method, status, has_body) in [
        ("GET", 200, true),
        ("HEAD", 200, false),
        ("OPTIONS", 204, false),
    ] {
        client.send(format!("{method} /ingest/demo HTTP/1.1\r\nhost: a\r\n\r\n").as_bytes());
        let answer = client.response_to(method);
        assert_eq!(
            (answer.status, !answer.body.is_empty()),
            (status, has_body),
            "{method}"
        );
        assert!(answer.header("x-request-id").is_some());
    }
    assert!(server.seen.lock().expect("no panic").requests.is_empty());
    assert_eq!(
        server.metric("hookweir_received_total{source=\"demo\"}"),
        0,
        "none of these is a delivery"
    );
}

#[test]
fn a_delivery_by_get_is_not_told_that_it_was_taken() {
    let server = Server::start(Options::default());
    let mut client = server.client();
    for method in ["GET", "HEAD"] {
        for (target, header) in [
            ("signed", "x-hub-signature-256: sha256=00\r\n"),
            ("token-in-url?secret=1&x=2", ""),
        ] {
            client.send(
                format!("{method} /ingest/{target} HTTP/1.1\r\nhost: a\r\n{header}\r\n").as_bytes(),
            );
            assert_eq!(client.response_to(method).status, 405, "{method} {target}");
        }
        client.send(
            format!("{method} /ingest/token-in-url?x=2 HTTP/1.1\r\nhost: a\r\n\r\n").as_bytes(),
        );
        assert_eq!(
            client.response_to(method).status,
            200,
            "a visitor with a browser is greeted"
        );
    }
    assert!(server.seen.lock().expect("no panic").requests.is_empty());
}

#[test]
fn a_provider_is_answered_in_its_own_words() {
    let server = Server::start(Options::default());
    let ask = |wish: &str| server.once(&post("fussy", wish, "{}"));
    for wish in ["", "x-do: duplicate\r\n"] {
        let answer = ask(wish);
        assert_eq!(
            (
                answer.status,
                answer.body.as_str(),
                answer.header("content-type")
            ),
            (202, "[accepted]", Some("text/plain"))
        );
    }
    let rejected = ask("x-do: reject\r\n");
    assert_eq!(
        (rejected.status, rejected.body.contains("detail")),
        (406, false)
    );
    let failed = ask("x-do: fail\r\n");
    assert_eq!(
        (failed.status, failed.header("retry-after").is_some()),
        (429, true)
    );

    let get = "GET /ingest/fussy?challenge=1 HTTP/1.1\r\nhost: a\r\nx-do: challenge\r\n\r\n";
    assert_eq!(
        server.once(get).status,
        202,
        "a handshake goes the way of every delivery"
    );
    let delete = server.once("DELETE /ingest/fussy HTTP/1.1\r\nhost: a\r\n\r\n");
    assert_eq!(
        (delete.status, delete.header("allow")),
        (405, Some("GET, HEAD, OPTIONS, POST, PUT"))
    );
    server.settled();
}

#[test]
fn expect_continue_and_pipelining() {
    let server = Server::start(Options::default());
    let mut client = server.client();
    client.send(b"POST /ingest/demo HTTP/1.1\r\nhost: a\r\ncontent-length: 2\r\nexpect: 100-continue\r\n\r\n");
    assert_eq!(client.response().status, 100);
    client.send(b"{}");
    assert_eq!(client.response().status, 200);

    let many: String = (0..50)
        .map(|n| {
            post(
                "demo",
                if n % 2 == 0 { "" } else { "x-do: reject\r\n" },
                "{}",
            )
        })
        .collect();
    client.send(many.as_bytes());
    let statuses: Vec<u16> = (0..50).map(|_| client.response().status).collect();
    assert_eq!(statuses, [200, 401].repeat(25), "in order");
    server.settled();
}

#[test]
fn a_stop_finishes_what_is_in_hand_and_says_goodbye() {
    let mut server = Server::start(Options::default());
    let mut waiting = server.client();
    waiting.send(post("demo", "x-do: hold\r\n", "{}").as_bytes());
    let mut idle = server.client();
    idle.send(post("demo", "", "{}").as_bytes());
    assert_eq!(idle.response().status, 200);
    eventually("one is held", || {
        !server.seen.lock().expect("no panic").held.is_empty()
    });

    server.begin_stop(StopMode::Graceful);
    assert!(idle.is_closed(), "idle connections are closed");
    let ticket = server
        .seen
        .lock()
        .expect("no panic")
        .held
        .pop()
        .expect("held");
    let id = hookweir::domain::delivery::MessageKey::from_bytes([7; 32]).message_id();
    ticket.resolve(hookweir::domain::outcome::Outcome::Accepted { id });
    let answer = waiting.response();
    assert_eq!(
        (answer.status, answer.header("connection")),
        (200, Some("close"))
    );
    assert!(waiting.is_closed());
    server.join();
}

#[test]
fn a_stop_at_once_waits_for_nobody() {
    let mut server = Server::start(Options::default());
    let mut waiting = server.client();
    waiting.send(post("demo", "x-do: hold\r\n", "{}").as_bytes());
    eventually("one is held", || {
        !server.seen.lock().expect("no panic").held.is_empty()
    });
    server.begin_stop(StopMode::Immediate);
    assert!(waiting.is_closed());
    server.join();
}

#[test]
fn the_admin_listener_says_how_it_is() {
    let server = Server::start(Options::default());
    let ask = |path: &str| {
        let mut client = Client::connect(server.admin);
        client.send(format!("GET {path} HTTP/1.1\r\nhost: a\r\n\r\n").as_bytes());
        client.response()
    };
    assert_eq!(ask("/livez").status, 200);
    assert_eq!(ask("/readyz").status, 200);
    server
        .health
        .component("store")
        .set(State::NotReady("no route to database".into()));
    let answer = ask("/readyz");
    assert_eq!(answer.status, 503);
    assert!(
        answer
            .body
            .contains(r#""store":{"reason":"no route to database","status":"not ready"}"#),
        "{}",
        answer.body
    );

    assert_eq!(server.once(&post("demo", "", "{}")).status, 200);
    let text = server.scrape();
    for line in [
        "hookweir_mailbox_capacity{actor=\"verifier\"} 1024",
        "hookweir_in_flight_requests_max 64",
        "hookweir_in_flight_bytes_max 4194304",
        "hookweir_connections_max 4096",
        "hookweir_ready 0",
        "hookweir_http_answers_total{code=\"200\"} 1",
    ] {
        assert!(text.contains(line), "{line} is not in\n{text}");
    }
    assert!(server.metric("hookweir_resident_bytes") > 1 << 20);
}
