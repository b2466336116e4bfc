//! Clients that are slow, large, silent, rude or gone: each gets a clear refusal, and the others notice nothing.

use std::io::Write;
use std::thread;
use std::time::Duration;

use hookweir::domain::delivery::MessageKey;
use hookweir::domain::outcome::Outcome;

use crate::http_support::{Client, Options, Server, eventually, post};

const HEAD: &str = "POST /ingest/demo HTTP/1.1\r\nhost: a\r\n";

/// Writes `piece` every `pause` until the server has had enough, in the background.
fn drip(client: &Client, piece: &'static [u8], pause: Duration) {
    let mut stream = client.stream.try_clone().expect("a second handle");
    thread::spawn(move || {
        while stream.write_all(piece).is_ok() {
            thread::sleep(pause);
        }
    });
}

#[test]
fn a_body_that_drips_is_refused() {
    let server = Server::start(Options::default());
    let mut client = server.client();
    client.send(format!("{HEAD}content-length: 1000\r\n\r\n").as_bytes());
    drip(&client, b"x", Duration::from_millis(200));
    let answer = client.response();
    assert_eq!(
        (answer.status, answer.header("connection")),
        (408, Some("close")),
        "below the minimum rate"
    );
    assert!(client.is_closed());
    server.settled();

    let mut options = Options::default();
    options.limits.body_timeout = Duration::from_millis(700);
    options.limits.min_body_bytes_per_sec = 1;
    let server = Server::start(options);
    let mut client = server.client();
    client.send(format!("{HEAD}transfer-encoding: chunked\r\n\r\n").as_bytes());
    drip(&client, b"4\r\nmore\r\n", Duration::from_millis(50));
    assert_eq!(client.response().status, 408, "past the time for a body");
    assert_eq!(
        server.metric(
            "hookweir_outcomes_total{outcome=\"rejected\",reason=\"body_too_slow\",source=\"demo\"}"
        ),
        1
    );
    server.settled();
}

#[test]
fn an_answer_that_does_not_come_is_a_503_by_the_deadline() {
    let server = Server::start(Options {
        deadline: Duration::from_millis(300),
        ..Options::default()
    });
    let mut client = server.client();
    client.send(post("demo", "x-do: hold\r\n", "{}").as_bytes());
    let answer = client.response();
    assert_eq!(
        (answer.status, answer.header("retry-after").is_some()),
        (503, true)
    );
    // On a busy machine this one may be late as well.
    eventually("the connection goes on", || {
        client.send(post("demo", "", "{}").as_bytes());
        client.response().status == 200
    });
    eventually("only what an actor holds keeps its room", || {
        server.budget.used().0 == 1
    });
    server.seen.lock().expect("no panic").held.clear();
    server.settled();
}

#[test]
fn a_body_that_is_too_large_is_refused_before_it_is_read() {
    let server = Server::start(Options::default());
    for length in ["1048577", "1000000000", "18446744073709551615"] {
        let mut client = server.client();
        client.send(format!("{HEAD}content-length: {length}\r\n\r\n").as_bytes());
        let answer = client.response();
        assert_eq!(
            (answer.status, answer.header("connection")),
            (413, Some("close")),
            "{length}"
        );
        assert!(client.is_closed());
    }
    let mut client = server.client();
    client
        .send(format!("{HEAD}content-length: 2000000\r\nexpect: 100-continue\r\n\r\n").as_bytes());
    assert_eq!(client.response().status, 413, "and is not asked for");

    let mut client = server.client();
    client.send(format!("{HEAD}transfer-encoding: chunked\r\n\r\n").as_bytes());
    drip(&client, b"10\r\n0123456789abcdef\r\n", Duration::ZERO);
    assert_eq!(client.response().status, 413, "a chunked body without end");
    assert!(
        client.is_closed(),
        "and it is not read to an end that never comes"
    );
    server.settled();
}

#[test]
fn a_head_that_is_too_large_is_refused() {
    let server = Server::start(Options::default());
    for (what, value) in [
        ("over the limit", 17_000),
        ("over what is read of a head", 200_000),
    ] {
        let mut client = server.client();
        client.send(
            format!(
                "{HEAD}content-length: 0\r\nx-large: {}\r\n\r\n",
                "x".repeat(value)
            )
            .as_bytes(),
        );
        let answer = client.response();
        assert_eq!(
            (answer.status, answer.header("content-type")),
            (431, Some("application/problem+json")),
            "{what}"
        );
    }
    let mut client = server.client();
    client.send(format!("POST /ingest/demo?{} HTTP/1.1\r\n", "x".repeat(60_000)).as_bytes());
    assert_eq!(client.response().status, 431, "a request line without end");
    assert!(client.is_closed());
    let many: String = (0..200).map(|n| format!("x-{n}: y\r\n")).collect();
    assert_eq!(
        server
            .once(&format!("{HEAD}{many}content-length: 0\r\n\r\n"))
            .status,
        431,
        "too many fields"
    );
    server.settled();
}

#[test]
fn a_head_that_does_not_come_is_refused_on_every_request_of_a_connection() {
    let mut options = Options::default();
    options.server.head_timeout = Duration::from_secs(2);
    options.server.keep_alive = Duration::from_secs(2);
    let server = Server::start(options);
    let served = || {
        let mut client = server.client();
        client.send(post("demo", "", "{}").as_bytes());
        assert_eq!(client.response().status, 200);
        client
    };
    thread::scope(|clients| {
        clients.spawn(|| {
            assert!(
                server.client().is_closed(),
                "without a word, since none was said"
            )
        });
        clients.spawn(|| assert!(served().is_closed(), "when it was idle for too long"));
        clients.spawn(|| {
            let mut first = server.client();
            drip(&first, b"x", Duration::from_millis(50));
            assert_eq!(first.response().status, 408);
        });
        clients.spawn(|| {
            let mut second = served();
            drip(&second, b"x", Duration::from_millis(50));
            assert_eq!(
                second.response().status,
                408,
                "the second head is timed too"
            );
            assert!(second.is_closed());
        });
    });
    eventually("all connections are gone", || {
        server.metric("hookweir_connections ") == 0
    });
}

#[test]
fn what_is_not_http_is_refused_and_tells_nothing() {
    let server = Server::start(Options::default());
    for garbage in [
        "\u{16}\u{3}\u{1}\u{2}\0\r\n\r\n",
        "GET / HTTP/9.9\r\n\r\n",
        "POST /ingest/demo HTTP/1.1\r\nhost: a\r\ncontent-length: 3\r\ntransfer-encoding: chunked\r\n\r\nabc",
        "POST /ingest/demo HTTP/1.1\r\nhost: a\r\ncontent-length: 3\r\ncontent-length: 4\r\n\r\nabcd",
        "POST /ingest/demo HTTP/1.1\r\nhost: a\r\ncontent-length: -1\r\n\r\n",
        "POST /ingest/demo HTTP/1.1\r\n\r\n",
    ] {
        let answer = server.once(garbage);
        assert_eq!(
            (answer.status, answer.body.as_str()),
            (400, ""),
            "{garbage:?}"
        );
    }
    assert_eq!(
        server
            .once(&format!("{HEAD}transfer-encoding: chunked\r\n\r\nZZ\r\n"))
            .status,
        400
    );
    assert!(server.seen.lock().expect("no panic").requests.is_empty());
    server.settled();
}

#[test]
fn past_the_budget_is_a_503_and_all_of_it_comes_back() {
    let mut options = Options::default();
    options.limits.in_flight_requests = 2;
    options.limits.in_flight_bytes = 100_000;
    let server = Server::start(options);
    let hold = || {
        let mut client = server.client();
        client.send(post("demo", "x-do: hold\r\n", "{}").as_bytes());
        client
    };
    let mut waiting = [hold(), hold()];
    eventually("two are held", || {
        server.seen.lock().expect("no panic").held.len() == 2
    });
    let mut third = server.client();
    for _ in 0..3 {
        third.send(post("demo", "", "{}").as_bytes());
        let answer = third.response();
        assert_eq!(
            (answer.status, answer.header("retry-after").is_some()),
            (503, true)
        );
    }
    assert_eq!(server.budget.used(), (2, 4));
    for ticket in server.seen.lock().expect("no panic").held.drain(..) {
        ticket.resolve(Outcome::Accepted {
            id: MessageKey::from_bytes([1; 32]).message_id(),
        });
    }
    assert!(
        waiting
            .iter_mut()
            .all(|client| client.response().status == 200)
    );
    third.send(post("demo", "", "{}").as_bytes());
    assert_eq!(
        third.response().status,
        200,
        "on the connection that was refused before"
    );

    assert_eq!(
        server.once(&post("demo", "", &"x".repeat(100_001))).status,
        503,
        "more bytes than there is room for"
    );
    let chunk = "x".repeat(60_000);
    let chunked = format!(
        "{HEAD}transfer-encoding: chunked\r\n\r\n{:x}\r\n{chunk}\r\n{:x}\r\n{chunk}\r\n0\r\n\r\n",
        chunk.len(),
        chunk.len()
    );
    assert_eq!(server.once(&chunked).status, 503, "found out on the way");
    assert_eq!(
        server.metric(
            "hookweir_outcomes_total{outcome=\"shed\",reason=\"requests\",source=\"demo\"}"
        ),
        3
    );
    assert_eq!(
        server.metric("hookweir_outcomes_total{outcome=\"shed\",reason=\"bytes\",source=\"demo\"}"),
        2
    );
    server.settled();
}

#[test]
fn a_reset_costs_one_outcome_and_no_room() {
    let server = Server::start(Options::default());
    let reset = |client: Client| {
        socket2::SockRef::from(&client.stream)
            .set_linger(Some(Duration::ZERO))
            .expect("a socket");
    };
    for _ in 0..20 {
        let mut client = server.client();
        client
            .send(format!("{HEAD}content-length: 50000\r\n\r\n{}", "x".repeat(20_000)).as_bytes());
        eventually("some of it has come", || server.budget.used().1 > 0);
        reset(client);
        eventually("its room is given back", || server.budget.used() == (0, 0));
    }
    assert_eq!(
        server.metric(
            "hookweir_outcomes_total{outcome=\"rejected\",reason=\"disconnected\",source=\"demo\"}"
        ),
        20
    );

    for n in 1..=20 {
        let mut client = server.client();
        client.send(post("demo", "x-do: hold\r\n", "{}").as_bytes());
        eventually("it is held", || {
            server.seen.lock().expect("no panic").held.len() == n
        });
        reset(client);
    }
    eventually("the connections are gone", || {
        server.metric("hookweir_connections ") == 0
    });
    assert_eq!(server.budget.used().0, 20, "an actor still has them");
    for ticket in server.seen.lock().expect("no panic").held.drain(..) {
        assert!(ticket.is_abandoned(), "and can see that nobody waits");
        ticket.resolve(Outcome::Accepted {
            id: MessageKey::from_bytes([1; 32]).message_id(),
        });
    }
    assert_eq!(
        server.metric("hookweir_outcomes_total{outcome=\"accepted\",reason=\"\",source=\"demo\"}"),
        20,
        "once each"
    );
    server.settled();
}

#[test]
fn silent_connections_leave_the_others_alone() {
    let server = Server::start(Options::default());
    let mut silent: Vec<Client> = (0..2000).map(|_| server.client()).collect();
    for (n, client) in silent.iter_mut().enumerate() {
        match n % 3 {
            0 => {}
            1 => client.send(HEAD.as_bytes()),
            _ => client.send(format!("{HEAD}content-length: 900000\r\n\r\n").as_bytes()),
        }
    }
    for _ in 0..200 {
        assert_eq!(server.once(&post("demo", "", "{}")).status, 200);
    }
    drop(silent);
    eventually("all connections are gone", || {
        server.metric("hookweir_connections ") == 0
    });
    server.settled();
}
