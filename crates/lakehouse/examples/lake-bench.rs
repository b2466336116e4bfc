//! Measures the writer alone: no feed, no service.
//!
//! ```text
//! cargo run --release -p hookweir-lakehouse --features table --example lake-bench -- COMMAND LAKE ...
//!
//! rows LAKE ROWS BATCH BODY   rows/s, microseconds of CPU a row, memory; bodies of BODY bytes
//! commits LAKE COUNT          time of a commit, with upkeep after each 12, as each minute at one commit each 5 s
//! open LAKE                   time until a writer of this table is ready
//! ```

use std::path::Path;
use std::time::{Duration, Instant};

use hookweir_lakehouse::event::{Event, Millis, RowId};
use hookweir_lakehouse::lake::{CatalogPlace, Lake, LakePlace};
use hookweir_lakehouse::status::status;
use hookweir_lakehouse::upkeep::{UpkeepLimits, round};
use hookweir_lakehouse::writer::Writer;

type Failure = Box<dyn std::error::Error>;

/// The limits of the default configuration.
const LIMITS: UpkeepLimits = UpkeepLimits {
    small_bytes: 32 << 20,
    small_files: 60,
    keep_versions: Duration::from_secs(3600),
    keep_count: 20,
    keep_days: 0,
    unnamed_age: Duration::from_secs(3600),
    min_free: 0,
};
/// Back to back, a commit takes some 0.1 s in place of 5 s: what is kept for an hour goes after a fiftieth of it.
const BACK_TO_BACK: UpkeepLimits = UpkeepLimits {
    keep_versions: Duration::from_secs(72),
    unnamed_age: Duration::from_secs(72),
    ..LIMITS
};
const KNOWN_IDS: usize = 1_000_000;

fn main() -> Result<(), Failure> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()?;
    match words[..] {
        ["rows", lake, rows, batch, body] => runtime.block_on(rows_each_second(
            lake,
            rows.parse()?,
            batch.parse()?,
            body.parse()?,
        )),
        ["commits", lake, count] => runtime.block_on(commits(lake, count.parse()?)),
        ["open", lake] => runtime.block_on(open(lake)),
        _ => Err("see the beginning of examples/lake-bench.rs".into()),
    }
}

async fn writer(lake: &str) -> Result<Writer, Failure> {
    let place = LakePlace {
        folder: lake.into(),
        bucket: None,
        catalog: CatalogPlace::Beside,
    };
    let mut writer = Writer::new(Lake::open(&place).await?, KNOWN_IDS);
    writer.refresh().await?;
    Ok(writer)
}

/// Returns an event with a fresh id. A third of its body does not repeat.
fn event(n: u64, body: usize) -> Event {
    let id = uuid::Uuid::now_v7();
    let mut text = format!("{{\"n\":{n},\"data\":\"");
    while text.len() + 2 < body {
        let random = uuid::Uuid::new_v4().simple().to_string();
        text.push_str(&random);
        text.push_str("customer subscription updated invoice line item currency period");
    }
    text.truncate(body.max(20).saturating_sub(2));
    text.push_str("\"}");
    Event {
        message_id: RowId::from_bytes(id.into_bytes()),
        source: "stripe".to_owned(),
        event_id: format!("evt_{n:020}"),
        event_type: Some("invoice.paid".to_owned()),
        content_type: Some("application/json".to_owned()),
        received_at: Millis::now(),
        headers: vec![("user-agent".to_owned(), "Stripe/1.0".to_owned())],
        body: text.into_bytes().into(),
        conflict_of: None,
        same_bytes_as: None,
    }
}

async fn rows_each_second(lake: &str, rows: u64, batch: u64, body: usize) -> Result<(), Failure> {
    let mut writer = writer(lake).await?;
    let (mut took, mut cpu) = (Duration::ZERO, Duration::ZERO);
    for begin in (0..rows).step_by(batch as usize) {
        let events: Vec<Event> = (begin..begin + batch).map(|n| event(n, body)).collect();
        let (begun, cpu_begun) = (Instant::now(), cpu_time()?);
        let outcome = writer.commit(&events).await?;
        took += begun.elapsed();
        cpu += cpu_time()? - cpu_begun;
        if outcome.added as u64 != batch {
            return Err(format!("{} of {batch} rows were added", outcome.added).into());
        }
    }
    let each = |time: Duration| time.as_secs_f64() / rows as f64;
    println!(
        "{:.0} rows/s, {:.1} us of CPU a row, {} MB resident at most",
        1.0 / each(took),
        each(cpu) * 1e6,
        peak_bytes()? / 1_000_000
    );
    Ok(())
}

async fn commits(lake: &str, count: usize) -> Result<(), Failure> {
    let mut writer = writer(lake).await?;
    let (mut commits, mut rounds) = (Vec::new(), Vec::new());
    for n in 0..count {
        let events: Vec<Event> = (0..10).map(|_| event(n as u64, 1200)).collect();
        let begun = Instant::now();
        writer.commit(&events).await?;
        commits.push(begun.elapsed());
        if n % 12 == 11 {
            let begun = Instant::now();
            round(writer.lake(), &BACK_TO_BACK, Millis::now()).await?;
            writer.refresh().await?;
            rounds.push(begun.elapsed());
        }
    }
    let half = |times: &[Duration]| {
        let mut times = times.to_vec();
        times.sort();
        times[times.len() / 2]
    };
    let hundred = 100.min(count);
    println!(
        "p50 of the first {hundred} commits {:?}, of the last {:?}; of upkeep {:?}",
        half(&commits[..hundred]),
        half(&commits[count - hundred..]),
        half(&rounds)
    );
    let status = status(writer.lake(), LIMITS.small_bytes).await?;
    println!(
        "{} rows in {} files, {} versions, {} bytes of metadata; {} MB resident at most",
        status.rows,
        status.files,
        status.versions,
        status.metadata_bytes,
        peak_bytes()? / 1_000_000
    );
    Ok(())
}

async fn open(lake: &str) -> Result<(), Failure> {
    if !Path::new(lake).exists() {
        return Err(format!("there is no folder {lake}").into());
    }
    let begun = Instant::now();
    let writer = writer(lake).await?;
    let took = begun.elapsed();
    let status = status(writer.lake(), LIMITS.small_bytes).await?;
    println!(
        "{took:?} until ready, {} rows in {} files, {} MB resident at most",
        status.rows,
        status.files,
        peak_bytes()? / 1_000_000
    );
    Ok(())
}

/// Returns the time that this process has used of its processors, to ten milliseconds.
fn cpu_time() -> Result<Duration, Failure> {
    let stat = std::fs::read_to_string("/proc/self/stat")?;
    // The name in parentheses may have spaces.
    let after = stat.rsplit_once(')').map_or("", |(_, after)| after);
    let ticks = |at| {
        after
            .split_whitespace()
            .nth(at)
            .and_then(|text| text.parse::<u64>().ok())
    };
    let ticks = ticks(11).zip(ticks(12)).ok_or("no ticks")?;
    Ok(Duration::from_millis((ticks.0 + ticks.1) * 10))
}

/// Returns the largest resident memory of this process so far.
fn peak_bytes() -> Result<u64, Failure> {
    let status = std::fs::read_to_string("/proc/self/status")?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    let kilobytes = line.and_then(|line| line.trim().strip_suffix(" kB"));
    Ok(kilobytes.ok_or("no VmHWM")?.trim().parse::<u64>()? * 1024)
}
