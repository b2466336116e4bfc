//! Under systemd, by its protocols: what it is told through `NOTIFY_SOCKET`, and the socket that it holds for the service.

use std::os::unix::net::UnixDatagram;
use std::process::Command;
use std::time::Duration;

use hookweir_testkit::app::{App, five_sources};
use hookweir_testkit::ledger::Ledger;
use hookweir_testkit::load::Load;

/// Reads messages until one has this line.
fn wait_for(socket: &UnixDatagram, line: &str) {
    let mut buffer = [0; 4096];
    for _ in 0..10_000 {
        let length = socket
            .recv(&mut buffer)
            .unwrap_or_else(|error| panic!("no {line} came: {error}"));
        if String::from_utf8_lossy(&buffer[..length])
            .lines()
            .any(|told| told == line)
        {
            return;
        }
    }
    panic!("{line} is not among 10,000 messages");
}

#[tokio::test(flavor = "multi_thread")]
async fn systemd_is_told_ready_alive_and_stopping() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let path = folder.path().join("notify");
    let socket = UnixDatagram::bind(&path).expect("binds");
    socket
        .set_read_timeout(Some(Duration::from_secs(60)))
        .expect("a timeout");
    let environment = [
        ("NOTIFY_SOCKET", path.display().to_string()),
        ("WATCHDOG_USEC", "600000".to_owned()),
    ];
    let mut app = App::launch_with(&five_sources(), &environment).await;
    wait_for(&socket, "READY=1");
    // Told ready, it serves.
    Load::on(&[app.listen]).send(20).await.check_faultless();
    for _ in 0..3 {
        wait_for(&socket, "WATCHDOG=1");
    }
    app.signal("TERM");
    wait_for(&socket, "STOPPING=1");
    assert!(app.ended(Duration::from_secs(60)).await.success());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_delivery_sent_between_two_lives_of_the_service_waits_at_systemds_socket() {
    let mut app = App::launch_activated(&five_sources()).await;

    // No connection is refused, whenever it comes; until the store is ready, the answer is to come again.
    let check = |ledger: Ledger| {
        ledger.check();
        let answers = ledger.answers(false);
        assert!(!answers.contains_key("broken"), "{answers:?}");
    };
    check(Load::on(&[app.listen]).send(50).await);
    assert!(app.stop().await.success());
    let load = tokio::spawn(
        Load {
            connections: 4,
            seed: 2,
            ..Load::on(&[app.listen])
        }
        .send(50),
    );
    tokio::time::sleep(Duration::from_millis(500)).await;
    app.start_again().await;
    check(load.await.expect("no panic"));
    assert!(app.stop().await.success());
}

/// A program's own nice value, started with `by` more than ours.
fn nice(by: i32) -> i32 {
    let output = Command::new("nice")
        .args(["-n", &by.to_string(), "nice"])
        .output()
        .expect("coreutils");
    String::from_utf8_lossy(&output.stdout)
        .trim()
        .parse()
        .expect("a number")
}

/// Purpose of `LimitNICE=` in the unit. Without the right to it, the service works at normal
/// priority.
#[tokio::test(flavor = "multi_thread")]
async fn the_threads_that_answer_senders_go_first_where_they_may() {
    const FIRST: i32 = -5;
    let app = App::start(&format!("[server]\nworkers = 3\n{}", five_sources())).await;
    Load::on(&[app.listen]).send(20).await.check_faultless();
    let mut first = 0;
    for thread in std::fs::read_dir(format!("/proc/{}/task", app.pid())).expect("its threads") {
        let stat = std::fs::read_to_string(thread.expect("a thread").path().join("stat"))
            .unwrap_or_default();
        // The 19th field, counted from the 3rd: the name before it may have spaces.
        let value = stat
            .rsplit_once(')')
            .and_then(|(_, fields)| fields.split_whitespace().nth(16)?.parse().ok());
        first += usize::from(value == Some(FIRST));
    }
    let may = nice(FIRST - nice(0)) == FIRST;
    assert_eq!(
        first,
        if may { 3 } else { 0 },
        "of the service's threads, with the right to it: {may}"
    );
}
