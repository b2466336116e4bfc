//! The log of the real program: whatever becomes of its reader, deliveries are answered, and a stop takes no longer.

use std::io::Write as _;
use std::os::fd::OwnedFd;
use std::os::unix::fs::MetadataExt as _;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use hookweir_testkit::app::{App, Launch, LogTo, patient_sources};
use hookweir_testkit::disk::SmallDisk;
use hookweir_testkit::load::{Load, client};
use hookweir_testkit::log_reader::LogReader;
use hookweir_testkit::ports::free_address;

use crate::signals::logs;

const DROPPED: &str = "hookweir_log_lines_dropped_total";
/// A stop in order without anything in hand; a stop that waits for a log's reader would take for ever.
const STOPS_WITHIN: Duration = Duration::from_secs(60);

/// A line for each delivery, and many more.
fn talkative() -> String {
    format!(
        "[log]\nformat = \"json\"\ndeliveries = \"all\"\nfilter = \"trace\"\n{}",
        patient_sources()
    )
}

fn logging_to(log_to: LogTo) -> Launch {
    Launch {
        log_to,
        ..Launch::default()
    }
}

/// Everything is answered as if there were a log, and the end is as it should be.
async fn serves_and_stops(app: &mut App) {
    app.ready().await;
    Load {
        connections: 8,
        ..Load::on(&[app.listen])
    }
    .send(400)
    .await
    .check_faultless();
    stops(app).await;
}

async fn stops(app: &mut App) {
    let since = Instant::now();
    let status = app.stop().await;
    assert_eq!(status.code(), Some(0), "{status}: {}", app.log());
    assert!(
        since.elapsed() < STOPS_WITHIN,
        "the stop took {:?}",
        since.elapsed()
    );
}

async fn dropped(app: &App) -> f64 {
    app.metrics().await.get(DROPPED)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_log_on_a_full_device_does_not_end_the_service() {
    let mut app = App::launch_as(&talkative(), logging_to(LogTo::File("/dev/full".into()))).await;
    app.ready().await;
    Load {
        seed: 2,
        ..Load::on(&[app.listen])
    }
    .send(50)
    .await
    .check_faultless();
    assert!(
        dropped(&app).await > 0.0,
        "lines that cannot be written are counted"
    );
    serves_and_stops(&mut app).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_closed_log_pipe_does_not_end_the_service() {
    let at_start = LogReader::default();
    at_start.goes_away();
    let mut app = App::launch_as(&talkative(), logging_to(LogTo::Reader(at_start))).await;
    app.ready().await;
    assert!(dropped(&app).await > 0.0, "nobody has read the first lines");
    serves_and_stops(&mut app).await;

    let mut app = App::start(&talkative()).await;
    let load = Load {
        connections: 8,
        ..Load::on(&[app.listen])
    }
    .start();
    load.until_taken(20).await;
    app.log_reader().goes_away();
    load.until_taken(200).await;
    load.finish().await.check_faultless();
    assert!(dropped(&app).await > 0.0, "the reader went away under load");
    // By anybody, with no secret.
    let stranger = client()
        .post(format!("http://{}/nope", app.listen))
        .send()
        .await
        .expect("an answer");
    assert_eq!(stranger.status(), 404);
    stops(&mut app).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_log_pipe_that_nobody_reads_holds_up_neither_deliveries_nor_a_stop() {
    let from_start = LogReader::default();
    from_start.stands_still();
    let mut app = App::launch_as(&talkative(), logging_to(LogTo::Reader(from_start))).await;
    serves_and_stops(&mut app).await;

    let mut app = App::start(&talkative()).await;
    let load = Load {
        connections: 8,
        ..Load::on(&[app.listen])
    }
    .start();
    load.until_taken(20).await;
    app.log_reader().stands_still();
    while dropped(&app).await == 0.0 {
        load.until_taken(100).await;
    }
    load.until_taken(100).await;
    load.finish().await.check_faultless();
    stops(&mut app).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn once_the_log_is_read_again_one_line_tells_how_many_were_lost() {
    let mut app = App::start(&talkative()).await;
    app.log_reader().stands_still();
    let load = Load {
        connections: 8,
        ..Load::on(&[app.listen])
    }
    .start();
    while dropped(&app).await == 0.0 {
        load.until_taken(100).await;
    }
    load.finish().await.check_faultless();
    app.log_reader().reads();
    let since = Instant::now();
    let told = loop {
        let line = app
            .log()
            .lines()
            .find(|line| line.contains("lines of the log were lost"))
            .map(str::to_owned);
        if let Some(line) = line {
            break line;
        }
        assert!(
            since.elapsed() < Duration::from_secs(60),
            "nobody tells that lines were lost"
        );
        tokio::time::sleep(Duration::from_millis(20)).await;
    };
    let line: serde_json::Value = serde_json::from_str(&told).expect("JSON, as all lines");
    assert_eq!(
        (&line["level"], &line["target"]),
        (&"WARN".into(), &"hookweir::log".into()),
        "{told}"
    );
    let lost: f64 = line["lost"]
        .as_str()
        .and_then(|lost| lost.parse().ok())
        .expect("a number");
    assert!(lost > 0.0 && lost <= dropped(&app).await, "{told}");
    stops(&mut app).await;
    // What was written after the stall is whole.
    logs(&app, "stopped; nothing was left in memory").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pipe_that_is_full_before_the_start_does_not_keep_the_service_from_starting() {
    let (reader, mut writer) = std::io::pipe().expect("a pipe");
    // As much as a pipe holds: the next byte would wait.
    writer.write_all(&[b'\n'; 65_536]).expect("it holds 64 KiB");
    let (folder, admin) = (tempfile::tempdir().expect("a folder"), free_address());
    let mut process = Command::new(env!("CARGO_BIN_EXE_hookweir"))
        .args([
            "serve",
            "--set",
            "server.listen=127.0.0.1:0",
            "--set",
            &format!("server.admin_listen={admin}"),
        ])
        .current_dir(folder.path())
        .env_clear()
        .stdout(Stdio::from(OwnedFd::from(
            writer.try_clone().expect("a second handle"),
        )))
        .stderr(Stdio::from(OwnedFd::from(writer)))
        .spawn()
        .expect("it starts");
    let (client, since) = (client(), Instant::now());
    while !client
        .get(format!("http://{admin}/readyz"))
        .send()
        .await
        .is_ok_and(|answer| answer.status() == 200)
    {
        assert!(since.elapsed() < Duration::from_secs(60), "it is not ready");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let pid = process.id().to_string();
    assert!(
        Command::new("bash")
            .args(["-c", "kill \"$0\"", &pid])
            .status()
            .expect("bash")
            .success()
    );
    let since = Instant::now();
    while process.try_wait().expect("wait").is_none() {
        assert!(
            since.elapsed() < STOPS_WITHIN,
            "it waits for a reader that stands still"
        );
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert_eq!(process.wait().expect("wait").code(), Some(0));
    drop(reader);
}

#[test]
fn a_start_that_fails_tells_by_its_exit_code_where_its_log_cannot() {
    let folder = tempfile::tempdir().expect("a folder");
    let taken = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let taken = format!("server.listen={}", taken.local_addr().expect("an address"));
    for (setting, code) in [("limits.deadline_ms=0", 78), (taken.as_str(), 75)] {
        let full = std::fs::File::options()
            .write(true)
            .open("/dev/full")
            .expect("/dev/full");
        let status = Command::new(env!("CARGO_BIN_EXE_hookweir"))
            .args([
                "serve",
                "--set",
                "server.admin_listen=127.0.0.1:0",
                "--set",
                setting,
            ])
            .current_dir(folder.path())
            .stdout(Stdio::null())
            .stderr(full)
            .status();
        assert_eq!(status.expect("it starts").code(), Some(code), "{setting}");
    }
}

/// A panic is a line of the log, too.
#[cfg(feature = "failpoints")]
#[tokio::test(flavor = "multi_thread")]
async fn a_panic_whose_line_nobody_reads_ends_the_service_in_order() {
    let environment = vec![("FAILPOINTS", "verifier_received=panic".to_owned())];
    let launch = Launch {
        environment,
        ..logging_to(LogTo::File("/dev/full".into()))
    };
    let mut app = App::launch_as(&talkative(), launch).await;
    let load = Load {
        connections: 1,
        patience: Duration::from_secs(1),
        ..Load::on(&[app.listen])
    }
    .start();
    let status = app.ended(Duration::from_secs(60)).await;
    load.finish().await;
    assert_eq!(
        status.code(),
        Some(70),
        "the process is to end by itself, and not by an abort: {status}"
    );
}

/// If the journal gets the log by standard error only, each line begins with its priority.
#[tokio::test(flavor = "multi_thread")]
async fn a_journal_that_reads_standard_error_is_told_each_lines_priority() {
    let folder = tempfile::tempdir().expect("a folder");
    let log = folder.path().join("log");
    let file = std::fs::File::create(&log)
        .and_then(|file| file.metadata())
        .expect("a file");
    let environment = vec![("JOURNAL_STREAM", format!("{}:{}", file.dev(), file.ino()))];
    let config = format!(
        "[log]\nformat = \"json\"\n[limits]\nin_flight_requests = 1\n{}",
        patient_sources()
    );
    let mut app = App::launch_as(
        &config,
        Launch {
            environment,
            ..logging_to(LogTo::File(log))
        },
    )
    .await;
    app.ready().await;
    // There is room for one at a time.
    Load {
        connections: 16,
        forged: 0,
        ..Load::on(&[app.listen])
    }
    .send(200)
    .await
    .check();
    stops(&mut app).await;
    let log = app.log();
    for line in log.lines() {
        let json = line
            .strip_prefix("<6>")
            .or_else(|| line.strip_prefix("<4>"))
            .unwrap_or_else(|| panic!("no priority: {line}"));
        let parsed: serde_json::Value = serde_json::from_str(json).expect("JSON");
        assert_eq!(line.starts_with("<4>"), parsed["level"] == "WARN", "{line}");
    }
    let shed = log
        .lines()
        .find(|line| line.contains("\"outcome\":\"shed\""))
        .unwrap_or_else(|| panic!("no delivery was shed:\n{log}"));
    assert!(
        shed.starts_with("<4>") && shed.contains("\"option\":\"limits.in_flight_requests\""),
        "{shed}"
    );
}

/// The tests that need a disk of their own; `tests/run` leaves them out where it may not mount one.
mod with_mount {
    use super::*;

    #[tokio::test(flavor = "multi_thread")]
    async fn a_full_disk_under_the_log_ends_nothing_and_with_room_the_log_goes_on() {
        let disk =
            SmallDisk::mount(256).expect("only root may mount a disk: tests/run leaves this out");
        let log = disk.path().join("log");
        let mut app = App::launch_as(&talkative(), logging_to(LogTo::File(log.clone()))).await;
        app.ready().await;
        disk.fill();
        let load = Load {
            connections: 8,
            ..Load::on(&[app.listen])
        }
        .start();
        while dropped(&app).await == 0.0 {
            load.until_taken(50).await;
        }
        // As an operator does who makes room.
        std::fs::File::options()
            .write(true)
            .truncate(true)
            .open(&log)
            .expect("the log");
        disk.free();
        let since = Instant::now();
        while !app.log().contains("lines of the log were lost") {
            load.until_taken(10).await;
            assert!(
                since.elapsed() < Duration::from_secs(60),
                "the log does not go on"
            );
        }
        load.finish().await.check_faultless();
        stops(&mut app).await;
        // The first line may be the rest of one that was torn.
        let torn = app
            .log()
            .lines()
            .skip(1)
            .filter(|line| serde_json::from_str::<serde_json::Value>(line).is_err())
            .count();
        // It is full again after 256 KiB, and each time it was, one line may have been torn.
        assert!(torn <= 2, "{torn} lines are torn:\n{}", app.log());
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn a_disk_that_is_full_before_the_start_keeps_no_delivery_from_being_answered() {
        let disk =
            SmallDisk::mount(64).expect("only root may mount a disk: tests/run leaves this out");
        disk.fill();
        let mut app = App::launch_as(
            &talkative(),
            logging_to(LogTo::File(disk.path().join("log"))),
        )
        .await;
        serves_and_stops(&mut app).await;
    }
}
