//! Power loss: the system calls of the real program are traced, and the power is cut after each of them that brings something to the disk,
//! and before each answer. What the disk then holds for certain must hold every event that was answered 2xx: in the outbox, or in the sink.
//!
//! That is both halves of the promise's middle: a 2xx is written to its socket after the sync of its row, and a row leaves the outbox after
//! the sync of its line in the sink. SQLite itself opens what is left, as the next start would.

mod disk;
mod trace;

use std::collections::BTreeSet;
use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use diesel::prelude::*;
use diesel::sql_types::Binary;
use hookweir::domain::delivery::MessageKey;
use rustix::process::{Pid, Signal, kill_process};

use self::disk::Disk;
use self::trace::{Moment, Trace};
use hookweir_testkit::app::five_sources;
use hookweir_testkit::load::Load;
use hookweir_testkit::sink::files_hold;

/// Result of cutting the power at every moment of a run.
#[derive(Debug, Default)]
struct Verdict {
    /// Ids in answers of 200, as often as they were written to a socket.
    answered: usize,
    /// Different states of the disk that were looked at.
    states: usize,
    /// Ids that were answered 200 and would have been lost.
    lost: BTreeSet<String>,
}

impl Verdict {
    /// Cuts the power at every moment of `trace`, a run in `folder`.
    fn of(trace: &Trace, folder: &Path) -> Self {
        let (mut verdict, mut disk) = (Self::default(), Disk::new(folder));
        let (mut answered, mut kept) = (BTreeSet::new(), BTreeSet::new());
        for moment in trace.moments() {
            let changed = match moment {
                Moment::Begins(call) => {
                    disk.begins(call);
                    let ids = call.ids_answered();
                    verdict.answered += ids.len();
                    answered.extend(ids.iter().cloned());
                    verdict
                        .lost
                        .extend(ids.into_iter().filter(|id| !kept.contains(id)));
                    false
                }
                Moment::Ends(call) => disk.ends(call),
            };
            if changed {
                verdict.states += 1;
                kept = survivors(&disk);
                verdict.lost.extend(answered.difference(&kept).cloned());
            }
        }
        verdict
    }
}

/// Ids of the messages that are still there after the power went: in the outbox, or in the sink.
fn survivors(disk: &Disk) -> BTreeSet<String> {
    #[derive(QueryableByName)]
    struct Row {
        #[diesel(sql_type = Binary)]
        key: Vec<u8>,
    }
    let left = tempfile::tempdir().expect("a folder");
    disk.cut_power(left.path());
    let mut ids = BTreeSet::new();
    let database = left.path().join("data/hookweir.db");
    if database.exists() {
        let mut connection = SqliteConnection::establish(&database.to_string_lossy())
            .expect("SQLite opens what is left");
        // Before the schema's own commit there is no outbox, and nothing in it.
        let rows = diesel::sql_query("SELECT key FROM outbox JOIN event USING (seq, key)")
            .load::<Row>(&mut connection)
            .unwrap_or_else(|error| {
                assert!(error.to_string().contains("no such table"), "{error}");
                Vec::new()
            });
        ids.extend(rows.into_iter().map(|row| {
            MessageKey::from_bytes(row.key.try_into().expect("32 bytes"))
                .message_id()
                .to_string()
        }));
    }
    for entry in std::fs::read_dir(left.path().join("data/events"))
        .into_iter()
        .flatten()
        .flatten()
    {
        let lines = std::fs::read(entry.path()).expect("a file");
        // The last line may be torn.
        let whole = lines
            .split_inclusive(|byte| *byte == b'\n')
            .filter(|line| line.ends_with(b"\n"));
        let parsed =
            whole.map(|line| serde_json::from_slice::<serde_json::Value>(line).expect("JSON"));
        ids.extend(parsed.map(|line| line["message_id"].as_str().expect("an id").to_owned()));
    }
    ids
}

/// The program under strace; both are ended when dropped.
struct Traced {
    tracer: Child,
    /// Of the program.
    pid: Pid,
}

impl Traced {
    /// Starts it in `folder`, with the trace going to `file`; returns it once it says where it listens.
    fn start(folder: &Path, file: &Path, control: &str) -> (Self, SocketAddr) {
        let config = format!(
            "server.listen = \"127.0.0.1:0\"\nserver.admin_listen = \"127.0.0.1:0\"\n{}",
            five_sources()
        );
        std::fs::write(folder.join("hookweir.toml"), config).expect("written");
        let pid = file.with_extension("pid");
        // --seccomp-bpf: only the calls that are traced stop the program.
        let mut tracer = Command::new("strace")
            .args(["-f", "--seccomp-bpf", "-xx", "-s", "1048576", "-e"])
            .arg(format!("trace={}", trace::CALLS.join(",")))
            .arg("-o")
            .arg(file)
            .args(["sh", "-c", "echo $$ > \"$0\"; exec \"$@\""])
            .arg(&pid)
            .args([env!("CARGO_BIN_EXE_hookweir"), "serve"])
            .args(["--config", "hookweir.toml"])
            .current_dir(folder)
            .env("HOOKWEIR_CONTROL", control)
            .env("HOOKWEIR__LOG__FORMAT", "json")
            .env("HOOKWEIR__LAKEHOUSE__IN_SERVE", "off")
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .expect("strace starts");
        let mut lines = BufReader::new(tracer.stderr.take().expect("stderr")).lines();
        let listen = lines.by_ref().map_while(Result::ok).find_map(|line| {
            let line: serde_json::Value = serde_json::from_str(&line).ok()?;
            line.get("listen")?.as_str()?.parse().ok()
        });
        std::thread::spawn(move || lines.for_each(drop));
        let pid = std::fs::read_to_string(pid).expect("a process id");
        let pid = pid
            .trim()
            .parse()
            .ok()
            .and_then(Pid::from_raw)
            .expect("a number");
        (
            Self { tracer, pid },
            listen.expect("it says where it listens"),
        )
    }

    /// Kills it, and returns the trace once the tracer has written its last line.
    fn end(mut self, file: &Path) -> Trace {
        kill_process(self.pid, Signal::KILL).expect("kill");
        self.tracer.wait().expect("wait");
        Trace::parse(&std::fs::read_to_string(file).expect("a trace"))
    }
}

impl Drop for Traced {
    fn drop(&mut self) {
        // A tracer that has ended was waited for: its program has ended, too, and the number may be another's.
        if matches!(self.tracer.try_wait(), Ok(None)) {
            let _ = kill_process(self.pid, Signal::KILL);
            let _ = self.tracer.wait();
        }
    }
}

async fn run(control: &str) -> (Verdict, usize) {
    let home = tempfile::tempdir().expect("a folder");
    let folder = home.path().join("run");
    std::fs::create_dir(&folder).expect("a folder");
    // As SQLite spells its paths.
    let folder = folder.canonicalize().expect("a path");
    let file = home.path().join("trace");
    let (program, listen) = Traced::start(&folder, &file, control);
    let ledger = Load {
        connections: 8,
        ..Load::on(&[listen])
    }
    .send(200)
    .await;
    ledger.check();
    files_hold(&folder.join("data/events"), ledger.genuine().count()).await;
    // The last rows leave the outbox.
    tokio::time::sleep(Duration::from_millis(500)).await;
    let taken = ledger
        .entries
        .iter()
        .flat_map(|entry| &entry.attempts)
        .filter(|attempt| attempt.answer.is_taken())
        .count();
    let trace = tokio::task::block_in_place(|| program.end(&file));
    (Verdict::of(&trace, &folder), taken)
}

mod with_strace {
    #[tokio::test(flavor = "multi_thread")]
    async fn whenever_the_power_goes_what_was_answered_2xx_is_on_the_disk() {
        let (verdict, taken) = super::run("").await;
        assert_eq!(verdict.answered, taken, "each 200 is in the trace");
        assert!(
            taken >= 100 && verdict.states > 20,
            "there is something to see: {verdict:?}"
        );
        assert!(
            verdict.lost.is_empty(),
            "{} of {} answers would have been lost: {verdict:?}",
            verdict.lost.len(),
            verdict.answered
        );
        println!(
            "{} answers of 200, {} states of the disk, none lost",
            verdict.answered, verdict.states
        );
    }

    /// The control: what many recommend, WAL with `synchronous = NORMAL`, does not sync a commit.
    #[tokio::test(flavor = "multi_thread")]
    async fn with_synchronous_normal_it_is_seen_that_they_would_be_lost() {
        let (verdict, taken) = super::run("synchronous_normal").await;
        assert_eq!(verdict.answered, taken, "each 200 is in the trace");
        assert!(
            verdict.lost.len() > taken / 2,
            "only {} of {taken} answers would have been lost",
            verdict.lost.len()
        );
    }
}
