//! `serve` on its defaults and `send` against it, by way of the real program: what a newcomer does first.

use std::process::{Command, Output};

use hookweir_testkit::app::App;

/// Runs `hookweir send` in the working directory of `app`.
async fn send(app: &App, args: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_hookweir"));
    command
        .arg("send")
        .args(args)
        .args(["--set", &format!("server.listen={}", app.listen)])
        .current_dir(app.folder())
        .env_clear();
    tokio::task::spawn_blocking(move || command.output().expect("the program runs"))
        .await
        .expect("no panic")
}

fn text(bytes: &[u8]) -> &str {
    std::str::from_utf8(bytes).expect("UTF-8")
}

#[tokio::test(flavor = "multi_thread")]
async fn the_demo_source_takes_signed_events_and_shows_them_arriving() {
    let mut app = App::start("").await;
    let output = send(&app, &["--wait"]).await;
    assert!(output.status.success(), "{output:?}");
    let lines: Vec<&str> = text(&output.stdout).lines().collect();
    let id = lines[0]
        .strip_prefix("200 accepted ")
        .and_then(|rest| rest.split(',').next())
        .expect("an accepted event");
    assert!(
        lines[1].contains(&format!("\"message_id\":\"{id}\"")),
        "{lines:?}"
    );

    for (args, said) in [
        (&["--duplicate"][..], "200 duplicate"),
        (&["--tamper"], "401"),
        (&["--wrong-secret"], "401"),
        (&["--count", "30", "--parallel", "4"], ""),
        (&["--id", "evt_1"], "200 accepted"),
        (&["--id", "evt_1"], "200 duplicate"),
    ] {
        let output = send(&app, args).await;
        assert!(output.status.success(), "{args:?}: {output:?}");
        assert!(text(&output.stdout).contains(said), "{args:?}: {output:?}");
    }
    let output = send(
        &app,
        &[
            "--count",
            "5",
            "--url",
            &format!("http://{}/ingest/nowhere", app.listen),
        ],
    )
    .await;
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    assert!(
        text(&output.stderr).contains("5 x 404; 5 not expected"),
        "{output:?}"
    );
    assert!(app.stop().await.success());
}

#[tokio::test(flavor = "multi_thread")]
async fn the_line_to_paste_is_signed_and_leads_to_the_event() {
    let app = App::start("").await;
    let log = app.log();
    let line = log
        .lines()
        .find(|line| line.trim_start().starts_with("curl -sS "))
        .expect("a line to paste");
    let (curl, show) = line
        .split_once(" && echo && sleep 1 && ")
        .expect("it shows the event");
    let events = app.events();
    assert!(
        show.starts_with("cat ") && show.contains(&events.display().to_string()),
        "{show}"
    );
    let mut parts = curl.trim_start().splitn(4, ' ');
    let url = parts.nth(2).expect("a URL");
    let rest = parts.next().expect("headers and a body");
    let (headers, body) = rest.split_once(" -d ").expect("a body");
    let mut request = hookweir_testkit::load::client()
        .post(url)
        .body(body.trim_matches('\'').to_owned());
    for header in headers.split("-H '").skip(1) {
        let (name, value) = header
            .trim_end()
            .trim_end_matches('\'')
            .split_once(": ")
            .expect("a header");
        request = request.header(name, value);
    }
    assert_eq!(request.send().await.expect("an answer").status(), 200);
    assert!(log.contains("memory  at most "), "{log}");
}

#[tokio::test(flavor = "multi_thread")]
async fn each_provider_is_signed_for_and_refused_when_it_should_be() {
    let secret = "plain:MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY=";
    let providers = [
        "stripe",
        "github",
        "shopify",
        "slack",
        "standardwebhooks",
        "svix",
        "hmac",
        "token",
    ];
    let config: String = providers
        .iter()
        .map(|name| {
            format!(
                "[[source]]\nname = \"{name}\"\nprovider = \"{name}\"\nsecrets = [\"{secret}\"]\n"
            )
        })
        .collect();
    let app = App::start(&config).await;
    for provider in providers {
        for kind in ["--duplicate", "--tamper", "--wrong-secret", "--stale"] {
            let output = send(
                &app,
                &["--config", "config.toml", "--source", provider, kind],
            )
            .await;
            let code = match (provider, kind) {
                // These sign no time.
                ("github" | "shopify" | "hmac" | "token", "--stale") => Some(64),
                // A token proves who sends it, and nothing of the body.
                ("token", "--tamper") => Some(64),
                _ => Some(0),
            };
            assert_eq!(output.status.code(), code, "{provider} {kind}: {output:?}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn check_finds_the_folders_usable_and_migrate_leaves_nothing_to_do() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let run = |args: &[&str]| {
        let output = Command::new(env!("CARGO_BIN_EXE_hookweir"))
            .args(args)
            .current_dir(folder.path())
            .env_clear()
            .output();
        output.expect("the program runs")
    };
    let check = run(&["check"]);
    assert!(
        check.status.success()
            && text(&check.stdout).contains("does not exist yet and can be created"),
        "{check:?}"
    );
    assert!(
        !folder.path().join("data/hookweir.db").exists(),
        "check creates no database"
    );
    let strict = ["--set", "store.migrate=check"];
    assert!(text(&run(&["migrate"]).stdout).contains(": applied "));
    assert!(text(&run(&["migrate"]).stdout).contains("up to date"));
    let check = run(&[&["check"][..], &strict].concat());
    assert!(
        check.status.success() && text(&check.stdout).contains("its schema is up to date"),
        "{check:?}"
    );

    let away = run(&[
        "check",
        "--set",
        "publisher.url=amqp://u:hunter2@127.0.0.1:9/%2f",
        "--set",
        "store.url=postgres://u:hunter2@127.0.0.1:9/d",
    ]);
    assert_eq!(away.status.code(), Some(69), "{away:?}");
    assert!(
        text(&away.stderr).contains("what store.url and publisher.url names cannot be used"),
        "{away:?}"
    );
    assert!(!format!("{away:?}").contains("hunter2"), "{away:?}");
}
