//! Comparison of the messages in the sink with the ledger of the senders.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

use super::ledger::{Entry, Ledger, digest};
use super::sink::Message;

/// Header of a message with another body under the event id of an earlier one.
const CONFLICT_OF: &str = "x-hookweir-conflict-of";

/// Messages that came out, without their bodies: the parts by which copies are found and compared.
#[derive(Debug, Default)]
pub struct Arrivals {
    /// By source, event id and body.
    by_event: HashMap<(String, String, [u8; 32]), Vec<Arrival>>,
    /// Copies may differ in their headers.
    without_headers: bool,
}

#[derive(Debug)]
struct Arrival {
    id: String,
    attempt: String,
    /// The message that it names as the first with its event id.
    conflict_of: Option<String>,
    properties: [u8; 32],
}

/// Events and bodies that the store keeps for an operator and does not publish.
#[derive(Debug, Default)]
pub struct Kept {
    /// Source and event id of the parked events.
    pub parked: Vec<String>,
    /// Source, event id and SHA-256 of each body that came under a known id.
    pub conflicts: HashSet<(String, String, [u8; 32])>,
}

impl Arrivals {
    /// None yet, out of a store that was restored: an event that came after the backup, and again, has two receipts,
    /// each with its time, its place in the store and its signature.
    pub fn of_several_receipts() -> Self {
        Self {
            without_headers: true,
            ..Self::default()
        }
    }

    /// Takes a message in.
    pub fn add(&mut self, message: &Message) {
        let mark = message.properties.get(CONFLICT_OF);
        let arrival = Arrival {
            id: message.id.clone(),
            attempt: message.attempt.clone(),
            // Those of the file sink are JSON.
            conflict_of: mark.map(|first| first.trim_matches('"').to_owned()),
            properties: self.compared(message),
        };
        self.by_event
            .entry((
                message.source.clone(),
                message.event_id.clone(),
                digest(&message.body),
            ))
            .or_default()
            .push(arrival);
    }

    /// Digest of the headers that are the same on every copy.
    fn compared(&self, message: &Message) -> [u8; 32] {
        if self.without_headers {
            return [0; 32];
        }
        digest(format!("{:?}", message.properties).as_bytes())
    }
}

/// The result of a comparison.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Account {
    /// Taken with a 2xx, and not there.
    pub lost: Vec<String>,
    /// Messages beyond the first of their event, each with the attempts that made them and the event's place in the ledger.
    pub copies: Vec<(usize, String)>,
    /// Another id than was answered; copies with different headers; a second body without a mark on either.
    pub corrupt: Vec<String>,
    /// Messages of events or bodies that were never sent, or were forged.
    pub strangers: Vec<String>,
    /// Events that arrived with the other body that was signed under their id, while their own is kept as a conflict. A spool
    /// that cannot ask the store leaves the order of the two to the store.
    pub exchanged: Vec<String>,
}

impl Account {
    /// Compares messages with the ledger of those who sent.
    pub fn of(ledger: &Ledger, messages: &[Message]) -> Self {
        let mut arrivals = Arrivals::default();
        messages.iter().for_each(|message| arrivals.add(message));
        Self::between(ledger, arrivals, &Kept::default())
    }

    /// Compares what arrived and what is kept with the ledger of those who sent.
    pub fn between(ledger: &Ledger, Arrivals { mut by_event, .. }: Arrivals, kept: &Kept) -> Self {
        let mut account = Self::default();
        let wrongly_marked = wrongly_marked(ledger, &by_event, &kept.parked);
        for (place, entry) in ledger
            .entries
            .iter()
            .enumerate()
            .filter(|(_, entry)| !entry.forged)
        {
            let name = format!("{} {}", entry.provider.name(), entry.id);
            let place_of = |body| {
                let source = entry.provider.name().to_owned();
                (source, entry.id.clone(), body)
            };
            let own = place_of(entry.body);
            let mut found = by_event.remove(&own).unwrap_or_default();
            let other = entry
                .other
                .filter(|_| found.is_empty() && kept.conflicts.contains(&own));
            let instead = other.and_then(|body| by_event.remove(&place_of(body)));
            let exchanged = instead.is_some();
            if let Some(instead) = instead {
                account.exchanged.push(name.clone());
                found = instead;
            }
            if found.is_empty() && entry.is_taken() {
                account.lost.push(name.clone());
            }
            if found.len() > 1 {
                let attempts: Vec<_> = found
                    .iter()
                    .map(|arrival| arrival.attempt.as_str())
                    .collect();
                account.copies.extend(
                    found
                        .iter()
                        .skip(1)
                        .map(|_| (place, format!("{name} at the attempts {attempts:?}"))),
                );
            }
            // A spool that cannot ask the store takes a second body for the first.
            let as_answered = found.iter().all(|arrival| {
                let mut ids = entry.message_ids().into_iter();
                if exchanged {
                    return ids.any(|id| id == arrival.id);
                }
                ids.all(|id| {
                    id == arrival.id || (entry.second && arrival.conflict_of.as_deref() == Some(id))
                })
            });
            let alike = found.iter().all(|arrival| {
                (&arrival.id, arrival.properties) == (&found[0].id, found[0].properties)
            });
            let is_marked = found.is_empty()
                || !entry.second
                || !wrongly_marked.contains(&(entry.provider.name().to_owned(), entry.id.clone()));
            if !alike || !is_marked || !as_answered {
                account.corrupt.push(name);
            }
        }
        account.strangers = by_event
            .keys()
            .map(|(source, id, _)| format!("{source} {id}"))
            .collect();
        account
    }

    /// Nothing lost, nothing changed, nothing that nobody sent.
    pub fn check(&self) {
        let brief: BTreeMap<_, _> = [
            ("lost", &self.lost),
            ("corrupt", &self.corrupt),
            ("strangers", &self.strangers),
        ]
        .into_iter()
        .filter(|(_, v)| !v.is_empty())
        .collect();
        let counts: BTreeMap<_, _> = brief
            .iter()
            .map(|(what, which)| (what, (which.len(), &which[0])))
            .collect();
        assert!(
            counts.is_empty(),
            "not what was sent (count, first): {counts:?}"
        );
    }

    /// And each once.
    pub fn check_once(&self) {
        self.check();
        let first = self.copies.first().map_or("", |(_, what)| what);
        assert!(
            self.copies.is_empty(),
            "{} copies without a fault, the first: {first}",
            self.copies.len()
        );
    }
}

/// Source and event id of what came with several bodies, and not with one of them unmarked and named by all others. The unmarked one may be parked.
fn wrongly_marked(
    ledger: &Ledger,
    by_event: &HashMap<(String, String, [u8; 32]), Vec<Arrival>>,
    parked: &[String],
) -> BTreeSet<(String, String)> {
    let parked: HashSet<&str> = parked.iter().map(String::as_str).collect();
    let seconds = ledger.genuine().filter(|entry| entry.second);
    let mut bodies: BTreeMap<(String, String), Vec<&Arrival>> = seconds
        .map(|entry| {
            let name = (entry.provider.name().to_owned(), entry.id.clone());
            (name, Vec::new())
        })
        .collect();
    for ((source, id, _), arrivals) in by_event {
        if let (Some(all), Some(first)) = (
            bodies.get_mut(&(source.clone(), id.clone())),
            arrivals.first(),
        ) {
            all.push(first);
        }
    }
    let wrong = |(source, id): &(String, String), bodies: &[&Arrival]| {
        let kept = if parked.contains(format!("{source} {id}").as_str()) {
            message_ids(ledger, source, id)
        } else {
            HashSet::new()
        };
        let unmarked: Vec<_> = bodies
            .iter()
            .filter(|arrival| arrival.conflict_of.is_none())
            .collect();
        let names = |arrival: &&Arrival| {
            arrival.conflict_of.as_deref().is_none_or(|first| {
                first != arrival.id
                    && (kept.contains(first) || unmarked.iter().any(|one| one.id == first))
            })
        };
        let one_is_first = unmarked.len() == 1 || (unmarked.is_empty() && !kept.is_empty());
        !one_is_first || !bodies.iter().all(names)
    };
    bodies
        .into_iter()
        .filter(|(name, bodies)| wrong(name, bodies))
        .map(|(name, _)| name)
        .collect()
}

/// Message ids that were answered for an event id of a source.
fn message_ids<'a>(ledger: &'a Ledger, source: &str, id: &str) -> HashSet<&'a str> {
    ledger
        .genuine()
        .filter(|entry| entry.provider.name() == source && entry.id == id)
        .flat_map(Entry::message_ids)
        .collect()
}
