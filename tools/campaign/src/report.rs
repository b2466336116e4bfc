//! Plays the rows, and writes what came of it: lines while it runs, a table, and a file of JSON.

use std::panic::AssertUnwindSafe;
use std::time::{Duration, Instant};

use futures_util::FutureExt as _;
use serde::Serialize;

use crate::controls::Control;
use crate::options::Options;
use crate::pulse::Pulse;
use crate::rows::Row;
use crate::scene::{Scene, Setup};
use crate::verdict::{ON_ITS_WAY, Verdict};
use crate::world::{Servers, blocking};
use hookweir_testkit::disk::SmallDisk;
use hookweir_testkit::load::Counts;
use hookweir_testkit::servers::{Server, fetch_kafka};

/// Between two lines of progress.
const PROGRESS: Duration = Duration::from_secs(15);

/// Attempts that a mistake has to show.
const ATTEMPTS: usize = 12;

/// The result of a run.
#[derive(Serialize)]
pub struct Report {
    seed: u64,
    date: String,
    commit: String,
    seconds: f64,
    rows: Vec<Verdict>,
    controls: Vec<Caught>,
    left_out: Vec<String>,
}

/// A negative control, and what became of it.
#[derive(Serialize)]
struct Caught {
    caught: bool,
    verdict: Verdict,
}

/// The names and what they are.
pub fn list(rows: &[Row], controls: &[Control]) {
    rows.iter()
        .for_each(|row| println!("{:16} {}", row.name, row.about));
    println!("\nnegative controls, which have to be caught:");
    controls
        .iter()
        .for_each(|control| println!("{:16} {} (in {})", control.name, control.about, control.row));
}

impl Report {
    /// Plays everything.
    pub async fn make(options: &Options, rows: &[Row], controls: &[Control]) -> Self {
        let (began, pulse) = (Instant::now(), Pulse::start());
        let mut servers = blocking(Servers::start);
        println!(
            "seed {}; {} faults, {} negative controls",
            options.seed,
            rows.len(),
            controls.len()
        );
        let mut report = Self {
            seed: options.seed,
            date: jiff::Timestamp::now()
                .strftime("%Y-%m-%d %H:%M UTC")
                .to_string(),
            commit: commit(),
            seconds: 0.0,
            rows: Vec::new(),
            controls: Vec::new(),
            left_out: Vec::new(),
        };
        let in_time = || {
            options
                .minutes
                .is_none_or(|minutes| began.elapsed() < Duration::from_secs(minutes * 60))
        };
        let share = options.events / rows.len().max(1);
        for row in rows {
            if !in_time() {
                report.left_out.push(row.name.into());
                continue;
            }
            let verdict = play(options, &mut servers, row, share, &pulse, &in_time).await;
            println!(
                "{}",
                line(
                    &verdict,
                    verdict.missed.is_empty() && verdict.broke.is_none()
                )
            );
            verdict
                .missed
                .iter()
                .chain(&verdict.broke)
                .chain(&verdict.impossible)
                .chain(&verdict.examples)
                .for_each(|what| println!("      {what}"));
            report.rows.push(verdict);
        }
        for control in controls {
            if !in_time() {
                report.left_out.push(control.name.into());
                continue;
            }
            // A mistake shows where luck is against it.
            let (mut verdict, mut caught) = (Verdict::default(), false);
            for _ in 0..ATTEMPTS {
                verdict = play(options, &mut servers, &control.row(), 0, &pulse, &in_time).await;
                caught = control.is_caught(&verdict.missed);
                if caught {
                    break;
                }
            }
            let what = if caught { "caught" } else { "NOT CAUGHT" };
            println!("{:16} {what}: {}", control.name, verdict.missed.join("; "));
            report.controls.push(Caught { caught, verdict });
        }
        report.seconds = began.elapsed().as_secs_f64();
        report
    }

    /// Every row reached its figures, every control was caught, and nothing was left out.
    pub fn succeeded(&self) -> bool {
        let rows = self
            .rows
            .iter()
            .all(|row| row.missed.is_empty() && row.broke.is_none());
        rows && self.controls.iter().all(|control| control.caught) && self.left_out.is_empty()
    }

    /// Prints the table, and writes the file.
    pub fn write(&self, options: &Options) {
        println!("\n{}", heading());
        for row in &self.rows {
            println!(
                "{}",
                line(row, row.missed.is_empty() && row.broke.is_none())
            );
        }
        for Caught { caught, verdict } in &self.controls {
            println!(
                "control {:16} {}",
                verdict.row,
                if *caught { "caught" } else { "NOT CAUGHT" }
            );
        }
        let played = self.rows.iter();
        let broken = played
            .chain(self.controls.iter().map(|control| &control.verdict))
            .find(|verdict| verdict.broke.is_some());
        if let Some(Verdict { row, broke, .. }) = broken {
            println!(
                "the first that broke: {row}: {}",
                broke.as_deref().unwrap_or_default()
            );
        }
        if !self.left_out.is_empty() {
            println!("left out, for want of time: {}", self.left_out.join(", "));
        }
        let sum = |of: fn(&Verdict) -> usize| self.rows.iter().map(of).sum::<usize>();
        println!(
            "\n{} events, {} deliveries, {} faults, lost {}; seed {}, commit {}, {:.0} s: {}",
            sum(|row| row.events),
            sum(|row| row.sent),
            sum(|row| row.faults),
            sum(|row| row.lost),
            self.seed,
            self.commit,
            self.seconds,
            if self.succeeded() {
                "all figures were reached"
            } else {
                "FAILED"
            }
        );
        if let Some(folder) = options.json.parent() {
            std::fs::create_dir_all(folder).expect("a folder for the result");
        }
        let json = serde_json::to_vec_pretty(self).expect("JSON");
        std::fs::write(&options.json, json).expect("the result is written");
        println!("the result is in {}", options.json.display());
    }
}

/// Plays a row. If it broke and a server then served nobody, the rig is to blame: the server's log is shown, and the row played
/// once more on a fresh one.
async fn play(
    options: &Options,
    servers: &mut Servers,
    row: &Row,
    share: usize,
    pulse: &Pulse,
    in_time: &impl Fn() -> bool,
) -> Verdict {
    let (verdict, replaced) = play_once(options, servers, row, share, pulse, in_time).await;
    let Some(log) = replaced else { return verdict };
    println!(
        "      {}: a server served nobody afterwards and was replaced; its log:\n{log}",
        row.name
    );
    let Some(broke) = &verdict.broke else {
        return verdict;
    };
    println!("      {}: played once more; it broke on: {broke}", row.name);
    play_once(options, servers, row, share, pulse, in_time)
        .await
        .0
}

/// Calm, a round of the fault, calm, until the row's share is sent; then the oracle is asked. Also returns the log of a server that
/// served nobody afterwards.
async fn play_once(
    options: &Options,
    servers: &mut Servers,
    row: &Row,
    share: usize,
    pulse: &Pulse,
    in_time: &impl Fn() -> bool,
) -> (Verdict, Option<String>) {
    let since = Instant::now();
    let seed = options
        .seed
        .wrapping_add(row.name.bytes().fold(0u64, |sum, byte| {
            sum.wrapping_mul(31).wrapping_add(byte.into())
        }));
    let mut usual = None;
    let played = AssertUnwindSafe(async {
        let mut setup = Setup::default();
        (row.setup)(&mut setup);
        if let Some(mistake) = row.mistake {
            mistake(&mut setup);
        }
        if setup
            .log_disk
            .is_some_and(|kilobytes| SmallDisk::mount(kilobytes).is_none())
        {
            let impossible = Some("needs a disk of its own, which only root may mount".into());
            return Verdict {
                row: row.name.into(),
                seed,
                impossible,
                ..Verdict::default()
            };
        }
        if let Some(Err(impossible)) = setup.kafka.map(|_| blocking(fetch_kafka)) {
            return Verdict {
                row: row.name.into(),
                seed,
                impossible: Some(impossible),
                ..Verdict::default()
            };
        }
        if let Some(megabytes) = setup.small_disk {
            let Some(small) = blocking(|| Server::postgres_on_small_disk(megabytes)) else {
                let impossible = Some("needs a disk of its own, which only root may mount".into());
                return Verdict {
                    row: row.name.into(),
                    seed,
                    impossible,
                    ..Verdict::default()
                };
            };
            usual = Some(std::mem::replace(&mut servers.postgres, small));
        }
        let mut scene = Scene::begin(options, servers, &setup, seed).await;
        if row.mistake.is_some() {
            // What a mistake strands stays, however long one waits.
            scene.patience = Duration::from_secs(25);
            scene.on_its_way = ON_ITS_WAY;
        }
        let progress = tokio::spawn(progress(row.name, scene.load().counts()));
        scene.calm().await;
        let mut rounds = 0;
        while rounds < options.rounds || (scene.load().counts().begun() < share && in_time()) {
            let before = scene.felt(row.felt).await;
            (row.round)(&mut scene).await;
            scene.recovered().await;
            scene.demand_felt(row.felt, before).await;
            scene.calm().await;
            rounds += 1;
        }
        progress.abort();
        Verdict::of(scene, row.name, seed, row.figures, pulse, since).await
    });
    let verdict = played.catch_unwind().await.unwrap_or_else(|panic| {
        let said = panic
            .downcast_ref::<String>()
            .cloned()
            .or_else(|| panic.downcast_ref::<&str>().map(|text| (*text).to_owned()));
        Verdict {
            row: row.name.into(),
            seed,
            broke: Some(said.unwrap_or_default()),
            ..Verdict::default()
        }
    });
    let replaced = blocking(|| {
        if let Some(usual) = usual {
            servers.postgres = usual;
        }
        servers.restore()
    });
    (verdict, replaced)
}

/// Says now and then how far a row is.
async fn progress(row: &'static str, counts: Counts) {
    loop {
        tokio::time::sleep(PROGRESS).await;
        println!(
            "      {row}: {} events, {} deliveries, {} events answered 2xx",
            counts.begun(),
            counts.sent(),
            counts.taken()
        );
    }
}

fn heading() -> String {
    format!(
        "{:16} {:>7} {:>7} {:>7} {:>6} {:>5} {:>9} {:>4} {:>4} {:>6} {:>5} {:>6} {:>7} {:>6} {:>6} {:>8} {:>8} {:>7} {:>9}",
        "fault",
        "events",
        "calm",
        "sent",
        "faults",
        "lost",
        "copies",
        "4xx",
        "dup",
        "forged",
        "corr.",
        "left",
        "2xx %",
        "p50ms",
        "p99ms",
        "max ms",
        "1st 2xx",
        "drain s",
        "RSS MiB"
    )
}

fn line(row: &Verdict, reached: bool) -> String {
    format!(
        "{:16} {:>7} {:>7} {:>7} {:>6} {:>5} {:>9} {:>4} {:>4} {:>6} {:>5} {:>6} {:>7} {:>6.1} {:>6.0} {:>8.0} {:>8.0} {:>7.1} {:>9} {}",
        row.row,
        row.events,
        row.undisturbed,
        row.sent,
        row.faults,
        row.lost,
        format!("{}+{}", row.copies_inside, row.copies_outside),
        row.wrong_4xx,
        row.wrong_duplicate,
        row.forged_accepted,
        row.corrupt,
        row.left_over,
        row.taken_in_windows
            .map_or("-".into(), |taken| format!("{taken:.2}")),
        row.p50_ms,
        row.p99_ms,
        row.max_ms,
        row.first_2xx_ms,
        row.drain_ms / 1e3,
        format!("{}/{}", row.max_rss >> 20, row.rss_bound >> 20),
        match (&row.impossible, reached) {
            (Some(_), _) => "left out",
            (None, true) => "ok",
            (None, false) => "MISSED",
        }
    )
}

fn commit() -> String {
    let output = std::process::Command::new("git")
        .args(["describe", "--always", "--dirty", "--exclude", "*"])
        .output();
    output
        .ok()
        .filter(|output| output.status.success())
        .map_or_else(
            || "unknown".into(),
            |output| String::from_utf8_lossy(&output.stdout).trim().into(),
        )
}
