//! Figures of the last quarter of an hour, for charts and rates: at most [`KEPT`] samples of [`SERIES`] numbers.

use std::collections::VecDeque;
use std::ops::RangeInclusive;
use std::sync::{Arc, Weak};
use std::time::Duration;

use serde_json::{Value, json};
use tokio::time::MissedTickBehavior;

use crate::admin::api::Api;
use crate::operate::{SourceCounts, TopView};

/// Samples that are kept: a quarter of an hour.
const KEPT: usize = 450;

/// Numbers of a sample that all instances have.
const COMMON: usize = 8;

/// Numbers of a sample, at most: the rest are mailboxes.
const SERIES: usize = 40;

/// Milliseconds between two samples, at least.
const APART_MS: u64 = 2000;

/// Age of a look that a rate begins at: a rate is of now, and not of a moment.
const RATE_MS: RangeInclusive<u64> = 1000..=60_000;

/// Looks that are kept whole. One of them is old enough for a rate.
const WHOLE: usize = 2;

/// The figures.
#[derive(Default)]
pub(super) struct Samples {
    kept: VecDeque<Sample>,
    whole: VecDeque<Arc<TopView>>,
    /// Actors of the mailboxes, in the order in which they were seen.
    actors: Vec<String>,
}

struct Sample {
    uptime_ms: u64,
    /// Counts of accepted, redelivered, refused and unavailable deliveries, events that wait, requests in
    /// flight, and the cache's hits and misses.
    common: [u64; COMMON],
    depths: Vec<Option<u64>>,
}

impl Samples {
    /// Keeps the figures. Returns the newest look before that is old enough for a rate.
    pub(super) fn keep(&mut self, now: &Arc<TopView>) -> Option<Arc<TopView>> {
        let is_before = |look: &&Arc<TopView>| {
            let age = now.uptime_ms.saturating_sub(look.uptime_ms);
            RATE_MS.contains(&age)
        };
        let before = self.whole.iter().rev().find(is_before).cloned();
        let last = self.kept.back();
        let age = last.map(|last| now.uptime_ms.saturating_sub(last.uptime_ms));
        if age.is_none_or(|age| age >= APART_MS) {
            let sample = self.sample(now);
            push(&mut self.kept, sample, KEPT);
            push(&mut self.whole, now.clone(), WHOLE);
        }
        before
    }

    fn sample(&mut self, now: &TopView) -> Sample {
        for mailbox in &now.mailboxes {
            let has_room = self.actors.len() < SERIES - COMMON;
            if has_room && !self.actors.contains(&mailbox.actor) {
                self.actors.push(mailbox.actor.clone());
            }
        }
        let depths = self.actors.iter().map(|actor| {
            let mut found = now.mailboxes.iter();
            let found = found.find(|of| of.actor == *actor);
            found.map(|of| of.depth)
        });
        let sum = |of: fn(&SourceCounts) -> u64| now.sources.iter().map(of).sum();
        Sample {
            uptime_ms: now.uptime_ms,
            common: [
                sum(|of| of.accepted),
                sum(|of| of.duplicate),
                sum(|of| of.rejected),
                sum(|of| of.shed + of.failed),
                now.sinks.iter().map(|of| of.waiting).sum(),
                now.in_flight_requests.part,
                now.cache_hits,
                now.cache_misses,
            ],
            depths: depths.collect(),
        }
    }

    /// Returns the charts, as columns.
    pub(super) fn charts(&self) -> Value {
        let seconds = self.kept.iter().map(|of| of.uptime_ms / 1000);
        let level = |n: usize| self.kept.iter().map(move |of| of.common[n]);
        let series = |label: &str, values: Value| json!({ "label": label, "values": values });
        let rate = |label: &str, n: usize| series(label, json!(self.per_second(n)));
        let shown = |label: &str, n: usize| series(label, json!(level(n).collect::<Vec<_>>()));
        let mailboxes = self.actors.iter().enumerate().map(|(n, actor)| {
            let depths = self.kept.iter();
            let depths = depths.map(|of| of.depths.get(n).copied().flatten());
            series(actor, json!(depths.collect::<Vec<_>>()))
        });
        json!({
            "seconds": seconds.collect::<Vec<_>>(),
            "charts": [
                { "title": "Deliveries a second", "series": [
                    rate("accepted", 0), rate("redeliveries", 1), rate("refused", 2), rate("503", 3),
                ] },
                { "title": "Waiting", "series": [
                    shown("events at all sinks", 4), shown("in flight", 5),
                ] },
                { "title": "Mailboxes", "series": mailboxes.collect::<Vec<_>>() },
                { "title": "Cache a second", "series": [rate("hits", 6), rate("misses", 7)] },
            ],
        })
    }

    /// Returns the rate before each sample. The first one has none.
    fn per_second(&self, n: usize) -> Vec<Option<f64>> {
        let befores = std::iter::once(None).chain(self.kept.iter().map(Some));
        let pairs = befores.zip(&self.kept);
        let rates = pairs.map(|(before, after)| {
            let before = before?;
            let seconds = after.uptime_ms.saturating_sub(before.uptime_ms) as f64 / 1000.0;
            let count = after.common[n].saturating_sub(before.common[n]) as f64;
            (seconds > 0.0).then(|| (count / seconds * 10.0).round() / 10.0)
        });
        rates.collect()
    }
}

fn push<T>(kept: &mut VecDeque<T>, new: T, most: usize) {
    kept.push_back(new);
    if kept.len() > most {
        kept.pop_front();
    }
}

/// Takes samples until the service ends, so that the charts begin before somebody looks. A sample reads
/// counters of this process, and nothing else.
pub(in crate::admin) fn take(api: &Api) {
    let Some(page) = &api.page else { return };
    let (page, operator) = (Arc::downgrade(page), Arc::downgrade(&api.operator));
    let mut turns = tokio::time::interval(Duration::from_millis(APART_MS));
    turns.set_missed_tick_behavior(MissedTickBehavior::Delay);
    tokio::spawn(async move {
        loop {
            turns.tick().await;
            let (Some(page), Some(operator)) = (Weak::upgrade(&page), Weak::upgrade(&operator))
            else {
                return;
            };
            page.keep(&Arc::new(operator.top()));
        }
    });
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::operate::MailboxView;

    fn look(uptime_ms: u64) -> TopView {
        TopView {
            uptime_ms,
            ..TopView::default()
        }
    }

    #[test]
    fn figures_are_kept_for_a_quarter_of_an_hour_and_not_more_often_than_they_are_of_use() {
        let mut samples = Samples::default();
        let mut kept = |uptime_ms| {
            let before = samples.keep(&Arc::new(look(uptime_ms)));
            (samples.kept.len(), before.map(|look| look.uptime_ms))
        };
        assert_eq!(kept(0), (1, None));
        assert_eq!(kept(999), (1, None), "too young for a rate");
        assert_eq!(kept(APART_MS - 1), (1, Some(0)));
        assert_eq!(kept(APART_MS), (2, Some(0)));
        assert_eq!(kept(APART_MS + 500), (2, Some(0)));
        for n in 2..1000 {
            kept(n * APART_MS);
        }
        assert_eq!(kept(1000 * APART_MS), (KEPT, Some(999 * APART_MS)));
        assert_eq!(kept(5000 * APART_MS), (KEPT, None), "too old for a rate");
        assert_eq!(samples.whole.len(), WHOLE);
    }

    #[test]
    fn rates_are_of_a_second_and_the_first_sample_has_none() {
        let mut samples = Samples::default();
        for (uptime_ms, cache_hits) in [(0, 0), (2000, 5), (4000, 5)] {
            samples.keep(&Arc::new(TopView {
                cache_hits,
                ..look(uptime_ms)
            }));
        }
        assert_eq!(samples.per_second(6), [None, Some(2.5), Some(0.0)]);
        assert_eq!(Samples::default().per_second(6), []);
    }

    #[test]
    fn more_actors_than_there_is_room_for_take_no_more_memory() {
        let mut samples = Samples::default();
        for turn in 0..3 {
            let mailboxes = (0..60).map(|n| MailboxView {
                actor: format!("verifier-{turn}-{n}"),
                ..MailboxView::default()
            });
            samples.keep(&Arc::new(TopView {
                mailboxes: mailboxes.collect(),
                ..look(turn * APART_MS)
            }));
        }
        let most = samples.kept.iter().map(|of| of.depths.len()).max();
        assert_eq!(most, Some(SERIES - COMMON));
        let charts = samples.charts();
        let mailboxes = charts["charts"][2]["series"].as_array().map(Vec::len);
        assert_eq!(mailboxes, Some(SERIES - COMMON));
    }
}
