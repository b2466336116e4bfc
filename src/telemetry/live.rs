//! Outcomes as they happen, for operators who watch. With nobody watching, an outcome costs one addition.

use std::borrow::Cow;
use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::watch;

use crate::domain::delivery::{EventId, SourceName, UnixMillis, wall_clock};
use crate::domain::outcome::Outcome;

/// Outcomes that are kept while somebody watches.
const KEPT: usize = 4000;

/// Longest id or type that is kept, in bytes.
const LONGEST_TEXT: usize = 200;

/// Time after a look for which outcomes are kept, so that a watcher who comes back misses none.
const WATCHED: Duration = Duration::from_secs(60);

/// Outcomes of this process, numbered from 1 on.
#[derive(Debug)]
pub struct LiveFeed {
    /// Number of the last outcome.
    count: AtomicU64,
    is_watched: AtomicBool,
    kept: Mutex<KeptOutcomes>,
    news: watch::Sender<u64>,
}

#[derive(Debug, Default)]
struct KeptOutcomes {
    outcomes: VecDeque<LiveOutcome>,
    /// End of the time for which outcomes are kept.
    until: Option<Instant>,
}

/// Outcome of a delivery.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LiveOutcome {
    /// Its number.
    pub number: u64,
    /// Time of the answer.
    pub at: UnixMillis,
    /// Source of the delivery.
    pub source: SourceName,
    /// The provider's id, if it is known.
    pub event_id: Option<Box<str>>,
    /// The provider's type, if it is known.
    pub event_type: Option<Box<str>>,
    /// Kind of the outcome, as metrics count it.
    pub outcome: &'static str,
    /// Reason, as metrics count it, or nothing.
    pub reason: &'static str,
    /// Detail of a refusal. Holds no secret and no payload.
    pub detail: Cow<'static, str>,
    /// Time from the head of the request to the outcome.
    pub took: Duration,
}

/// Outcomes after a number.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LiveLook {
    /// The newest of them that fit, the oldest first.
    pub outcomes: Vec<LiveOutcome>,
    /// Number of those that fit as well, and are older.
    pub left_out: u64,
    /// Number of outcomes, of any kind, that are not kept any more.
    pub lost: u64,
    /// Number of the last outcome.
    pub next: u64,
}

impl Default for LiveFeed {
    fn default() -> Self {
        Self {
            count: AtomicU64::new(0),
            is_watched: AtomicBool::new(false),
            kept: Mutex::default(),
            news: watch::Sender::new(0),
        }
    }
}

impl LiveFeed {
    fn kept(&self) -> MutexGuard<'_, KeptOutcomes> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Returns `true` while somebody watches.
    pub(super) fn is_watched(&self) -> bool {
        self.is_watched.load(Ordering::Relaxed)
    }

    /// Counts an outcome, and keeps it if somebody watches.
    pub(super) fn note(
        &self,
        source: &SourceName,
        (event_id, event_type): (Option<&EventId>, Option<&str>),
        outcome: &Outcome,
        took: Duration,
    ) {
        if !self.is_watched() {
            self.count.fetch_add(1, Ordering::Relaxed);
            return;
        }
        let detail = match outcome {
            Outcome::Rejected(rejection) => rejection.detail.clone(),
            _ => Cow::Borrowed(""),
        };
        let cut = |text: &str| Box::from(&text[..text.floor_char_boundary(LONGEST_TEXT)]);
        let event_id = event_id.map(|id| cut(id.as_str()));
        let mut kept = self.kept();
        let number = self.count.fetch_add(1, Ordering::Relaxed) + 1;
        if kept.until.is_none_or(|until| Instant::now() >= until) {
            self.is_watched.store(false, Ordering::Relaxed);
            *kept = KeptOutcomes::default();
            return;
        }
        if kept.outcomes.len() >= KEPT {
            kept.outcomes.pop_front();
        }
        kept.outcomes.push_back(LiveOutcome {
            number,
            at: wall_clock(),
            source: source.clone(),
            event_id,
            event_type: event_type.map(cut),
            outcome: outcome.label(),
            reason: outcome.reason(),
            detail,
            took,
        });
        drop(kept);
        self.news.send_replace(number);
    }

    /// Returns the outcomes after a number that fit, at most `most`. Without a number: those that are kept.
    /// From now on outcomes are kept, for a minute.
    pub fn look(
        &self,
        after: Option<u64>,
        most: usize,
        fits: impl Fn(&LiveOutcome) -> bool,
    ) -> LiveLook {
        let mut kept = self.kept();
        kept.until = Some(Instant::now() + WATCHED);
        self.is_watched.store(true, Ordering::Relaxed);
        let next = self.count.load(Ordering::Relaxed);
        let is_old = |outcome: &LiveOutcome| after.is_some_and(|after| outcome.number <= after);
        let first = kept.outcomes.partition_point(is_old);
        let new = kept.outcomes.range(first..);
        let here = new.len() as u64;
        let fitting: Vec<&LiveOutcome> = new.filter(|outcome| fits(outcome)).collect();
        let left_out = fitting.len().saturating_sub(most);
        LiveLook {
            outcomes: fitting[left_out..].iter().copied().cloned().collect(),
            left_out: left_out as u64,
            lost: after.map_or(0, |after| next.saturating_sub(after).saturating_sub(here)),
            next,
        }
    }

    /// Returns a receiver of the number of the last outcome, while somebody watches.
    pub fn news(&self) -> watch::Receiver<u64> {
        self.news.subscribe()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::outcome::ShedReason;

    fn note(feed: &LiveFeed, source: &str) {
        let source = SourceName::parse(source).expect("a name");
        let outcome = Outcome::Shed(ShedReason::Bytes);
        feed.note(
            &source,
            (None, Some("order.paid")),
            &outcome,
            Duration::ZERO,
        );
    }

    fn numbers(look: &LiveLook) -> Vec<u64> {
        look.outcomes.iter().map(|outcome| outcome.number).collect()
    }

    #[test]
    fn with_nobody_watching_outcomes_are_counted_and_not_kept() {
        let feed = LiveFeed::default();
        note(&feed, "a");
        let first = feed.look(None, 10, |_| true);
        assert_eq!((numbers(&first), first.next), (vec![], 1));
        note(&feed, "a");
        let second = feed.look(Some(first.next), 10, |_| true);
        assert_eq!((numbers(&second), second.lost), (vec![2], 0));
        assert_eq!(second.outcomes[0].reason, "bytes");
        assert_eq!(second.outcomes[0].event_type.as_deref(), Some("order.paid"));
    }

    #[test]
    fn a_watcher_who_was_away_is_told_how_many_outcomes_were_lost() {
        let feed = LiveFeed::default();
        feed.look(None, 10, |_| true);
        for _ in 0..KEPT + 7 {
            note(&feed, "a");
        }
        let look = feed.look(Some(2), 10, |_| true);
        assert_eq!(look.lost, 5, "3 to 7 are not kept any more");
        assert_eq!((look.outcomes.len(), look.left_out), (10, KEPT as u64 - 10));
        assert_eq!(look.next, KEPT as u64 + 7);
        assert_eq!(look.outcomes[9].number, look.next, "the newest are shown");
    }

    #[test]
    fn a_filter_leaves_others_out_and_counts_none_of_them_as_lost() {
        let feed = LiveFeed::default();
        feed.look(None, 10, |_| true);
        for source in ["a", "b", "a"] {
            note(&feed, source);
        }
        let look = feed.look(Some(0), 10, |outcome| outcome.source.as_str() == "b");
        assert_eq!((numbers(&look), look.lost, look.left_out), (vec![2], 0, 0));
    }

    #[test]
    fn a_minute_after_the_last_look_nothing_is_kept_any_more() {
        let feed = LiveFeed::default();
        feed.look(None, 10, |_| true);
        note(&feed, "a");
        feed.kept().until = Some(Instant::now());
        note(&feed, "a");
        assert!(!feed.is_watched.load(Ordering::Relaxed));
        assert!(feed.kept().outcomes.is_empty());
        assert_eq!(feed.look(Some(0), 10, |_| true).lost, 2);
    }

    #[tokio::test]
    async fn a_watcher_is_woken_by_the_next_outcome() {
        let feed = LiveFeed::default();
        let mut news = feed.news();
        feed.look(None, 10, |_| true);
        note(&feed, "a");
        news.changed().await.expect("the feed is there");
        assert_eq!(*news.borrow(), 1);
    }
}
