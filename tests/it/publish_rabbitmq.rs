//! The publisher against RabbitMQ: its topology, its envelope, and a frozen broker. `sink_contract` has the
//! rest.

mod with_servers {
    use std::collections::BTreeMap;
    use std::time::{Duration, Instant};

    use hookweir::config::model::QueueType;
    use lapin::ExchangeKind;
    use lapin::options::{
        ExchangeDeclareOptions, ExchangeDeleteOptions, QueueBindOptions, QueueDeclareOptions,
    };
    use lapin::types::{AMQPValue, FieldTable};
    use tokio::runtime::Runtime;

    use crate::publish_rig::{Rig, amqp, event, wait, with_rabbitmq};
    use crate::sink_contract::outages::load;
    use crate::sink_contract::with_servers::drain;
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

    /// Empties the queue; returns the number of messages of each event id.
    fn count(runtime: &Runtime, queues: &Queues, queue: &str) -> BTreeMap<String, usize> {
        let mut count = BTreeMap::new();
        for message in runtime.block_on(drain(queues, queue)) {
            *count.entry(message.event_id).or_default() += 1;
        }
        count
    }

    fn total(count: &BTreeMap<String, usize>) -> usize {
        count.values().sum()
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
        let check = runtime.block_on(hookweir::publish::check(&config, &[]));
        assert!(check.is_err_and(|error| error.to_string().contains("publisher.declare = true")));
        runtime.block_on(exchange(&queues, ExchangeKind::Topic));
        rig.up();
        let found = runtime
            .block_on(hookweir::publish::check(&config, &[]))
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

    /// Returns the number of threads of all connections, those of tests beside this one too.
    fn amqp_threads() -> usize {
        let threads = std::fs::read_dir("/proc/self/task").expect("proc");
        let names = threads.filter_map(|thread| {
            // A thread may end meanwhile.
            std::fs::read_to_string(thread.ok()?.path().join("comm")).ok()
        });
        names.filter(|name| name.trim_end() == "amqp").count()
    }

    #[test]
    fn a_broker_frozen_under_load_loses_nothing_and_attempts_to_connect_do_not_pile_up() {
        let runtime = Runtime::new().expect("a runtime");
        let server = Server::rabbitmq();
        let queues = Queues::new(&server.url);
        // The heartbeat is what notices the outage.
        let config = with_rabbitmq(amqp(&server.url, &queues.exchange), |rabbitmq| {
            rabbitmq.heartbeat = Duration::from_secs(5);
        });
        let rig = Rig::start(&config);
        rig.up();
        let mut sent = load(&rig, 0, || std::thread::sleep(Duration::from_millis(500)));

        // Frozen, it accepts connections and says nothing.
        let before = amqp_threads();
        sent = load(&rig, sent, || {
            server.pause();
            wait("the outage to be noticed", || !rig.running().health.is_up());
        });
        // Eight attempts. Other tests' threads come and go; those of attempts that pile up stay.
        std::thread::sleep(Duration::from_secs(40));
        wait("threads of attempts to end", || amqp_threads() < before + 6);
        sent = load(&rig, sent, || {
            server.resume();
            wait("the broker to be back", || rig.running().health.is_up());
        });
        rig.drained();
        assert_eq!(
            count(&runtime, &queues, &queues.events).len(),
            sent,
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
}
