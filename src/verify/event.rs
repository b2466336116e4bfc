//! The events of a verified delivery: their ids, types and bytes, out of what was verified.

use bytes::Bytes;
use sha2::{Digest, Sha256};

use super::json_path::{PathSet, Slot, Slots, WalkError};
use super::spec::{EmptyBatch, Missing};
use super::template::{Cx, Template};
use super::{Verified, VerifiedEvent, view};
use crate::delivery::{DedupKey, EventId, SourceName};
use crate::outcome::{RejectReason, Rejection};

/// Longest type of event, in bytes; what is longer is cut.
const MAX_TYPE: usize = 255;

/// Where ids and types are.
#[derive(Debug)]
pub(super) struct EventRule {
    pub(super) ids: Vec<Template>,
    pub(super) event_type: Template,
    pub(super) missing: Missing,
    /// The id can be changed without breaking the signature, and the signed message tells events apart: guard by it.
    pub(super) guarded: bool,
    pub(super) batch: Option<BatchRule>,
    /// What is read from the document.
    pub(super) paths: PathSet,
}

/// Several events in one POST.
#[derive(Debug)]
pub(super) struct BatchRule {
    pub(super) element: Slot,
    pub(super) array: Slot,
    pub(super) ids: Vec<Template>,
    pub(super) event_type: Template,
    pub(super) empty: EmptyBatch,
    /// What is read from each element.
    pub(super) paths: PathSet,
    /// Each element is an event of its own.
    pub(super) split: bool,
    /// Most elements that are split.
    pub(super) max: usize,
}

/// An id as found: the parts that make the key, and the text that is shown.
struct Id {
    parts: Vec<Vec<u8>>,
    shown: String,
}

impl EventRule {
    /// The events, or None for an empty batch that is a health check. `signed` is the digest of what was signed.
    pub(super) fn events(
        &self,
        source: &SourceName,
        cx: Cx<'_>,
        document: &[u8],
        signed: Option<[u8; 32]>,
    ) -> Result<Option<Verified>, Rejection> {
        let slots = read(&self.paths, document)?;
        let cx = Cx { slots: &slots, ..cx };
        let mut id = first_id(&self.ids, cx)?;
        let mut event_type = type_of(&self.event_type, cx);
        if let Some(batch) = self.batch.as_ref().filter(|batch| slots.raw(batch.array).is_some()) {
            if slots.is_ambiguous(batch.array) {
                return Err(Rejection::new(RejectReason::IdAmbiguous, "a key on the way to the batch's events occurs twice"));
            }
            let count = slots.all(batch.element).count();
            match (count, batch.empty) {
                (0, EmptyBatch::Ok) => return Ok(None),
                (0, EmptyBatch::Refuse) => return Err(Rejection::new(RejectReason::IdMissing, "the batch is empty")),
                _ => {}
            }
            let elements = slots.all(batch.element);
            if batch.split {
                if count > batch.max {
                    return Err(Rejection::new(RejectReason::TooManyEvents, format!("{count} events, {} are accepted", batch.max)));
                }
                let events: Result<_, _> = elements.map(|element| self.element(batch, source, cx, element)).collect();
                return Ok(Some(Verified { events: events? }));
            }
            let mut all = Some(Id { parts: Vec::new(), shown: String::new() });
            for (index, element) in elements.enumerate() {
                let slots = read(&batch.paths, element.as_bytes())?;
                let cx = Cx { slots: &slots, ..cx };
                // A POST is as new as any event in it, so its id is made of all of theirs.
                if id.is_none()
                    && let Some(known) = &mut all
                {
                    match first_id(&batch.ids, cx)? {
                        Some(one) => known.append(one, index),
                        None => all = None,
                    }
                }
                if index == 0 && event_type.is_none() {
                    event_type = type_of(&batch.event_type, cx);
                }
                if event_type.is_some() && (id.is_some() || all.is_none()) {
                    break;
                }
            }
            id = id.or(all);
        }
        let request = cx.view.request;
        let body = request.content_in_query().map_or_else(|| request.body.clone(), |query| Bytes::copy_from_slice(query.as_bytes()));
        let event = self.event(source, &cx.view.request.target, id, event_type, body, signed)?;
        Ok(Some(Verified { events: vec![event] }))
    }

    fn element(&self, batch: &BatchRule, source: &SourceName, cx: Cx<'_>, element: &str) -> Result<VerifiedEvent, Rejection> {
        let slots = read(&batch.paths, element.as_bytes())?;
        let cx = Cx { slots: &slots, ..cx };
        let id = first_id(&batch.ids, cx)?;
        let event_type = type_of(&batch.event_type, cx);
        self.event(source, &cx.view.request.target, id, event_type, slice(&cx.view.request.body, element), None)
    }

    fn event(
        &self,
        source: &SourceName,
        target: &str,
        id: Option<Id>,
        event_type: Option<Box<str>>,
        body: Bytes,
        signed: Option<[u8; 32]>,
    ) -> Result<VerifiedEvent, Rejection> {
        // The type is a part of what a digest identifies: Shopify sends the same bytes under several topics.
        let kind = event_type.as_deref().unwrap_or_default().as_bytes();
        let Some(id) = id else {
            let (key, shown) = match self.missing {
                Missing::Refuse => return Err(Rejection::new(RejectReason::IdMissing, "the event has no id where the scheme says it is")),
                Missing::Unique => {
                    let key = DedupKey::unique(source);
                    (key, key.message_id().to_string())
                }
                Missing::Body => {
                    let digest = Sha256::digest(&body);
                    // Without a body, what there is to tell is in the query.
                    let query = if body.is_empty() { view::query(target).unwrap_or_default() } else { "" };
                    (DedupKey::new(source, "body", &[&digest, kind, query.as_bytes()]), format!("sha256:{}", hex::encode(digest)))
                }
            };
            return Ok(VerifiedEvent { key, guard: None, id: EventId::new(&shown), event_type, body });
        };
        let parts: Vec<&[u8]> = id.parts.iter().map(Vec::as_slice).collect();
        let guard = signed.filter(|_| self.guarded).map(|signed| DedupKey::new(source, "signed", &[&signed, kind]));
        Ok(VerifiedEvent { key: DedupKey::new(source, "id", &parts), guard, id: EventId::new(&id.shown), event_type, body })
    }
}

impl Id {
    fn append(&mut self, other: Self, index: usize) {
        self.parts.extend(other.parts);
        // Past the longest that is shown it becomes a digest anyway.
        if self.shown.len() <= EventId::MAX_LEN {
            if index > 0 {
                self.shown.push(',');
            }
            self.shown.push_str(&other.shown);
        }
    }
}

fn first_id(templates: &[Template], cx: Cx<'_>) -> Result<Option<Id>, Rejection> {
    for template in templates {
        let found = template.parts(cx).map_err(|rejection| Rejection { reason: RejectReason::IdAmbiguous, ..rejection })?;
        if let Some((parts, shown)) = found {
            return Ok(Some(Id { parts: parts.into_iter().map(std::borrow::Cow::into_owned).collect(), shown }));
        }
    }
    Ok(None)
}

/// The event's type. One that is ambiguous (its header or key occurs twice) counts as none: a proven event is not refused for it.
fn type_of(template: &Template, cx: Cx<'_>) -> Option<Box<str>> {
    let (_, text) = template.parts(cx).ok()??;
    let mut clean: String = text.chars().filter(|c| !c.is_control()).collect();
    clean.truncate(clean.floor_char_boundary(MAX_TYPE));
    Some(clean.into())
}

/// A proven body that is not JSON is an event all the same: it has no id where the scheme looks for one.
fn read<'a>(paths: &PathSet, document: &'a [u8]) -> Result<Slots<'a>, Rejection> {
    match paths.walk_marking(document) {
        Ok(slots) => Ok(slots),
        Err(WalkError::Malformed | WalkError::Ambiguous) => Ok(Slots::default()),
        Err(WalkError::TooMany) => Err(Rejection::new(RejectReason::TooManyEvents, "more events than are looked at")),
    }
}

/// The element's bytes: a view of the body where they are in it, a copy where the document was decoded first.
fn slice(body: &Bytes, element: &str) -> Bytes {
    let (whole, part) = (body.as_ptr_range(), element.as_bytes().as_ptr_range());
    if whole.start <= part.start && part.end <= whole.end {
        body.slice_ref(element.as_bytes())
    } else {
        Bytes::copy_from_slice(element.as_bytes())
    }
}
