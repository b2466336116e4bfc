//! The publisher against RabbitMQ: what the client library gets wrong, and what a broker can do to us.

mod with_servers {
    use std::collections::{BTreeMap, HashSet};
    use std::sync::Arc;
    use std::sync::atomic::{AtomicBool, Ordering};
    use std::time::{Duration, Instant};

    use futures_util::StreamExt as _;
    use hookweir::config::model::{Publisher, PublisherUrl, QueueType};
    use hookweir::publish::Sink;
    use hookweir::publish::envelope::Message;
    use hookweir::publish::routing_key::{RoutingKey, RoutingKeys};
    use hookweir::publish::sinks::rabbitmq::{RabbitmqConfig, RabbitmqSink};
    use lapin::ExchangeKind;
    use lapin::options::{
        BasicConsumeOptions, ExchangeDeclareOptions, ExchangeDeleteOptions, QueueBindOptions,
        QueueDeclareOptions,
    };
    use lapin::types::{AMQPValue, FieldTable};
    use tokio::runtime::Runtime;

    use crate::publish_rig::{Rig, amqp, event, wait, with_rabbitmq};
    use hookweir_testkit::servers::{Server, amqp as shared};
    use hookweir_testkit::sink::Queues;

    /// A queue of the test's own, bound to its exchange.
    async fn bound(queues: &Queues, queue: &str, key: &str, arguments: &[(&str, AMQPValue)]) {
        let (connection, channel) = queues.channel().await;
        let mut table = FieldTable::default();
        for (name, value) in arguments {
            table.insert((*name).into(), value.clone());
        }
        channel
            .queue_declare(queue.into(), QueueDeclareOptions::durable(), table)
            .await
            .expect("declared");
        let (exchange, key) = (queues.exchange.as_str().into(), key.into());
        channel
            .queue_bind(
                queue.into(),
                exchange,
                key,
                QueueBindOptions::default(),
                FieldTable::default(),
            )
            .await
            .expect("bound");
        let _ = connection.close(200, "done".into()).await;
    }

    async fn exchange(queues: &Queues, kind: ExchangeKind) {
        let (connection, channel) = queues.channel().await;
        let durable = ExchangeDeclareOptions {
            durable: true,
            ..Default::default()
        };
        channel
            .exchange_declare(
                queues.exchange.as_str().into(),
                kind,
                durable,
                FieldTable::default(),
            )
            .await
            .expect("declared");
        let _ = connection.close(200, "done".into()).await;
    }

    /// How often each event id is in the queue; empties it.
    fn count(runtime: &Runtime, queues: &Queues, queue: &str) -> BTreeMap<String, usize> {
        runtime.block_on(async {
            let (connection, channel) = queues.channel().await;
            let no_ack = BasicConsumeOptions {
                no_ack: true,
                ..Default::default()
            };
            let consumer =
                channel.basic_consume(queue.into(), "count".into(), no_ack, FieldTable::default());
            let mut consumer = consumer.await.expect("the queue exists");
            let mut count = BTreeMap::new();
            // All that was published has been confirmed, so it comes without a pause.
            while let Ok(Some(delivery)) =
                tokio::time::timeout(Duration::from_secs(2), consumer.next()).await
            {
                let delivery = delivery.expect("a delivery");
                let headers = delivery
                    .properties
                    .headers()
                    .as_ref()
                    .expect("headers")
                    .inner();
                let AMQPValue::LongString(id) = &headers["cloudEvents:id"] else {
                    panic!("an id that is not text")
                };
                *count.entry(id.to_string()).or_default() += 1;
            }
            let _ = connection.close(200, "done".into()).await;
            count
        })
    }

    fn total(count: &BTreeMap<String, usize>) -> usize {
        count.values().sum()
    }

    fn keys() -> RoutingKeys {
        RoutingKeys::new(
            RoutingKey::parse("{source}.{type}").expect("valid"),
            Default::default(),
        )
    }

    /// Publishes `count` messages on four channels at once, of the source that `source` says; those of each fate, by event id.
    fn publish(
        runtime: &Runtime,
        config: &Publisher,
        count: usize,
        source: fn(usize) -> &'static str,
    ) -> BTreeMap<&'static str, HashSet<String>> {
        let PublisherUrl::Amqp(url) = &config.url else {
            panic!("not RabbitMQ")
        };
        let sink = RabbitmqConfig::from_publisher(url, config);
        let sink = RabbitmqSink::new(&sink).expect("a sink");
        runtime.block_on(async {
            let connection = sink.connect().await.expect("connects");
            let mut tasks = Vec::new();
            for lane in 0..4 {
                let mut channel = connection.channel().await.expect("a channel");
                let of_lane: Vec<usize> = (0..count).filter(|n| n % 4 == lane).collect();
                tasks.push(tokio::spawn(async move {
                    let mut fates = Vec::new();
                    for batch in of_lane.chunks(256) {
                        let messages: Vec<Message> = batch
                            .iter()
                            .map(|n| {
                                let event = Arc::new(event(source(*n), &n.to_string(), b"{}"));
                                Message::new(
                                    &hookweir::store::StoredEvent {
                                        seq: hookweir::store::Seq(1),
                                        attempts: 0,
                                        event,
                                    },
                                    0,
                                    &keys(),
                                )
                            })
                            .collect();
                        for (n, fate) in batch.iter().zip(channel.publish(&messages).await) {
                            fates.push((fate.label(), n.to_string()));
                        }
                    }
                    fates
                }));
            }
            let mut by_fate: BTreeMap<_, HashSet<_>> = BTreeMap::new();
            for task in tasks {
                for (fate, id) in task.await.expect("no panic") {
                    by_fate.entry(fate).or_default().insert(id);
                }
            }
            connection.close().await;
            by_fate
        })
    }

    #[test]
    fn of_20000_messages_exactly_the_unroutable_half_is_reported() {
        let (runtime, queues) = (Runtime::new().expect("a runtime"), Queues::new(&shared()));
        runtime.block_on(async {
            exchange(&queues, ExchangeKind::Topic).await;
            bound(&queues, &queues.events, "good.#", &[]).await;
        });
        let config = with_rabbitmq(amqp(&shared(), &queues.exchange), |rabbitmq| {
            rabbitmq.declare = false
        });
        let fates = publish(&runtime, &config, 20_000, |n| {
            if n % 2 == 0 { "good" } else { "bad" }
        });
        assert_eq!(
            fates.keys().copied().collect::<Vec<_>>(),
            ["confirmed", "unroutable"]
        );
        let there: HashSet<String> = count(&runtime, &queues, &queues.events)
            .into_keys()
            .collect();
        assert_eq!(fates["confirmed"], there);
        assert_eq!(
            fates["unroutable"],
            (0..10_000).map(|n| (n * 2 + 1).to_string()).collect()
        );
        runtime.block_on(queues.delete());
    }

    #[test]
    fn exactly_the_messages_of_a_full_queue_are_nacked() {
        let (runtime, queues) = (Runtime::new().expect("a runtime"), Queues::new(&shared()));
        let full = format!("{}.full", queues.exchange);
        runtime.block_on(async {
            exchange(&queues, ExchangeKind::Topic).await;
            bound(&queues, &queues.events, "good.#", &[]).await;
            let limits = [
                ("x-max-length", AMQPValue::LongInt(100)),
                ("x-overflow", AMQPValue::LongString("reject-publish".into())),
            ];
            bound(&queues, &full, "full.#", &limits).await;
        });
        let config = with_rabbitmq(amqp(&shared(), &queues.exchange), |rabbitmq| {
            rabbitmq.declare = false
        });
        let fates = publish(&runtime, &config, 8000, |n| {
            if n % 2 == 0 { "good" } else { "full" }
        });
        assert_eq!(
            fates.keys().copied().collect::<Vec<_>>(),
            ["confirmed", "nacked"]
        );
        let mut there: HashSet<String> = count(&runtime, &queues, &queues.events)
            .into_keys()
            .collect();
        assert_eq!(there.len(), 4000);
        there.extend(count(&runtime, &queues, &full).into_keys());
        assert_eq!(fates["confirmed"], there);

        // The whole publisher: the good source passes, the full one waits in the outbox until there is room.
        let rig = Rig::start(&config);
        for n in 0..2000 {
            rig.accept(event(
                if n % 2 == 0 { "good" } else { "full" },
                &n.to_string(),
                b"{}",
            ));
        }
        let mut good = BTreeMap::new();
        wait("the good source", || {
            rig.published("confirmed") >= 1000 && rig.outbox.len() < 1000
        });
        good.extend(count(&runtime, &queues, &queues.events));
        assert_eq!((good.len(), total(&good)), (1000, 1000), "each once");
        let end = Instant::now() + Duration::from_secs(60);
        let mut passed = BTreeMap::new();
        while rig.outbox.len() > 0 {
            assert!(Instant::now() < end, "{} are left", rig.outbox.len());
            for (id, copies) in count(&runtime, &queues, &full) {
                *passed.entry(id).or_insert(0) += copies;
            }
        }
        rig.drained();
        for (id, copies) in count(&runtime, &queues, &full) {
            *passed.entry(id).or_insert(0) += copies;
        }
        assert_eq!((passed.len(), total(&passed)), (1000, 1000), "each once");
        drop(rig);
        runtime.block_on(async {
            let (_connection, channel) = queues.channel().await;
            channel
                .queue_delete(full.as_str().into(), Default::default())
                .await
                .expect("deleted");
            queues.delete().await;
        });
    }

    #[test]
    fn what_no_queue_is_bound_for_goes_to_the_unrouted_queue() {
        let (runtime, queues) = (Runtime::new().expect("a runtime"), Queues::new(&shared()));
        let good = format!("{}.good", queues.exchange);
        let rig = Rig::start(&with_rabbitmq(
            amqp(&shared(), &queues.exchange),
            |rabbitmq| rabbitmq.queue = None,
        ));
        rig.up();
        runtime.block_on(bound(&queues, &good, "good.#", &[]));
        for n in 0..2000 {
            rig.accept(event(
                if n % 2 == 0 { "good" } else { "bad" },
                &n.to_string(),
                b"{}",
            ));
        }
        rig.drained();
        let (good_ones, bad_ones) = (
            count(&runtime, &queues, &good),
            count(&runtime, &queues, &queues.unrouted),
        );
        assert_eq!((good_ones.len(), total(&good_ones)), (1000, 1000));
        assert_eq!((bad_ones.len(), total(&bad_ones)), (1000, 1000));
        drop(rig);
        runtime.block_on(async {
            let (_connection, channel) = queues.channel().await;
            channel
                .queue_delete(good.as_str().into(), Default::default())
                .await
                .expect("deleted");
            queues.delete().await;
        });
    }

    #[test]
    fn the_envelope_arrives_as_designed_and_each_kind_of_queue_takes_it() {
        let runtime = Runtime::new().expect("a runtime");
        for queue_type in [QueueType::Quorum, QueueType::Classic, QueueType::Stream] {
            let queues = Queues::new(&shared());
            let rig = Rig::start(&with_rabbitmq(
                amqp(&shared(), &queues.exchange),
                |rabbitmq| rabbitmq.queue_type = queue_type,
            ));
            let mut sent = event("stripe", "evt_1", b"\x00\xff bytes");
            sent.event_type = Some("é".repeat(300).into());
            let (id, received_at) = (sent.message_id().to_string(), sent.received_at.0);
            rig.accept(sent);
            rig.drained();
            drop(rig);
            if queue_type == QueueType::Stream {
                // Only a consumer with an offset can read it; that it was confirmed is enough here.
                runtime.block_on(queues.delete());
                continue;
            }
            let message = runtime.block_on(async {
                let (connection, channel) = queues.channel().await;
                let message = channel
                    .basic_get(queues.events.as_str().into(), Default::default())
                    .await
                    .expect("get")
                    .expect("a message");
                let _ = connection.close(200, "done".into()).await;
                message
            });
            assert_eq!(message.delivery.data, b"\x00\xff bytes");
            assert!(
                message
                    .delivery
                    .routing_key
                    .as_str()
                    .starts_with("stripe.éé")
            );
            let properties = &message.delivery.properties;
            assert_eq!(
                properties.message_id().as_ref().map(|id| id.as_str()),
                Some(id.as_str())
            );
            assert_eq!(
                properties.content_type().as_ref().map(|text| text.as_str()),
                Some("application/json")
            );
            assert_eq!(
                properties.kind().as_ref().map(|text| text.as_str().len()),
                Some(254),
                "cut between two characters"
            );
            assert_eq!(*properties.timestamp(), Some(received_at as u64 / 1000));
            assert_eq!(*properties.delivery_mode(), Some(2));
            let headers = properties.headers().as_ref().expect("headers").inner();
            let text = |name: &str| match &headers[name] {
                AMQPValue::LongString(text) => text.to_string(),
                other => panic!("{name} is {other:?}"),
            };
            assert_eq!(
                text("cloudEvents:type").chars().count(),
                300,
                "the header has all of it"
            );
            for (name, value) in [
                ("cloudEvents:specversion", "1.0"),
                ("cloudEvents:id", "evt_1"),
                ("cloudEvents:source", "stripe"),
                ("x-hookweir-source", "stripe"),
                ("x-hookweir-attempt", "1"),
                ("user-agent", "test/1"),
            ] {
                assert_eq!(text(name), value, "{name}");
            }
            runtime.block_on(queues.delete());
        }
    }

    #[test]
    fn an_exchange_that_is_deleted_is_declared_again() {
        let (runtime, queues) = (Runtime::new().expect("a runtime"), Queues::new(&shared()));
        let rig = Rig::start(&amqp(&shared(), &queues.exchange));
        rig.up();
        for n in 0..3000 {
            rig.accept(event("s", &n.to_string(), b"{}"));
            if n == 1500 {
                runtime.block_on(async {
                    let (connection, channel) = queues.channel().await;
                    let name = queues.exchange.as_str().into();
                    channel
                        .exchange_delete(name, ExchangeDeleteOptions::default())
                        .await
                        .expect("deleted");
                    let _ = connection.close(200, "done".into()).await;
                });
            }
        }
        rig.drained();
        assert_eq!(count(&runtime, &queues, &queues.events).len(), 3000);
        drop(rig);
        runtime.block_on(queues.delete());
    }

    #[test]
    fn a_topology_that_does_not_fit_is_explained_and_taken_up_when_it_does() {
        let (runtime, queues) = (Runtime::new().expect("a runtime"), Queues::new(&shared()));
        let config = amqp(&shared(), &queues.exchange);
        runtime.block_on(exchange(&queues, ExchangeKind::Direct));
        let rig = Rig::start(&config);
        rig.accept(event("s", "1", b"{}"));
        wait("the reason", || {
            rig.why_not()
                .contains("is there already, but of another kind")
        });
        assert!(
            rig.why_not().contains("publisher.declare = false"),
            "{}",
            rig.why_not()
        );
        assert!(
            !rig.why_not().contains("guest"),
            "no credentials: {}",
            rig.why_not()
        );
        runtime.block_on(queues.delete());
        rig.drained();
        drop(rig);
        runtime.block_on(queues.delete());

        let config = with_rabbitmq(config, |rabbitmq| rabbitmq.declare = false);
        let rig = Rig::start(&config);
        wait("the reason", || rig.why_not().contains("is missing"));
        let check = runtime.block_on(hookweir::publish::check(&config));
        assert!(check.is_err_and(|error| error.to_string().contains("publisher.declare = true")));
        runtime.block_on(exchange(&queues, ExchangeKind::Topic));
        rig.up();
        let found = runtime
            .block_on(hookweir::publish::check(&config))
            .expect("reachable");
        assert!(
            found
                .iter()
                .any(|line| line.contains("exchange") && line.ends_with("is there")),
            "{found:?}"
        );
        drop(rig);
        runtime.block_on(queues.delete());
    }

    #[test]
    fn a_wrong_login_is_explained_without_the_password() {
        let url = shared().replace("guest:guest", "guest:hunter2hunter2");
        let rig = Rig::start(&amqp(&url, "nowhere"));
        wait("the reason", || {
            rig.why_not()
                .contains("check user, password and permissions")
        });
        assert!(!rig.why_not().contains("hunter2"), "{}", rig.why_not());
    }

    /// Accepts events until told to stop; how many.
    fn load(rig: &Rig, from: usize, during: impl FnOnce() + Send) -> usize {
        let done = AtomicBool::new(false);
        std::thread::scope(|scope| {
            scope.spawn(|| {
                during();
                done.store(true, Ordering::SeqCst);
            });
            let mut n = from;
            while !done.load(Ordering::SeqCst) {
                for _ in 0..5 {
                    rig.accept(event("s", &n.to_string(), b"{}"));
                    n += 1;
                }
                std::thread::sleep(Duration::from_millis(10));
            }
            n
        })
    }

    fn threads() -> usize {
        std::fs::read_dir("/proc/self/task").expect("proc").count()
    }

    #[test]
    fn a_broker_killed_or_frozen_under_load_loses_nothing() {
        let runtime = Runtime::new().expect("a runtime");
        let mut server = Server::rabbitmq();
        let queues = Queues::new(&server.url);
        let rig = Rig::start(&amqp(&server.url, &queues.exchange));
        rig.up();
        // RabbitMQ 3.10 forgets a quorum queue, with all that it confirmed, when it is killed within seconds of the queue's declaration:
        // the name is not on disk yet. That is not what this test is about.
        server.ctl(&["eval", "[dets:sync(Table) || Table <- dets:all()]."]);
        let mut sent = load(&rig, 0, || std::thread::sleep(Duration::from_millis(500)));
        for _ in 0..2 {
            sent = load(&rig, sent, || {
                server.kill();
                wait("the outage to be noticed", || !rig.running().health.is_up());
                server.start();
                wait("the broker to be back", || rig.running().health.is_up());
            });
        }
        rig.drained();
        let there = count(&runtime, &queues, &queues.events);
        assert_eq!(there.len(), sent, "none lost");
        assert!(
            total(&there) - sent <= 2 * 4 * 256,
            "{} copies",
            total(&there) - sent
        );

        // Frozen, it accepts connections and says nothing. Attempts to connect must not pile up.
        let before = threads();
        let first = sent;
        sent = load(&rig, sent, || {
            server.pause();
            wait("the outage to be noticed", || !rig.running().health.is_up());
            for _ in 0..12 {
                std::thread::sleep(Duration::from_secs(1));
                assert!(
                    threads() < before + 12,
                    "{} threads, {before} before",
                    threads()
                );
            }
            server.resume();
            wait("the broker to be back", || rig.running().health.is_up());
        });
        rig.drained();
        assert_eq!(
            count(&runtime, &queues, &queues.events).len(),
            sent - first,
            "none lost"
        );

        // A stop with the broker frozen keeps its limit.
        server.pause();
        rig.accept(event("s", &sent.to_string(), b"{}"));
        let began = Instant::now();
        let outbox = rig.outbox.clone();
        rig.stop(Duration::from_secs(4));
        assert!(
            began.elapsed() < Duration::from_secs(30),
            "it waits for ever"
        );
        assert_eq!(outbox.len(), 1);
        server.resume();
    }

    #[test]
    fn a_blocked_broker_is_waited_for_and_a_message_that_is_too_large_is_parked() {
        let runtime = Runtime::new().expect("a runtime");
        let server = Server::rabbitmq();
        server.ctl(&[
            "eval",
            "application:set_env(rabbit, max_message_size, 65536).",
        ]);
        let queues = Queues::new(&server.url);
        let config = amqp(&server.url, &queues.exchange);
        let rig = Rig::start(&config);
        rig.up();

        for n in 0..2000 {
            rig.accept(event(
                "s",
                &n.to_string(),
                &vec![b'x'; if n % 500 == 250 { 65_537 } else { 100 }],
            ));
        }
        rig.drained();
        let parked = rig.outbox.parked.lock().expect("no panic").clone();
        assert_eq!(parked.len(), 4, "{parked:?}");
        assert!(
            parked["250"].contains("larger than configured max size"),
            "{}",
            parked["250"]
        );
        let there = count(&runtime, &queues, &queues.events);
        assert_eq!(there.len(), 1996);
        assert!(
            rig.running().health.is_up(),
            "one message costs its channel and no more: {}",
            rig.why_not()
        );

        server.ctl(&["set_vm_memory_high_watermark", "0"]);
        let sent = load(&rig, 10_000, || {
            wait("the block to be noticed", || {
                rig.why_not().contains("blocks publishers")
            });
            std::thread::sleep(config.confirm_timeout + Duration::from_secs(2));
            server.ctl(&["set_vm_memory_high_watermark", "0.6"]);
            wait("the broker to be back", || rig.running().health.is_up());
        });
        rig.drained();
        let there = count(&runtime, &queues, &queues.events);
        assert_eq!(there.len(), sent - 10_000, "none lost");
        let unknown = rig.published("unknown");
        assert_eq!(
            total(&there),
            sent - 10_000,
            "a block is no reason to send anything twice; {unknown} were in doubt"
        );

        // A stop while it is blocked keeps its limit.
        server.ctl(&["set_vm_memory_high_watermark", "0"]);
        for n in 0..10 {
            rig.accept(event("s", &format!("last-{n}"), b"{}"));
        }
        wait("the block to be noticed", || {
            rig.why_not().contains("blocks publishers")
        });
        let began = Instant::now();
        let outbox = rig.outbox.clone();
        rig.stop(Duration::from_secs(4));
        assert!(
            began.elapsed() < Duration::from_secs(30),
            "it waits for ever"
        );
        assert_eq!(outbox.len(), 10);
    }
}
