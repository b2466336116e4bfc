//! The writer inside `hookweir serve`.

mod with_readers {
    use std::time::{Duration, Instant};

    use hookweir_lakehouse::faults::POINTS;
    use hookweir_testkit::app::{App, Launch, five_sources};
    use hookweir_testkit::load::Load;
    use hookweir_testkit::sink::files;

    use crate::service::{PATIENCE, check, check_against, lake, until_all_rows, until_rows};

    /// The load sends copies of its events, at once and later.
    #[tokio::test(flavor = "multi_thread")]
    async fn what_serve_accepts_is_a_row_without_any_configuration_of_a_lakehouse() {
        let mut app = App::start(&five_sources()).await;
        let ledger = Load::on(&[app.listen]).send(500).await;
        ledger.check();
        app.drained().await;
        until_rows(&app, files(&app.events()).len()).await;
        let metrics = app.metrics().await;
        assert!(metrics.get("hookweir_lakehouse_rows_total{result=\"added\"}") > 0.0);
        assert_eq!(metrics.get("hookweir_lakehouse_up"), 1.0);
        assert!(app.stop().await.success(), "{}", app.log());
        check(&app, &ledger);
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn a_service_that_is_killed_again_and_again_has_each_event_in_one_row() {
        let config = format!("[lakehouse]\ncommit_secs = 1\n{}", five_sources());
        let mut app = App::start(&config).await;
        let load = Load {
            connections: 8,
            rate: Some(200.0),
            ..Load::on(&[app.listen])
        }
        .start();
        for round in 0..6 {
            load.until_taken(60).await;
            tokio::time::sleep(Duration::from_millis(211 * round)).await;
            app.kill();
            app.start_again().await;
        }
        app.ready().await;
        let ledger = load.finish().await;
        ledger.check();
        app.drained().await;
        until_all_rows(&app).await;
        app.stop().await;
        check(&app, &ledger);
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn a_service_that_dies_at_each_step_of_a_commit_has_each_event_in_one_row() {
        let config = format!("[lakehouse]\ncommit_secs = 1\n{}", five_sources());
        let mut app = App::launch_as(&config, Launch::default()).await;
        app.kill();
        let load = Load {
            connections: 8,
            rate: Some(100.0),
            ..Load::on(&[app.listen])
        }
        .start();
        for point in POINTS {
            // The second commit after the start.
            app.set_environment(&[("FAILPOINTS", format!("{point}=1*off->return"))]);
            app.start_again().await;
            let status = app.ended(PATIENCE).await;
            assert!(!status.success(), "{point}: {status}");
        }
        app.clear_environment();
        app.start_again().await;
        app.ready().await;
        let ledger = load.finish().await;
        ledger.check();
        app.drained().await;
        until_all_rows(&app).await;
        app.stop().await;
        check(&app, &ledger);
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn a_lakehouse_that_cannot_be_written_to_stops_no_delivery_and_comes_back() {
        let launch = Launch {
            // A file is in the way: nothing can be written there.
            before: Some("mkdir -p data && touch data/lake".to_owned()),
            ..Launch::default()
        };
        let config = format!("[lakehouse]\ncommit_secs = 1\n{}", five_sources());
        let mut app = App::launch_as(&config, launch).await;
        let ledger = Load::on(&[app.listen]).send(100).await;
        ledger.check();
        app.drained().await;
        let since = Instant::now();
        while !app.health().await.contains("data/lake") {
            assert!(since.elapsed() < PATIENCE, "{}", app.health().await);
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        app.ready().await;
        assert_eq!(app.metrics().await.get("hookweir_lakehouse_up"), 0.0);
        // Nothing is committed, and the lag is known.
        until_lag(&app, |seconds| seconds >= 2.0).await;
        std::fs::remove_file(lake(&app)).expect("removed");
        until_all_rows(&app).await;
        app.until_healthy().await;
        until_lag(&app, |seconds| seconds == 0.0).await;
        app.stop().await;
        check(&app, &ledger);
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn the_lakehouse_reads_the_sink_that_is_named() {
        let sinks = "[publisher]\nurl = \"file://data/events\"\n\
                     [[sink]]\nname = \"second\"\nurl = \"file://data/second\"\n";
        let config = format!(
            "[lakehouse]\nsink = \"second\"\ncommit_secs = 1\n{sinks}{}",
            five_sources()
        );
        let mut app = App::start(&config).await;
        let ledger = Load::on(&[app.listen]).send(200).await;
        ledger.check();
        app.drained().await;
        let second = || files(&app.folder().join("data/second"));
        let ids: std::collections::BTreeSet<_> = second().into_iter().map(|m| m.id).collect();
        until_rows(&app, ids.len()).await;
        let messages = second();
        app.stop().await;
        check_against(&app, &ledger, &messages);
        assert!(lake(&app).join(".position-second").exists());
        assert!(!lake(&app).join(".position").exists());
    }

    async fn until_lag(app: &App, is_it: impl Fn(f64) -> bool) {
        let since = Instant::now();
        loop {
            let lag = app.metrics().await.get("hookweir_lakehouse_lag_seconds");
            if is_it(lag) {
                return;
            }
            assert!(since.elapsed() < PATIENCE, "a lag of {lag} s");
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }
}
