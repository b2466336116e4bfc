//! Contents of the spool, counted in memory: events, bytes, age and keys.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::domain::delivery::{DedupKey, UnixMillis, wall_clock};
use crate::faults::mutants::Mutant;
use crate::store::{Inserted, NewEvent, SpoolUsage, StoreError};

/// Bytes that an event counts besides its body, for key, headers and indexes.
pub const EVENT_OVERHEAD: u64 = 2048;

/// SpoolLimits of the spool.
#[derive(Clone, Copy, Debug)]
pub struct SpoolLimits {
    /// Most bytes, with [`EVENT_OVERHEAD`] for each event.
    pub bytes: u64,
    /// Highest age of the oldest event.
    pub age: Duration,
}

/// Time of both clocks.
#[derive(Clone, Copy, Debug)]
pub(super) struct BothClocks {
    pub(super) wall: UnixMillis,
    pub(super) even: Instant,
}

impl BothClocks {
    pub(super) fn read() -> Self {
        Self {
            wall: wall_clock(),
            even: Instant::now(),
        }
    }
}

/// Longest plausible wait of an event of an earlier run, beyond `SpoolLimits::age`. A longer one
/// means that the clock is or was wrong.
const PLAUSIBLE: Duration = Duration::from_secs(30 * 24 * 60 * 60);

/// Contents of the spool. Pure.
#[derive(Debug)]
pub(super) struct SpoolContents {
    limits: SpoolLimits,
    pub(super) events: u64,
    pub(super) bytes: u64,
    /// Time at which the oldest event was received.
    pub(super) oldest: Option<UnixMillis>,
    /// Time since which the spool was never empty, as far as this process knows.
    filled: Instant,
    /// Events of an earlier run may be left.
    left_over: bool,
    /// First bytes of all keys. Two equal ones do no harm: the event goes through the spool.
    keys: HashSet<u64>,
    /// A batch found no room, and no event has left since.
    full: bool,
    /// Error of the last batch, if it failed.
    failed: Option<String>,
}

impl SpoolContents {
    pub(super) fn new(limits: SpoolLimits, now: Instant) -> Self {
        Self {
            limits,
            events: 0,
            bytes: 0,
            oldest: None,
            filled: now,
            left_over: false,
            keys: HashSet::new(),
            full: false,
            failed: None,
        }
    }

    /// Replaces the count by that of the file.
    pub(super) fn recount(&mut self, usage: SpoolUsage, keys: &[DedupKey]) {
        self.events = usage.events;
        self.bytes = usage.bytes + usage.events * EVENT_OVERHEAD;
        self.full = false;
        self.keys = keys.iter().map(beginning).collect();
        if usage.events == 0 {
            self.oldest = None;
            self.left_over = false;
        }
    }

    /// Records that the file was opened, with these events of an earlier run.
    pub(super) fn opened(
        &mut self,
        usage: SpoolUsage,
        keys: &[DedupKey],
        oldest: Option<UnixMillis>,
        now: Instant,
    ) {
        self.recount(usage, keys);
        (self.oldest, self.filled, self.left_over, self.failed) =
            (oldest, now, usage.events > 0, None);
    }

    /// Returns `true` if the spool is empty, and no key or age is left.
    pub(super) fn is_clear(&self) -> bool {
        self.events == 0 && self.keys.is_empty() && self.oldest.is_none()
    }

    pub(super) fn may_have(&self, event: &NewEvent) -> bool {
        !self.keys.is_empty() && names(event).any(|name| self.keys.contains(&name))
    }

    /// Returns the reason why batches are refused, if they are.
    pub(super) fn refusal(&self, now: BothClocks) -> Option<String> {
        let full = self.full.then(|| {
            format!(
                "the spool is full: it has {} bytes, and spool.max_bytes is {}",
                self.bytes, self.limits.bytes
            )
        });
        let failed = || {
            self.failed
                .as_ref()
                .map(|why| format!("the last write to the spool failed: {why}"))
        };
        full.or_else(|| self.too_old(now)).or_else(failed)
    }

    fn too_old(&self, now: BothClocks) -> Option<String> {
        let (age, limit) = (self.age(now), self.limits.age);
        (age >= limit).then(|| {
            format!(
                "the spool takes nothing more: an event has waited in it for {} s, and spool.max_age_secs is {}",
                age.as_secs(),
                limit.as_secs()
            )
        })
    }

    /// Checks the limits for `batch`. After a failed write, the disk is tried again with each
    /// batch.
    pub(super) fn room_for(
        &mut self,
        batch: &[Arc<NewEvent>],
        now: BothClocks,
    ) -> Result<(), String> {
        let more: u64 = batch.iter().map(|event| cost(event)).sum();
        if self.bytes + more > self.limits.bytes {
            self.full = true;
            return Err(self.refusal(now).unwrap_or_default());
        }
        self.too_old(now).map_or(Ok(()), Err)
    }

    /// Adds the keys of `batch`, and returns the new ones.
    pub(super) fn add_keys(&mut self, batch: &[Arc<NewEvent>]) -> Vec<Vec<u64>> {
        batch
            .iter()
            .map(|event| {
                names(event)
                    .filter(|name| self.keys.insert(*name))
                    .collect()
            })
            .collect()
    }

    /// Records the result of writing `batch`. `added` is the result of [`Self::add_keys`]. Returns
    /// the number of new events.
    pub(super) fn inserted(
        &mut self,
        batch: &[Arc<NewEvent>],
        added: Vec<Vec<u64>>,
        result: &Result<Vec<Inserted>, StoreError>,
        now: BothClocks,
    ) -> u64 {
        // After an ambiguous commit, the keys may be in the file.
        let keep_keys = matches!(result, Err(StoreError::Ambiguous(_)));
        let mut new = 0;
        for (at, (event, names)) in batch.iter().zip(added).enumerate() {
            match result.as_ref().ok().and_then(|all| all.get(at)) {
                Some(Inserted::Accepted(_)) => {
                    new += 1;
                    self.count(event, now);
                    continue;
                }
                Some(Inserted::Conflict(_)) => self.count(event, now),
                Some(
                    Inserted::Duplicate(_)
                    | Inserted::Unpublished(_)
                    | Inserted::Doubtful(_)
                    | Inserted::Refused(_),
                )
                | None => {}
            }
            if !keep_keys {
                names.iter().for_each(|name| _ = self.keys.remove(name));
            }
        }
        self.failed = result.as_ref().err().map(ToString::to_string);
        new
    }

    fn count(&mut self, event: &NewEvent, now: BothClocks) {
        self.events += 1;
        self.bytes += cost(event);
        if self.oldest.is_none() {
            (self.oldest, self.filled) = (Some(now.wall), now.even);
        }
    }

    /// Removes an event with its keys.
    pub(super) fn removed(&mut self, event: &NewEvent) {
        self.no_longer_waits(event);
        names(event).for_each(|name| _ = self.keys.remove(&name));
    }

    /// Removes an event or a conflict from the count. Its keys stay.
    pub(super) fn no_longer_waits(&mut self, event: &NewEvent) {
        self.full = false;
        self.events = self.events.saturating_sub(1);
        self.bytes = self.bytes.saturating_sub(cost(event));
    }

    /// Returns the age of the oldest event. An implausible age is replaced by the time that this
    /// process knows of: the wall clock was set, or was wrong.
    pub(super) fn age(&self, now: BothClocks) -> Duration {
        let Some(oldest) = self.oldest else {
            return Duration::ZERO;
        };
        let known = now.even.saturating_duration_since(self.filled);
        let longest = if self.left_over {
            self.limits.age + PLAUSIBLE
        } else {
            known
        };
        match u64::try_from(now.wall.0.saturating_sub(oldest.0)).map(Duration::from_millis) {
            Ok(age) if age <= longest || Mutant::ClockBelieved.is_on() => age,
            _ => known,
        }
    }

    /// Returns the events that wait, as text.
    pub(super) fn waiting(&self, now: BothClocks) -> Option<String> {
        let (events, bytes, age) = (self.events, self.bytes, self.age(now).as_secs());
        (events > 0).then(|| {
            format!("{events} events ({bytes} bytes, the oldest for {age} s) are durable on one local disk only, and wait for the store")
        })
    }
}

fn cost(event: &NewEvent) -> u64 {
    event.body.len() as u64 + EVENT_OVERHEAD
}

/// A digest's first bytes are as good a hash as any.
fn beginning(key: &DedupKey) -> u64 {
    let mut bytes = [0; 8];
    bytes.copy_from_slice(&key.as_bytes()[..8]);
    u64::from_be_bytes(bytes)
}

fn names(event: &NewEvent) -> impl Iterator<Item = u64> {
    [Some(event.key), event.bytes_key, event.replay]
        .into_iter()
        .flatten()
        .map(|key| beginning(&key))
}

#[cfg(test)]
mod tests {
    use super::*;

    const DAY: Duration = Duration::from_secs(24 * 60 * 60);
    const MINUTE: Duration = Duration::from_secs(60);
    const BEGIN: UnixMillis = UnixMillis(1_800_000_000_000);

    fn contents(begin: Instant) -> SpoolContents {
        SpoolContents::new(
            SpoolLimits {
                bytes: 1 << 30,
                age: DAY,
            },
            begin,
        )
    }

    #[test]
    fn a_clock_that_jumps_neither_ages_what_waits_nor_makes_it_younger_than_nothing() {
        let begin = Instant::now();
        let mut spool = contents(begin);
        spool.filled = begin;
        spool.oldest = Some(BEGIN);
        let after = |wall: UnixMillis| BothClocks {
            wall,
            even: begin + MINUTE,
        };
        assert_eq!(spool.age(after(BEGIN.plus(MINUTE))), MINUTE);
        assert_eq!(spool.age(after(BEGIN.plus(400 * DAY))), MINUTE, "set ahead");
        assert_eq!(spool.age(after(UnixMillis(0))), MINUTE, "set back");
        assert!(spool.refusal(after(BEGIN.plus(400 * DAY))).is_none());
        assert!(
            spool
                .refusal(BothClocks {
                    wall: BEGIN.plus(DAY),
                    even: begin + DAY
                })
                .is_some_and(|why| why.contains("max_age_secs"))
        );
    }

    #[test]
    fn what_an_earlier_run_has_left_is_as_old_as_can_be() {
        let begin = Instant::now();
        let mut spool = contents(begin);
        let usage = SpoolUsage {
            events: 1,
            bytes: 1,
        };
        spool.opened(usage, &[], Some(BEGIN), begin);
        let at = |wall: UnixMillis| BothClocks {
            wall,
            even: begin + MINUTE,
        };
        assert_eq!(spool.age(at(BEGIN.plus(2 * DAY))), 2 * DAY);
        assert_eq!(
            spool.age(at(BEGIN.plus(400 * DAY))),
            MINUTE,
            "received, or opened, by a clock that was wrong"
        );
        assert_eq!(spool.age(at(UnixMillis(0))), MINUTE);
    }
}
