//! Verification of refused deliveries, again. A proven one goes to the verifiers like one that has just come, so
//! that dedup, spool and sinks treat it alike. It leaves the quarantine once its event is durable.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::Instant;

use tokio::sync::oneshot;

use super::quarantine::Chosen;
use super::quarantine_views::{RefusedChoice, RefusedVerified};
use super::republish::{log, not_stored};
use super::{ApiProblem, Operator};
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
    /// Proven by the present configuration.
    Proven(Arc<Source>, Request),
    Refused,
    Cut,
    WithoutSource,
    Undecided,
}

/// Proven deliveries that wait for their outcomes.
#[derive(Default)]
struct OnTheWay {
    waiting: Vec<(i64, oneshot::Receiver<Outcome>)>,
    bytes: usize,
}

impl Operator {
    /// Returns the result that verifying refused deliveries again would have.
    pub fn plan_refused(&self, choice: &RefusedChoice) -> Result<RefusedVerified, ApiProblem> {
        self.each_refused(choice, |again, found, _| {
            if matches!(again, Again::Proven(..)) {
                found.proven += 1;
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
            if let Again::Proven(source, request) = again {
                found.proven += 1;
                let bytes = request.body.len();
                if on_the_way.is_full(bytes) {
                    self.settle(&mut on_the_way, found, &entry)?;
                }
                match self.send(&source, request) {
                    Some(outcome) => on_the_way.add(number, bytes, outcome),
                    None => found.not_now += 1,
                }
            }
            Ok(())
        })?;
        self.settle(&mut on_the_way, &mut found, &entry)?;
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
                    let again = self.again(delivery);
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

    /// Verifies a refused delivery with the present configuration, at the time of its receipt.
    fn again(&self, delivery: RefusedDelivery) -> Again {
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
            Ok(Ok(Verdict::Events(_))) => Again::Proven(source, request),
            Ok(Ok(Verdict::Challenge(_) | Verdict::NeedsKeys(_) | Verdict::Learn { .. })) => {
                Again::Undecided
            }
            Ok(Err(_)) | Err(_) => Again::Refused,
        }
    }

    /// Sends a proven delivery to a verifier. None if it finds no room now.
    fn send(&self, source: &Arc<Source>, request: Request) -> Option<oneshot::Receiver<Outcome>> {
        let now = Instant::now();
        let deadline = now + source.deadline;
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

    /// Waits for the outcomes of deliveries on their way, and removes those that are durable.
    fn settle(
        &self,
        on_the_way: &mut OnTheWay,
        found: &mut RefusedVerified,
        entry: &AuditEntry,
    ) -> Result<(), ApiProblem> {
        on_the_way.bytes = 0;
        let mut durable = Vec::new();
        for (number, outcome) in std::mem::take(&mut on_the_way.waiting) {
            // A ticket resolves within the time of a commit.
            match outcome.blocking_recv() {
                Ok(Outcome::Accepted { .. }) => {
                    found.accepted += 1;
                    durable.push(number);
                }
                Ok(Outcome::Duplicate { .. }) => {
                    found.known += 1;
                    durable.push(number);
                }
                Ok(_) | Err(_) => found.not_now += 1,
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

    fn add(&mut self, number: i64, bytes: usize, outcome: oneshot::Receiver<Outcome>) {
        self.waiting.push((number, outcome));
        self.bytes += bytes;
    }
}

fn count(again: &Again, found: &mut RefusedVerified) {
    match again {
        Again::Proven(..) => {}
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
