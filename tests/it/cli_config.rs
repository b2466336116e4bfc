//! The configuration and the tools, by way of the real program: what it prints, and its exit codes.

use std::fs;
use std::path::Path;
use std::process::{Command, Output};

/// Runs the program in `folder` with nothing of our environment.
fn hookweir(folder: &Path, args: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_hookweir"))
        .args(args)
        .current_dir(folder)
        .env_clear()
        .output()
        .expect("the program runs")
}

fn folder() -> tempfile::TempDir {
    tempfile::tempdir().expect("a temporary folder")
}

fn text(bytes: &[u8]) -> &str {
    std::str::from_utf8(bytes).expect("UTF-8")
}

#[test]
fn a_wrong_configuration_is_told_whole_and_exits_78() {
    let folder = folder();
    fs::write(
        folder.path().join("h.toml"),
        "[server]\nlisten = \"0.0.0.0:8420\"\nworker = 2\n\n[[source]]\nname = \"s\"\nprovider = \"stripe\"\nsecrets = [\"env:MISSING\"]\n",
    )
    .expect("written");
    for command in [&["check", "--strict"][..], &["serve"], &["migrate"]] {
        let output = hookweir(
            folder.path(),
            &[
                command,
                &["--config", "h.toml", "--set", "limits.deadline_ms=0"],
            ]
            .concat(),
        );
        assert_eq!(output.status.code(), Some(78), "{command:?}: {output:?}");
        assert_eq!(
            text(&output.stderr),
            "error: h.toml:3:1: server.worker: no such option; did you mean server.workers?\n\
             error: h.toml:8:12: source.s.secrets: the environment variable MISSING is not set\n\
             error: --set limits.deadline_ms: expected a whole number of milliseconds from 100 to 60000, found 0\n\
             3 mistakes in the configuration; `hookweir config --reference` explains every option\n",
            "{command:?}"
        );
    }
    for command in ["check", "config", "send"] {
        let output = hookweir(
            folder.path(),
            &[
                command,
                "--config",
                "h.toml",
                "--set",
                "limits.deadline_ms=0",
            ],
        );
        assert_eq!(output.status.code(), Some(78), "{command}: {output:?}");
        let said = text(&output.stderr);
        assert!(
            said.contains("server.worker: no such option")
                && said.contains("2 mistakes in the configuration"),
            "{command}: {said}"
        );
    }
    assert!(
        !folder.path().join("data").exists(),
        "a refused start leaves nothing behind"
    );
}

/// A unit with LoadCredential=, and an operator with a shell and no such environment.
#[test]
fn check_config_and_send_work_without_the_secrets_of_the_service() {
    let folder = folder();
    let config = "[[source]]\nname = \"s\"\nprovider = \"stripe\"\nsecrets = [\"credential:stripe\"]\n\
                  [[source]]\nname = \"t\"\nprovider = \"github\"\nsecrets = [\"plain:0123456789abcdef\"]\n";
    fs::write(folder.path().join("h.toml"), config).expect("written");
    let run = |args: &[&str]| {
        let output = hookweir(folder.path(), &[args, &["--config", "h.toml"]].concat());
        (
            output.status.code(),
            text(&output.stdout).to_owned() + text(&output.stderr),
        )
    };
    let (code, said) = run(&["check"]);
    assert!(
        code == Some(0)
            && said.contains(
                "not tried      h.toml:4:12: source.s.secrets: CREDENTIALS_DIRECTORY is not set"
            ),
        "{said}"
    );
    let (code, said) = run(&[
        "check",
        "--set",
        "store.url=credential:db",
        "--set",
        "publisher.url=env:AMQP",
    ]);
    assert!(
        code == Some(0)
            && said.contains("store.url: CREDENTIALS_DIRECTORY")
            && said.contains("AMQP is not set"),
        "{said}"
    );
    let (code, said) = run(&["config"]);
    assert!(
        code == Some(0)
            && said.contains("credential:stripe")
            && said.contains("not read: h.toml:4:12"),
        "{said}"
    );
    let (code, said) = run(&["send", "--source", "t", "--url", "http://127.0.0.1:9/"]);
    assert!(
        code == Some(1) && said.contains("is `hookweir serve` running there?"),
        "{said}"
    );
    let (code, said) = run(&["send", "--source", "s"]);
    assert!(
        code == Some(78) && said.contains("there is no credential stripe"),
        "{said}"
    );
    for command in [&["check", "--strict"][..], &["serve"]] {
        let (code, said) = run(command);
        assert!(
            code == Some(78) && said.contains("there is no credential stripe"),
            "{command:?}: {said}"
        );
    }
}

#[test]
fn a_file_that_is_not_there_is_named() {
    let output = hookweir(folder().path(), &["check", "--config", "absent.toml"]);
    assert_eq!(output.status.code(), Some(78));
    assert!(
        text(&output.stderr)
            .starts_with("error: cannot read the configuration absent.toml: No such file"),
        "{output:?}"
    );
}

#[test]
fn wrong_usage_exits_64_and_help_exits_0() {
    let folder = folder();
    assert_eq!(hookweir(folder.path(), &["sreve"]).status.code(), Some(64));
    assert_eq!(
        hookweir(folder.path(), &["send", "--count", "0"])
            .status
            .code(),
        Some(64)
    );
    for help in [&["--help"][..], &["send", "--help"], &["--version"]] {
        let output = hookweir(folder.path(), help);
        assert!(
            output.status.success() && !output.stdout.is_empty(),
            "{output:?}"
        );
    }
}

#[test]
fn every_command_is_explained_and_help_fits_a_terminal() {
    let folder = folder();
    for command in [
        "serve",
        "check",
        "migrate",
        "send",
        "verify",
        "providers",
        "config",
        "completions",
    ] {
        let output = hookweir(folder.path(), &[command, "--help"]);
        assert!(output.status.success(), "{command}: {output:?}");
        for line in text(&output.stdout).lines() {
            assert!(line.chars().count() <= 100, "{command}: {line}");
        }
    }
}

#[test]
fn the_configuration_in_force_is_printed_without_secrets() {
    let folder = folder();
    let output = hookweir(
        folder.path(),
        &[
            "--set",
            "publisher.url=amqp://u:hunter2@h/v",
            "config",
            "--set",
            "source.gh.provider=github",
            "--set",
            "source.gh.secrets=plain:hunter2hunter2hunter2",
        ],
    );
    let shown = text(&output.stdout);
    assert!(output.status.success(), "{output:?}");
    assert!(
        shown.contains("url = \"amqp://u:***@h/v\"  # --set publisher.url")
            && shown.contains("secrets = [\"plain:***\"]"),
        "{shown}"
    );
    assert!(!shown.contains("hunter2"), "{shown}");
    let reference = hookweir(folder.path(), &["config", "--reference"]);
    assert_eq!(text(&reference.stdout), include_str!("../../config.toml"));
}

#[test]
fn the_reference_runs_as_it_is() {
    let folder = folder();
    fs::write(
        folder.path().join("config.toml"),
        include_str!("../../config.toml"),
    )
    .expect("written");
    let output = hookweir(
        folder.path(),
        &["check", "--offline", "--config", "config.toml"],
    );
    assert!(output.status.success(), "{output:?}");
    assert!(text(&output.stdout).contains("MiB  at most"), "{output:?}");
}

#[test]
fn shells_get_their_completions() {
    for shell in ["bash", "zsh", "fish"] {
        let output = hookweir(folder().path(), &["completions", shell]);
        assert!(
            output.status.success() && text(&output.stdout).contains("hookweir"),
            "{shell}: {output:?}"
        );
    }
}

#[test]
fn sending_needs_to_know_where_to_and_as_whom() {
    let folder = folder();
    let refused = |args: &[&str], code: i32, said: &str| {
        let output = hookweir(folder.path(), args);
        assert_eq!(output.status.code(), Some(code), "{args:?}: {output:?}");
        assert!(
            text(&output.stderr).contains(said) || text(&output.stdout).contains(said),
            "{args:?}: {output:?}"
        );
    };
    let source = |name: &'static str| {
        [
            format!("--set=source.{name}.provider=github"),
            format!("--set=source.{name}.secrets=plain:0123456789abcdef"),
        ]
    };
    let [a, b] = [source("a"), source("b")];
    refused(
        &["send"],
        64,
        "`hookweir serve` makes it at its first start",
    );
    refused(
        &["send", &a[0], &a[1], &b[0], &b[1]],
        64,
        "several sources are configured: choose one of a, b",
    );
    refused(
        &["send", &a[0], &a[1], "--source", "c"],
        64,
        "no source \"c\" is configured; there is a",
    );
    refused(
        &["send", "--source", "nope"],
        64,
        "no source \"nope\" is configured, nor any other",
    );
    refused(
        &["send", "--provider", "github"],
        64,
        "--provider needs --url",
    );
    refused(
        &["send", "--provider", "github", "--url", "http://h/"],
        64,
        "secret",
    );
    refused(
        &[
            "send",
            "--provider",
            "github",
            "--secret",
            "0123456789abcdef",
            "--url",
            "http://h/",
        ],
        64,
        "expected \"env:NAME\"",
    );
    refused(&["send", &a[0], &a[1], "--stale"], 64, "signs no time");
    // Nobody listens on the discard port of loopback.
    refused(
        &["send", &a[0], &a[1], "--url", "http://127.0.0.1:9/"],
        1,
        "is `hookweir serve` running there?",
    );
}

#[test]
fn verify_tells_which_step_fails() {
    let folder = folder();
    let write =
        |name: &str, content: &str| fs::write(folder.path().join(name), content).expect("written");
    // printf '1700000000.{"id":"evt_1"}' | openssl dgst -sha256 -hmac 0123456789abcdef
    write(
        "h.txt",
        "stripe-signature: t=1700000000,v1=9483985a1de97b8e9342f2306f8e68512fdf9176cc65f2595ea38e056d78bfdd\n",
    );
    write("body.json", "{\"id\":\"evt_1\"}");
    write("newline.json", "{\"id\":\"evt_1\"}\n");
    write("none.txt", "content-type: application/json\n");
    let verify = |secret: &str, headers: &str, body: &str, more: &[&str]| {
        let args = [
            "verify",
            "--provider",
            "stripe",
            "--secret",
            secret,
            "--headers",
            headers,
            "--body",
            body,
        ];
        let output = hookweir(folder.path(), &[&args[..], more].concat());
        (output.status.code(), text(&output.stdout).to_owned())
    };
    let (then, right) = (["--at", "1700000010"], "plain:0123456789abcdef");
    let (code, said) = verify(right, "h.txt", "body.json", &then);
    assert!(
        code == Some(0) && said.contains("verified: event evt_1"),
        "{said}"
    );
    for (secret, headers, body, more, step) in [
        (
            right,
            "h.txt",
            "body.json",
            &[][..],
            "refused, timestamp_too_old",
        ),
        (
            right,
            "none.txt",
            "body.json",
            &then,
            "refused, signature_missing",
        ),
        (
            "plain:fedcba9876543210",
            "h.txt",
            "body.json",
            &then,
            "refused, signature_mismatch",
        ),
        (
            right,
            "h.txt",
            "newline.json",
            &then,
            "without the newline at the end",
        ),
    ] {
        let (code, said) = verify(secret, headers, body, more);
        assert!(code == Some(1) && said.contains(step), "{step}: {said}");
        assert!(
            !said.contains("0123456789abcdef") && !said.contains("fedcba9876543210"),
            "{said}"
        );
    }
}

#[test]
fn providers_are_listed_and_explained() {
    let folder = folder();
    let providers = |args: &[&str]| {
        let output = hookweir(folder.path(), &[&["providers"][..], args].concat());
        (
            output.status.code(),
            text(&output.stdout).to_owned(),
            text(&output.stderr).to_owned(),
        )
    };
    assert!(providers(&[]).1.lines().count() > 100);
    assert!(providers(&["stripe"]).1.contains("provider = \"stripe\""));
    assert!(providers(&["git"]).1.contains("GitHub"));
    let (code, _, said) = providers(&["strpie"]);
    assert!(
        code == Some(64) && said.contains("did you mean \"stripe\"?"),
        "{said}"
    );
}

/// Runs `check --offline` on a source of GitHub's with these lines.
fn check_source(lines: &str) -> (Option<i32>, String, String) {
    let folder = folder();
    let source = format!(
        "[[source]]\nname = \"s\"\nprovider = \"github\"\nsecrets = [\"plain:sixteen bytes and more\"]\n{lines}\n"
    );
    fs::write(folder.path().join("h.toml"), source).expect("written");
    let output = hookweir(folder.path(), &["check", "--offline", "--config", "h.toml"]);
    (
        output.status.code(),
        text(&output.stdout).to_owned(),
        text(&output.stderr).to_owned(),
    )
}

#[test]
fn dropping_equal_bytes_needs_a_span_and_a_word_that_is_known() {
    for (lines, mistake) in [
        (
            "same_bytes = \"drop\"",
            "h.toml:1:1: source.s.same_bytes: \"drop\" needs same_bytes_span_secs, the time for which equal bytes count as a copy",
        ),
        (
            "same_bytes = \"drop\"\nsame_bytes_span_secs = 0",
            "h.toml:6:1: source.s.same_bytes_span_secs: expected a whole number of seconds from 1 to 604800, found 0",
        ),
        (
            "same_bytes = \"flag\"",
            "h.toml:5:1: source.s.same_bytes: expected one of \"publish\", \"drop\", found \"flag\"",
        ),
    ] {
        let (code, _, said) = check_source(lines);
        assert_eq!(code, Some(78), "{lines}: {said}");
        assert_eq!(
            said,
            format!(
                "error: {mistake}\n1 mistake in the configuration; `hookweir config --reference` explains every option\n"
            )
        );
    }
}

#[test]
fn check_says_what_dropping_equal_bytes_can_cost() {
    let cost = "what has the bytes of another event of the last 600 s is answered as a duplicate and never published, also if it is an event of its own";
    let (code, said, _) = check_source("same_bytes = \"drop\"\nsame_bytes_span_secs = 600");
    assert_eq!(code, Some(0), "{said}");
    assert!(said.contains(cost), "{said}");
    // With the default nothing is dropped, whatever span is named.
    for lines in ["", "same_bytes_span_secs = 600", "same_bytes = \"publish\""] {
        let (code, said, _) = check_source(lines);
        assert_eq!(code, Some(0), "{lines}: {said}");
        assert!(!said.contains("never published"), "{lines}: {said}");
    }
}
