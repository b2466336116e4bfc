//! Hostile input: a clear refusal or a correct acceptance, memory within the bound printed at start, and everybody else unharmed.

use std::io::Write as _;
use std::time::{Duration, Instant};

use bytes::Bytes;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use hookweir_testkit::app::{App, patient_sources};
use hookweir_testkit::ledger::{Answer, Attempt, Entry};
use hookweir_testkit::load::{Load, Running, client, post};
use hookweir_testkit::oracle::Account;
use hookweir_testkit::provider::{Event, Provider, now};
use hookweir_testkit::sink::{files, files_hold};

/// The program with well-behaved senders, amid whom an attack takes place.
pub(super) struct Scene {
    pub(super) app: App,
    pub(super) others: Running,
    /// Events of the attacker that were taken, so that the sink has to hold them.
    taken: Vec<Entry>,
}

impl Scene {
    pub(super) async fn begin() -> Self {
        Self::with("").await
    }

    pub(super) async fn with(config: &str) -> Self {
        let app = App::start(&format!("{config}\n{}", patient_sources())).await;
        let others = Load {
            connections: 8,
            rate: Some(100.0),
            ..Load::on(&[app.listen])
        }
        .start();
        others.until_taken(20).await;
        Self {
            app,
            others,
            taken: Vec::new(),
        }
    }

    /// Posts an event as its provider would.
    pub(super) async fn post(&mut self, event: &Event) -> Answer {
        let (headers, began) = (event.signed(event.provider.secret(), now()), Instant::now());
        let answer = post(
            &client(),
            self.app.listen,
            event.provider.name(),
            headers,
            event.body.clone(),
        )
        .await;
        if answer.is_taken() {
            self.taken.push(Entry::new(
                event,
                vec![Attempt::since(began, answer.clone())],
            ));
        }
        answer
    }

    pub(super) async fn end(mut self) {
        self.others.until_taken(20).await;
        let mut ledger = self.others.finish().await;
        ledger.check_faultless();
        ledger.entries.append(&mut self.taken);
        let (peak, bound) = (
            self.app.peak_memory(),
            self.app.memory_bound().expect("a bound in the banner"),
        );
        assert!(
            peak <= bound,
            "{peak} bytes of memory were used, and {bound} promised"
        );
        files_hold(&self.app.events(), ledger.genuine().count()).await;
        assert!(self.app.stop().await.success());
        Account::of(&ledger, &files(&self.app.events())).check_once();
    }
}

fn event(provider: Provider, id: &str, body: impl Into<Bytes>) -> Event {
    Event {
        provider,
        id: id.into(),
        kind: "ping",
        body: body.into(),
    }
}

/// Everything that comes back until the connection is closed, and how long that took.
async fn answer(stream: &mut TcpStream, patience: Duration) -> (String, Duration) {
    let (mut answer, since) = (Vec::new(), Instant::now());
    // A reset after the answer is as good as a close.
    let _ = tokio::time::timeout(patience, stream.read_to_end(&mut answer))
        .await
        .expect("the connection is closed in time");
    (
        String::from_utf8_lossy(&answer).into_owned(),
        since.elapsed(),
    )
}

fn head(path: &str, headers: &str) -> String {
    format!(
        "POST /ingest/{path} HTTP/1.1\r\nhost: hooks.example\r\ncontent-type: application/json\r\n{headers}\r\n\r\n"
    )
}

#[tokio::test(flavor = "multi_thread")]
async fn a_body_of_one_byte_a_second_is_answered_408() {
    let scene = Scene::begin().await;
    let mut drips = Vec::new();
    for _ in 0..50 {
        let mut stream = TcpStream::connect(scene.app.listen)
            .await
            .expect("connects");
        drips.push(tokio::spawn(async move {
            stream.write_all(head("stripe", "content-length: 100000").as_bytes()).await.expect("writes");
            let (mut from, mut to) = stream.split();
            let mut reply = Vec::new();
            let drip = async {
                while to.write_all(b"x").await.is_ok() {
                    tokio::time::sleep(Duration::from_secs(1)).await;
                }
                std::future::pending::<()>().await;
            };
            tokio::select! {
                // It may pause for 3 s, and has to keep up with the least rate.
                read = tokio::time::timeout(Duration::from_secs(60), from.read_to_end(&mut reply)) => { let _ = read.expect("an answer in time"); }
                () = drip => {}
            }
            String::from_utf8_lossy(&reply).into_owned()
        }));
    }
    for drip in drips {
        let reply = drip.await.expect("no panic");
        assert!(reply.starts_with("HTTP/1.1 408"), "{reply}");
        assert!(reply.contains("application/problem+json"), "{reply}");
    }
    scene.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_body_of_a_gigabyte_is_answered_413() {
    const GIGABYTE: usize = 1 << 30;
    let scene = Scene::begin().await;

    // Announced: refused before any of it is read.
    let mut stream = TcpStream::connect(scene.app.listen)
        .await
        .expect("connects");
    stream
        .write_all(head("stripe", &format!("content-length: {GIGABYTE}")).as_bytes())
        .await
        .expect("writes");
    let (reply, _) = answer(&mut stream, Duration::from_secs(60)).await;
    assert!(reply.starts_with("HTTP/1.1 413"), "{reply}");

    // Not announced, and without end: refused when it is too much, and no longer taken in soon after.
    let stream = TcpStream::connect(scene.app.listen)
        .await
        .expect("connects");
    let (mut from, mut to) = stream.into_split();
    to.write_all(head("stripe", "transfer-encoding: chunked").as_bytes())
        .await
        .expect("writes");
    let sent = tokio::spawn(async move {
        let chunk = [
            format!("{:x}\r\n", 1 << 20).into_bytes(),
            vec![b'x'; 1 << 20],
            b"\r\n".to_vec(),
        ]
        .concat();
        while to.write_all(&chunk).await.is_ok() {}
    });
    let mut reply = Vec::new();
    let _ = tokio::time::timeout(Duration::from_secs(60), from.read_to_end(&mut reply))
        .await
        .expect("an answer in time");
    let reply = String::from_utf8_lossy(&reply);
    // 408 where the machine is too slow to take 25 MB in time: a clear refusal as well.
    assert!(
        reply.starts_with("HTTP/1.1 413") || reply.starts_with("HTTP/1.1 408"),
        "{reply}"
    );
    drop(from);
    tokio::time::timeout(Duration::from_secs(60), sent)
        .await
        .expect("the connection is closed in time")
        .expect("no panic");
    scene.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_gzip_bomb_is_passed_on_as_the_bytes_that_it_is() {
    let mut scene = Scene::begin().await;
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
    let zeros = vec![0; 1 << 20];
    (0..200).for_each(|_| encoder.write_all(&zeros).expect("compresses"));
    let bomb = Bytes::from(encoder.finish().expect("compresses"));
    let bomb = event(Provider::Github, "bomb-1", bomb);
    let mut headers = bomb.signed(Provider::Github.secret(), now());
    headers.push(("content-encoding", "gzip".into()));
    let answer = post(
        &client(),
        scene.app.listen,
        "github",
        headers,
        bomb.body.clone(),
    )
    .await;
    assert!(
        answer.is_taken(),
        "the signature is over the bytes as sent: {answer:?}"
    );
    scene.taken.push(Entry::new(
        &bomb,
        vec![Attempt::since(Instant::now(), answer)],
    ));
    scene.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn json_nested_a_hundred_thousand_deep_is_taken() {
    let mut scene = Scene::begin().await;
    let deep =
        |open: &str, close: &str| format!("{}1{}", open.repeat(100_000), close.repeat(100_000));
    for (id, nested) in [
        ("evt_arrays", deep("[", "]")),
        ("evt_objects", deep("{\"id\":", "}")),
    ] {
        let body = format!("{{\"nested\":{nested},\"id\":\"{id}\",\"type\":\"ping\"}}");
        let answer = scene.post(&event(Provider::Stripe, id, body)).await;
        assert!(answer.is_taken(), "{id}: {answer:?}");
    }
    // Never closed: no JSON and no id, but signed all the same. It is known by its message.
    let unclosed = event(
        Provider::Stripe,
        "",
        format!("{{\"nested\":{}", "[".repeat(100_000)),
    );
    let Answer::Taken { id, new: true } = scene.post(&unclosed).await else {
        panic!("not taken")
    };
    scene.taken.last_mut().expect("it was taken").id = id;
    scene.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn ids_of_any_length_and_content_are_told_apart_and_taken_once() {
    let mut scene = Scene::begin().await;
    let long = "i".repeat(9000);
    let ids = [
        long.clone(),
        format!("{long}2"),
        r"\u0000\u0000".into(),
        r"\u0000".into(),
        r"evt_\u0000".into(),
        "\u{1f600}".into(),
    ];
    for id in &ids {
        let sent = event(
            Provider::Stripe,
            id,
            format!("{{\"id\":\"{id}\",\"type\":\"ping\"}}"),
        );
        let answer = scene.post(&sent).await;
        assert!(
            matches!(answer, Answer::Taken { new: true, .. }),
            "{}: {answer:?}",
            &id[..id.len().min(20)]
        );
        // How such an id is shown is for the queue to say; that it is the same event is for us.
        let shown = hookweir::domain::delivery::EventId::new(
            &serde_json::from_str::<String>(&format!("\"{id}\"")).expect("JSON"),
        );
        scene.taken.last_mut().expect("just pushed").id = shown.to_string();
        let again = post(
            &client(),
            scene.app.listen,
            "stripe",
            sent.signed(Provider::Stripe.secret(), now()),
            sent.body.clone(),
        )
        .await;
        assert!(
            matches!(again, Answer::Taken { new: false, .. }),
            "sent again: {again:?}"
        );
    }
    scene.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_id_that_parsers_could_disagree_on_is_answered_400() {
    let mut scene = Scene::begin().await;
    for body in [
        r#"{"id":"evt_1","type":"ping","id":"evt_2"}"#,
        r#"{"id":"evt_1","type":"ping","i\u0064":"evt_2"}"#,
        r#"{"type":"ping","id":"evt_1","id":"evt_1"}"#,
    ] {
        assert_eq!(
            scene.post(&event(Provider::Stripe, "none", body)).await,
            Answer::Status(400),
            "{body}"
        );
    }
    scene.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn two_thousand_silent_connections_are_closed_and_nobody_else_notices() {
    let scene = Scene::with("[server]\nhead_timeout_ms = 3000").await;
    let mut silent = Vec::new();
    for number in 0..2000 {
        let mut stream = TcpStream::connect(scene.app.listen)
            .await
            .expect("connects");
        if number % 2 == 0 {
            stream
                .write_all(b"POST /ingest/stripe HTTP/1.1\r\nhost: x\r\n")
                .await
                .expect("writes");
        }
        silent.push(stream);
    }
    scene.others.until_taken(200).await;
    for stream in &mut silent {
        let (reply, _) = answer(stream, Duration::from_secs(60)).await;
        assert!(
            reply.is_empty() || reply.starts_with("HTTP/1.1 408"),
            "{reply}"
        );
    }
    scene.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn headers_beyond_the_limit_are_answered_431() {
    let scene = Scene::begin().await;
    for size in [20_000, 200_000] {
        let mut stream = TcpStream::connect(scene.app.listen)
            .await
            .expect("connects");
        let large = format!("x-large: {}\r\ncontent-length: 2", "h".repeat(size));
        let _ = stream.write_all(head("stripe", &large).as_bytes()).await;
        let _ = stream.write_all(b"{}").await;
        let (reply, _) = answer(&mut stream, Duration::from_secs(60)).await;
        assert!(reply.starts_with("HTTP/1.1 431"), "{size} bytes: {reply}");
    }
    scene.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn more_in_flight_than_a_source_has_room_for_is_answered_503_and_the_others_200() {
    let scene = Scene::with("[limits]\nmax_body_bytes = 262144\nin_flight_bytes = 1048576").await;
    // Most of a body, and not the rest: each takes its room until its time is up.
    let mut waiting = Vec::new();
    for _ in 0..30 {
        let mut stream = TcpStream::connect(scene.app.listen)
            .await
            .expect("connects");
        stream
            .write_all(head("github", "content-length: 250000").as_bytes())
            .await
            .expect("writes");
        // May be refused before all of it is sent.
        let _ = stream.write_all(&[b'x'; 200_000]).await;
        waiting.push(stream);
    }
    let mut replies = Vec::new();
    for stream in &mut waiting {
        replies.push(answer(stream, Duration::from_secs(60)).await.0);
    }
    let count = |status: &str| {
        replies
            .iter()
            .filter(|reply| reply.starts_with(status))
            .count()
    };
    let (shed, late) = (count("HTTP/1.1 503"), count("HTTP/1.1 408"));
    assert!(
        shed > 0 && late > 0 && shed + late == 30,
        "{shed} were shed and {late} timed out"
    );
    let mut sheds = replies
        .iter()
        .filter(|reply| reply.starts_with("HTTP/1.1 503"));
    assert!(
        sheds.all(|reply| reply.to_lowercase().contains("retry-after: ")),
        "each says when to come back"
    );
    assert!(
        scene.app.metrics().await.sum(
            "hookweir_outcomes_total",
            &["outcome=\"shed\"", "reason=\"source_bytes\""]
        ) >= shed
    );
    // The others found the room that is kept for small bodies.
    scene.end().await;
}
