//! Writers that are killed, or frozen, at every point: each event is one row, with equal bytes. The same
//! campaign with a mistake in the writer must fail.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use hookweir_lakehouse::event::{Event, RowId};
use hookweir_lakehouse::faults::POINTS;

use super::process::{PATIENCE, Process};
use super::support::{Fixture, event, ids_of};

/// An event folder, a lakehouse, and the mistake that its writers make.
struct Campaign {
    fixture: Fixture,
    events: PathBuf,
    sent: Vec<Event>,
    mistake: &'static str,
    /// Interval of the writers' upkeep in milliseconds.
    upkeep_ms: Option<u32>,
}

impl Campaign {
    /// Returns a campaign with `count` events, every fifth of which comes twice.
    fn new(count: u64, mistake: &'static str) -> Self {
        let fixture = Fixture::new();
        let events = fixture.folder.path().join("events");
        fs::create_dir(&events).expect("a folder");
        let mut sent = Vec::new();
        for n in 0..count {
            sent.push(event(n));
            if n.is_multiple_of(5) {
                // A copy of an earlier one, some way behind it.
                sent.push(event(n / 2));
            }
        }
        for (number, part) in sent.chunks(sent.len() / 3 + 1).enumerate() {
            let lines: String = part.iter().map(line).collect();
            fs::write(
                events.join(format!("events-20261128T120000Z-{:06}.jsonl", number + 1)),
                lines,
            )
            .expect("written");
        }
        Self {
            fixture,
            events,
            sent,
            mistake,
            upkeep_ms: None,
        }
    }

    fn position(&self, slot: usize) -> PathBuf {
        self.events.join(format!(".position-{slot}"))
    }

    /// Starts a writer with a position of its own.
    fn start(&self, slot: usize, failpoints: &str) -> Process {
        self.start_with(slot, failpoints, 20)
    }

    fn start_with(&self, slot: usize, failpoints: &str, rows: usize) -> Process {
        let position = self.position(slot);
        Process::start(|command| {
            command
                .envs(
                    self.upkeep_ms
                        .map(|every| ("LAKE_UPKEEP_MS", every.to_string())),
                )
                .args([&self.fixture.lake(), &self.events, &position])
                .args(["50", &rows.to_string(), "100000"])
                .env("FAILPOINTS", failpoints)
                .env("HOOKWEIR_CONTROL", self.mistake);
        })
    }

    /// Runs a writer until it has acked the last line.
    fn drain(&self, slot: usize) {
        self.drain_with(slot, 20);
    }

    fn drain_with(&self, slot: usize, rows: usize) {
        let last = fs::read_dir(&self.events)
            .expect("a folder")
            .filter_map(|entry| entry.ok()?.file_name().into_string().ok())
            .filter(|name| name.ends_with(".jsonl"))
            .max()
            .expect("a file");
        let end = fs::metadata(self.events.join(&last)).expect("a file").len();
        let _writer = self.start_with(slot, "", rows);
        let since = Instant::now();
        loop {
            let position = fs::read(self.position(slot)).ok();
            let position: Option<serde_json::Value> =
                position.and_then(|text| serde_json::from_slice(&text).ok());
            if position.is_some_and(|at| at["file"] == *last && at["offset"] == end) {
                return;
            }
            assert!(
                since.elapsed() < PATIENCE,
                "the writer does not come to the end"
            );
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// Returns the ids that are missing, and the number of rows too many.
    async fn account(&self) -> (BTreeSet<RowId>, usize) {
        let ids = self.fixture.ids().await;
        let distinct: BTreeSet<RowId> = ids.iter().copied().collect();
        let sent: BTreeSet<RowId> = ids_of(&self.sent).into_iter().collect();
        assert!(distinct.is_subset(&sent), "a row that nobody sent");
        (
            sent.difference(&distinct).copied().collect(),
            ids.len() - distinct.len(),
        )
    }

    /// Returns the events that were sent, each once.
    fn distinct(&self) -> Vec<Event> {
        let by_id: BTreeMap<RowId, Event> = self
            .sent
            .iter()
            .map(|event| (event.message_id, event.clone()))
            .collect();
        by_id.into_values().collect()
    }
}

/// Returns the line of the file sink.
fn line(event: &Event) -> String {
    use base64::Engine as _;
    let received = jiff::Timestamp::from_millisecond(event.received_at.0).expect("a time");
    let mut headers = serde_json::json!({
        "cloudEvents:id": event.event_id,
        "x-hookweir-source": event.source,
        "x-hookweir-received-at": format!("{received:.3}"),
        "x-hookweir-attempt": "1",
    });
    let marks = [
        ("conflict-of", event.conflict_of),
        ("same-bytes-as", event.same_bytes_as),
    ];
    for (name, id) in marks {
        if let Some(id) = id {
            headers[format!("x-hookweir-{name}")] = id.to_string().into();
        }
    }
    for (name, value) in &event.headers {
        headers[name] = value.clone().into();
    }
    let mut line = serde_json::json!({
        "message_id": event.message_id.to_string(),
        "content_type": event.content_type,
        "type": event.event_type,
        "headers": headers,
    });
    match std::str::from_utf8(&event.body) {
        Ok(text) => line["body"] = text.into(),
        Err(_) => {
            line["body_base64"] = base64::engine::general_purpose::STANDARD
                .encode(&event.body)
                .into();
        }
    }
    format!("{line}\n")
}

/// Kills two writers, alternately at each named point and at any moment, then lets both come to the end.
async fn killed_everywhere(upkeep_ms: Option<u32>) -> Campaign {
    let mut campaign = Campaign::new(600, "");
    campaign.upkeep_ms = upkeep_ms;
    let mut running: [Option<Process>; 2] = [None, None];
    for round in 0..16 {
        let slot = round % 2;
        if let Some(mut old) = running[slot].take() {
            old.kill();
        }
        if round % 4 == 3 {
            // The position is lost: the whole feed comes again.
            let _ = fs::remove_file(campaign.position(slot));
        }
        let point = POINTS[(round / 2) % POINTS.len()];
        let mut writer = campaign.start(slot, &format!("{point}={}*off->return", round % 3));
        if round % 5 == 4 {
            std::thread::sleep(Duration::from_millis(50 + 37 * round as u64));
            writer.kill();
        } else if round >= 8 {
            writer.await_death();
        }
        running[slot] = Some(writer);
    }
    drop(running);
    campaign.drain(0);
    campaign.drain(1);
    campaign
}

#[tokio::test(flavor = "multi_thread")]
async fn writers_that_are_killed_at_every_point_add_each_event_once() {
    let campaign = killed_everywhere(None).await;
    assert_eq!(campaign.account().await, (BTreeSet::new(), 0));
}

#[tokio::test(flavor = "multi_thread")]
async fn writers_that_are_killed_during_upkeep_add_each_event_once() {
    let campaign = killed_everywhere(Some(60)).await;
    assert_eq!(campaign.account().await, (BTreeSet::new(), 0));
}

/// A writer dies at `point` in its first batch. Another start brings the rest.
async fn killed_at(point: &str, mistake: &'static str) -> (usize, usize) {
    let campaign = Campaign::new(60, mistake);
    campaign.start(0, &format!("{point}=return")).await_death();
    campaign.drain(0);
    let (missing, doubled) = campaign.account().await;
    (missing.len(), doubled)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_death_at_each_point_neither_loses_nor_doubles_an_event() {
    for point in POINTS {
        assert_eq!(killed_at(point, "").await, (0, 0), "{point}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn control_an_ack_before_the_commit_loses_events() {
    let (missing, doubled) = killed_at("lake_before_files", "lake_ack_first").await;
    assert!(missing > 0, "the mistake is not noticed");
    assert_eq!(doubled, 0);
}

/// Freezes a writer between its files and its commit, while another one commits the same events. Returns the
/// missing and the doubled ones.
async fn frozen(mistake: &'static str) -> (usize, usize) {
    for seconds in [3, 10, 40] {
        let campaign = Campaign::new(60, mistake);
        let since = Instant::now();
        let frozen = campaign.start(
            0,
            &format!("lake_after_files=1*sleep({})->off", seconds * 1000),
        );
        let data = campaign.fixture.lake().join("events/data");
        while !data.exists() {
            assert!(since.elapsed() < PATIENCE, "no file is written");
            std::thread::sleep(Duration::from_millis(5));
        }
        let begun = Instant::now();
        campaign.drain(1);
        if begun.elapsed() >= Duration::from_secs(seconds) {
            // A slow day: the frozen one was awake before the other had finished.
            continue;
        }
        until_it_goes_on(&campaign);
        drop(frozen);
        let (missing, doubled) = campaign.account().await;
        return (missing.len(), doubled);
    }
    panic!("the machine is too slow for a writer that is frozen for 40 s");
}

/// Waits until the frozen writer has acked its first batch.
fn until_it_goes_on(campaign: &Campaign) {
    let since = Instant::now();
    while !campaign.position(0).exists() {
        assert!(
            since.elapsed() < PATIENCE,
            "the frozen writer does not go on"
        );
        std::thread::sleep(Duration::from_millis(20));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_writer_that_was_frozen_before_its_commit_adds_nothing_twice() {
    assert_eq!(frozen("").await, (0, 0));
}

#[tokio::test(flavor = "multi_thread")]
async fn control_without_the_fence_rows_are_doubled() {
    let (missing, doubled) = frozen("lake_no_fence").await;
    assert!(doubled > 0, "the mistake is not noticed");
    assert_eq!(missing, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn control_ids_that_are_not_read_again_after_a_lost_race_are_doubled() {
    let (missing, doubled) = frozen("lake_ids_not_read_again").await;
    assert!(doubled > 0, "the mistake is not noticed");
    assert_eq!(missing, 0);
}

mod with_readers {
    use super::*;
    use crate::support::{assert_readers_see, counts};

    #[tokio::test(flavor = "multi_thread")]
    async fn after_all_kills_both_readers_see_each_event_once_with_equal_bytes() {
        let campaign = killed_everywhere(Some(60)).await;
        assert_readers_see(&campaign.fixture.lake(), &campaign.distinct());
    }

    /// Runs a writer over events with long ids, and returns what a filter by them finds.
    fn found_by_filter(mistake: &'static str) -> Vec<u64> {
        let mut campaign = Campaign::new(0, mistake);
        campaign.sent = (0..17_000)
            .map(|n| {
                let mut event = event(n);
                event.source = "s".to_owned();
                event.received_at =
                    hookweir_lakehouse::event::Millis(crate::support::NOON + n as i64);
                event.body = "{}".into();
                event.event_id = if n < 16_384 { long(n) } else { format!("a{n}") };
                event
            })
            .collect();
        let lines: String = campaign.sent.iter().map(line).collect();
        fs::write(
            campaign.events.join("events-20261128T120000Z-000009.jsonl"),
            lines,
        )
        .expect("written");
        campaign.drain_with(0, 17_000);
        let wanted: Vec<String> = [0, 16_000].map(long).to_vec();
        counts("duckdb", &campaign.fixture.lake(), "event_id", &wanted)
    }

    fn long(n: u64) -> String {
        format!("evt_{n:0>79}_{}", "z".repeat(40))
    }

    #[test]
    fn control_cut_statistics_hide_rows_from_a_filter() {
        assert_ne!(
            found_by_filter("lake_statistics_cut"),
            [1, 1],
            "the mistake is not noticed"
        );
    }
}
