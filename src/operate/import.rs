//! Events that were fetched by hand, after an outage for example, brought in by the same dedup as
//! deliveries. The caller vouches for them: nothing is verified.

use std::sync::Arc;
use std::time::Instant;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use hookweir_signatures::{Headers, Request};
use http::{HeaderName, HeaderValue, Method};
use serde::{Deserialize, Serialize};

use super::republish::{log, not_stored};
use super::{ApiProblem, Operator};
use crate::domain::delivery::{BodyDigest, UnixMillis, wall_clock};
use crate::source::Source;
use crate::store::catalog::{EventName, PAGE};
use crate::store::{AuditAction, AuditEntry, Catalog, Inserted, NewEvent};
use crate::verify;

/// An event, with its line.
type Imported = (u64, Arc<NewEvent>);

/// Order to import events of a source.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ImportOrder {
    /// Name of the source that they belong to.
    pub source: String,
    /// The events.
    pub events: Vec<ImportedEvent>,
    /// Says what would become of them, and stores nothing.
    pub dry_run: bool,
    /// Reason, for the record.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

/// A header of an event to import.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ImportedHeader {
    /// Its name.
    pub name: String,
    /// Its value.
    pub value: String,
}

/// An event to import.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ImportedEvent {
    /// Number by which the answer names it.
    pub line: u64,
    /// Body as text.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub body: Option<String>,
    /// Body in base64.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub body_base64: Option<String>,
    /// Headers of the delivery: those in which the source looks for id and type, and those that it passes on.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub headers: Vec<ImportedHeader>,
    /// Id that the source has to find.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub id: Option<String>,
    /// Type, if the source finds none.
    #[serde(rename = "type", skip_serializing_if = "Option::is_none")]
    pub event_type: Option<String>,
    /// Time of receipt, by default now.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub received_at: Option<String>,
}

/// Result of an import.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct ImportView {
    /// Number of new ones: stored, and published like others.
    pub new: u64,
    /// Number of those that were known.
    pub known: u64,
    /// Lines of known ones that are stored with another body. The first stays.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub other_body: Vec<u64>,
    /// Lines that were refused, with the reason.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub refused: Vec<ImportRefusal>,
    /// In a dry run: keys of the new ones. An order knows nothing of those before it, so who asks compares them.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub keys: Vec<ImportedKey>,
    /// Number of events at the end of the order that were not looked at, since time was over.
    pub left: usize,
}

/// Key of an event that would be new, the first half of it in hexadecimal digits.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ImportedKey {
    /// Line of the event.
    pub line: u64,
    /// Its dedup key.
    pub key: String,
    /// Digest of its body.
    pub digest: String,
    /// Another body under the key is an event of its own. If false, it is not imported.
    pub takes_other_bodies: bool,
}

/// Refusal of an imported event.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ImportRefusal {
    /// Its line.
    pub line: u64,
    /// Reason.
    pub why: String,
}

impl Operator {
    /// Stores events that are not known, and records `caller`. The rest is left when half of the time to
    /// answer is over.
    pub fn import(&self, order: &ImportOrder, caller: &str) -> Result<ImportView, ApiProblem> {
        let source = self.source_of(&order.source)?;
        if order.events.len() > PAGE {
            return Err(ApiProblem::bad_question(
                format!("{} events are in one order", order.events.len()),
                format!("give {PAGE} of them, and the rest afterwards"),
            ));
        }
        let catalog = self.archive.catalog()?;
        let (end, mut answer) = (self.half_time(), ImportView::default());
        let mut new: Vec<Imported> = Vec::new();
        for (at, event) in order.events.iter().enumerate() {
            if at > 0 && Instant::now() >= end {
                answer.left = order.events.len() - at;
                break;
            }
            match new_events(&source, event) {
                Err(why) => answer.refuse(event.line, why),
                Ok(events) => {
                    for event in events {
                        answer.sort(catalog, event, &mut new)?;
                    }
                }
            }
        }
        if order.dry_run {
            answer.new = new.len() as u64;
            answer.keys = new.iter().map(imported_key).collect();
            return Ok(answer);
        }
        self.store_imported(order, caller, new, &mut answer)?;
        Ok(answer)
    }

    fn source_of(&self, name: &str) -> Result<Arc<Source>, ApiProblem> {
        let sources = self.sources.load();
        let found = sources.iter().find(|known| known.name.as_str() == name);
        found.map(|known| known.source.clone()).ok_or_else(|| {
            ApiProblem::bad_question(
                format!("no source \"{}\" is configured", name.escape_debug()),
                "`hookweir sources` lists them",
            )
        })
    }

    /// Stores new events. The record comes first: nothing is stored without it.
    fn store_imported(
        &self,
        order: &ImportOrder,
        caller: &str,
        new: Vec<Imported>,
        answer: &mut ImportView,
    ) -> Result<(), ApiProblem> {
        if new.is_empty() {
            return Ok(());
        }
        let entry = AuditEntry {
            instance: self.instance,
            caller: caller.to_owned(),
            action: AuditAction::Import,
            subject: format!("events of source {}", order.source),
            count: new.len() as u64,
            reason: order.reason.clone(),
        };
        self.archive.store()?.record(&entry).map_err(not_stored)?;
        log(&entry);
        self.insert_imported(new, answer)
    }

    /// Inserts new events. One that is in doubt is stored with its mark, as a delivery of it would be.
    fn insert_imported(
        &self,
        mut left: Vec<Imported>,
        answer: &mut ImportView,
    ) -> Result<(), ApiProblem> {
        while !left.is_empty() {
            left.sort_by_key(|(_, event)| event.key);
            let (mut batch, mut later) = (Vec::<Imported>::new(), Vec::new());
            for imported in left {
                // A batch has no key twice.
                match batch.last() {
                    Some((_, last)) if last.key == imported.1.key => later.push(imported),
                    _ => batch.push(imported),
                }
            }
            let events: Vec<_> = batch.iter().map(|(_, event)| event.clone()).collect();
            let stored = self.intake.insert(self.instance, &self.sinks, &events);
            for ((line, event), stored) in batch.into_iter().zip(stored.map_err(not_stored)?) {
                match stored {
                    Inserted::Accepted(_) => answer.new += 1,
                    Inserted::Duplicate(_) | Inserted::Unpublished(_) => answer.known += 1,
                    Inserted::Conflict(_) => answer.other_body.push(line),
                    Inserted::Doubtful(mark) => later.push((line, Arc::new(event.marked(mark)))),
                    Inserted::Refused(why) => answer.refuse(line, why),
                }
            }
            left = later;
        }
        Ok(())
    }
}

impl ImportView {
    fn refuse(&mut self, line: u64, why: String) {
        self.refused.push(ImportRefusal { line, why });
    }

    /// Counts an event that is known, or puts it to the new ones.
    fn sort(
        &mut self,
        catalog: &dyn Catalog,
        (line, event): (u64, NewEvent),
        new: &mut Vec<Imported>,
    ) -> Result<(), ApiProblem> {
        let mut earlier = new.iter().filter(|(_, other)| other.key == event.key);
        if earlier
            .clone()
            .any(|(_, other)| other.digest == event.digest)
        {
            self.known += 1;
        } else if let Some((first, _)) = earlier.next()
            && !event.class.publishes_other_bodies()
        {
            let why = format!(
                "the id of line {first} with another body: import one of them, here the first was taken"
            );
            self.refuse(line, why);
        } else {
            match Fate::of(&event, catalog)? {
                Fate::New => new.push((line, Arc::new(event))),
                Fate::Known => self.known += 1,
                Fate::OtherBody => self.other_body.push(line),
            }
        }
        Ok(())
    }
}

/// Fate of an event by what the store holds.
enum Fate {
    /// The store stores it, or knows better.
    New,
    /// Known, with the same body as far as that is stored.
    Known,
    /// Known with another body, and no event of its own.
    OtherBody,
}

impl Fate {
    fn of(event: &NewEvent, catalog: &dyn Catalog) -> Result<Self, ApiProblem> {
        let others_are_new = event.class.publishes_other_bodies();
        let Some(seq) = catalog.number_of(EventName::Key(event.key))? else {
            return Ok(Self::New);
        };
        // Its key may be past its time: the store tells that.
        if event.class.is_short_lived() {
            return Ok(Self::New);
        }
        let digest = BodyDigest::of(&event.body);
        Ok(match catalog.event(seq)? {
            Some((_, first)) if BodyDigest::of(&first.event.body) == digest => Self::Known,
            Some(_) if others_are_new => {
                let key = event.key.variant(&event.source, &event.digest);
                match catalog.number_of(EventName::Key(key))? {
                    Some(_) => Self::Known,
                    None => Self::New,
                }
            }
            Some(_) => Self::OtherBody,
            None if others_are_new => Self::New,
            None => Self::Known,
        })
    }
}

fn imported_key((line, event): &Imported) -> ImportedKey {
    ImportedKey {
        line: *line,
        key: hex::encode(&event.key.as_bytes()[..16]),
        digest: hex::encode(&event.digest.as_bytes()[..16]),
        takes_other_bodies: event.class.publishes_other_bodies(),
    }
}

/// Returns the events of a line, as a delivery of it would have them.
fn new_events(source: &Source, line: &ImportedEvent) -> Result<Vec<(u64, NewEvent)>, String> {
    let request = request(source, line)?;
    if request.body.len() > source.max_body_bytes {
        return Err(format!(
            "the body has {} bytes, and the source takes {}",
            request.body.len(),
            source.max_body_bytes
        ));
    }
    let mut events =
        verify::vouched_for(source, &request).map_err(|refusal| refusal.detail.into_owned())?;
    for event in &mut events {
        if line
            .id
            .as_deref()
            .is_some_and(|id| id != event.event_id.as_str())
        {
            return Err(format!(
                "the source finds the id {}, and the line says another: give the headers and the body in which the provider sends it",
                event.event_id
            ));
        }
        if event.event_type.is_none() {
            event.event_type = line.event_type.as_deref().map(Into::into);
            event.sinks = None;
        }
    }
    Ok(events.into_iter().map(|event| (line.line, event)).collect())
}

/// Returns the delivery that a line stands for.
fn request(source: &Source, line: &ImportedEvent) -> Result<Request, String> {
    let body = match (&line.body, &line.body_base64) {
        (Some(text), None) => Bytes::from(text.clone()),
        (None, Some(text)) => STANDARD
            .decode(text)
            .map_err(|error| format!("body_base64: {error}"))?
            .into(),
        _ => return Err("give the body as one of body and body_base64".to_owned()),
    };
    let mut headers = Vec::new();
    for ImportedHeader { name, value } in &line.headers {
        let name =
            HeaderName::try_from(name.as_str()).map_err(|error| format!("{name}: {error}"))?;
        let value = HeaderValue::from_str(value).map_err(|error| format!("{name}: {error}"))?;
        headers.push((name, value));
    }
    if !headers
        .iter()
        .any(|(name, _)| *name == http::header::CONTENT_TYPE)
        && serde_json::from_slice::<serde::de::IgnoredAny>(&body).is_ok()
    {
        let json = HeaderValue::from_static("application/json");
        headers.push((http::header::CONTENT_TYPE, json));
    }
    let received_at = match &line.received_at {
        None => wall_clock(),
        Some(text) => text
            .parse::<jiff::Timestamp>()
            .map(|at| UnixMillis(at.as_millisecond()))
            .map_err(|error| format!("received_at: {error}"))?,
    };
    Ok(Request {
        method: Method::POST,
        target: format!("/ingest/{}", source.path),
        headers: Headers::from(headers),
        body,
        received_at,
    })
}
