//! Operations on the table: `hookweir lakehouse show`, `compare`, `erase`, `views`, `compact`, `expire`.

mod with_readers {
    use std::path::Path;
    use std::process::Command;
    use std::time::{Duration, Instant};

    use hookweir_testkit::app::{App, Launch, five_sources};
    use hookweir_testkit::ledger::Ledger;
    use hookweir_testkit::load::Load;
    use hookweir_testkit::provider::Provider;
    use hookweir_testkit::sink::{Message, files};

    use crate::python::read;
    use crate::service::{
        PATIENCE, all, check, hookweir, lake, lakehouse, out, shown, trace, until_all_rows,
    };

    /// Starts a service without upkeep, sends events in several commits, and waits for their rows.
    async fn filled() -> (App, Ledger) {
        let config = format!(
            "[lakehouse]\ncommit_secs = 1\nupkeep_secs = 0\n{}",
            five_sources()
        );
        let app = App::start_with_lakehouse(&config).await;
        let load = Load {
            connections: 8,
            rate: Some(50.0),
            ..Load::on(&[app.listen])
        };
        let ledger = load.send(200).await;
        ledger.check();
        app.drained().await;
        until_all_rows(&app).await;
        (app, ledger)
    }

    /// Waits until the lakehouse has acknowledged all that the file sink has.
    async fn until_nothing_waits(app: &App) {
        let since = Instant::now();
        while shown(app, "waiting").is_none_or(|waiting| !waiting.starts_with("0 bytes")) {
            assert!(since.elapsed() < PATIENCE, "{}", app.log());
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
    }

    fn parquet_files(folder: &Path) -> usize {
        let entries = std::fs::read_dir(folder).expect("a folder").flatten();
        entries
            .map(|entry| entry.path())
            .map(|path| match path.is_dir() {
                true => parquet_files(&path),
                false => usize::from(path.extension().is_some_and(|end| end == "parquet")),
            })
            .sum()
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn show_and_compare_say_that_each_accepted_event_is_a_row() {
        let (app, _) = filled().await;
        let count = files(&app.events()).len().to_string();
        assert_eq!(shown(&app, "rows").as_deref(), Some(&*count));
        until_nothing_waits(&app).await;
        let waiting = shown(&app, "waiting").expect("a line");
        assert_eq!(waiting, "0 bytes of the file sink's folder");
        let compared = lakehouse(&app, &["compare", "--until", "0s"]);
        assert!(compared.status.success(), "{}", all(&compared));
        let total = format!("all  -  {count}  {count}  0  0  0  0");
        assert!(out(&compared).contains(&total), "{}", all(&compared));
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn compare_names_a_row_that_is_missing_and_one_that_nobody_accepted() {
        let (mut app, _) = filled().await;
        let messages = files(&app.events());
        let [missing, extra] = [&messages[0].id, &messages[1].id];
        let erased = lakehouse(&app, &["erase", "--id", missing]);
        assert!(erased.status.success(), "{}", all(&erased));
        assert!(
            out(&erased).starts_with("1 rows erased"),
            "{}",
            all(&erased)
        );
        assert!(app.stop().await.success(), "{}", app.log());
        let python = std::env::var("HOOKWEIR_LAKE_READERS").expect("run tests/lakehouse");
        let forget = "import sqlite3, sys\ndb = sqlite3.connect(sys.argv[1])\ndb.execute('DELETE FROM event WHERE event_id = ?', sys.argv[2:])\ndb.commit()";
        let database = std::fs::read_dir(app.folder().join("data"))
            .expect("data")
            .flatten();
        let mut database = database.map(|entry| entry.path()).filter(|path| {
            path.extension()
                .is_some_and(|end| end == "db" || end == "sqlite")
        });
        let deleted = Command::new(python)
            .args(["-c", forget])
            .arg(database.next().expect("a database"))
            .arg(&messages[1].event_id)
            .status();
        assert!(deleted.is_ok_and(|status| status.success()), "sqlite3");
        let compared = lakehouse(&app, &["compare", "--until", "0s"]);
        assert_eq!(compared.status.code(), Some(1), "{}", all(&compared));
        for line in [format!("missing  {missing}"), format!("extra  {extra}")] {
            assert!(
                out(&compared).lines().any(|l| l == line),
                "{}",
                all(&compared)
            );
        }
    }

    /// A control: with this mistake, a killed service loses events.
    #[tokio::test(flavor = "multi_thread")]
    async fn acked_before_its_commit_an_event_is_missing_and_compare_says_so() {
        let config = format!("[lakehouse]\ncommit_secs = 1\n{}", five_sources());
        let mistake = Launch {
            environment: vec![
                ("HOOKWEIR_CONTROL", "lake_ack_first".to_owned()),
                ("FAILPOINTS", "lake_before_files=return".to_owned()),
            ],
            lakehouse: true,
            ..Launch::default()
        };
        let mut app = App::launch_as(&config, mistake).await;
        let load = Load::on(&[app.listen]).start();
        let status = app.ended(PATIENCE).await;
        assert!(!status.success(), "{status}");
        app.clear_environment();
        app.start_again().await;
        load.until_taken(20).await;
        load.finish().await.check();
        app.drained().await;
        until_nothing_waits(&app).await;
        let compared = lakehouse(&app, &["compare", "--until", "0s"]);
        assert_eq!(compared.status.code(), Some(1), "{}", all(&compared));
        assert!(out(&compared).contains("\nmissing  "), "{}", all(&compared));
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn erased_rows_are_gone_with_the_files_that_held_them_while_the_service_runs() {
        let (mut app, _) = filled().await;
        let source = Provider::ALL[0].name();
        let (gone, others): (Vec<_>, Vec<_>) = files(&app.events())
            .into_iter()
            .partition(|message| message.source == source);
        assert!(!gone.is_empty() && !others.is_empty());
        let erased = lakehouse(&app, &["erase", "--source", source]);
        assert!(erased.status.success(), "{}", all(&erased));
        assert!(
            all(&erased).contains("still readable elsewhere"),
            "{}",
            all(&erased)
        );
        let named = shown(&app, "files").expect("a line");
        let on_disk = parquet_files(&lake(&app));
        assert!(
            named.starts_with(&format!("{on_disk} ")),
            "{on_disk} on disk, {named}"
        );
        // Later events become rows.
        Load::on(&[app.listen]).send(20).await.check();
        app.drained().await;
        app.stop().await;
        for reader in ["duckdb", "pyiceberg"] {
            let rows = read(&["rows", reader, &lake(&app).to_string_lossy()]);
            let ids: Vec<_> = rows
                .iter()
                .filter_map(|row| row["message_id"].as_str())
                .collect();
            let found = |messages: &[Message]| {
                let found = messages.iter().filter(|m| ids.contains(&m.id.as_str()));
                found.count()
            };
            assert_eq!(found(&gone), 0, "{reader}: erased rows");
            assert_eq!(found(&others), others.len(), "{reader}: other rows");
        }
    }

    /// Returns the rows that DuckDB sees, by message id: hash of the body.
    fn bodies(app: &App) -> std::collections::BTreeMap<String, String> {
        let rows = read(&["rows", "duckdb", &lake(app).to_string_lossy()]);
        let text = |value: &serde_json::Value| value.as_str().expect("text").to_owned();
        rows.iter()
            .map(|row| (text(&row["message_id"]), text(&row["body"])))
            .collect()
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn rows_with_a_value_in_their_body_are_erased_and_no_other() {
        let (mut app, _) = filled().await;
        let before = bodies(&app);
        // A body with a text at the top, and all others with the same one.
        let messages = files(&app.events());
        let json = |message: &Message| {
            let body = serde_json::from_slice::<serde_json::Value>(&message.body).ok()?;
            let fields = body.as_object()?.iter();
            let mut texts =
                fields.filter_map(|(name, value)| Some((name.clone(), value.as_str()?.to_owned())));
            texts.find(|(name, value)| !name.contains(['/', '~', '=']) && !value.is_empty())
        };
        let (name, value) = messages.iter().find_map(json).expect("a text in a body");
        let has = |message: &&Message| {
            let body = serde_json::from_slice::<serde_json::Value>(&message.body);
            body.is_ok_and(|body| body.get(&name).and_then(|v| v.as_str()) == Some(&*value))
        };
        let gone: std::collections::BTreeSet<_> =
            messages.iter().filter(has).map(|m| m.id.clone()).collect();
        let subject = format!("/{name}={value}");
        let erased = lakehouse(&app, &["erase", "--subject", &subject]);
        assert!(erased.status.success(), "{}", all(&erased));
        let words = format!("{} rows erased", gone.len());
        assert!(out(&erased).starts_with(&words), "{}", all(&erased));
        app.stop().await;
        let mut expected = before;
        expected.retain(|id, _| !gone.contains(id));
        assert_eq!(bodies(&app), expected);
        for wrong in [
            &["--subject", &*subject, "--source", "a"][..],
            &["--subject", "customer=1"],
        ] {
            let refused = lakehouse(&app, &[&["erase"], wrong].concat());
            assert_eq!(refused.status.code(), Some(64), "{}", all(&refused));
            assert!(!all(&refused).contains(&value), "{}", all(&refused));
        }
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn the_views_for_duckdb_show_the_rows_of_each_source() {
        let (app, _) = filled().await;
        let views = lakehouse(&app, &["views"]);
        assert!(views.status.success(), "{}", all(&views));
        let path = app.folder().join("views.sql");
        std::fs::write(&path, out(&views)).expect("written");
        let names = Provider::ALL.map(Provider::name);
        let (lake, path) = (lake(&app), path.to_string_lossy().into_owned());
        let lake = lake.to_string_lossy().into_owned();
        let mut arguments = vec!["views", "duckdb", &lake, &path];
        arguments.extend(names);
        let counts = read(&arguments);
        let messages = files(&app.events());
        for (name, counts) in names.iter().zip(counts) {
            let expected = messages.iter().filter(|m| m.source == *name).count();
            assert_eq!(counts[0], expected, "{name}");
        }
        for engine in ["trino", "spark"] {
            let views = out(&lakehouse(
                &app,
                &["views", "--engine", engine, "--source", "a"],
            ));
            assert!(
                views.contains("FROM hookweir.webhooks.events WHERE source = 'a';"),
                "{views}"
            );
        }
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn small_files_are_put_together_on_demand_and_no_row_changes() {
        let (mut app, ledger) = filled().await;
        let compacted = lakehouse(&app, &["compact"]);
        assert!(compacted.status.success(), "{}", all(&compacted));
        assert!(!out(&compacted).starts_with("0 "), "{}", all(&compacted));
        let files = shown(&app, "files").expect("a line");
        assert!(files.starts_with("1 "), "{files}");
        let expired = lakehouse(&app, &["expire"]);
        assert!(expired.status.success(), "{}", all(&expired));
        app.stop().await;
        check(&app, &ledger);
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn trace_says_since_when_an_event_is_in_the_lakehouse_and_names_one_that_is_no_row() {
        let (app, _) = filled().await;
        let messages = files(&app.events());
        let [first, second] = [&messages[0].id, &messages[1].id];
        let traced = trace(&app, first);
        assert_eq!(traced["state"], "row", "{traced}");
        let rows = read(&["rows", "duckdb", &lake(&app).to_string_lossy()]);
        let row = rows.iter().find(|row| row["message_id"] == first.as_str());
        let received = row.expect("a row")["received_at"].as_i64().expect("a time");
        let committed = traced["committed_at"].as_str().expect("a time");
        let committed: jiff::Timestamp = committed.parse().expect("a time");
        assert!(committed.as_millisecond() >= received, "{traced}");
        let printed = out(&hookweir(&app, &["trace", first]));
        assert!(printed.contains("lakehouse"), "{printed}");
        assert!(printed.contains("row of webhooks.events"), "{printed}");
        let erased = lakehouse(&app, &["erase", "--id", second]);
        assert!(erased.status.success(), "{}", all(&erased));
        assert_eq!(trace(&app, second)["state"], "no_row");
        assert_eq!(trace(&app, first)["state"], "row");
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn trace_shows_an_event_and_that_it_cannot_tell_of_a_lakehouse_that_cannot_be_read() {
        let (app, _) = filled().await;
        let id = &files(&app.events())[0].id;
        let catalog = lake(&app).join("catalog.db");
        for broken in ["catalog.db", "catalog.db-wal"] {
            let path = lake(&app).join(broken);
            if path.exists() {
                std::fs::rename(&path, path.with_extension("away")).expect("renamed");
            }
        }
        std::fs::write(&catalog, "no database").expect("written");
        let traced = trace(&app, id);
        assert_eq!(traced["state"], "unknown", "{traced}");
        let printed = out(&hookweir(&app, &["trace", id]));
        for text in ["received", "lakehouse", "cannot tell: cannot "] {
            assert!(printed.contains(text), "no {text}: {printed}");
        }
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn a_lakehouse_without_a_table_is_said_and_nothing_is_made() {
        let config = format!("[lakehouse]\nin_serve = \"off\"\n{}", five_sources());
        let app = App::start_with_lakehouse(&config).await;
        for verb in ["show", "compare", "compact", "expire"] {
            let asked = lakehouse(&app, &[verb]);
            assert_eq!(asked.status.code(), Some(69), "{verb}: {}", all(&asked));
            assert!(
                all(&asked).contains("there is no table in"),
                "{}",
                all(&asked)
            );
        }
        assert!(!lake(&app).exists());
        Load::on(&[app.listen]).send(1).await.check();
        app.drained().await;
        let id = &files(&app.events())[0].id;
        assert!(trace(&app, id).is_null());
        assert_eq!(lakehouse(&app, &["erase"]).status.code(), Some(64));
    }
}

/// Returns what `hookweir check --offline` prints in this folder.
fn checked(folder: &std::path::Path, more: &[&str]) -> String {
    let output = std::process::Command::new(hookweir_testkit::program())
        .args(["check", "--offline"])
        .args(more)
        .current_dir(folder)
        .output()
        .expect("it runs");
    crate::service::all(&output)
}

#[test]
fn check_names_the_disk_of_the_lakehouse_where_a_writer_runs_or_has_run() {
    let folder = tempfile::tempdir().expect("a folder");
    let line = "; the lakehouse data/lake on ";
    let said = checked(folder.path(), &[]);
    assert!(said.contains(line), "{said}");
    let off = ["--set", "lakehouse.in_serve=off"];
    let said = checked(folder.path(), &off);
    assert!(!said.contains("the lakehouse"), "{said}");
    std::fs::create_dir_all(folder.path().join("data/lake")).expect("a folder");
    let said = checked(folder.path(), &off);
    assert!(said.contains(line), "{said}");
}
