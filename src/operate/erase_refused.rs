//! Erasure of refused deliveries. Their ids are not proven, so their bytes are searched.

use std::time::Instant;

use super::erase::{EraseOrder, EraseView, ErasedChoice, ErasedRefusal, LOOK_BODIES, has_value};
use super::republish::{log, not_stored};
use super::views::shown;
use super::{ApiProblem, Operator, question};
use crate::store::AuditEntry;
use crate::store::quarantine::{RefusedDelivery, RefusedPlace, RefusedQuery};

impl Operator {
    /// Erases refused deliveries of a page, the oldest first, and records `caller`.
    pub(super) fn erase_refused(
        &self,
        order: &EraseOrder,
        caller: &str,
    ) -> Result<EraseView, ApiProblem> {
        let choice = order.choice()?;
        let query = RefusedQuery {
            source: Some(question::source(&order.source)?),
            from: question::time_if("from", order.from.as_deref())?,
            until: question::time_if("to", order.to.as_deref())?,
        };
        let above = match order.before.as_deref() {
            Some(place) => question::place("before", place)?.0,
            None => i64::MIN,
        };
        let (store, end) = (self.archive.store()?, self.half_time());
        if order.before.is_none() {
            self.store_refused(end)?;
        }
        let page = store.refused(&query, RefusedPlace::Above(above), LOOK_BODIES)?;
        let is_full = page.len() == LOOK_BODIES;
        let (mut answer, mut numbers) = (EraseView::default(), Vec::new());
        for summary in page {
            let number = summary.number;
            answer.next = Some(number.to_string());
            let Some(found) = store.refused_delivery(number)? else {
                continue;
            };
            if has(&found, &choice) {
                numbers.push(number);
                answer.refused.push(ErasedRefusal {
                    number,
                    request_id: summary.request_id,
                    received_at: shown(summary.received_at),
                });
            }
            if Instant::now() >= end {
                return self.erase_numbers(order, caller, &numbers, answer);
            }
        }
        answer.next = answer.next.filter(|_| is_full);
        self.erase_numbers(order, caller, &numbers, answer)
    }

    /// Has the deliveries stored that wait in memory: stored later, they would outlive the erasure.
    fn store_refused(&self, end: Instant) -> Result<(), ApiProblem> {
        let patience = end.saturating_duration_since(Instant::now());
        if self.quarantine.flush(patience) {
            return Ok(());
        }
        Err(ApiProblem::unavailable(
            "refused deliveries wait in memory to be stored, and what is stored after an erasure would outlive it; nothing was erased in the \
             quarantine, and deliveries go on",
            "look at /readyz for the state of the store, and repeat the erasure",
        ))
    }

    fn erase_numbers(
        &self,
        order: &EraseOrder,
        caller: &str,
        numbers: &[i64],
        mut answer: EraseView,
    ) -> Result<EraseView, ApiProblem> {
        if !order.start || numbers.is_empty() {
            return Ok(answer);
        }
        let named: Vec<String> = numbers.iter().map(ToString::to_string).collect();
        let what = format!("refused deliveries of source {}", order.source);
        let entry = self.erase_entry(order, caller, &what, &named);
        let store = self.archive.store()?;
        answer.erased = store.discard_refused(numbers, &entry).map_err(not_stored)?;
        if answer.erased > 0 {
            log(&AuditEntry {
                count: answer.erased,
                ..entry
            });
        }
        Ok(answer)
    }
}

/// Returns `true` if a refused delivery has one of the ids anywhere, or the value: at its pointer if the body
/// is whole and JSON, anywhere in the body if not.
fn has(found: &RefusedDelivery, choice: &ErasedChoice<'_>) -> bool {
    match choice {
        ErasedChoice::Ids(ids) => ids.iter().any(|id| {
            let target = found.summary.target.as_bytes();
            let parts = [&found.body[..], &found.headers, target];
            parts.iter().any(|part| has_word(part, id.as_bytes()))
        }),
        ErasedChoice::Value(pointer, value) => {
            let is_json = serde_json::from_slice::<serde::de::IgnoredAny>(&found.body).is_ok();
            match is_json {
                true => has_value(&found.body, pointer, value),
                false => has_word(&found.body, value.as_bytes()),
            }
        }
    }
}

/// Returns `true` if `text` has `word`, and no letter, digit, `-` or `_` beside it.
fn has_word(text: &[u8], word: &[u8]) -> bool {
    let is_part = |byte: &u8| byte.is_ascii_alphanumeric() || b"-_".contains(byte);
    let (mut rest, mut before) = (text, None);
    while !word.is_empty() && rest.len() >= word.len() {
        let after = rest.get(word.len());
        if rest.starts_with(word) && !before.is_some_and(is_part) && !after.is_some_and(is_part) {
            return true;
        }
        before = rest.first();
        rest = rest.get(1..).unwrap_or_default();
    }
    false
}

#[cfg(test)]
mod tests {
    use super::has_word;

    #[test]
    fn an_id_is_found_as_a_word_and_never_inside_another_id() {
        for (text, word, found) in [
            (r#"{"id":"evt_1"}"#, "evt_1", true),
            (r#"{"id":"evt_12"}"#, "evt_1", false),
            (r#"{"id":"my-evt_1"}"#, "evt_1", false),
            (r#"{"id":"evt_11","of":"evt_1"}"#, "evt_1", true),
            ("evt_1", "evt_1", true),
            ("id=evt_1&x", "evt_1", true),
            ("evt_", "evt_1", false),
            ("anything", "", false),
        ] {
            assert_eq!(has_word(text.as_bytes(), word.as_bytes()), found, "{text}");
        }
    }
}
