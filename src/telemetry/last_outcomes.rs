//! Last outcomes of a source since the start of the process.

use std::borrow::Cow;
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Mutex, PoisonError};

use crate::domain::delivery::UnixMillis;
use crate::domain::outcome::Outcome;

/// Value of a time that has not come yet.
const NEVER: i64 = i64::MIN;

/// Last outcomes of a source, each with its time.
#[derive(Debug)]
pub struct LastOutcomes {
    accepted: AtomicI64,
    duplicate: AtomicI64,
    refused: Mutex<Option<LastRefusal>>,
    unavailable: Mutex<Option<LastRefusal>>,
}

/// A delivery that was not accepted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LastRefusal {
    /// Time of the answer.
    pub at: UnixMillis,
    /// Reason, as metrics count it.
    pub reason: &'static str,
    /// Detail for the operator. Holds no secret and no payload.
    pub detail: Cow<'static, str>,
}

impl Default for LastOutcomes {
    fn default() -> Self {
        Self {
            accepted: AtomicI64::new(NEVER),
            duplicate: AtomicI64::new(NEVER),
            refused: Mutex::default(),
            unavailable: Mutex::default(),
        }
    }
}

impl LastOutcomes {
    /// Stores the outcome of a delivery that was answered at `at`.
    pub(super) fn note(&self, outcome: &Outcome, at: UnixMillis) {
        let refusal = |place: &Mutex<Option<LastRefusal>>, detail: &Cow<'static, str>| {
            let refusal = LastRefusal {
                at,
                reason: outcome.reason(),
                detail: detail.clone(),
            };
            *place.lock().unwrap_or_else(PoisonError::into_inner) = Some(refusal);
        };
        match outcome {
            Outcome::Accepted { .. } => self.accepted.store(at.0, Ordering::Relaxed),
            Outcome::Duplicate { .. } => self.duplicate.store(at.0, Ordering::Relaxed),
            Outcome::Challenge(_) => {}
            Outcome::Rejected(rejection) => refusal(&self.refused, &rejection.detail),
            Outcome::Shed(_) | Outcome::Failed(_) => {
                refusal(&self.unavailable, &Cow::Borrowed(""));
            }
        }
    }

    /// Returns the time of the last new event that was accepted.
    pub fn accepted(&self) -> Option<UnixMillis> {
        time(&self.accepted)
    }

    /// Returns the time of the last redelivery that was answered 2xx.
    pub fn duplicate(&self) -> Option<UnixMillis> {
        time(&self.duplicate)
    }

    /// Returns the last delivery that was refused for good, with 4xx.
    pub fn refused(&self) -> Option<LastRefusal> {
        read(&self.refused)
    }

    /// Returns the last delivery that was answered 503.
    pub fn unavailable(&self) -> Option<LastRefusal> {
        read(&self.unavailable)
    }
}

fn time(of: &AtomicI64) -> Option<UnixMillis> {
    let at = of.load(Ordering::Relaxed);
    (at != NEVER).then_some(UnixMillis(at))
}

fn read(place: &Mutex<Option<LastRefusal>>) -> Option<LastRefusal> {
    place.lock().unwrap_or_else(PoisonError::into_inner).clone()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::outcome::{RejectReason, Rejection, ShedReason};

    #[test]
    fn the_last_outcome_of_each_kind_is_there_with_its_time_and_reason() {
        let last = LastOutcomes::default();
        assert_eq!((last.accepted(), last.refused()), (None, None));
        let rejection = Rejection::new(RejectReason::SignatureMissing, "no header x");
        last.note(&Outcome::Rejected(rejection), UnixMillis(7));
        last.note(&Outcome::Shed(ShedReason::Bytes), UnixMillis(8));
        let refused = last.refused().expect("refused");
        assert_eq!(
            (refused.at, &*refused.detail),
            (UnixMillis(7), "no header x")
        );
        let shed = last.unavailable().expect("shed");
        assert_eq!((shed.at, shed.reason), (UnixMillis(8), "bytes"));
        assert_eq!((last.accepted(), last.duplicate()), (None, None));
    }
}
