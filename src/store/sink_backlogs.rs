//! Backlog of each sink between two measurements, for metrics and for the operator's log.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use super::Backlog;
use super::stall::Stall;
use crate::domain::sink::{SinkName, Sinks};
use crate::telemetry::Metrics;

/// History of what waits for each sink.
#[derive(Debug)]
pub(super) struct SinkBacklogs {
    /// Of the configured sinks.
    stalls: BTreeMap<SinkName, Stall>,
    /// Sinks that had rows and are not configured.
    unknown: BTreeSet<SinkName>,
}

impl SinkBacklogs {
    pub(super) fn new(sinks: &Sinks, patience: Duration, now: Instant) -> Self {
        let stalls = sinks
            .iter()
            .map(|sink| (sink.clone(), Stall::new(patience, now)));
        Self {
            stalls: stalls.collect(),
            unknown: BTreeSet::new(),
        }
    }

    /// Adds a measure, and stores its figures. Returns a sentence for each sink whose rows do not
    /// move, and for each that is not configured.
    pub(super) fn look(
        &mut self,
        backlogs: &[Backlog],
        metrics: &Metrics,
        now: Instant,
    ) -> Vec<String> {
        let mut troubles = Vec::new();
        let mut sum = Backlog::default();
        let empty = |sink: &SinkName| Backlog {
            sink: sink.clone(),
            ..Backlog::default()
        };
        let of = |sink: &SinkName| backlogs.iter().find(|backlog| backlog.sink == *sink);
        for (sink, stall) in &mut self.stalls {
            let backlog = of(sink).cloned().unwrap_or_else(|| empty(sink));
            let stalled = stall.look(&backlog, metrics.is_sink_up(sink), now);
            troubles.extend(stalled.map(|standing| stall_words(&backlog, standing)));
            // By the store's clock a row that came while that was ahead has not waited at all.
            let oldest = backlog.oldest.max(stall.standing(now));
            add(&mut sum, &Backlog { oldest, ..backlog }, metrics);
        }
        for backlog in backlogs {
            if !self.stalls.contains_key(&backlog.sink) {
                self.unknown.insert(backlog.sink.clone());
            }
        }
        for sink in &self.unknown {
            let backlog = of(sink).cloned().unwrap_or_else(|| empty(sink));
            troubles.extend(unknown_words(&backlog));
            add(&mut sum, &backlog, metrics);
        }
        let number = |number: u64| i64::try_from(number).unwrap_or(i64::MAX);
        metrics.outbox_rows.set(number(sum.depth));
        metrics
            .outbox_oldest_seconds
            .set(number(sum.oldest.as_secs()));
        metrics.parked_rows.set(number(sum.parked));
        troubles
    }
}

/// Stores the figures of a sink, and adds them to those of all.
fn add(sum: &mut Backlog, backlog: &Backlog, metrics: &Metrics) {
    metrics.set_sink_backlog(&backlog.sink, backlog.depth, backlog.oldest, backlog.parked);
    sum.depth += backlog.depth;
    sum.oldest = sum.oldest.max(backlog.oldest);
    sum.parked += backlog.parked;
}

fn stall_words(backlog: &Backlog, standing: Duration) -> String {
    let sink = if backlog.sink == SinkName::default() {
        String::new()
    } else {
        format!(" for the sink {}", backlog.sink)
    };
    format!(
        "{} events wait in the outbox{sink}, and the oldest of them has not left it for {} s although the queue takes events. Deliveries are still \
         accepted. Look for warnings of \"relay\" and \"publisher\" in the log; if another instance hangs, end it, and its events are taken over",
        backlog.depth,
        standing.as_secs()
    )
}

/// Returns words on a sink that is not configured. None if it has no rows.
fn unknown_words(backlog: &Backlog) -> Option<String> {
    (backlog.depth > 0).then(|| {
        format!(
            "{} events wait for the sink {}, which is not configured: add it again, or run `hookweir sinks move {1} SINK` or \
             `hookweir sinks discard {1}`. Deliveries and other sinks go on",
            backlog.depth, backlog.sink
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::Seq;

    #[test]
    fn rows_of_a_sink_that_is_not_configured_are_reported_until_they_are_gone() {
        let metrics = Metrics::new().expect("names are unique");
        let now = Instant::now();
        let mut backlogs = SinkBacklogs::new(&Sinks::default(), Duration::from_secs(30), now);
        let waits = Backlog {
            sink: SinkName::parse("old").expect("a name"),
            depth: 3,
            oldest: Duration::from_secs(7),
            first: Some(Seq(1)),
            parked: 1,
        };
        let of_default = Backlog {
            depth: 2,
            first: Some(Seq(9)),
            ..Backlog::default()
        };
        let troubles = backlogs.look(&[of_default, waits], &metrics, now);
        assert_eq!(troubles.len(), 1);
        assert!(
            troubles[0].contains("`hookweir sinks move old SINK`"),
            "{troubles:?}"
        );
        let sinks = metrics.sinks();
        assert_eq!(
            (sinks["old"].outbox_rows, sinks["default"].outbox_rows),
            (3, 2)
        );
        assert_eq!(
            (
                metrics.outbox_rows.get(),
                metrics.outbox_oldest_seconds.get()
            ),
            (5, 7)
        );
        assert!(backlogs.look(&[], &metrics, now).is_empty());
        assert_eq!(metrics.sinks()["old"].outbox_rows, 0);
        assert_eq!(metrics.parked_rows.get(), 0);
    }

    #[test]
    fn a_sink_whose_rows_stand_still_is_named_and_the_others_are_not() {
        let metrics = Metrics::new().expect("names are unique");
        let now = Instant::now();
        let name = |name: &str| SinkName::parse(name).expect("a name");
        let sinks = Sinks::new(&[name("moves"), name("stands")]).expect("two sinks");
        let mut backlogs = SinkBacklogs::new(&sinks, Duration::from_secs(30), now);
        for sink in sinks.iter() {
            metrics.set_sink_up(sink, true);
        }
        let measure = |first: i64| {
            ["moves", "stands"].map(|sink| Backlog {
                sink: name(sink),
                depth: 4,
                first: Some(Seq(if sink == "moves" { first } else { 1 })),
                ..Backlog::default()
            })
        };
        assert!(backlogs.look(&measure(1), &metrics, now).is_empty());
        let later = now + Duration::from_secs(31);
        let troubles = backlogs.look(&measure(2), &metrics, later);
        assert_eq!(troubles.len(), 1);
        assert!(
            troubles[0].contains("4 events wait in the outbox for the sink stands"),
            "{troubles:?}"
        );
    }
}
