//! `hookweir lakehouse` beside a service that publishes to Kafka.

mod with_kafka {
    mod with_readers {
        use std::collections::BTreeSet;
        use std::time::{Duration, Instant};

        use hookweir_testkit::app::{App, five_sources};
        use hookweir_testkit::kafka::{records, unique};
        use hookweir_testkit::load::Load;
        use hookweir_testkit::provider::Provider;
        use hookweir_testkit::servers::kafka;
        use hookweir_testkit::sink::Message;

        use crate::service::{Beside, PATIENCE, check_against, shown};

        /// Returns the messages in the topics that start with `name`.
        fn messages(name: &str) -> Vec<Message> {
            let topics = Provider::ALL.map(|provider| format!("{name}.{}", provider.name()));
            let records = topics.iter().flat_map(|topic| records(&kafka(), topic));
            records.map(Message::from).collect()
        }

        /// Waits until the group has committed all records.
        async fn nothing_waits(app: &App) {
            let since = Instant::now();
            loop {
                let waiting = shown(app, "waiting").unwrap_or_default();
                if waiting.starts_with("0 records of Kafka") {
                    return;
                }
                assert!(since.elapsed() < PATIENCE, "{waiting}\n{}", app.log());
                tokio::time::sleep(Duration::from_millis(200)).await;
            }
        }

        #[tokio::test(flavor = "multi_thread")]
        async fn events_of_kafka_are_rows_while_writers_are_killed() {
            let name = unique();
            let config = format!(
                "[publisher]\nurl = \"{}\"\ntopic = \"{name}.{{source}}\"\npartitions = 3\n\
                 [lakehouse]\ngroup = \"{name}\"\ncommit_secs = 1\n{}",
                kafka(),
                five_sources()
            );
            let mut app = App::start_with_lakehouse(&config).await;
            let mut beside = [Beside::start(&app), Beside::start(&app)];
            let load = Load {
                connections: 8,
                rate: Some(100.0),
                ..Load::on(&[app.listen])
            }
            .start();
            for round in 0..3 {
                load.until_taken(100).await;
                beside[round % 2] = Beside::start(&app);
            }
            let ledger = load.finish().await;
            ledger.check();
            app.drained().await;
            nothing_waits(&app).await;
            drop(beside);
            app.stop().await;
            let messages = tokio::task::block_in_place(|| messages(&name));
            let ids: BTreeSet<_> = messages.iter().map(|message| &message.id).collect();
            assert_eq!(
                shown(&app, "rows").as_deref(),
                Some(&*ids.len().to_string())
            );
            check_against(&app, &ledger, &messages);
        }
    }
}
