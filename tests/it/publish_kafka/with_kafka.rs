//! Against Apache Kafka: what arrives there, as its own tools and a second client read it, and what it refuses.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use hookweir::config::kafka_url::KafkaUrl;
use hookweir::config::model::{PublisherUrl, SaslMechanism};
use hookweir::publish::sinks::kafka::{KafkaConfig, KafkaSource};
use hookweir::publish::{ConnectionState, PublishResult, Sink as _};
use hookweir_testkit::kafka::{create_topic, records, unique};
use hookweir_testkit::servers::{self, Server};

use crate::publish_rig::{self, Rig, event, wait};

use super::{config, labels, message, messages, publish, run, sink, source, until_confirmed};

fn confirmed(count: usize) -> BTreeMap<&'static str, usize> {
    BTreeMap::from([("confirmed", count)])
}

#[test]
fn kafkas_own_consumer_reads_bytes_key_and_headers() {
    let prefix = unique();
    let event = message("s", "evt_1", b"{\"a\":\"\xc3\xa9\"}");
    run(async {
        let sink = sink(config(&servers::kafka(), &prefix));
        let connection = sink.connect().await.expect("reachable");
        let batch = [event.clone()];
        assert_eq!(labels(&publish(&*connection, &batch).await), confirmed(1));
        connection.close().await;
    });
    let topic = format!("{prefix}.s");
    let line = servers::kafka_ctl(&[
        "consumer",
        "--topic",
        &topic,
        "--from-beginning",
        "--max-messages",
        "1",
        "--formatter-property",
        "print.headers=true",
        "--formatter-property",
        "print.key=true",
    ]);
    let id = event.id.to_string();
    let (headers, rest) = line.trim_end().split_once('\t').expect("headers");
    assert_eq!(rest, format!("{id}\t{{\"a\":\"é\"}}"), "key and value");
    let headers: BTreeMap<&str, &str> = headers
        .split(',')
        .filter_map(|header| header.split_once(':'))
        .collect();
    let time = headers["ce_time"];
    let position = format!("1-{}", &id[..8]);
    assert_eq!(
        headers,
        BTreeMap::from([
            ("content-type", "application/json"),
            ("x-hookweir-message-id", &*id),
            ("ce_specversion", "1.0"),
            ("ce_id", "evt_1"),
            ("ce_source", "s"),
            ("ce_type", "test.event"),
            ("ce_time", time),
            ("x-hookweir-source", "s"),
            ("x-hookweir-received-at", time),
            ("x-hookweir-attempt", "1"),
            ("x-hookweir-position", &*position),
            ("user-agent", "test/1"),
        ])
    );
}

#[test]
fn every_byte_arrives_once_where_java_would_put_it() {
    let prefix = unique();
    let bodies: [&[u8]; 4] = [b"", b"\x00\xff bytes", &[b'x'; 100_000], b"{}\n"];
    let batch: Vec<_> = (0..1000)
        .map(|n| message("s", &n.to_string(), bodies[n % 4]))
        .collect();
    run(async {
        let sink = sink(config(&servers::kafka(), &prefix));
        let connection = sink.connect().await.expect("reachable");
        for batch in batch.chunks(250) {
            assert_eq!(labels(&publish(&*connection, batch).await), confirmed(250));
        }
        connection.close().await;
    });
    let there = records(&servers::kafka(), &format!("{prefix}.s"));
    assert_eq!(there.len(), 1000, "each once");
    let mut partitions = BTreeSet::new();
    for record in &there {
        let n: usize = record.header("ce_id").parse().expect("one of ours");
        assert_eq!(record.value, bodies[n % 4], "the body of {n}");
        assert_eq!(record.key, batch[n].id.to_string());
        let expected = (murmur2(record.key.as_bytes()) & 0x7fff_ffff) % 3;
        assert_eq!(
            i64::from(record.partition),
            i64::from(expected),
            "as Java's clients hash it"
        );
        partitions.insert(record.partition);
    }
    assert_eq!(partitions.len(), 3);
    let ids: BTreeSet<&str> = there.iter().map(|record| record.header("ce_id")).collect();
    assert_eq!(ids.len(), 1000);
}

/// The hash of Java's clients, with two of their own test vectors.
fn murmur2(data: &[u8]) -> u32 {
    const M: u32 = 0x5bd1_e995;
    let mut h: u32 = 0x9747_b28c ^ u32::try_from(data.len()).expect("short");
    let (words, rest) = data.as_chunks::<4>();
    for word in words {
        let mut k = u32::from_le_bytes(*word).wrapping_mul(M);
        k = (k ^ (k >> 24)).wrapping_mul(M);
        h = h.wrapping_mul(M) ^ k;
    }
    if !rest.is_empty() {
        for (n, byte) in rest.iter().enumerate() {
            h ^= u32::from(*byte) << (8 * n);
        }
        h = h.wrapping_mul(M);
    }
    h = (h ^ (h >> 13)).wrapping_mul(M);
    h ^ (h >> 15)
}

#[test]
fn the_hash_is_that_of_java() {
    assert_eq!(murmur2(b"21").cast_signed(), -973_932_308);
    assert_eq!(murmur2(b"foobar").cast_signed(), -790_332_482);
}

#[test]
fn copies_differ_in_nothing_but_the_attempt_and_share_a_partition() {
    let prefix = unique();
    let event = message("s", "evt_1", b"{}");
    run(async {
        let sink = sink(config(&servers::kafka(), &prefix));
        let connection = sink.connect().await.expect("reachable");
        for attempt in 1..=3 {
            let mut copy = event.clone();
            copy.attempt = attempt;
            assert_eq!(labels(&publish(&*connection, &[copy]).await), confirmed(1));
        }
        connection.close().await;
    });
    let mut there = records(&servers::kafka(), &format!("{prefix}.s"));
    let attempts: Vec<String> = there
        .iter_mut()
        .map(|record| record.take_header("x-hookweir-attempt"))
        .collect();
    assert_eq!(attempts, ["1", "2", "3"], "in the order of the partition");
    for record in &there {
        assert_eq!(
            (
                &record.key,
                &record.headers,
                &record.value,
                record.partition
            ),
            (
                &there[0].key,
                &there[0].headers,
                &there[0].value,
                there[0].partition
            )
        );
    }
}

#[test]
fn a_source_has_a_topic_and_a_key_of_its_own() {
    let prefix = unique();
    let own = KafkaSource {
        topic: Some(format!("{prefix}-billing")),
        key: Some("{source}/{id}".to_owned()),
        ..source("paid")
    };
    let none = KafkaSource {
        key: Some(String::new()),
        ..source("keyless")
    };
    run(async {
        let mut config = config(&servers::kafka(), &prefix);
        config.sources.extend([own, none]);
        let sink = sink(config);
        let connection = sink.connect().await.expect("reachable");
        let batch = [
            message("s", "1", b"{}"),
            message("paid", "2", b"{}"),
            message("keyless", "3", b"{}"),
        ];
        assert_eq!(labels(&publish(&*connection, &batch).await), confirmed(3));
        connection.close().await;
    });
    let keys = |topic: &str| -> Vec<String> {
        let there = records(&servers::kafka(), topic);
        there.into_iter().map(|record| record.key).collect()
    };
    assert_eq!(keys(&format!("{prefix}-billing")), ["paid/2"]);
    assert_eq!(keys(&format!("{prefix}.keyless")), [""]);
    assert_eq!(keys(&format!("{prefix}.s"))[0].len(), 36, "the message id");
}

#[test]
fn a_message_that_is_too_large_is_refused_alone_with_both_sizes() {
    let prefix = unique();
    create_topic(
        &servers::kafka(),
        &format!("{prefix}.s"),
        1,
        &[("max.message.bytes", "100000")],
    );
    let mut batch = messages("s", 0..20);
    // Incompressible.
    let noise: Vec<u8> = std::iter::repeat_with(|| fastrand::u8(..))
        .take(200_000)
        .collect();
    batch[7] = message("s", "7", &noise);
    // Together above the limit, each below it: none of these is too large.
    for n in 10..20 {
        batch[n] = message("s", &n.to_string(), &noise[n..n + 30_000]);
    }
    run(async {
        let sink = sink(config(&servers::kafka(), &prefix));
        let connection = sink.connect().await.expect("reachable");
        let mut channel = connection.channel().await.expect("a channel");
        let mut refused = Vec::new();
        for (n, result) in channel.publish(&batch).await.into_iter().enumerate() {
            match result {
                PublishResult::Confirmed => {}
                PublishResult::Refused(_) => refused.push(n),
                other => panic!("{n}: {other:?}"),
            }
        }
        assert!(refused.contains(&7), "{refused:?}");
        for n in refused {
            match &channel.publish(&batch[n..=n]).await[..] {
                [PublishResult::Refused(why)] if n == 7 => {
                    assert!(
                        why.contains("larger") && why.contains("200000") && why.contains("100000"),
                        "{why}"
                    );
                }
                [PublishResult::Confirmed] if n != 7 => {}
                other => panic!("{n}: {other:?}"),
            }
        }
        assert!(channel.is_open(), "one message costs nothing else");
        connection.close().await;
    });
    let there = records(&servers::kafka(), &format!("{prefix}.s"));
    let ids: BTreeSet<&str> = there.iter().map(|record| record.header("ce_id")).collect();
    assert_eq!(
        (there.len(), ids.len()),
        (19, 19),
        "all but the one, each once"
    );
}

#[test]
fn a_missing_topic_holds_up_its_own_events_and_heals_once_it_is_made() {
    let prefix = unique();
    create_topic(&servers::kafka(), &format!("{prefix}.good"), 3, &[]);
    run(async {
        let config = KafkaConfig {
            declare: false,
            ..config(&servers::kafka(), &prefix)
        };
        let sink = sink(config);
        let connection = sink.connect().await.expect("reachable");
        let mut channel = connection.channel().await.expect("a channel");
        let mut batch = messages("good", 0..10);
        batch.extend(messages("late", 10..20));
        for _ in 0..2 {
            let results = channel.publish(&batch).await;
            assert_eq!(labels(&results[..10]), confirmed(10), "{results:?}");
            assert_eq!(
                labels(&results[10..]),
                BTreeMap::from([("unroutable", 10)]),
                "{results:?}"
            );
            batch = batch[10..].to_vec();
            batch.splice(0..0, messages("good", 20..30));
        }
        assert!(channel.is_open());
        tokio::task::block_in_place(|| {
            create_topic(&servers::kafka(), &format!("{prefix}.late"), 1, &[])
        });
        let made = Instant::now();
        let late = messages("late", 10..20);
        while labels(&channel.publish(&late).await) != confirmed(10) {
            assert!(made.elapsed() < Duration::from_secs(30), "it does not heal");
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
        println!(
            "healed {} ms after the topic was made",
            made.elapsed().as_millis()
        );
        connection.close().await;
    });
    assert_eq!(
        records(&servers::kafka(), &format!("{prefix}.late")).len(),
        10
    );
}

#[test]
fn a_topic_with_too_few_in_sync_replicas_is_told_and_a_sound_one_is_not() {
    let prefix = unique();
    let needs_two = [("min.insync.replicas", "2")];
    create_topic(&servers::kafka(), &format!("{prefix}.late"), 1, &needs_two);
    create_topic(&servers::kafka(), &format!("{prefix}.good"), 1, &[]);
    run(async {
        let config = KafkaConfig {
            declare: false,
            sources: vec![source("late"), source("good")],
            ..config(&servers::kafka(), &prefix)
        };
        let connection = sink(config).connect().await.expect("reachable");
        let told = connection.shortage().await.expect("one copy is missing");
        assert!(told.contains(&format!("{prefix}.late")), "{told}");
        assert!(told.contains("1 in-sync replicas, and needs 2"), "{told}");
        assert!(!told.contains(&format!("{prefix}.good")), "{told}");
        connection.close().await;
    });
}

#[test]
fn topics_of_configured_sources_are_made_on_wish_and_check_makes_none() {
    let prefix = unique();
    run(async {
        let mut wanted = config(&servers::kafka(), &prefix);
        wanted.sources.push(source("other"));
        let sink = sink(wanted);
        let found = sink.check().await.expect("reachable");
        assert!(
            found.iter().any(|line| line.contains("will be created")),
            "{found:?}"
        );
        let found = sink.check().await.expect("reachable");
        assert!(
            found.iter().any(|line| line.contains("will be created")),
            "check makes nothing: {found:?}"
        );
        sink.connect().await.expect("reachable").close().await;
        let found = sink.check().await.expect("reachable");
        for source in ["s", "other"] {
            let line = format!(
                "topic \"{prefix}.{source}\" is there: partitions 3, copies 1, and takes 1048588 bytes at most"
            );
            assert!(found.contains(&line), "{found:?}");
        }
        let config = KafkaConfig {
            declare: false,
            sources: vec![source("absent")],
            ..config(&servers::kafka(), &prefix)
        };
        let error = super::sink(config)
            .check()
            .await
            .expect_err("a missing topic");
        assert!(
            error.0.contains("is missing") && error.0.contains("create it"),
            "{error}"
        );
    });
}

#[test]
fn what_sources_accept_is_compared_with_what_topics_take() {
    let prefix = unique();
    create_topic(
        &servers::kafka(),
        &format!("{prefix}.s"),
        1,
        &[("max.message.bytes", "100000")],
    );
    let found = run(sink(config(&servers::kafka(), &prefix)).check()).expect("reachable");
    assert!(
        found
            .iter()
            .any(|line| line.contains("100000") && line.contains("900000")),
        "{found:?}"
    );
}

/// Publishes batches while `during` happens to the only broker. Every message is confirmed in the end, and
/// there once. A node that starts may answer that the cluster has no broker; a producer that met this
/// answer is replaced, and only what it had under way may be there twice.
fn nothing_is_lost_and_no_producer_copies(during: impl FnOnce(&mut Server) + Send) {
    let (mut server, prefix) = (Server::kafka(), unique());
    let config = KafkaConfig {
        connect_timeout: Duration::from_secs(2),
        ..config(&server.url, &prefix)
    };
    let url = server.url.clone();
    let (sent, unknown) = run(async {
        let sink = sink(config);
        let connection = sink.connect().await.expect("reachable");
        let (stop, stopped) = tokio::sync::watch::channel(false);
        let tasks: Vec<_> = (0..2)
            .map(|task| {
                let (connection, stopped) = (&connection, stopped.clone());
                async move {
                    let mut channel = connection.channel().await.expect("a channel");
                    let (mut sent, mut unknown) = (0, 0);
                    while !*stopped.borrow() {
                        let from = task * 10_000_000 + sent;
                        let mut waiting = messages("s", from..from + 200);
                        while !waiting.is_empty() {
                            if !channel.is_open() {
                                channel = connection.channel().await.expect("a channel");
                            }
                            let results = channel.publish(&waiting).await;
                            let mut results = results.into_iter();
                            waiting.retain(|_| match results.next().expect("a result") {
                                PublishResult::Confirmed => false,
                                PublishResult::Unknown(_) => true,
                                other => panic!("{other:?}"),
                            });
                            unknown += waiting.len();
                        }
                        sent += 200;
                    }
                    (sent, unknown)
                }
            })
            .collect();
        let fault = async {
            tokio::time::sleep(Duration::from_secs(1)).await;
            tokio::task::block_in_place(|| during(&mut server));
            tokio::time::sleep(Duration::from_secs(1)).await;
            stop.send_replace(true);
        };
        let (sent, ()) = tokio::join!(futures_util::future::join_all(tasks), fault);
        let mut state = connection.state();
        drop(
            state
                .wait_for(|state| *state == ConnectionState::Up)
                .await
                .expect("up again"),
        );
        connection.close().await;
        sent.into_iter()
            .reduce(|one, other| (one.0 + other.0, one.1 + other.1))
            .expect("two tasks")
    });
    let there = records(&url, &format!("{prefix}.s"));
    let ids: BTreeSet<&str> = there.iter().map(|record| record.header("ce_id")).collect();
    println!(
        "{sent} sent, {} there, {} different, {unknown} of replaced producers",
        there.len(),
        ids.len()
    );
    assert_eq!(ids.len(), sent, "none lost");
    assert!(
        there.len() - sent <= unknown,
        "copies are only of what a replaced producer had under way"
    );
}

#[test]
fn a_broker_that_is_killed_and_comes_back_loses_nothing_and_no_producer_copies() {
    nothing_is_lost_and_no_producer_copies(|server| {
        for _ in 0..2 {
            server.kill();
            std::thread::sleep(Duration::from_secs(1));
            server.start();
        }
    });
}

#[test]
fn a_broker_that_is_frozen_loses_nothing_and_no_producer_copies() {
    nothing_is_lost_and_no_producer_copies(|server| {
        server.pause();
        std::thread::sleep(Duration::from_secs(14));
        server.resume();
    });
}

#[test]
fn a_stopped_broker_loses_nothing_and_no_producer_copies() {
    nothing_is_lost_and_no_producer_copies(|server| {
        server.stop();
        std::thread::sleep(Duration::from_secs(3));
        server.start();
    });
}

const LOGIN: &str = "hookweir:secret-of-hookweir";

#[test]
fn logins_and_tls_work_and_each_mistake_is_one_line_with_what_to_do() {
    let authority = hookweir_testkit::tls::Authority::create();
    let server =
        Server::kafka_with_tls(&authority.key_and_certificate(&["localhost", "127.0.0.1"]));
    let folder = tempfile::TempDir::new().expect("a folder");
    let ca = authority.write(folder.path());
    let port = |name: &str| server.listener(name);
    let plain = servers::address(&server.url).port();

    let with = |url: String, mechanism, ca: Option<&Path>| KafkaConfig {
        sasl_mechanism: mechanism,
        ca_file: ca.map(Path::to_owned),
        connect_timeout: Duration::from_secs(3),
        ..config(&url, &unique())
    };
    let (sasl, tls, sasl_tls) = (port("sasl"), port("tls"), port("sasltls"));
    use SaslMechanism::{Plain, ScramSha256, ScramSha512};
    for (url, mechanism, ca) in [
        (format!("kafka://{LOGIN}@localhost:{sasl}"), Plain, None),
        (
            format!("kafka://{LOGIN}@localhost:{sasl}"),
            ScramSha256,
            None,
        ),
        (
            format!("kafka://{LOGIN}@localhost:{sasl}"),
            ScramSha512,
            None,
        ),
        (format!("kafkas://localhost:{tls}"), ScramSha512, Some(&*ca)),
        (
            format!("kafkas://{LOGIN}@localhost:{sasl_tls}"),
            ScramSha512,
            Some(&*ca),
        ),
    ] {
        run(async {
            let sink = sink(with(url.clone(), mechanism, ca));
            let connection = sink
                .connect()
                .await
                .unwrap_or_else(|error| panic!("{url}: {error}"));
            // The topic was made a moment ago.
            until_confirmed(&*connection, &message("s", "1", b"{}")).await;
            connection.close().await;
        });
    }
    for (url, ca, expected) in [
        (
            format!("kafka://hookweir:hunter2@localhost:{sasl}"),
            None,
            "check user and password",
        ),
        (
            format!("kafkas://localhost:{plain}"),
            Some(&*ca),
            "speaks no TLS: use kafka://",
        ),
        (format!("kafka://localhost:{tls}"), None, "may want TLS"),
        (
            format!("kafkas://localhost:{tls}"),
            None,
            "publisher.ca_file",
        ),
        (
            "kafka://no-such-host.invalid:9092".to_owned(),
            None,
            "check the broker's name",
        ),
        ("kafka://127.0.0.1:1".to_owned(), None, "Connection refused"),
        (format!("kafka://localhost:{sasl}"), None, "a login"),
    ] {
        let error = run(sink(with(url.clone(), ScramSha512, ca)).connect())
            .err()
            .expect(&url);
        println!("{url}: {error}");
        assert!(error.0.contains(expected), "{url}: {error}");
        assert!(
            !error.0.contains('\n') && !error.0.contains("hunter2"),
            "{error}"
        );
    }
}

#[test]
fn a_right_that_is_taken_away_makes_events_wait_and_given_back_they_pass() {
    let (server, prefix) = (Server::kafka(), unique());
    let url = format!("kafka://{LOGIN}@127.0.0.1:{}", server.listener("sasl"));
    let topic = format!("{prefix}.s");
    create_topic(&server.url, &topic, 1, &[]);
    create_topic(&server.url, &format!("{prefix}.other"), 1, &[]);
    let acl = |verb: &str| {
        let deny = [
            "acls",
            verb,
            "--topic",
            &topic,
            "--deny-principal",
            "User:hookweir",
            "--operation",
            "Write",
        ];
        let force = (verb == "--remove").then_some("--force");
        let arguments: Vec<&str> = deny.into_iter().chain(force).collect();
        tokio::task::block_in_place(|| server.ctl(&arguments));
    };
    run(async {
        let config = KafkaConfig {
            declare: false,
            ..config(&url, &prefix)
        };
        let sink = sink(config);
        let connection = sink.connect().await.expect("reachable");
        let mut channel = connection.channel().await.expect("a channel");
        assert_eq!(
            labels(&channel.publish(&messages("s", 0..10)).await),
            confirmed(10)
        );
        acl("--add");
        let end = Instant::now() + Duration::from_secs(30);
        loop {
            let results = channel.publish(&messages("s", 10..20)).await;
            if let [PublishResult::Nacked(why), ..] = &results[..] {
                assert!(why.contains(&topic) && why.contains("WRITE"), "{why}");
                break;
            }
            assert!(Instant::now() < end, "still written: {results:?}");
        }
        let others = channel.publish(&messages("other", 0..10)).await;
        assert_eq!(
            labels(&others),
            confirmed(10),
            "no other topic is held up: {others:?}"
        );
        acl("--remove");
        until_confirmed(&*connection, &message("s", "after", b"{}")).await;
        connection.close().await;
    });
}

#[test]
fn a_lost_lease_takes_back_the_batches_that_wait_for_a_broker() {
    let mut server = Server::kafka();
    let topic = unique();
    create_topic(&server.url, &format!("{topic}.s"), 1, &[]);
    let mut config = publish_rig::config(PublisherUrl::Kafka(
        KafkaUrl::parse(&server.url).expect("a URL"),
    ));
    config.kafka.topic = format!("{topic}.{{source}}");
    let rig = Rig::start(&config);
    rig.up();
    rig.accept(event("s", "before", b"{}"));
    rig.drained();
    // The first batch is with the client library, and waits for the broker. A frozen one reads nothing.
    server.pause();
    for n in 0..300 {
        rig.accept(event("s", &n.to_string(), b"{}"));
    }
    std::thread::sleep(Duration::from_millis(500));
    server.kill();
    wait("the outage to be noticed", || !rig.running().health.is_up());
    rig.lease.store(false, Ordering::SeqCst);
    wait("a batch to be given up", || rig.published("unknown") > 0);
    server.start();
    wait("the cluster to be back", || rig.running().health.is_up());
    std::thread::sleep(Duration::from_secs(3));
    let there = records(&server.url, &format!("{topic}.s"));
    assert_eq!(there.len(), 1, "the rows are another instance's");
    assert_eq!(rig.outbox.len(), 300, "and wait for it");
    rig.lease.store(true, Ordering::SeqCst);
    rig.drained();
    let there = records(&server.url, &format!("{topic}.s"));
    assert_eq!(there.len(), 301, "each once");
}
