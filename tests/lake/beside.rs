//! `hookweir lakehouse`: the writer in a process of its own.

mod with_readers {
    use std::time::{Duration, Instant};

    use hookweir_testkit::app::{App, five_sources};
    use hookweir_testkit::load::{Load, client};
    use hookweir_testkit::ports::free_address;

    use crate::service::{Beside, PATIENCE, check, until_all_rows};

    /// A configuration in which `serve` runs no writer.
    fn config() -> String {
        format!(
            "[lakehouse]\nin_serve = \"off\"\ncommit_secs = 1\n{}",
            five_sources()
        )
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn two_processes_beside_the_service_make_one_row_of_each_event() {
        let mut app = App::start_with_lakehouse(&config()).await;
        let mut beside = [Beside::start(&app), Beside::start(&app)];
        let ledger = Load::on(&[app.listen]).send(300).await;
        beside[0] = Beside::start(&app);
        ledger.check();
        app.drained().await;
        until_all_rows(&app).await;
        app.stop().await;
        check(&app, &ledger);
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn of_two_processes_one_is_frozen_for_20_seconds_and_each_event_is_one_row() {
        let mut app = App::start_with_lakehouse(&config()).await;
        let beside = [Beside::start(&app), Beside::start(&app)];
        let load = Load {
            connections: 8,
            rate: Some(50.0),
            ..Load::on(&[app.listen])
        }
        .start();
        load.until_taken(100).await;
        beside[0].signal("STOP");
        tokio::time::sleep(Duration::from_secs(20)).await;
        beside[0].signal("CONT");
        load.until_taken(200).await;
        let ledger = load.finish().await;
        ledger.check();
        app.drained().await;
        until_all_rows(&app).await;
        app.stop().await;
        check(&app, &ledger);
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn the_process_shows_its_rows_lag_and_health_on_a_listener_of_its_own() {
        let app = App::start_with_lakehouse(&config()).await;
        let admin = free_address();
        let set = format!("lakehouse.admin_listen={admin}");
        let mut beside = Beside::start_with(&app, &["--set", &set]);
        Load::on(&[app.listen]).send(50).await.check();
        app.drained().await;
        until_all_rows(&app).await;
        let get = async |path: &str| {
            let response = client().get(format!("http://{admin}{path}")).send().await;
            response.expect("an answer").text().await.expect("text")
        };
        let since = Instant::now();
        // The rows are counted after the commit.
        while !get("/metrics")
            .await
            .contains("hookweir_lakehouse_rows_total{result=\"added\"}")
        {
            assert!(since.elapsed() < PATIENCE, "{}", get("/metrics").await);
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        let metrics = get("/metrics").await;
        for name in ["up 1", "lag_seconds ", "commit_seconds_count "] {
            assert!(
                metrics.contains(&format!("\nhookweir_lakehouse_{name}")),
                "{metrics}"
            );
        }
        assert!(
            get("/readyz")
                .await
                .contains("\"lakehouse\":{\"status\":\"ready\"}")
        );
        beside.signal("TERM");
        let since = Instant::now();
        let status = loop {
            match beside.0.try_wait().expect("asked") {
                Some(status) => break status,
                None => assert!(since.elapsed() < PATIENCE, "it still runs"),
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        };
        assert!(status.success(), "{status}");
    }
}

mod with_servers {
    mod with_readers {
        use std::collections::BTreeSet;

        use diesel::connection::SimpleConnection as _;
        use diesel::{Connection as _, PgConnection};
        use hookweir_testkit::app::{App, patient_sources};
        use hookweir_testkit::load::Load;
        use hookweir_testkit::servers::{amqp, postgres};
        use hookweir_testkit::sink::{Message, Queues};

        use crate::service::{
            Beside, PATIENCE, all, check_against, hookweir, lakehouse, rows_beside_restarts, trace,
            until_declared, until_rows,
        };

        #[tokio::test(flavor = "multi_thread")]
        async fn events_of_rabbitmq_are_rows_with_a_catalog_in_postgresql() {
            let queues = Queues::new(&amqp());
            let name = format!("lake_{}", uuid::Uuid::now_v7().simple());
            let mut server = PgConnection::establish(&postgres()).expect("PostgreSQL");
            server
                .batch_execute(&format!("CREATE DATABASE {name}"))
                .expect("a database");
            let (server, _) = postgres()
                .rsplit_once('/')
                .map(|(s, d)| (s.to_owned(), d.to_owned()))
                .expect("a database");
            let catalog = format!("{server}/{name}");
            let config = format!(
                "{}[lakehouse]\ncatalog = \"{catalog}\"\nqueue = \"{}.lake\"\ncommit_secs = 1\n{}",
                queues.config(),
                queues.exchange,
                patient_sources()
            );
            let mut app = App::start_with_lakehouse(&config).await;
            let (ledger, messages, beside) = rows_beside_restarts(&app, &queues, 3).await;
            let traced = trace(&app, &messages[0].id);
            assert_eq!(traced["state"], "row", "{traced}");
            drop(beside);
            app.stop().await;
            check_against(&app, &ledger, &messages);
            queues.delete().await;
        }

        /// Deletes the queue of the lakehouse, with what waits in it.
        async fn delete_queue(queues: &Queues) {
            let (connection, channel) = queues.channel().await;
            let queue = format!("{}.lake", queues.exchange);
            let deleted = channel.queue_delete(queue.into(), Default::default());
            deleted.await.expect("deleted");
            let _ = connection.close(200, "done".into()).await;
        }

        fn ids(messages: &[Message]) -> BTreeSet<&str> {
            messages.iter().map(|message| &*message.id).collect()
        }

        #[tokio::test(flavor = "multi_thread")]
        async fn events_that_a_deleted_queue_has_lost_are_rows_once_they_are_published_again() {
            let queues = Queues::new(&amqp());
            let config = format!(
                "{}[lakehouse]\nqueue = \"{}.lake\"\ncommit_secs = 1\n{}",
                queues.config(),
                queues.exchange,
                patient_sources()
            );
            let mut app = App::start_with_lakehouse(&config).await;
            let beside = Beside::start(&app);
            until_declared(&app).await;
            let load = Load {
                connections: 8,
                rate: Some(100.0),
                ..Load::on(&[app.listen])
            }
            .start();
            load.until_taken(100).await;
            // While it is stopped, events wait in the queue.
            beside.signal("STOP");
            load.until_taken(100).await;
            delete_queue(&queues).await;
            load.until_taken(100).await;
            beside.signal("CONT");
            load.until_taken(100).await;
            let ledger = load.finish().await;
            ledger.check();
            app.drained().await;
            until_declared(&app).await;
            let compared = lakehouse(&app, &["compare", "--until", "0s"]);
            assert_eq!(compared.status.code(), Some(1), "{}", all(&compared));
            let again = ["republish", "--from", "1h", "--pace", "1000", "--start"];
            let again = hookweir(&app, &again);
            assert!(again.status.success(), "{}", all(&again));
            let accepted = ledger.genuine().count();
            let mut messages = queues.consume(&queues.events, accepted, PATIENCE).await;
            app.drained().await;
            messages.extend(queues.rest(&queues.events).await);
            until_rows(&app, ids(&messages).len()).await;
            let compared = lakehouse(&app, &["compare", "--until", "0s"]);
            assert!(compared.status.success(), "{}", all(&compared));
            drop(beside);
            app.stop().await;
            check_against(&app, &ledger, &messages);
            queues.delete().await;
        }
    }
}
