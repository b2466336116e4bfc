//! Room that one sender takes is not taken from the others: bytes of bodies, time, connections.

use std::io::Write as _;
use std::time::{Duration, Instant};

use hmac::{Hmac, KeyInit as _, Mac as _};
use sha2::Sha256;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::task::JoinSet;

use super::hostile::Scene;

fn head(path: &str, length: usize, more: &str) -> String {
    format!(
        "POST /ingest/{path} HTTP/1.1\r\nhost: h\r\ncontent-type: application/json\r\ncontent-length: {length}\r\n{more}\r\n"
    )
}

/// Sends all but the last byte of a body, and waits for what is answered.
async fn hold_back_a_byte(target: std::net::SocketAddr, length: usize) -> String {
    let mut stream = TcpStream::connect(target).await.expect("connects");
    stream
        .write_all(head("standardwebhooks", length, "").as_bytes())
        .await
        .expect("writes");
    let mut reply = Vec::new();
    let (mut from, mut to) = stream.split();
    let send = async {
        let piece = vec![b'x'; 1 << 20];
        let mut left = length - 1;
        while left > 0 && to.write_all(&piece[..left.min(piece.len())]).await.is_ok() {
            left -= left.min(piece.len());
        }
        std::future::pending::<()>().await;
    };
    tokio::select! {
        read = tokio::time::timeout(Duration::from_secs(40), from.read_to_end(&mut reply)) => { let _ = read.expect("an answer in time"); }
        () = send => {}
    }
    String::from_utf8_lossy(&reply).into_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn bodies_that_are_held_open_at_one_source_leave_the_others_their_room() {
    let scene = Scene::begin().await;
    let (target, since) = (scene.app.listen, Instant::now());
    let mut senders = JoinSet::new();
    for megabytes in [26, 26, 26, 26, 26, 4] {
        senders.spawn(async move {
            let mut replies = Vec::new();
            while since.elapsed() < Duration::from_secs(4) {
                replies.push(hold_back_a_byte(target, megabytes * 1_000_000).await);
            }
            replies
        });
    }
    let mut taken: f64 = 0.0;
    // On a slow machine the bodies take longer to come.
    while since.elapsed() < Duration::from_secs(4)
        || taken <= 20e6 && since.elapsed() < Duration::from_secs(30)
    {
        taken = taken.max(scene.app.metrics().await.get("hookweir_in_flight_bytes"));
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    assert!(
        taken > 20e6 && taken < 80e6,
        "{taken} bytes were held open, of 134 million"
    );
    for reply in senders.join_all().await.into_iter().flatten() {
        assert!(
            ["HTTP/1.1 408", "HTTP/1.1 503"]
                .iter()
                .any(|refused| reply.starts_with(refused))
                || reply.is_empty(),
            "{reply}"
        );
    }
    // No other delivery was answered anything but 200.
    scene.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_large_event_over_a_slow_link_is_taken_after_the_answers_deadline() {
    let config = "[limits]\ndeadline_ms = 8000\n[spool]\nafter_ms = 500\n\
                  [[source]]\nname = \"postmark\"\nprovider = \"postmark\"\nsecrets = [\"plain:user:a long password\"]\n";
    let app = hookweir_testkit::app::App::start(config).await;
    let body = format!(
        "{{\"RecordType\":\"Inbound\",\"TextBody\":\"{}\"}}",
        "x".repeat(10_000_000)
    );
    let authorization = "authorization: Basic dXNlcjphIGxvbmcgcGFzc3dvcmQ=\r\n";
    for length in [true, false] {
        let since = Instant::now();
        let mut stream = TcpStream::connect(app.listen).await.expect("connects");
        let head = match length {
            true => head("postmark", body.len(), authorization),
            false => format!(
                "POST /ingest/postmark HTTP/1.1\r\nhost: h\r\ntransfer-encoding: chunked\r\n{authorization}\r\n"
            ),
        };
        stream.write_all(head.as_bytes()).await.expect("writes");
        // 7.5 Mbit a second.
        for piece in body.as_bytes().chunks(375_000) {
            if length {
                stream.write_all(piece).await.expect("writes");
            } else {
                stream
                    .write_all(
                        &[format!("{:x}\r\n", piece.len()).as_bytes(), piece, b"\r\n"].concat(),
                    )
                    .await
                    .expect("writes");
            }
            tokio::time::sleep(Duration::from_millis(400)).await;
        }
        if !length {
            stream.write_all(b"0\r\n\r\n").await.expect("writes");
        }
        assert!(
            since.elapsed() > Duration::from_secs(8),
            "it took longer than the deadline"
        );
        let mut reply = [0; 12];
        tokio::time::timeout(Duration::from_secs(20), stream.read_exact(&mut reply))
            .await
            .expect("an answer")
            .expect("an answer");
        assert_eq!(&reply, b"HTTP/1.1 200", "with a declared length: {length}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn forged_gzip_bombs_cost_the_other_sources_nothing() {
    const SECRET: &str = "a long secret of the source stream";
    let scene = Scene::with(&format!(
        "[[source]]\nname = \"stream\"\nprovider = \"stream\"\nsecrets = [\"plain:{SECRET}\"]\ndeadline_ms = 15000\n[log]\ndeliveries = \"none\"\n"
    ))
    .await;
    let gzip = |plain: &[u8]| {
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
        encoder.write_all(plain).expect("memory");
        encoder.finish().expect("memory")
    };
    let (target, client) = (scene.app.listen, hookweir_testkit::load::client());
    let post = {
        let (client, url) = (client.clone(), format!("http://{target}/ingest/stream"));
        move |signature: String, body: Vec<u8>| {
            let post = client
                .post(&url)
                .header("x-signature", signature)
                .header("x-webhook-id", "w1");
            async move {
                post.header("content-encoding", "gzip")
                    .body(body)
                    .send()
                    .await
                    .expect("an answer")
                    .status()
                    .as_u16()
            }
        }
    };
    let bomb = gzip(&vec![0; 25_000_000]);
    assert!(
        bomb.len() < 64 * 1024,
        "as small as what an HTTP thread verifies by itself"
    );
    let mut lie = bomb.clone();
    let at = lie.len() - 4;
    lie[at..].copy_from_slice(&[0; 4]);

    // As many as come: each is refused for its signature, or for want of room.
    let since = Instant::now();
    let mut forgers = JoinSet::new();
    for number in 0..16 {
        let (post, bomb) = (
            post.clone(),
            if number % 4 == 0 {
                lie.clone()
            } else {
                bomb.clone()
            },
        );
        forgers.spawn(async move {
            let mut seen = std::collections::BTreeMap::<u16, usize>::new();
            while since.elapsed() < Duration::from_secs(4) {
                *seen
                    .entry(post("00".repeat(32), bomb.clone()).await)
                    .or_default() += 1;
            }
            seen
        });
    }
    let mut took = Vec::new();
    while since.elapsed() < Duration::from_secs(4) {
        let asked = Instant::now();
        let answer = client
            .get(format!("http://{target}/ingest/stripe"))
            .send()
            .await
            .expect("an answer");
        assert_eq!(answer.status(), 200);
        took.push(asked.elapsed());
    }
    took.sort_unstable();
    let mut statuses = std::collections::BTreeMap::<u16, usize>::new();
    for seen in forgers.join_all().await {
        seen.into_iter()
            .for_each(|(status, count)| *statuses.entry(status).or_default() += count);
    }
    assert!(
        statuses
            .keys()
            .all(|status| [400, 401, 503].contains(status)),
        "{statuses:?}"
    );
    assert!(
        statuses.contains_key(&401) && statuses.contains_key(&503),
        "{statuses:?}: some were decompressed, and few at once"
    );
    let median = took[took.len() / 2];
    assert!(
        median < Duration::from_secs(2),
        "half of the requests of another source were answered after {median:?} or later"
    );

    // One that is genuine is taken, and so is one that is large.
    for plain in [
        br#"{"type":"message.new"}"#.to_vec(),
        [
            b"{\"type\":\"a\",\"x\":\"",
            &vec![b'x'; 20_000_000][..],
            b"\"}",
        ]
        .concat(),
    ] {
        let mut mac = Hmac::<Sha256>::new_from_slice(SECRET.as_bytes()).expect("a key");
        mac.update(&plain);
        let signature = hex::encode(mac.finalize().into_bytes());
        assert_eq!(post(signature.clone(), gzip(&plain)).await, 200);
        let spliced = [gzip(&plain), gzip(b"unsigned")].concat();
        assert_eq!(
            post(signature, spliced).await,
            400,
            "what follows would reach the consumer unverified"
        );
    }
    let over = gzip(&vec![b'x'; 27_000_000]);
    assert_eq!(
        post("00".repeat(32), over).await,
        413,
        "larger than the operator's limit"
    );
    scene.others.finish().await.check_faultless();
    assert_eq!(
        scene.app.metrics().await.get("hookweir_in_flight_bytes"),
        0.0,
        "all room is given back"
    );
}

/// A connection that is kept after one request, and says no more.
async fn idle(target: std::net::SocketAddr) -> std::io::Result<TcpStream> {
    let mut stream = TcpStream::connect(target).await?;
    stream
        .write_all(b"GET /ingest/stripe HTTP/1.1\r\nhost: h\r\n\r\n")
        .await?;
    // An answer, or the end.
    let _ = stream.read(&mut [0; 1024]).await?;
    Ok(stream)
}

#[tokio::test(flavor = "multi_thread")]
async fn idle_connections_at_the_limit_shut_nobody_out() {
    let scene = Scene::with("[server]\nmax_connections = 64").await;
    let (target, since) = (scene.app.listen, Instant::now());
    // Three times as many as there is room for; each comes as soon as it can, and stays for as long as it may.
    let mut held = JoinSet::new();
    for manner in 0..192 {
        held.spawn(async move {
            let stream = match manner % 3 {
                // Silent, slow, and idle ones.
                0 => TcpStream::connect(target).await,
                1 => match TcpStream::connect(target).await {
                    Ok(mut stream) => stream
                        .write_all(b"POST /ingest/stripe HTTP/1.1\r\nhost: ")
                        .await
                        .map(|()| stream),
                    Err(error) => Err(error),
                },
                _ => idle(target).await,
            };
            tokio::time::sleep(Duration::from_secs(60)).await;
            drop(stream);
        });
    }
    let mut longest = Duration::ZERO;
    while since.elapsed() < Duration::from_secs(4) {
        let asked = Instant::now();
        let mut stream = TcpStream::connect(target).await.expect("connects");
        stream
            .write_all(b"GET /ingest/stripe HTTP/1.1\r\nhost: h\r\nconnection: close\r\n\r\n")
            .await
            .expect("writes");
        let mut reply = [0; 12];
        tokio::time::timeout(Duration::from_secs(60), stream.read_exact(&mut reply))
            .await
            .expect("an answer")
            .expect("an answer");
        assert_eq!(&reply, b"HTTP/1.1 200");
        longest = longest.max(asked.elapsed());
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert!(
        longest < Duration::from_secs(30),
        "a newcomer was answered after {longest:?}; idle ones may stay for 75 s"
    );
    let looked = Instant::now();
    let metrics = loop {
        let metrics = scene.app.metrics().await;
        let closed = metrics.get("hookweir_connections_closed_total");
        if closed >= 100.0 {
            break metrics;
        }
        let patient = looked.elapsed() < Duration::from_secs(60);
        assert!(patient, "{closed} were closed");
        tokio::time::sleep(Duration::from_millis(50)).await;
    };
    assert!(metrics.get("hookweir_connections") <= 64.0);
    held.shutdown().await;
    // No delivery of those who go on was answered anything but 200.
    scene.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn where_descriptors_are_few_some_are_kept_for_the_database_and_the_admin_listener() {
    let app = hookweir_testkit::app::App::launch_with_descriptors(
        &hookweir_testkit::app::five_sources(),
        128,
    )
    .await;
    app.ready().await;
    let mut held = Vec::new();
    for _ in 0..200 {
        held.push(
            tokio::time::timeout(Duration::from_secs(60), idle(app.listen))
                .await
                .expect("an answer, or the end"),
        );
    }
    let asked = Instant::now();
    let load = hookweir_testkit::load::Load {
        connections: 2,
        ..hookweir_testkit::load::Load::on(&[app.listen])
    };
    load.send(50).await.check_faultless();
    assert!(
        app.health().await.contains("\"ready\""),
        "the admin listener answers"
    );
    assert!(
        asked.elapsed() < Duration::from_secs(60),
        "idle connections may stay for 75 s"
    );
    let metrics = app.metrics().await;
    assert!(
        metrics.get("hookweir_open_fds") < 128.0 && metrics.get("hookweir_connections_max") < 64.0
    );
    assert!(
        app.log().contains("room for 34 connections") || app.log().contains("LimitNOFILE"),
        "{}",
        app.log()
    );
    drop(held);
}
