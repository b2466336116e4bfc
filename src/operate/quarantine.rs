//! Quarantine: refused deliveries are listed, opened, deleted.

use std::panic::{AssertUnwindSafe, catch_unwind};

use super::bodies::OpenedBody;
use super::decisions::{Decision, changed, check_count};
use super::quarantine_verify::request_of;
use super::quarantine_views::{
    DiagnosisView, RefusedChoice, RefusedDetails, RefusedHeader, RefusedList, RefusedQuestion,
    RefusedRequestView, RefusedView,
};
use super::views::{Changed, shown};
use super::{ApiProblem, KnownSource, Operator, question};
use crate::doctor::{Case, Cause, DoctorSource, examine};
use crate::domain::outcome::RejectReason;
use crate::quarantine::headers_of;
use crate::store::catalog::PAGE;
use crate::store::quarantine::{RefusedDelivery, RefusedPlace, RefusedQuery, RefusedSummary};
use crate::store::{AuditAction, AuditEntry};

/// Deliveries that a choice names one by one, in order, or the question that finds them.
pub(super) enum Chosen {
    /// Their numbers.
    Numbers(Vec<i64>),
    /// The question.
    Query(RefusedQuery),
}

impl RefusedChoice {
    /// Returns the deliveries that are chosen. An empty choice is a mistake.
    pub(super) fn parse(&self) -> Result<Chosen, ApiProblem> {
        let filters = [&self.source, &self.from, &self.to];
        let has_filters = filters.iter().any(|part| part.is_some());
        let has_ids = !self.numbers.is_empty();
        match (has_ids, has_filters, self.all) {
            (true, false, false) => {
                check_count(self.numbers.len(), "numbers")?;
                let mut numbers = self.numbers.clone();
                numbers.sort_unstable();
                numbers.dedup();
                Ok(Chosen::Numbers(numbers))
            }
            (false, true, false) | (false, false, true) => Ok(Chosen::Query(RefusedQuery {
                source: self.source.as_deref().map(question::source).transpose()?,
                from: question::time_if("from", self.from.as_deref())?,
                until: question::time_if("to", self.to.as_deref())?,
            })),
            (false, false, false) => Err(ApiProblem::bad_question(
                "the choice of refused deliveries is empty",
                "give numbers, or source, from and to, or all",
            )),
            _ => Err(ApiProblem::bad_question(
                "numbers, filters and all are given together",
                "give numbers, or source, from and to, or all",
            )),
        }
    }

    /// Returns the choice as the record has it.
    pub(super) fn subject(&self) -> String {
        let numbers = self.numbers.iter().map(ToString::to_string);
        let named = [
            ("source", &self.source),
            ("from", &self.from),
            ("to", &self.to),
        ];
        let named = named.into_iter();
        let named =
            named.filter_map(|(name, value)| value.as_ref().map(|value| format!("{name} {value}")));
        let parts: Vec<String> = numbers.chain(named).collect();
        match self.all {
            true => "all refused deliveries".to_owned(),
            false => format!("refused deliveries: {}", parts.join(", ")),
        }
    }
}

impl Operator {
    /// Returns a page of the refused deliveries that are kept, the newest first.
    pub fn refused(&self, asked: &RefusedQuestion) -> Result<RefusedList, ApiProblem> {
        let limit = asked.limit.unwrap_or(USUAL_PAGE);
        if !(1..=PAGE).contains(&limit) {
            let next = format!("ask for 1 to {PAGE} entries, and go on with `after`");
            return Err(ApiProblem::bad_question(format!("limit is {limit}"), next));
        }
        let query = RefusedQuery {
            source: asked.source.as_deref().map(question::source).transpose()?,
            from: question::time_if("from", asked.from.as_deref())?,
            until: question::time_if("to", asked.to.as_deref())?,
        };
        let below = match asked.after.as_deref() {
            Some(place) => question::place("after", place)?.0,
            None => i64::MAX,
        };
        let store = self.archive.store()?;
        let found = store.refused(&query, RefusedPlace::Below(below), limit)?;
        let last = found.last().map(|found| found.number.to_string());
        Ok(RefusedList {
            next: last.filter(|_| found.len() == limit),
            refused: found.iter().map(view).collect(),
        })
    }

    /// Returns a refused delivery, without its headers and body, and the cause of its refusal.
    pub fn refused_delivery(&self, number: &str) -> Result<RefusedDetails, ApiProblem> {
        let found = self.kept_delivery(number)?;
        let delivery = view(&found.summary);
        Ok(RefusedDetails {
            delivery,
            diagnosis: self.diagnosis(found),
        })
    }

    /// Returns target and headers of a refused delivery. If it cannot be recorded that `caller` opened them, they
    /// stay closed: a wrong secret may be a nearly right one.
    pub fn refused_request(
        &self,
        number: &str,
        caller: &str,
    ) -> Result<RefusedRequestView, ApiProblem> {
        let found = self.open(number, "headers", caller)?;
        let headers = headers_of(&found.headers);
        let header = |(name, value): &(http::HeaderName, http::HeaderValue)| RefusedHeader {
            name: name.to_string(),
            value: String::from_utf8_lossy(value.as_bytes()).into_owned(),
        };
        Ok(RefusedRequestView {
            method: found.summary.method,
            target: found.summary.target,
            headers: headers.iter().map(header).collect(),
        })
    }

    /// Returns the body of a refused delivery. If it cannot be recorded that `caller` opened it, it stays closed.
    pub fn refused_body(&self, number: &str, caller: &str) -> Result<OpenedBody, ApiProblem> {
        let found = self.open(number, "body", caller)?;
        Ok(OpenedBody {
            message_id: format!("refused-{}", found.summary.number),
            bytes: found.body.into(),
            headers: Vec::new(),
            conflict_of: None,
        })
    }

    /// Deletes refused deliveries, and records `caller`: a page of them, or as many as half of the time to answer
    /// allows.
    pub fn discard_refused(
        &self,
        choice: &RefusedChoice,
        caller: &str,
    ) -> Result<Changed, ApiProblem> {
        let decision = Decision {
            reason: choice.reason.clone(),
            ..Decision::default()
        };
        decision.needs_reason()?;
        let numbers = match choice.parse()? {
            Chosen::Numbers(numbers) => numbers,
            Chosen::Query(query) => {
                let first = RefusedPlace::Above(i64::MIN);
                let found = self.archive.store()?.refused(&query, first, PAGE)?;
                found.iter().map(|found| found.number).collect()
            }
        };
        let subject = choice.subject();
        let entry = self.entry(caller, AuditAction::DiscardRefused, subject, &decision);
        let store = self.archive.store()?;
        changed(store.discard_refused(&numbers, &entry), entry)
    }

    /// Returns the cause for which a delivery is refused.
    fn diagnosis(&self, found: RefusedDelivery) -> DiagnosisView {
        let sources = self.sources.load();
        let own = |known: &&KnownSource| known.name.as_str() == found.summary.source;
        let Some(own) = sources.iter().find(own) else {
            return said("without_source", "its source is not configured any more");
        };
        if found.summary.is_cut {
            let reason = found.summary.reason.as_str();
            let large = [RejectReason::BodyTooLarge, RejectReason::HeadersTooLarge];
            let size = Cause::Size;
            return match large.iter().any(|large| large.label() == reason) {
                true => said(size.word(), &size.to_string()),
                false => said(
                    "cut",
                    "a part of it is missing, so that it cannot be verified",
                ),
            };
        }
        let others = sources.iter().filter(|known| known.name != own.name);
        let others: Vec<DoctorSource> = others.map(|known| known.doctor.clone()).collect();
        let Some(request) = request_of(found) else {
            return said("method", "its method is none of HTTP");
        };
        let case = Case {
            request: &request,
            source: &own.doctor,
            others: &others,
            keys: &own.source.keys.load().keys,
        };
        // What a sender has put into the request must not end the question.
        match catch_unwind(AssertUnwindSafe(|| examine(&case))) {
            Ok(found) => DiagnosisView {
                cause: found.cause.as_ref().map(|cause| cause.word().to_owned()),
                says: found.to_string(),
                checks: found.checks,
            },
            Err(_) => said(
                "panic",
                "its verification panics: this is a bug, please report it",
            ),
        }
    }

    /// Returns a refused delivery with its headers and body.
    fn kept_delivery(&self, number: &str) -> Result<RefusedDelivery, ApiProblem> {
        let found = number.parse().map_err(|_| {
            ApiProblem::bad_question(
                format!(
                    "\"{}\" is no number of a refused delivery",
                    number.escape_debug()
                ),
                "`hookweir quarantine` lists them",
            )
        })?;
        let found = self.archive.store()?.refused_delivery(found)?;
        found.ok_or_else(|| {
            ApiProblem::not_found(
                format!("there is no refused delivery {number}"),
                "`hookweir quarantine` lists them; they leave when they are verified, after quarantine.keep_days, or as the oldest of a full source",
            )
        })
    }

    /// Returns a refused delivery, once it is recorded that `caller` opened a part of it.
    fn open(&self, number: &str, part: &str, caller: &str) -> Result<RefusedDelivery, ApiProblem> {
        let found = self.kept_delivery(number)?;
        let subject = format!("{part} of refused delivery {}", found.summary.number);
        self.record(AuditEntry {
            count: 1,
            ..self.entry(caller, AuditAction::OpenBody, subject, &Decision::default())
        })?;
        Ok(found)
    }
}

/// Returns a diagnosis that needed no check.
fn said(cause: &str, says: &str) -> DiagnosisView {
    DiagnosisView {
        cause: Some(cause.to_owned()),
        says: says.to_owned(),
        checks: Vec::new(),
    }
}

/// Number of entries in a page, unless the question says another.
const USUAL_PAGE: usize = 20;

fn view(found: &RefusedSummary) -> RefusedView {
    // The query may hold a secret.
    let path = found.target.split('?').next().unwrap_or_default();
    RefusedView {
        number: found.number,
        source: found.source.clone(),
        received_at: shown(found.received_at),
        reason: found.reason.clone(),
        detail: found.detail.clone(),
        method: found.method.clone(),
        path: path.to_owned(),
        peer: found.peer.clone(),
        request_id: found.request_id.clone(),
        bytes: found.bytes,
        cut: found.is_cut,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_choice_names_deliveries_or_filters_or_all_and_never_nothing() {
        let choice = |text: &str| serde_json::from_str::<RefusedChoice>(text).expect("a choice");
        for (good, subject) in [
            (r#"{"numbers":[3,1,3]}"#, "refused deliveries: 3, 1, 3"),
            (r#"{"source":"shop"}"#, "refused deliveries: source shop"),
            (r#"{"all":true}"#, "all refused deliveries"),
        ] {
            assert!(choice(good).parse().is_ok(), "{good}");
            assert_eq!(choice(good).subject(), subject);
        }
        for bad in [
            "{}",
            r#"{"numbers":[1],"all":true}"#,
            r#"{"numbers":[1],"source":"shop"}"#,
            r#"{"source":"shop","all":true}"#,
            r#"{"source":"a b"}"#,
            r#"{"from":"yesterday"}"#,
        ] {
            assert!(choice(bad).parse().is_err(), "{bad}");
        }
    }
}
