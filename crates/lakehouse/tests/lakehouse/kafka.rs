//! Topics of Kafka as a feed: writers that are killed, join and leave, and offsets that begin anew.

mod with_kafka {
    use std::collections::{BTreeMap, BTreeSet};
    use std::time::{Duration, Instant};

    use hookweir_lakehouse::event::{Event, RowId};
    use hookweir_lakehouse::feed::Feed as _;
    use hookweir_lakehouse::feed::kafka::{KafkaFeed, KafkaOptions, Topics, backlog};
    use hookweir_testkit::kafka::{create_topic, unique};
    use hookweir_testkit::servers::{self, Server};
    use rdkafka::config::ClientConfig;
    use rdkafka::consumer::{BaseConsumer, CommitMode, Consumer as _};
    use rdkafka::message::{Header, OwnedHeaders};
    use rdkafka::producer::{BaseProducer, BaseRecord, Producer as _};
    use rdkafka::topic_partition_list::{Offset, TopicPartitionList};

    use crate::process::{PATIENCE, Process};
    use crate::support::{Fixture, event, ids_of};

    const PARTITIONS: i32 = 3;

    /// A topic, a group, and a lakehouse.
    struct Campaign {
        url: String,
        /// Name of topic and group.
        name: String,
        fixture: Fixture,
        sent: Vec<Event>,
        mistake: &'static str,
    }

    impl Campaign {
        fn new() -> Self {
            Self::on(servers::kafka())
        }

        fn on(url: String) -> Self {
            let name = unique();
            create_topic(&url, &name, PARTITIONS, &[]);
            Self {
                url,
                name,
                fixture: Fixture::new(),
                sent: Vec::new(),
                mistake: "",
            }
        }

        /// Returns a campaign with 120 events in its topic, every fifth of which comes twice.
        fn filled(mistake: &'static str) -> Self {
            let mut campaign = Self {
                mistake,
                ..Self::new()
            };
            let copies = (0..120).filter(|n| n % 5 == 0).map(|n| n / 2);
            campaign.publish((0..120).chain(copies));
            campaign
        }

        fn brokers(&self) -> &str {
            self.url.strip_prefix("kafka://").expect("a URL")
        }

        fn client(&self) -> ClientConfig {
            let mut client = ClientConfig::new();
            client.set("bootstrap.servers", self.brokers());
            client
        }

        fn options(&self) -> KafkaOptions {
            let properties = [
                ("bootstrap.servers", self.brokers()),
                // The least that the broker takes.
                ("session.timeout.ms", "6000"),
            ];
            KafkaOptions {
                properties: properties
                    .map(|(name, value)| (name.to_owned(), value.to_owned()))
                    .into(),
                topics: vec![Topics::Named(self.name.clone())],
                group: self.name.clone(),
                read_ahead: 1 << 20,
                timeout: Duration::from_secs(20),
            }
        }

        /// Publishes events as Hookweir does, spread over the partitions.
        fn publish(&mut self, numbers: impl IntoIterator<Item = u64>) {
            let producer: BaseProducer = self.client().create().expect("a producer");
            for n in numbers {
                let event = event(n);
                let id = event.message_id.to_string();
                let partition = i32::from(event.message_id.as_bytes()[0]) % PARTITIONS;
                let record = BaseRecord::to(&self.name)
                    .key(&id)
                    .partition(partition)
                    .payload(&event.body[..])
                    .headers(headers(&event));
                producer.send(record).map_err(|(e, _)| e).expect("queued");
                self.sent.push(event);
            }
            producer.flush(PATIENCE).expect("written");
        }

        /// Starts a writer in a process of its own.
        fn start(&self, failpoints: &str) -> Process {
            let nothing = std::path::Path::new("");
            Process::start(|command| {
                command
                    .args([&*self.fixture.lake(), nothing, nothing])
                    .args(["50", "20", "100000"])
                    .env("LAKE_KAFKA", self.brokers())
                    .env("LAKE_TOPIC", &self.name)
                    .env("FAILPOINTS", failpoints)
                    .env("HOOKWEIR_CONTROL", self.mistake);
            })
        }

        async fn waiting(&self) -> u64 {
            backlog(self.options()).await.expect("counted")
        }

        /// Waits until the group has committed all records. A broker that starts has no coordinator for a while.
        async fn drained(&self) {
            let since = Instant::now();
            loop {
                let waiting = backlog(self.options()).await;
                if matches!(waiting, Ok(0)) {
                    return;
                }
                assert!(since.elapsed() < PATIENCE, "{waiting:?} records wait");
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        }

        /// Returns the ids that are missing, and the number of rows too many.
        async fn account(&self) -> (BTreeSet<RowId>, usize) {
            let ids = self.fixture.ids().await;
            let distinct: BTreeSet<RowId> = ids.iter().copied().collect();
            let sent: BTreeSet<RowId> = ids_of(&self.sent).into_iter().collect();
            assert!(distinct.is_subset(&sent), "a row that nobody sent");
            let missing = sent.difference(&distinct).copied().collect();
            (missing, ids.len() - distinct.len())
        }

        /// Sets all offsets of the group to the beginning, once its dead members are gone.
        fn reset_offsets(&self) {
            let consumer: BaseConsumer = self
                .client()
                .set("group.id", &self.name)
                .create()
                .expect("a consumer");
            let mut offsets = TopicPartitionList::new();
            for partition in 0..PARTITIONS {
                offsets
                    .add_partition_offset(&self.name, partition, Offset::Offset(0))
                    .expect("an offset");
            }
            let since = Instant::now();
            while let Err(error) = consumer.commit(&offsets, CommitMode::Sync) {
                assert!(since.elapsed() < PATIENCE, "{error}");
                std::thread::sleep(Duration::from_millis(200));
            }
        }
    }

    fn headers(event: &Event) -> OwnedHeaders {
        let received = jiff::Timestamp::from_millisecond(event.received_at.0).expect("a time");
        let kind = event.event_type.clone();
        let mut headers: BTreeMap<&str, String> = BTreeMap::from([
            ("x-hookweir-message-id", event.message_id.to_string()),
            ("ce_id", event.event_id.clone()),
            ("ce_type", kind.unwrap_or_else(|| "unknown".to_owned())),
            ("x-hookweir-source", event.source.clone()),
            ("x-hookweir-received-at", format!("{received:.3}")),
        ]);
        let marks = [
            ("x-hookweir-conflict-of", event.conflict_of),
            ("x-hookweir-same-bytes-as", event.same_bytes_as),
        ];
        let marks = marks
            .into_iter()
            .filter_map(|(name, id)| Some((name, id?.to_string())));
        headers.extend(marks);
        let content_type = event.content_type.clone();
        headers.extend(content_type.map(|value| ("content-type", value)));
        headers.extend(event.headers.iter().map(|(n, v)| (n.as_str(), v.clone())));
        let insert = |headers: OwnedHeaders, (key, value): (&str, String)| {
            headers.insert(Header {
                key,
                value: Some(&value),
            })
        };
        headers.into_iter().fold(OwnedHeaders::new(), insert)
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn a_record_comes_as_the_event_that_was_published() {
        let mut campaign = Campaign::new();
        campaign.publish(0..30);
        let mut feed = KafkaFeed::new(campaign.options());
        let mut seen = BTreeMap::new();
        for _ in 0..30 {
            let message = feed.next().await.expect("a record");
            let mut event = message.event.expect("an event");
            event.headers.sort();
            seen.insert(event.message_id, event);
        }
        for event in &campaign.sent {
            assert_eq!(seen.get(&event.message_id), Some(event));
        }
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn killed_between_the_commit_and_the_offsets_each_event_is_one_row() {
        let campaign = Campaign::filled("");
        campaign.start("lake_after_commit=return").await_death();
        assert!(!campaign.fixture.ids().await.is_empty(), "no commit");
        let all = campaign.sent.len() as u64;
        assert_eq!(campaign.waiting().await, all, "no offset is committed");
        let _writer = campaign.start("");
        campaign.drained().await;
        assert_eq!(campaign.account().await, (BTreeSet::new(), 0));
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn after_the_offsets_are_reset_to_the_beginning_each_event_is_one_row() {
        let campaign = Campaign::filled("");
        let writer = campaign.start("");
        campaign.drained().await;
        drop(writer);
        tokio::task::block_in_place(|| campaign.reset_offsets());
        assert_eq!(campaign.waiting().await, campaign.sent.len() as u64);
        let _writer = campaign.start("");
        campaign.drained().await;
        assert_eq!(campaign.account().await, (BTreeSet::new(), 0));
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn while_writers_join_and_die_each_event_is_one_row() {
        let mut campaign = Campaign::new();
        let mut writers = Vec::new();
        for round in 0..4 {
            campaign.publish(round * 100..(round + 1) * 100);
            writers.push(campaign.start(""));
            tokio::time::sleep(Duration::from_millis(1500)).await;
            // A copy of each second event, by way of the same partition.
            campaign.publish((round * 100..(round + 1) * 100).step_by(2));
            if round % 2 == 1 {
                writers.remove(0);
            }
        }
        campaign.drained().await;
        assert_eq!(campaign.account().await, (BTreeSet::new(), 0));
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn control_offsets_before_the_commit_lose_events() {
        let campaign = Campaign::filled("lake_ack_first");
        campaign.start("lake_before_files=return").await_death();
        let _writer = campaign.start("");
        campaign.drained().await;
        let (missing, doubled) = campaign.account().await;
        assert!(!missing.is_empty(), "the mistake is not noticed");
        assert_eq!(doubled, 0);
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn while_kafka_is_away_records_wait_and_come_when_it_is_back() {
        let mut server = tokio::task::block_in_place(Server::kafka);
        let mut campaign = Campaign::on(server.url.clone());
        campaign.publish(0..40);
        let _writer = campaign.start("");
        campaign.drained().await;
        campaign.publish(40..80);
        tokio::task::block_in_place(|| server.kill());
        let mut feed = KafkaFeed::new(KafkaOptions {
            timeout: Duration::from_secs(1),
            ..campaign.options()
        });
        let away = feed.next().await.expect_err("nobody answers").to_string();
        assert!(away.contains("no answer from the brokers"), "{away}");
        tokio::task::block_in_place(|| server.start());
        campaign.drained().await;
        assert_eq!(campaign.account().await, (BTreeSet::new(), 0));
    }
}
