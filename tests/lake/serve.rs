//! The writer inside `hookweir serve`.

mod with_readers {
    use std::path::Path;
    use std::process::{Command, Output};
    use std::time::{Duration, Instant};

    use hookweir_lakehouse::faults::POINTS;
    use hookweir_testkit::app::{App, Launch, five_sources};
    use hookweir_testkit::load::Load;
    use hookweir_testkit::sink::files;

    use crate::service::{
        PATIENCE, all, check, check_against, hookweir, lake, out, until_all_rows, until_rows,
    };

    /// The load sends copies of its events, at once and later.
    #[tokio::test(flavor = "multi_thread")]
    async fn what_serve_accepts_is_a_row_without_any_configuration_of_a_lakehouse() {
        let mut app = App::start_with_lakehouse(&five_sources()).await;
        let ledger = Load::on(&[app.listen]).send(500).await;
        ledger.check();
        app.drained().await;
        until_rows(&app, files(&app.events()).len()).await;
        // A row can be seen before it is counted.
        let since = Instant::now();
        let added = "hookweir_lakehouse_rows_total{result=\"added\"}";
        loop {
            let metrics = app.metrics().await;
            if metrics.get(added) > 0.0 && metrics.get("hookweir_lakehouse_up") == 1.0 {
                break;
            }
            assert!(since.elapsed() < PATIENCE, "{}", app.log());
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        assert!(app.stop().await.success(), "{}", app.log());
        check(&app, &ledger);
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn a_lakehouse_that_is_removed_while_in_use_is_built_again_from_the_event_folder() {
        let config = format!("[lakehouse]\ncommit_secs = 1\n{}", five_sources());
        let mut app = App::start_with_lakehouse(&config).await;
        let before = Load::on(&[app.listen]).send(200).await;
        app.drained().await;
        until_all_rows(&app).await;
        // The writer may still add files of its last commit.
        let since = Instant::now();
        while let Err(error) = std::fs::remove_dir_all(lake(&app)) {
            assert!(since.elapsed() < PATIENCE, "{error}");
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        let load = Load {
            seed: 2,
            ..Load::on(&[app.listen])
        };
        let after = load.send(200).await;
        app.drained().await;
        until_rows(&app, files(&app.events()).len()).await;
        app.until_healthy().await;
        assert!(app.stop().await.success(), "{}", app.log());
        check(&app, &before);
        check(&app, &after);
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn the_query_of_the_readme_shows_the_event_that_its_commands_have_sent() {
        let readme = concat!(env!("CARGO_MANIFEST_DIR"), "/README.md");
        let readme = std::fs::read_to_string(readme).expect("the README");
        let query = readme.lines().find(|line| line.starts_with("duckdb -c "));
        let mut app = App::start_with_lakehouse("").await;
        let listen = format!("server.listen={}", app.listen);
        let sent = hookweir(&app, &["send", "--wait", "--set", &listen]);
        assert!(sent.status.success(), "{}", all(&sent));
        until_rows(&app, 1).await;
        let shown = duckdb(&app, query.expect("a query"));
        assert!(shown.status.success(), "{}", all(&shown));
        for text in ["demo", "octocat"] {
            assert!(out(&shown).contains(text), "{}", all(&shown));
        }
        assert!(app.stop().await.success(), "{}", app.log());
    }

    /// Runs a line of shell in the folder of the service, with DuckDB's own program.
    fn duckdb(app: &App, line: &str) -> Output {
        let readers = std::env::var("HOOKWEIR_LAKE_READERS").expect("run tests/lakehouse");
        let programs = Path::new(&readers).parent().expect("a folder");
        let path = format!("{}:/usr/bin:/bin", programs.display());
        let shell = Command::new("bash")
            .args(["-c", line])
            .current_dir(app.folder())
            .env_clear()
            .env("HOME", programs.join("../../home"))
            .env("PATH", path)
            .output();
        shell.expect("a shell")
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn a_service_that_is_killed_again_and_again_has_each_event_in_one_row() {
        let config = format!("[lakehouse]\ncommit_secs = 1\n{}", five_sources());
        let mut app = App::start_with_lakehouse(&config).await;
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
        let mut app = App::start_with_lakehouse(&config).await;
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
            lakehouse: true,
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
        let mut app = App::start_with_lakehouse(&config).await;
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
