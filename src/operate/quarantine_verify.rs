//! Verification of refused deliveries, again. A proven one goes to the verifiers like one that has just come, so
//! that dedup, spool and sinks treat it alike. It leaves the quarantine once its event is durable.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::Instant;

use tokio::runtime::Handle;
use tokio::sync::oneshot;

use super::quarantine::Chosen;
use super::quarantine_views::{RefusedChoice, RefusedVerified};
use super::republish::{log, not_stored};
use super::{ApiProblem, Operator};
use crate::domain::delivery::wall_clock;
use crate::domain::outcome::Outcome;
use crate::domain::request::Request;
use crate::domain::request_id::RequestId;
use crate::faults::points::failpoint;
use crate::in_flight::{BodyKind, Ticket};
use crate::quarantine::headers_of;
use crate::source::Source;
use crate::store::quarantine::{RefusedDelivery, RefusedPlace};
use crate::store::{AuditAction, AuditEntry};
use crate::verify::{Origin, Received};
use hookweir_signatures::{Verdict, verify};

/// Deliveries that are on their way at once.
const STEP: usize = 50;
/// Bytes of their bodies, at most; a larger one goes alone.
const STEP_BYTES: usize = 4 * 1024 * 1024;

/// Hands a delivery to a verifier.
pub type Redeliver = Box<dyn Fn(Received) + Send + Sync>;

/// A refused delivery that was verified again.
enum Again {
    /// Proven by the present configuration. True: dedup knows its event for a short time only.
    Proven(Arc<Source>, Request, bool),
    /// Its key has to be fetched first.
    NeedsKey(Arc<Source>, Request),
    /// Proven, and older than the time for which dedup knows its event.
    Old,
    Refused,
    Cut,
    WithoutSource,
    Undecided,
}

/// Proven deliveries that wait for their outcomes.
#[derive(Default)]
struct OnTheWay {
    waiting: Vec<Sent>,
    bytes: usize,
}

/// A proven delivery that a verifier has.
struct Sent {
    number: i64,
    is_short_lived: bool,
    outcome: oneshot::Receiver<Outcome>,
}

impl Operator {
    /// Returns the result that verifying refused deliveries again would have.
    pub fn plan_refused(&self, choice: &RefusedChoice) -> Result<RefusedVerified, ApiProblem> {
        self.each_refused(choice, |again, found, _| {
            match again {
                Again::Proven(..) => found.proven += 1,
                Again::NeedsKey(..) => found.undecided += 1,
                _ => {}
            }
            Ok(())
        })
    }

    /// Verifies refused deliveries again, and records `caller`. Ends when half of the time to answer is over, with the
    /// place to go on from.
    pub fn verify_refused(
        &self,
        choice: &RefusedChoice,
        caller: &str,
    ) -> Result<RefusedVerified, ApiProblem> {
        choice.parse()?;
        // A delivery without an id would be two events if two commands sent it at once.
        let busy = || {
            ApiProblem::conflict(
                "refused deliveries are being verified again by another command, and nothing was changed",
                "wait until it has ended, and ask again",
            )
        };
        let _alone = self.verifying.try_lock().map_err(|_| busy())?;
        let mut answer = None;
        let mut work = || answer = Some(self.verify_chosen(choice, caller));
        let is_alone = self.archive.another()?.verify_alone(&mut work);
        match answer {
            // What was done stays done, even if the lock was lost meanwhile.
            Some(answer) => answer,
            None => is_alone.map_err(ApiProblem::from).and(Err(busy())),
        }
    }

    /// Does as [`Operator::verify_refused`] says, while nobody else does.
    fn verify_chosen(
        &self,
        choice: &RefusedChoice,
        caller: &str,
    ) -> Result<RefusedVerified, ApiProblem> {
        let until = Instant::now() + self.archive.patience() / 4 * 3;
        let entry = AuditEntry {
            instance: self.instance,
            caller: caller.to_owned(),
            action: AuditAction::VerifyRefused,
            subject: choice.subject(),
            count: 0,
            reason: choice.reason.clone(),
        };
        // The record first: nothing is stored without it.
        self.archive.store()?.record(&entry).map_err(not_stored)?;
        log(&entry);
        let mut on_the_way = OnTheWay::default();
        let mut found = self.each_refused(choice, |again, found, number| {
            let (source, request, is_short_lived) = match again {
                Again::Proven(source, request, is_short_lived) => {
                    found.proven += 1;
                    (source, request, is_short_lived)
                }
                // The verifier asks for the key. The class of its event is not known.
                Again::NeedsKey(source, request) => (source, request, true),
                _ => return Ok(()),
            };
            let bytes = request.body.len();
            if on_the_way.is_full(bytes) {
                self.settle(&mut on_the_way, found, &entry, until)?;
            }
            match self.send(&source, request, until) {
                Some(outcome) => {
                    let sent = Sent {
                        number,
                        is_short_lived,
                        outcome,
                    };
                    on_the_way.add(bytes, sent);
                }
                None => found.not_now += 1,
            }
            Ok(())
        })?;
        self.settle(&mut on_the_way, &mut found, &entry, until)?;
        Ok(found)
    }

    /// Verifies each chosen delivery, and calls `then` with it. Counts all but those that are proven.
    fn each_refused(
        &self,
        choice: &RefusedChoice,
        mut then: impl FnMut(Again, &mut RefusedVerified, i64) -> Result<(), ApiProblem>,
    ) -> Result<RefusedVerified, ApiProblem> {
        let (end, store) = (self.half_time(), self.archive.store()?);
        let chosen = choice.parse()?;
        let mut after = choice.after.unwrap_or(i64::MIN);
        let mut found = RefusedVerified::default();
        loop {
            let page: Vec<i64> = match &chosen {
                Chosen::Numbers(numbers) => {
                    let rest = numbers.iter().copied().filter(|number| *number > after);
                    rest.take(STEP).collect()
                }
                Chosen::Query(query) => {
                    let page = store.refused(query, RefusedPlace::Above(after), STEP)?;
                    page.iter().map(|found| found.number).collect()
                }
            };
            let is_last = page.len() < STEP;
            for number in page {
                if let Some(delivery) = store.refused_delivery(number)? {
                    found.looked += 1;
                    let again = self.again(delivery, choice.old);
                    count(&again, &mut found);
                    then(again, &mut found, number)?;
                }
                after = number;
                if Instant::now() >= end {
                    found.next = Some(after);
                    return Ok(found);
                }
            }
            if is_last {
                return Ok(found);
            }
        }
    }

    /// Verifies a refused delivery with the present configuration, at the time of its receipt. If `takes_old`, a
    /// proven one has no age.
    fn again(&self, delivery: RefusedDelivery, takes_old: bool) -> Again {
        let sources = self.sources.load();
        let mut sources = sources.iter();
        let known = sources.find(|of| of.name.as_str() == delivery.summary.source);
        let Some(source) = known.map(|known| known.source.clone()) else {
            return Again::WithoutSource;
        };
        if delivery.summary.is_cut {
            return Again::Cut;
        }
        let Some(request) = request_of(delivery) else {
            return Again::Refused;
        };
        let plain = source.scheme.unpacked_len(&request.body);
        let largest = request.body.len().max(plain.unwrap_or_default());
        if largest > source.max_body_bytes {
            return Again::Refused;
        }
        let current = source.keys.load_full();
        // A panic would be met again by each attempt.
        let verdict = catch_unwind(AssertUnwindSafe(|| {
            verify(
                &current.scheme,
                &current.keys,
                &request,
                request.received_at,
            )
        }));
        match verdict {
            Ok(Ok(Verdict::Events(verified))) => {
                let events = verified.into_events();
                let is_short_lived = events.iter().any(|event| event.class.is_short_lived());
                match !takes_old && is_old(&source, &request, is_short_lived) {
                    true => Again::Old,
                    false => Again::Proven(source, request, is_short_lived),
                }
            }
            // Its event may be of a short-lived class.
            Ok(Ok(Verdict::NeedsKeys(_))) if !takes_old && is_old(&source, &request, true) => {
                Again::Old
            }
            Ok(Ok(Verdict::NeedsKeys(_))) => Again::NeedsKey(source, request),
            Ok(Ok(Verdict::Challenge(_) | Verdict::Learn { .. })) => Again::Undecided,
            Ok(Err(_)) | Err(_) => Again::Refused,
        }
    }

    /// Sends a delivery to a verifier, which gives it up at `until`. None if it finds no room now.
    fn send(
        &self,
        source: &Arc<Source>,
        request: Request,
        until: Instant,
    ) -> Option<oneshot::Receiver<Outcome>> {
        let now = Instant::now();
        let deadline = until.min(now + source.deadline);
        let budget = &self.instruments.budget;
        let permit = budget.empty_permit(Some(source.share.clone()));
        let (metrics, id) = (source.metrics.clone(), RequestId::next());
        let (mut ticket, outcome) = Ticket::new(permit, metrics, id, now, deadline);
        ticket.request_is_complete(deadline);
        let plain = source.scheme.unpacked_len(&request.body);
        let bytes = request.body.len() + plain.unwrap_or_default();
        let kind = BodyKind::of(bytes, source.usual_body_bytes, true);
        let room = ticket.permit().grow(bytes, kind);
        if let Err(reason) = room.and_then(|()| ticket.permit().count_one()) {
            ticket.resolve(Outcome::Shed(reason));
            return None;
        }
        (self.redeliver)(Received {
            source: source.clone(),
            request,
            ticket,
            from: Origin::Quarantine,
        });
        Some(outcome)
    }

    /// Waits for the outcomes of deliveries on their way, until `until` at most. Removes those that are durable.
    fn settle(
        &self,
        on_the_way: &mut OnTheWay,
        found: &mut RefusedVerified,
        entry: &AuditEntry,
        until: Instant,
    ) -> Result<(), ApiProblem> {
        on_the_way.bytes = 0;
        let mut durable = Vec::new();
        for sent in std::mem::take(&mut on_the_way.waiting) {
            match outcome_of(sent.outcome, until) {
                Some(Outcome::Accepted { .. }) => {
                    found.accepted += 1;
                    durable.push(sent.number);
                }
                // The provider may have meant two events, hours apart.
                Some(Outcome::Duplicate { .. }) if sent.is_short_lived => found.alike += 1,
                Some(Outcome::Duplicate { .. }) => {
                    found.known += 1;
                    durable.push(sent.number);
                }
                _ => found.not_now += 1,
            }
        }
        if durable.is_empty() {
            return Ok(());
        }
        failpoint!("quarantine_stored");
        let numbers: Vec<String> = durable.iter().map(ToString::to_string).collect();
        let entry = AuditEntry {
            subject: format!("refused deliveries: {}", numbers.join(", ")),
            reason: Some("they are proven now, and their events are stored".to_owned()),
            ..entry.clone()
        };
        let gone = self.archive.store()?.discard_refused(&durable, &entry);
        let count = gone.map_err(not_stored)?;
        log(&AuditEntry { count, ..entry });
        Ok(())
    }
}

impl OnTheWay {
    fn is_full(&self, more: usize) -> bool {
        let bytes = self.bytes.saturating_add(more);
        !self.waiting.is_empty() && (self.waiting.len() >= STEP || bytes > STEP_BYTES)
    }

    fn add(&mut self, bytes: usize, sent: Sent) {
        self.waiting.push(sent);
        self.bytes += bytes;
    }
}

/// Returns the outcome of a delivery, if it is there at `until`.
fn outcome_of(outcome: oneshot::Receiver<Outcome>, until: Instant) -> Option<Outcome> {
    let Ok(handle) = Handle::try_current() else {
        return outcome.blocking_recv().ok();
    };
    let outcome = async { tokio::time::timeout_at(until.into(), outcome).await };
    handle.block_on(outcome).ok()?.ok()
}

/// Returns `true` if dedup may have forgotten what came of the delivery since its receipt: the provider may have
/// sent it again meanwhile.
fn is_old(source: &Source, request: &Request, is_short_lived: bool) -> bool {
    let window = match is_short_lived {
        true => source.retry_span.min(source.dedup_window),
        false => source.dedup_window,
    };
    let window = i64::try_from(window.as_millis()).unwrap_or(i64::MAX);
    wall_clock().0.saturating_sub(request.received_at.0) > window
}

fn count(again: &Again, found: &mut RefusedVerified) {
    match again {
        Again::Proven(..) | Again::NeedsKey(..) => {}
        Again::Old => found.old += 1,
        Again::Refused => found.refused += 1,
        Again::Cut => found.cut += 1,
        Again::WithoutSource => found.without_source += 1,
        Again::Undecided => found.undecided += 1,
    }
}

/// Returns the request as it was received. None: its method is none.
pub(super) fn request_of(delivery: RefusedDelivery) -> Option<Request> {
    let RefusedDelivery {
        summary,
        headers,
        body,
    } = delivery;
    Some(Request {
        method: summary.method.parse().ok()?,
        target: summary.target,
        headers: headers_of(&headers),
        body: body.into(),
        received_at: summary.received_at,
    })
}
