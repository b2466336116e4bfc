//! Signals to the real program, exit codes, and the limit of file descriptors.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::process::{Command, Output};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError};
use std::thread;
use std::time::{Duration, Instant};

use hookweir_testkit::app::{App, Launch, five_sources};
use hookweir_testkit::load::Load;

/// Length of a body that comes slowly, and of its parts.
const SLOW: usize = 300_000;
const PART: usize = 1024;

/// Sends a body of the length `SLOW`: a part at a time, and the rest once the other end is dropped.
fn drip(mut stream: TcpStream, told: &Receiver<()>) {
    let (part, mut left) = (vec![b'x'; PART], SLOW);
    let pause = Duration::from_millis(200);
    while left > PART && told.recv_timeout(pause) == Err(RecvTimeoutError::Timeout) {
        stream.write_all(&part).expect("it still takes more");
        left -= PART;
    }
    let rest = vec![b'x'; left];
    stream.write_all(&rest).expect("it still takes the rest");
}

/// Signals that people and programs send by habit; none of them means "stop".
const HABITS: [&str; 4] = ["HUP", "USR1", "USR2", "PIPE"];

pub async fn logs(app: &App, what: &str) {
    let since = Instant::now();
    while !app.log().contains(what) {
        assert!(
            since.elapsed() < Duration::from_secs(60),
            "no \"{what}\" in the log:\n{}",
            app.log()
        );
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_closed_terminal_or_a_log_rotation_does_not_end_the_service() {
    let mut app = App::start(&five_sources()).await;
    let load = Load {
        connections: 4,
        ..Load::on(&[app.listen])
    }
    .start();
    for signal in HABITS.iter().cycle().take(40) {
        app.signal(signal);
        load.until_taken(5).await;
    }
    load.finish().await.check_faultless();
    logs(&app, "reload by SIGHUP: nothing changed").await;
    logs(&app, "SIGUSR1 has no meaning here").await;
    assert!(app.stop().await.success());
}

#[tokio::test(flavor = "multi_thread")]
async fn no_signal_cuts_off_what_is_in_hand_during_a_stop() {
    let mut app = App::start(&format!(
        "[shutdown]\ndrain_secs = 60\n[limits]\ndeadline_ms = 60000\nbody_timeout_ms = 600000\n{}",
        five_sources()
    ))
    .await;
    let mut slow = TcpStream::connect(app.listen).expect("it listens");
    slow.set_read_timeout(Some(Duration::from_secs(60)))
        .expect("a timeout");
    let head = format!("POST /ingest/github HTTP/1.1\r\nhost: h\r\ncontent-length: {SLOW}\r\n\r\n");
    slow.write_all(head.as_bytes()).expect("written");
    let (tell, told) = mpsc::channel();
    let body = slow.try_clone().expect("a second handle");
    // A body may pause for 3 s.
    let dripping = thread::spawn(move || drip(body, &told));
    while app.metrics().await.sum("hookweir_received_total", &[]) == 0 {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    app.signal("TERM");
    logs(&app, "SIGTERM: stopping in order").await;
    for signal in HABITS {
        app.signal(signal);
    }
    app.signal("TERM");
    app.signal("INT");
    logs(&app, "SIGTERM again: the service is stopping already").await;
    logs(&app, "SIGINT again").await;
    drop(tell);
    dripping.join().expect("sent");
    let mut answer = String::new();
    let _ = slow.read_to_string(&mut answer);
    assert!(
        answer.starts_with("HTTP/1.1 401 "),
        "unsigned, and answered: {answer:?}"
    );
    let status = app.ended(Duration::from_secs(60)).await;
    assert_eq!(status.code(), Some(0), "{status}");
}

/// The signals that a process catches or ignores, as bits.
fn handled(pid: u32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let bits = |name: &str| {
        status
            .lines()
            .find_map(|line| u64::from_str_radix(line.strip_prefix(name)?.trim(), 16).ok())
    };
    bits("SigCgt:").unwrap_or_default() | bits("SigIgn:").unwrap_or_default()
}

#[tokio::test(flavor = "multi_thread")]
async fn signals_during_a_start_are_no_accident() {
    // PostgreSQL that does not answer: the start waits for it for a second.
    let folder = tempfile::tempdir().expect("a folder");
    let silent = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let store = format!(
        "store.url=postgres://u@{}/d",
        silent.local_addr().expect("an address")
    );
    let start = || {
        let child = Command::new(env!("CARGO_BIN_EXE_hookweir"))
            .args([
                "serve",
                "--set",
                "server.listen=127.0.0.1:0",
                "--set",
                "server.admin_listen=127.0.0.1:0",
                "--set",
                &store,
            ])
            .current_dir(folder.path())
            .env_clear()
            .stderr(std::process::Stdio::null())
            .spawn()
            .expect("it starts");
        let since = Instant::now();
        // SIGHUP is 1, SIGUSR2 is 12.
        while handled(child.id()) & 1 == 0 || handled(child.id()) >> 11 & 1 == 0 {
            assert!(
                since.elapsed() < Duration::from_secs(60),
                "it does not take signals"
            );
        }
        child
    };
    let signal = |child: &std::process::Child, name: &str| {
        let sent = Command::new("bash")
            .args(["-c", "kill -s \"$0\" \"$1\"", name, &child.id().to_string()])
            .status();
        assert!(sent.is_ok_and(|status| status.success()), "kill -s {name}");
    };
    let mut child = start();
    for name in HABITS {
        signal(&child, name);
    }
    tokio::time::sleep(Duration::from_millis(1500)).await;
    assert!(child.try_wait().expect("wait").is_none(), "it goes on");
    signal(&child, "TERM");
    assert_eq!(child.wait().expect("wait").code(), Some(0));

    let mut child = start();
    signal(&child, "TERM");
    assert_eq!(
        child.wait().expect("wait").code(),
        Some(0),
        "a stop during the start is a stop in order"
    );
}

fn hookweir(before: &str, args: &[&str]) -> Output {
    let folder = tempfile::tempdir().expect("a folder");
    // What was to end and does not is ended, or its test would wait for ever.
    let script = format!("{before}; exec timeout 60 \"$0\" \"$@\"");
    let mut command = Command::new("bash");
    command
        .args(["-c", &script, env!("CARGO_BIN_EXE_hookweir")])
        .args(args)
        .current_dir(folder.path())
        .output()
        .expect("the program runs")
}

#[test]
fn a_port_in_use_is_no_mistake_of_the_configuration() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let taken = format!("server.listen={}", taken.local_addr().expect("an address"));
    let free = [
        "--set",
        "server.listen=127.0.0.1:0",
        "--set",
        "server.admin_listen=127.0.0.1:0",
    ];
    let source = [
        "--set",
        "source.gh.provider=github",
        "--set",
        "source.gh.secrets=plain:0123456789abcdef0123456789abcdef",
    ];
    let output = hookweir(
        "true",
        &[&["serve"][..], &free, &source, &["--set", &taken]].concat(),
    );
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(75), "{stderr}");
    assert!(stderr.contains("cannot listen on 127.0.0.1:"), "{stderr}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_soft_limit_of_descriptors_is_raised_at_the_start() {
    let mut app = App::launch_as(
        &five_sources(),
        Launch {
            before: Some("ulimit -Sn 64".into()),
            ..Launch::default()
        },
    )
    .await;
    app.ready().await;
    let limits = std::fs::read_to_string(format!("/proc/{}/limits", app.pid())).expect("it runs");
    let line = limits
        .lines()
        .find(|line| line.starts_with("Max open files"))
        .expect("a limit");
    let values: Vec<&str> = line
        .trim_start_matches("Max open files")
        .split_whitespace()
        .take(2)
        .collect();
    assert!(values[0] == values[1] && values[0] != "64", "{line}");
    assert!(app.stop().await.success());
}

#[tokio::test(flavor = "multi_thread")]
async fn too_few_descriptors_are_told_by_check_and_at_the_start() {
    let told = "500 file descriptors may be open, and server.max_connections = 4096 asks for";
    let output = hookweir("ulimit -n 500", &["check", "--offline"]);
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && stderr.contains(told), "{stderr}");
    let output = hookweir(
        "true",
        &["check", "--offline", "--set", "server.max_connections=100"],
    );
    let (stdout, stderr) = (
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr),
    );
    assert!(
        stdout.contains("descriptors    ") && !stderr.contains("file descriptors may be open"),
        "{stdout}{stderr}"
    );

    let mut app = App::launch_with_descriptors(&five_sources(), 500).await;
    app.ready().await;
    logs(&app, "the process may open 500 files").await;
    assert!(app.stop().await.success());
}
