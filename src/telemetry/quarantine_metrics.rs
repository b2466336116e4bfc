//! Metrics of the quarantine.

use super::metrics::Metrics;

/// Reason for which a refused delivery is not kept, or no longer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum QuarantineDrop {
    /// Its source brings more than `quarantine.source_per_sec`.
    Rate,
    /// The queue is full, or the source has taken its half of it.
    Queue,
    /// The store did not take it.
    Store,
    /// It would take half of the bytes of its source.
    Large,
    /// It was the oldest of a source that has reached its bounds.
    Oldest,
}

impl QuarantineDrop {
    fn label(self) -> &'static str {
        match self {
            Self::Rate => "rate",
            Self::Queue => "queue",
            Self::Store => "store",
            Self::Large => "large",
            Self::Oldest => "oldest",
        }
    }
}

impl Metrics {
    /// Counts refused deliveries that are kept.
    pub fn count_quarantined(&self, source: &str, count: u64) {
        self.quarantined.with_label_values(&[source]).inc_by(count);
    }

    /// Counts refused deliveries that are not kept, or no longer.
    pub fn count_quarantine_drops(&self, source: &str, reason: QuarantineDrop, count: u64) {
        self.quarantine_dropped
            .with_label_values(&[source, reason.label()])
            .inc_by(count);
    }

    /// Shows number and bytes of the refused deliveries of a source. None: it has none any more.
    pub fn set_quarantine(&self, source: &str, usage: Option<(u64, u64)>) {
        let number = |number: u64| i64::try_from(number).unwrap_or(i64::MAX);
        match usage {
            Some((rows, bytes)) => {
                self.quarantine_rows
                    .with_label_values(&[source])
                    .set(number(rows));
                self.quarantine_bytes
                    .with_label_values(&[source])
                    .set(number(bytes));
            }
            None => {
                // The series may be gone already.
                let _ = self.quarantine_rows.remove_label_values(&[source]);
                let _ = self.quarantine_bytes.remove_label_values(&[source]);
            }
        }
    }
}
