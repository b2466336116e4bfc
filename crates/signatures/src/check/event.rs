//! Events of a verified delivery: their ids, types and bytes.

use bytes::Bytes;
use sha2::{Digest, Sha256};

use crate::crypto::mac::Tag;
use crate::identity::{BodyDigest, IdClass, Identity, SignedMessage, VerifiedEvent};
use crate::json_pointers::{PathSet, Slot, Slots, WalkError};
use crate::language::context::Cx;
use crate::language::spec::{EmptyBatch, Missing};
use crate::language::template::Template;
use crate::request::view;
use crate::{Reason, Refusal};

/// Length at which the text of a batch's id stops growing, in bytes.
const MAX_SHOWN: usize = 512;
/// Longest type of event, in bytes; what is longer is cut.
const MAX_TYPE: usize = 255;

/// Places of ids and types, and their meaning.
#[derive(Debug)]
pub(crate) struct EventRule {
    pub(crate) ids: Vec<Template>,
    pub(crate) event_type: Template,
    pub(crate) missing: Missing,
    /// Meaning of an id that is found.
    pub(crate) class: IdClass,
    /// The same signed message again is a replay, since a time or a nonce is signed.
    pub(crate) replays: bool,
    pub(crate) batch: Option<BatchRule>,
    /// Paths that are read from the document.
    pub(crate) paths: PathSet,
    /// Paths that are read from a document with too many values: no batch.
    pub(crate) outer: PathSet,
    pub(crate) varies: Varies,
}

/// Several events in one POST.
#[derive(Debug)]
pub(crate) struct BatchRule {
    pub(crate) element: Slot,
    pub(crate) array: Slot,
    pub(crate) ids: Vec<Template>,
    pub(crate) event_type: Template,
    pub(crate) empty: EmptyBatch,
    /// Paths that are read from each element.
    pub(crate) paths: PathSet,
    /// Each element is an event of its own.
    pub(crate) split: bool,
    /// Most elements that are split: a batch of more is kept whole.
    pub(crate) max: usize,
    pub(crate) varies: Varies,
}

/// Values that a redelivery may change: bodies are compared without them.
#[derive(Debug, Default)]
pub(crate) struct Varies {
    /// Values that are read together with ids and types.
    pub(crate) slots: Vec<Slot>,
    /// Values inside of a batch's elements, for a batch that is kept whole.
    pub(crate) inside: PathSet,
}

impl Varies {
    /// Digest of the compared part of `body`. `document` is its readable form, and `slots` is read
    /// out of `document`.
    fn digest(&self, slots: &Slots<'_>, body: &[u8], document: &[u8]) -> BodyDigest {
        let inside = self.inside.walk_marking(document).unwrap_or_default();
        let values = self.slots.iter().flat_map(|slot| slots.all(*slot));
        let values: Vec<&str> = values.chain(inside.values()).collect();
        if values.is_empty() {
            return BodyDigest::of(body);
        }
        // A document that was decoded first is compared in place of its body.
        let within = |part: &[u8], whole: &[u8]| {
            let (whole, part) = (whole.as_ptr_range(), part.as_ptr_range());
            whole.start <= part.start && part.end <= whole.end
        };
        let compared = if within(document, body) {
            body
        } else {
            document
        };
        let mut cuts: Vec<(usize, usize)> = values
            .into_iter()
            .filter(|value| within(value.as_bytes(), compared))
            .map(|value| {
                (
                    value.as_ptr().addr() - compared.as_ptr().addr(),
                    value.len(),
                )
            })
            .collect();
        cuts.sort_unstable();
        let (mut hash, mut at) = (Sha256::new(), 0);
        for (start, len) in cuts {
            if let Some(kept) = compared.get(at..start) {
                hash.update(kept);
                // Occurs in no JSON, so that what is left does not run together.
                hash.update([0]);
                at = start + len;
            }
        }
        hash.update(compared.get(at..).unwrap_or_default());
        BodyDigest::from_bytes(hash.finalize().into())
    }
}

/// An id as found: the parts that make the key, and the text that is shown.
struct Id {
    parts: Vec<Vec<u8>>,
    shown: String,
}

/// Parts of one event.
struct Found<'r> {
    id: Option<Id>,
    event_type: Option<Box<str>>,
    body: Bytes,
    digest: BodyDigest,
    /// Signed message, and the position of this element in it.
    signed: Option<(Tag, usize)>,
    target: &'r str,
}

impl EventRule {
    /// Returns the events of a delivery. None for an empty batch that is a health check. `signed`
    /// is the digest of the signed message.
    pub(crate) fn events(
        &self,
        cx: Cx<'_>,
        document: &[u8],
        signed: Option<Tag>,
    ) -> Result<Option<Vec<VerifiedEvent>>, Refusal> {
        let slots = read(&self.paths, &self.outer, document);
        let cx = Cx {
            slots: &slots,
            ..cx
        };
        let (mut id, mut event_type) = (first_id(&self.ids, cx)?, type_of(&self.event_type, cx));
        let batch = self.batch.as_ref();
        if let Some(batch) = batch.filter(|batch| slots.raw(batch.array).is_some()) {
            let count = batch.count(&slots)?;
            if count == 0 {
                return Ok(None);
            }
            if batch.split && count <= batch.max {
                return self.split(batch, cx, signed).map(Some);
            }
            let elements = slots.all(batch.element).enumerate();
            (id, event_type) = batch.whole(cx, elements, id, event_type)?;
        }
        let request = cx.view.request;
        let body = request.content_in_query().map_or_else(
            || request.body.clone(),
            |query| Bytes::copy_from_slice(query.as_bytes()),
        );
        let digest = self.varies.digest(&slots, &body, document);
        let found = Found {
            id,
            event_type,
            body,
            digest,
            signed: signed.map(|signed| (signed, 0)),
            target: &request.target,
        };
        Ok(Some(vec![self.event(found)?]))
    }

    /// Returns one event for each element of a batch.
    fn split(
        &self,
        batch: &BatchRule,
        cx: Cx<'_>,
        signed: Option<Tag>,
    ) -> Result<Vec<VerifiedEvent>, Refusal> {
        let elements = cx.slots.all(batch.element).enumerate();
        let events = elements.map(|(index, element)| {
            let signed = signed.map(|signed| (signed, index));
            self.element(batch, cx, element, signed)
        });
        events.collect()
    }

    fn element(
        &self,
        batch: &BatchRule,
        cx: Cx<'_>,
        element: &str,
        signed: Option<(Tag, usize)>,
    ) -> Result<VerifiedEvent, Refusal> {
        let slots = read(&batch.paths, &PathSet::default(), element.as_bytes());
        let cx = Cx {
            slots: &slots,
            ..cx
        };
        let (id, event_type) = (first_id(&batch.ids, cx)?, type_of(&batch.event_type, cx));
        let element_bytes = element.as_bytes();
        let digest = batch.varies.digest(&slots, element_bytes, element_bytes);
        let body = slice(&cx.view.request.body, element);
        self.event(Found {
            id,
            event_type,
            body,
            digest,
            signed,
            target: &cx.view.request.target,
        })
    }

    fn event(&self, found: Found<'_>) -> Result<VerifiedEvent, Refusal> {
        let Found {
            id,
            event_type,
            body,
            digest,
            signed,
            target,
        } = found;
        // A signed id is a key already.
        let by_id = id.is_some() && self.class == IdClass::Signed;
        let (identity, class) = match (id, self.missing) {
            (Some(Id { parts, shown }), _) => (Identity::Id { parts, shown }, self.class),
            (None, Missing::Refuse) => {
                return Err(Refusal::new(
                    Reason::IdMissing,
                    "the event has no id where the scheme says it is",
                ));
            }
            (None, Missing::Body) => (Identity::Bytes, IdClass::Body),
            (None, Missing::Unique) => (Identity::Unknown, IdClass::Absent),
        };
        let query = body.is_empty().then(|| view::query(target)).flatten();
        Ok(VerifiedEvent {
            identity,
            class,
            digest,
            query: query.map(Into::into),
            signed: signed
                .filter(|_| self.replays && !by_id)
                .map(|(tag, index)| SignedMessage {
                    tag,
                    index: u64::try_from(index).unwrap_or(u64::MAX),
                }),
            event_type,
            body,
        })
    }
}

impl BatchRule {
    /// Returns the number of elements; zero for an empty batch that is a health check.
    fn count(&self, slots: &Slots<'_>) -> Result<usize, Refusal> {
        if slots.is_ambiguous(self.array) {
            return Err(Refusal::new(
                Reason::IdAmbiguous,
                "a key on the way to the batch's events occurs twice",
            ));
        }
        match (slots.all(self.element).count(), self.empty) {
            (0, EmptyBatch::Refuse) => Err(Refusal::new(Reason::IdMissing, "the batch is empty")),
            (count, _) => Ok(count),
        }
    }

    /// Id and type of a batch that is kept whole, as far as they are not those of the document.
    fn whole<'e>(
        &self,
        cx: Cx<'_>,
        elements: impl Iterator<Item = (usize, &'e str)>,
        id: Option<Id>,
        mut event_type: Option<Box<str>>,
    ) -> Result<(Option<Id>, Option<Box<str>>), Refusal> {
        let mut all = Some(Id {
            parts: Vec::new(),
            shown: String::new(),
        });
        for (index, element) in elements {
            let slots = read(&self.paths, &PathSet::default(), element.as_bytes());
            let cx = Cx {
                slots: &slots,
                ..cx
            };
            // A POST is as new as any event in it, so its id is made of all of theirs.
            if id.is_none()
                && let Some(known) = &mut all
            {
                match first_id(&self.ids, cx)? {
                    Some(one) => known.append(one, index),
                    None => all = None,
                }
            }
            if index == 0 && event_type.is_none() {
                event_type = type_of(&self.event_type, cx);
            }
            if event_type.is_some() && (id.is_some() || all.is_none()) {
                break;
            }
        }
        Ok((id.or(all), event_type))
    }
}

impl Id {
    fn append(&mut self, other: Self, index: usize) {
        self.parts.extend(other.parts);
        // Past the longest that is shown it becomes a digest anyway.
        if self.shown.len() <= MAX_SHOWN {
            if index > 0 {
                self.shown.push(',');
            }
            self.shown.push_str(&other.shown);
        }
    }
}

fn first_id(templates: &[Template], cx: Cx<'_>) -> Result<Option<Id>, Refusal> {
    for template in templates {
        let found = template.parts(cx).map_err(|rejection| Refusal {
            reason: Reason::IdAmbiguous,
            ..rejection
        })?;
        if let Some((parts, shown)) = found {
            return Ok(Some(Id {
                parts: parts
                    .into_iter()
                    .map(std::borrow::Cow::into_owned)
                    .collect(),
                shown,
            }));
        }
    }
    Ok(None)
}

/// Returns the event's type. An ambiguous type counts as none, so that a proven event is not
/// refused for it.
fn type_of(template: &Template, cx: Cx<'_>) -> Option<Box<str>> {
    let (_, text) = template.parts(cx).ok()??;
    let mut clean: String = text.chars().filter(|c| !c.is_control()).collect();
    clean.truncate(clean.floor_char_boundary(MAX_TYPE));
    Some(clean.into())
}

/// Reads ids and types from a document. A body that is not JSON has none. If it has too many
/// values, only those of `outer` are read.
fn read<'a>(paths: &PathSet, outer: &PathSet, document: &'a [u8]) -> Slots<'a> {
    match paths.walk_marking(document) {
        Ok(slots) => slots,
        Err(WalkError::Malformed | WalkError::Ambiguous) => Slots::default(),
        Err(WalkError::TooMany) => outer.walk_marking(document).unwrap_or_default(),
    }
}

/// Returns the element's bytes: a slice of the body, or a copy if the document was decoded.
fn slice(body: &Bytes, element: &str) -> Bytes {
    let (whole, part) = (body.as_ptr_range(), element.as_bytes().as_ptr_range());
    if whole.start <= part.start && part.end <= whole.end {
        body.slice_ref(element.as_bytes())
    } else {
        Bytes::copy_from_slice(element.as_bytes())
    }
}
