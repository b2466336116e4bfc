//! The first day of a newcomer and an operator, by way of the real program.

use std::fs;
use std::path::Path;
use std::process::{Command, Output};
use std::time::{Duration, Instant};

use hookweir_testkit::app::App;

use crate::signals::logs;

fn hookweir(folder: &Path, args: &[&str], environment: &[(&str, &str)]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_hookweir"))
        .args(args)
        .current_dir(folder)
        .env_clear()
        .envs(environment.iter().copied())
        .output()
        .expect("the program runs")
}

fn text(bytes: &[u8]) -> &str {
    std::str::from_utf8(bytes).expect("UTF-8")
}

fn folder() -> tempfile::TempDir {
    tempfile::tempdir().expect("a temporary folder")
}

/// Runs `hookweir send` in the folder of `app`.
async fn send(app: &App, args: &[&str], environment: &'static [(&str, &str)]) -> Output {
    let listen = format!("server.listen={}", app.listen);
    let args: Vec<String> = ["send", "--set", &listen]
        .iter()
        .chain(args)
        .map(|arg| (*arg).to_owned())
        .collect();
    let folder = app.folder().to_owned();
    tokio::task::spawn_blocking(move || {
        let args: Vec<&str> = args.iter().map(String::as_str).collect();
        hookweir(&folder, &args, environment)
    })
    .await
    .expect("no panic")
}

#[tokio::test(flavor = "multi_thread")]
async fn both_lines_of_the_first_screen_work_when_pasted_in_another_folder() {
    let app = App::start("").await;
    logs(&app, "curl -sS ").await;
    let log = app.log();
    let line = |start: &str| {
        let lines = log.lines().map(str::trim_start);
        let mut found = lines.filter(|line| line.starts_with(start));
        found
            .next()
            .unwrap_or_else(|| panic!("no {start}: {log}"))
            .to_owned()
    };
    assert!(
        log.find(" send --wait") < log.find("curl -sS "),
        "what needs no other program comes first: {log}"
    );
    let elsewhere = folder();
    let pasted = line("cd ");
    let shell = Command::new("sh")
        .args(["-c", &pasted])
        .current_dir(elsewhere.path())
        .env_clear()
        .output();
    let output = shell.expect("a shell");
    assert!(output.status.success(), "{pasted}: {output:?}");
    assert!(
        text(&output.stdout).contains("\"message_id\""),
        "{output:?}"
    );

    let curl = line("curl -sS ");
    let (_, show) = curl.split_once("cat ").expect("it shows the event");
    let shown = show.split_once("/*.jsonl").expect("a folder").0;
    let folder = shown.trim_matches('\'');
    assert!(
        Path::new(folder).is_absolute() && Path::new(folder).is_dir(),
        "{folder}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn the_first_screen_shows_the_memory_in_use_and_names_the_bound_once() {
    let app = App::start("").await;
    logs(&app, " MiB now); `hookweir check --offline`").await;
    let log = app.log();
    assert!(!log.contains("memory_bound"), "{log}");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_event_to_the_demo_source_shows_a_line_in_the_terminal_of_the_service() {
    let app = App::start("").await;
    assert!(send(&app, &["--wait"], &[]).await.status.success());
    let since = Instant::now();
    let is_shown = |line: &str| line.contains("accepted") && line.contains("demo");
    while !app.log().lines().any(is_shown) {
        assert!(since.elapsed() < Duration::from_secs(60), "{}", app.log());
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_tampered_event_is_said_to_be_refused_as_it_must_be() {
    let app = App::start("").await;
    let output = send(&app, &["--tamper"], &[]).await;
    assert!(
        output.status.success() && text(&output.stdout).contains("refused as it must be"),
        "{output:?}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn sending_over_plain_http_needs_no_root_certificates() {
    let app = App::start("").await;
    let none = &[("SSL_CERT_FILE", "/nowhere"), ("SSL_CERT_DIR", "/nowhere")];
    let output = send(&app, &[], none).await;
    assert!(output.status.success(), "{output:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn sending_with_https_to_a_plain_port_says_that_the_port_speaks_no_tls() {
    let app = App::start("").await;
    let url = format!("https://{}/ingest/demo", app.listen);
    let output = send(&app, &["--url", &url], &[]).await;
    assert!(
        text(&output.stdout).contains("this port does not speak TLS: use http://"),
        "{output:?}"
    );
}

#[test]
fn a_thousand_events_to_nobody_stop_after_the_first_twenty() {
    let folder = folder();
    let output = hookweir(
        folder.path(),
        &[
            "send",
            "--count",
            "1000",
            "--set=source.a.provider=github",
            "--set=source.a.secrets=plain:0123456789abcdef",
            "--url=http://127.0.0.1:9/",
        ],
        &[],
    );
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    let said = text(&output.stdout);
    assert_eq!(said.matches("no answer").count(), 20, "{said}");
    assert!(
        text(&output.stderr).contains("nothing answers at"),
        "{output:?}"
    );
}

#[test]
fn waiting_for_an_event_in_a_folder_that_is_not_there_names_the_folder_within_seconds() {
    let folder = folder();
    let server = std::net::TcpListener::bind("127.0.0.1:0").expect("bound");
    let url = format!("http://{}/", server.local_addr().expect("an address"));
    let answer = std::thread::spawn(move || {
        use std::io::{Read, Write};
        let (mut stream, _) = server.accept().expect("a connection");
        let _ = stream.read(&mut [0; 65536]);
        let body = "{\"id\":\"m1\",\"status\":\"accepted\"}";
        let length = body.len();
        let _ = write!(
            stream,
            "HTTP/1.1 200 OK\r\ncontent-length: {length}\r\n\r\n{body}"
        );
    });
    let output = hookweir(
        folder.path(),
        &[
            "send",
            "--wait",
            "--set=source.a.provider=github",
            "--set=source.a.secrets=plain:0123456789abcdef",
            &format!("--url={url}"),
        ],
        &[],
    );
    answer.join().expect("answered");
    let expected = folder.path().join("data/events");
    assert!(
        output.status.code() == Some(1)
            && text(&output.stderr).contains(&format!("there is no folder {}", expected.display())),
        "{output:?}"
    );
}

#[test]
fn check_leaves_no_file_or_folder_behind() {
    let folder = folder();
    for more in [&[][..], &["--set", "store.url=postgres://127.0.0.1:9/d"]] {
        hookweir(folder.path(), &[&["check"], more].concat(), &[]);
        let left: Vec<_> = fs::read_dir(folder.path())
            .expect("a folder")
            .flatten()
            .map(|entry| entry.path())
            .collect();
        assert!(left.is_empty(), "{more:?}: {left:?}");
    }
}

#[test]
fn an_unknown_provider_gets_no_far_guess() {
    let output = hookweir(folder().path(), &["providers", "acme"], &[]);
    let said = text(&output.stderr);
    assert!(
        output.status.code() == Some(64)
            && said.contains("no provider \"acme\"")
            && !said.contains("did you mean"),
        "{said}"
    );
}

#[test]
fn a_port_below_1024_is_said_to_need_a_right() {
    // Root may bind it: then the port is in use, or the test has nothing to see.
    let output = Command::new("setpriv")
        .args(["--reuid=65534", "--regid=65534", "--clear-groups"])
        .args([
            env!("CARGO_BIN_EXE_hookweir"),
            "--set",
            "server.listen=127.0.0.1:81",
        ])
        .args(["--set", "store.url=sqlite:///tmp/hookweir-81/h.db"])
        .env_clear()
        .env("PATH", "/usr/bin:/bin")
        .output();
    let Ok(output) = output else { return };
    let said = text(&output.stderr);
    assert!(
        !said.contains("Permission denied") || said.contains("ports below 1024 need a right"),
        "{said}"
    );
}

#[test]
fn a_shell_offers_the_options_and_the_words_they_take_after_set() {
    for shell in ["bash", "zsh", "fish"] {
        let output = hookweir(folder().path(), &["completions", shell], &[]);
        let script = text(&output.stdout);
        for setting in ["server.listen=", "store.migrate=check"] {
            assert!(script.contains(setting), "{shell}: {setting}");
        }
    }
}

/// A credential is called the same in the unit, the README and the pages.
#[test]
fn each_credential_has_one_name_everywhere() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut texts = Vec::new();
    let mut todo = ["README.md", "config.toml", "packaging", "docs"]
        .map(|name| root.join(name))
        .to_vec();
    while let Some(path) = todo.pop() {
        if path.is_dir() {
            let entries = fs::read_dir(&path).expect("a folder").flatten();
            todo.extend(entries.map(|entry| entry.path()));
        } else if let Ok(text) = fs::read_to_string(&path) {
            texts.push((path, text));
        }
    }
    for (path, text) in texts {
        for other in ["postgres-url", "amqp-url", "STRIPE_SIGNING_SECRET"] {
            assert!(!text.contains(other), "{}: {other}", path.display());
        }
    }
}

mod with_servers {
    use hookweir_testkit::servers::amqp;
    use hookweir_testkit::sink::Queues;

    use super::*;

    #[tokio::test(flavor = "multi_thread")]
    async fn an_event_that_passes_rabbitmq_is_shown_by_send_wait() {
        let queues = Queues::new(&amqp());
        let app = App::start(&format!(
            "{}[[source]]\nname = \"s\"\nprovider = \"github\"\nsecrets = [\"plain:0123456789abcdef\"]\n",
            queues.config()
        ))
        .await;
        let output = send(&app, &["--wait", "--config", "config.toml"], &[]).await;
        assert!(output.status.success(), "{output:?}");
        let lines: Vec<&str> = text(&output.stdout).lines().collect();
        let id = lines[0]
            .strip_prefix("200 accepted ")
            .and_then(|rest| rest.split(',').next())
            .expect("an accepted event");
        assert!(
            lines[1].contains(&format!("\"message_id\":\"{id}\"")) && lines[1].contains("\"body\""),
            "{lines:?}"
        );
        queues.delete().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn where_no_writer_runs_the_lakehouse_is_off_and_its_gauge_is_0() {
    let app = App::start("").await;
    let health: serde_json::Value = serde_json::from_str(&app.health().await).expect("JSON");
    let lakehouse = &health["components"]["lakehouse"];
    assert_eq!(lakehouse["status"], "off", "{health}");
    let why = lakehouse["reason"].as_str().expect("a reason");
    assert!(why.contains("lakehouse.in_serve is \"off\""), "{why}");
    let client = hookweir_testkit::load::client();
    let metrics = client.get(format!("http://{}/metrics", app.admin)).send();
    let metrics = metrics.await.expect("an answer").text().await;
    let metrics = metrics.expect("text");
    assert!(metrics.contains("\nhookweir_lakehouse_up 0\n"), "{metrics}");
}
