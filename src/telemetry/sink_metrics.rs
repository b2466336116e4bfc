//! Figures of each sink. Its name is the label: names come from the configuration, and from rows that
//! an earlier configuration has left.

use std::collections::BTreeMap;
use std::time::Duration;

use prometheus::core::Collector;
use serde::{Deserialize, Serialize};

use super::Metrics;
use crate::domain::sink::SinkName;

/// Figures of a sink, as `/readyz` shows them.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct SinkFigures {
    /// True while the sink accepts events. None if it is not configured.
    pub up: Option<bool>,
    /// Delay before the next attempt to connect, in seconds.
    pub backoff_seconds: i64,
    /// Number of events that wait for the sink.
    pub outbox_rows: i64,
    /// Age of the oldest of them, in seconds.
    pub outbox_oldest_seconds: i64,
    /// Number of parked events.
    pub parked_rows: i64,
    /// True while an operator has paused the sink.
    pub paused: bool,
    /// Number of messages that the sink has taken although no queue was bound for them.
    #[serde(default)]
    pub unrouted: i64,
    /// Number of events that the sink has confirmed since the start of the process.
    pub confirmed: u64,
}

impl Metrics {
    /// Stores whether the sink accepts events.
    pub fn set_sink_up(&self, sink: &SinkName, up: bool) {
        self.sink_up
            .with_label_values(&[sink.as_str()])
            .set(up.into());
        if up {
            self.set_sink_backoff(sink, Duration::ZERO);
        }
        let all_up = values(&self.sink_up).values().all(|up| *up == 1);
        self.publisher_up.set(all_up.into());
    }

    /// Returns `true` if the sink accepts events.
    pub fn is_sink_up(&self, sink: &SinkName) -> bool {
        self.sink_up.with_label_values(&[sink.as_str()]).get() == 1
    }

    /// Stores the delay before the next attempt to connect to the sink.
    pub fn set_sink_backoff(&self, sink: &SinkName, delay: Duration) {
        let seconds = delay.as_millis().div_ceil(1000);
        self.sink_backoff_seconds
            .with_label_values(&[sink.as_str()])
            .set(i64::try_from(seconds).unwrap_or(i64::MAX));
    }

    /// Counts events sent to the sink with the same result.
    pub fn count_published(&self, sink: &SinkName, result: &str, events: u64) {
        self.published.with_label_values(&[result]).inc_by(events);
        self.sink_published
            .with_label_values(&[sink.as_str(), result])
            .inc_by(events);
    }

    /// Stores what waits for the sink.
    pub fn set_sink_backlog(&self, sink: &SinkName, rows: u64, oldest: Duration, parked: u64) {
        let of = [sink.as_str()];
        let number = |number: u64| i64::try_from(number).unwrap_or(i64::MAX);
        self.sink_outbox_rows
            .with_label_values(&of)
            .set(number(rows));
        self.sink_outbox_oldest_seconds
            .with_label_values(&of)
            .set(number(oldest.as_secs()));
        self.sink_parked_rows
            .with_label_values(&of)
            .set(number(parked));
    }

    /// Stores the number of messages that were routed to nowhere.
    pub fn set_sink_unrouted(&self, sink: &SinkName, messages: u64) {
        self.sink_unrouted_messages
            .with_label_values(&[sink.as_str()])
            .set(i64::try_from(messages).unwrap_or(i64::MAX));
    }

    /// Returns the figures of each sink, by name.
    pub fn sinks(&self) -> BTreeMap<String, SinkFigures> {
        let mut sinks: BTreeMap<String, SinkFigures> = BTreeMap::new();
        let mut each = |gauges: &dyn Collector, set: fn(&mut SinkFigures, i64)| {
            for (sink, value) in values(gauges) {
                set(sinks.entry(sink).or_default(), value);
            }
        };
        each(&self.sink_up, |sink, up| sink.up = Some(up == 1));
        each(&self.sink_backoff_seconds, |sink, seconds| {
            sink.backoff_seconds = seconds
        });
        each(&self.sink_outbox_rows, |sink, rows| sink.outbox_rows = rows);
        each(&self.sink_outbox_oldest_seconds, |sink, seconds| {
            sink.outbox_oldest_seconds = seconds;
        });
        each(&self.sink_parked_rows, |sink, rows| sink.parked_rows = rows);
        each(&self.sink_paused, |sink, paused| sink.paused = paused == 1);
        each(&self.sink_unrouted_messages, |sink, messages| {
            sink.unrouted = messages;
        });
        for (name, sink) in &mut sinks {
            let confirmed = self
                .sink_published
                .with_label_values(&[name.as_str(), "confirmed"]);
            sink.confirmed = confirmed.get();
        }
        sinks
    }
}

/// Returns the values of a family of gauges, by sink.
fn values(gauges: &dyn Collector) -> BTreeMap<String, i64> {
    let families = gauges.collect();
    let metrics = families.iter().flat_map(|family| family.get_metric());
    let value = |metric: &prometheus::proto::Metric| {
        let sink = metric.get_label().first()?.value().to_owned();
        // Gauges of whole numbers, far below 2^53.
        Some((sink, metric.get_gauge().get_value() as i64))
    };
    metrics.filter_map(value).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_sink_has_figures_of_its_own_and_all_are_up_together() {
        let metrics = Metrics::new().expect("names are unique");
        let name = |name: &str| SinkName::parse(name).expect("a name");
        let (rabbit, kafka, old) = (name("rabbit"), name("kafka"), name("old"));
        metrics.set_sink_up(&rabbit, true);
        assert_eq!(metrics.publisher_up.get(), 1);
        metrics.set_sink_up(&kafka, false);
        metrics.set_sink_backoff(&kafka, Duration::from_millis(1500));
        assert_eq!(metrics.publisher_up.get(), 0, "one of two is down");
        metrics.count_published(&rabbit, "confirmed", 7);
        metrics.set_sink_backlog(&kafka, 5, Duration::from_secs(90), 1);
        metrics.set_sink_backlog(&old, 3, Duration::from_secs(9), 0);
        let sinks = metrics.sinks();
        let rabbit = &sinks["rabbit"];
        assert_eq!((rabbit.up, rabbit.confirmed), (Some(true), 7));
        let expected = SinkFigures {
            up: Some(false),
            backoff_seconds: 2,
            outbox_rows: 5,
            outbox_oldest_seconds: 90,
            parked_rows: 1,
            paused: false,
            unrouted: 0,
            confirmed: 0,
        };
        assert_eq!(sinks["kafka"], expected);
        assert_eq!((sinks["old"].up, sinks["old"].outbox_rows), (None, 3));
        metrics.set_sink_up(&kafka, true);
        assert_eq!(metrics.sinks()["kafka"].backoff_seconds, 0);
        assert_eq!(metrics.publisher_up.get(), 1);
    }
}
