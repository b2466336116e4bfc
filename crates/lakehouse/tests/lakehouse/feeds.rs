//! The RabbitMQ queue as a feed.

mod with_servers {
    mod rabbitmq {
        use std::time::Duration;

        use hookweir_lakehouse::error::LakeError;
        use hookweir_lakehouse::event::{Event, Millis};
        use hookweir_lakehouse::feed::Feed as _;
        use hookweir_lakehouse::feed::queue::{QueueFeed, QueueOptions};
        use hookweir_lakehouse::protocol::batch::CommitLimits;
        use hookweir_lakehouse::run::{BatchReport, Observer, RunLimits, run};
        use hookweir_lakehouse::upkeep::Upkept;
        use lapin::options::{BasicPublishOptions, ExchangeDeclareOptions, QueueDeclareOptions};
        use lapin::types::{AMQPValue, FieldTable};
        use lapin::{BasicProperties, Channel, Connection, ConnectionProperties, ExchangeKind};
        use tokio::sync::watch;

        use crate::support::{Fixture, event, events, ids_of};

        /// An exchange, and a queue of the lakehouse.
        struct Broker {
            channel: Channel,
            options: QueueOptions,
            // Last, because the channel needs it.
            _connection: Connection,
        }

        impl Broker {
            async fn new(name: &str) -> Self {
                let url = hookweir_testkit::servers::amqp();
                let connection = Connection::connect(&url, ConnectionProperties::default())
                    .await
                    .expect("connected");
                let channel = connection.create_channel().await.expect("a channel");
                channel
                    .confirm_select(Default::default())
                    .await
                    .expect("confirms");
                let exchange = format!("lake-{name}");
                let durable = ExchangeDeclareOptions {
                    durable: true,
                    ..Default::default()
                };
                channel
                    .exchange_declare(
                        exchange.as_str().into(),
                        ExchangeKind::Topic,
                        durable,
                        FieldTable::default(),
                    )
                    .await
                    .expect("an exchange");
                let options = QueueOptions {
                    urls: vec![url],
                    tls: Default::default(),
                    exchange,
                    queue: format!("lake-{name}.lakehouse"),
                    prefetch: 40,
                    held_bytes: 1 << 20,
                    timeout: Duration::from_secs(20),
                };
                Self {
                    channel,
                    options,
                    _connection: connection,
                }
            }

            /// Publishes an event as Hookweir does.
            async fn publish(&self, event: &Event) {
                let mut headers = FieldTable::default();
                let mut set = |name: &str, value: String| {
                    headers.insert(name.into(), AMQPValue::LongString(value.into()));
                };
                let received =
                    jiff::Timestamp::from_millisecond(event.received_at.0).expect("a time");
                set("cloudEvents:id", event.event_id.clone());
                set("x-hookweir-source", event.source.clone());
                set("x-hookweir-received-at", format!("{received:.3}"));
                set("x-hookweir-attempt", "1".to_owned());
                for (name, value) in &event.headers {
                    set(name, value.clone());
                }
                let mut properties = BasicProperties::default()
                    .with_message_id(event.message_id.to_string().into())
                    .with_delivery_mode(2)
                    .with_headers(headers);
                if let Some(kind) = &event.event_type {
                    properties = properties.with_type(kind.as_str().into());
                }
                let confirm = self
                    .channel
                    .basic_publish(
                        self.options.exchange.as_str().into(),
                        "gh.push".into(),
                        BasicPublishOptions::default(),
                        &event.body,
                        properties,
                    )
                    .await
                    .expect("sent");
                assert!(confirm.await.expect("answered").is_ack());
            }

            /// Returns the number of messages that are ready in the queue.
            async fn depth(&self) -> u32 {
                let passive = QueueDeclareOptions {
                    passive: true,
                    ..Default::default()
                };
                let queue = self.options.queue.as_str().into();
                let queue = self
                    .channel
                    .queue_declare(queue, passive, FieldTable::default())
                    .await;
                queue.expect("the queue is there").message_count()
            }

            /// Returns a feed whose queue is declared and bound.
            async fn feed(&self) -> QueueFeed {
                let mut feed = QueueFeed::new(self.options.clone());
                feed.connect().await.expect("connected");
                feed
            }
        }

        /// Ends the loop after so many messages.
        struct Until {
            left: usize,
            stop: watch::Sender<bool>,
        }

        impl Observer for Until {
            fn opened(&mut self) {}

            fn committed(&mut self, batch: BatchReport) {
                let outcome = batch.outcome;
                self.left = self
                    .left
                    .saturating_sub(outcome.added + outcome.copies + batch.folded);
                if self.left == 0 {
                    self.stop.send_replace(true);
                }
            }

            fn waiting(&mut self, _oldest: Option<Millis>) {}

            fn away(&mut self, error: &LakeError) {
                println!("away: {error}");
            }

            fn unreadable(&mut self, reason: &str) {
                panic!("{reason}");
            }

            fn upkept(&mut self, outcome: Result<Upkept, LakeError>) {
                panic!("nobody asked for upkeep: {outcome:?}");
            }
        }

        const LIMITS: RunLimits = RunLimits {
            batch: CommitLimits {
                rows: 20,
                bytes: 1 << 20,
                age: Duration::from_millis(100),
            },
            known_ids: 100_000,
            upkeep: None,
            min_free: 0,
        };

        async fn run_until(fixture: &Fixture, feed: QueueFeed, messages: usize) {
            let (stop, stopped) = watch::channel(false);
            let mut until = Until {
                left: messages,
                stop,
            };
            let running = run(&fixture.place, feed, LIMITS, &mut until, stopped);
            let done = tokio::time::timeout(Duration::from_secs(120), running).await;
            done.expect("in time").expect("no wrong setting");
        }

        #[tokio::test(flavor = "multi_thread")]
        async fn messages_become_rows_and_leave_the_queue_after_the_commit() {
            let (broker, fixture) = (Broker::new("rows").await, Fixture::new());
            let feed = broker.feed().await;
            for n in 0..110 {
                // Ten copies, some way behind.
                broker
                    .publish(&event(if n < 100 { n } else { n - 100 }))
                    .await;
            }
            run_until(&fixture, feed, 110).await;
            assert_eq!(fixture.ids().await, ids_of(&events(0..100)));
            let mut again = QueueFeed::new(broker.options.clone());
            let none = tokio::time::timeout(Duration::from_secs(3), again.next()).await;
            assert!(none.is_err(), "acked messages do not come again: {none:?}");
            assert_eq!(broker.depth().await, 0);
        }

        #[tokio::test(flavor = "multi_thread")]
        async fn messages_that_were_not_acked_come_again_and_are_one_row() {
            let (broker, fixture) = (Broker::new("again").await, Fixture::new());
            let mut feed = broker.feed().await;
            for n in 0..60 {
                broker.publish(&event(n)).await;
            }
            // A writer that commits, and dies before the ack.
            let mut batch = Vec::new();
            for _ in 0..30 {
                batch.push(
                    feed.next()
                        .await
                        .expect("a message")
                        .event
                        .expect("an event"),
                );
            }
            assert!(broker.depth().await >= 20, "the prefetch is bounded");
            fixture
                .writer()
                .await
                .commit(&batch)
                .await
                .expect("committed");
            feed.release().await.expect("its connection ends");
            run_until(&fixture, QueueFeed::new(broker.options.clone()), 60).await;
            assert_eq!(fixture.ids().await, ids_of(&events(0..60)));
        }

        #[tokio::test(flavor = "multi_thread")]
        async fn released_messages_are_back_in_the_queue() {
            let broker = Broker::new("release").await;
            let mut feed = broker.feed().await;
            for n in 0..10 {
                broker.publish(&event(n)).await;
            }
            for _ in 0..10 {
                feed.next().await.expect("a message");
            }
            feed.release().await.expect("released");
            let first = feed.next().await.expect("again").event.expect("an event");
            assert_eq!(first.body, event(0).body);
        }

        /// More than the feed may hold: it lets messages go, and connects again.
        #[tokio::test(flavor = "multi_thread")]
        async fn of_large_messages_more_than_fit_in_memory_each_is_one_row() {
            let (mut broker, fixture) = (Broker::new("large").await, Fixture::new());
            broker.options.prefetch = 1000;
            broker.options.held_bytes = 300 << 10;
            let feed = broker.feed().await;
            for n in 0..120 {
                let body = "x".repeat(50 << 10).into();
                broker.publish(&Event { body, ..event(n) }).await;
            }
            run_until(&fixture, feed, 120).await;
            assert_eq!(fixture.ids().await, ids_of(&events(0..120)));
            assert_eq!(broker.depth().await, 0);
        }
    }
}
