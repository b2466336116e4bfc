//! The protocol, model-checked: all interleavings of two writers, copies, deaths, lost answers, late commits
//! and a foreign version. Each mistake must be caught.

use std::collections::{BTreeSet, HashMap, HashSet};

use hookweir_lakehouse::protocol::token::{Standing, TOKEN, Token, standing};

/// A mistake of a writer.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Mistake {
    None,
    /// The commit is pinned to whatever version the table has.
    NoFence,
    /// The feed is acked when the messages are taken.
    AckFirst,
    /// After a lost race the new token is taken over, and the ids are not looked up.
    IdsNotReadAgain,
    /// A refused commit is sent again on the new version, whoever made it.
    FenceOnVersion,
    /// A commit without an answer counts as done.
    UnknownIsDone,
    /// A commit without an answer was not done, and its rows are added again under another token.
    UnknownIsLost,
}

/// Ids of the messages in the feed; the last one is a copy.
const MESSAGES: [u8; 3] = [1, 2, 1];
/// Writers.
const WRITERS: usize = 2;
/// Deaths of writers.
const DEATHS: u8 = 2;
/// Commits that are late at the same time.
const LATE: usize = 1;

#[derive(Clone, PartialEq, Eq, Hash, Debug)]
struct World {
    table: Table,
    /// State of each message: None is ready, a writer holds it, or it is acked.
    messages: [Place; MESSAGES.len()],
    writers: [Writer; WRITERS],
    /// Commits that were sent and have not arrived.
    late: Vec<Commit>,
    deaths: u8,
    foreign: bool,
    next_token: u8,
}

#[derive(Clone, PartialEq, Eq, Hash, Debug)]
struct Table {
    version: u8,
    token: u8,
    rows: Vec<u8>,
}

#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
enum Place {
    Ready,
    Held(usize),
    Acked,
}

#[derive(Clone, PartialEq, Eq, Hash, Debug)]
enum Writer {
    Idle,
    /// Holds messages; the table must be read.
    Holding {
        own: u8,
    },
    /// The ids are absent under the token `checked`.
    Checked {
        own: u8,
        checked: u8,
        absent: Vec<u8>,
    },
    /// Sent a commit, and has no answer.
    Waiting {
        own: u8,
        checked: u8,
        absent: Vec<u8>,
    },
    /// The batch is in the table.
    Committed,
}

#[derive(Clone, PartialEq, Eq, Hash, Debug)]
struct Commit {
    version: u8,
    token: u8,
    rows: Vec<u8>,
}

/// Returns the token of the product with the number `n`.
fn token(n: u8) -> Token {
    let text = format!("00000000-0000-7000-8000-{n:012}");
    let properties = if n == 0 {
        HashMap::new()
    } else {
        HashMap::from([(TOKEN.to_owned(), text)])
    };
    Token::of(&properties)
}

impl World {
    fn new() -> Self {
        Self {
            table: Table {
                version: 0,
                token: 0,
                rows: Vec::new(),
            },
            messages: [Place::Ready; MESSAGES.len()],
            writers: [const { Writer::Idle }; WRITERS],
            late: Vec::new(),
            deaths: 0,
            foreign: false,
            next_token: 1,
        }
    }

    /// Returns all worlds that one step leads to.
    fn steps(&self, mistake: Mistake) -> Vec<World> {
        let mut next = Vec::new();
        for writer in 0..WRITERS {
            self.writer_steps(writer, mistake, &mut next);
            if self.deaths < DEATHS && self.writers[writer] != Writer::Idle {
                let mut world = self.clone();
                world.deaths += 1;
                world.writers[writer] = Writer::Idle;
                for place in &mut world.messages {
                    if *place == Place::Held(writer) {
                        *place = Place::Ready;
                    }
                }
                next.push(world);
            }
        }
        for index in 0..self.late.len() {
            let mut world = self.clone();
            let commit = world.late.remove(index);
            world.land(&commit);
            next.push(world);
        }
        if !self.foreign {
            let mut world = self.clone();
            world.foreign = true;
            world.table.version += 1;
            next.push(world);
        }
        next
    }

    /// Applies a commit if the table has the version that it is pinned to.
    fn land(&mut self, commit: &Commit) -> bool {
        let fits = self.table.version == commit.version;
        if fits {
            self.table.version += 1;
            self.table.token = commit.token;
            self.table.rows.extend(&commit.rows);
            self.table.rows.sort_unstable();
        }
        fits
    }

    fn writer_steps(&self, writer: usize, mistake: Mistake, next: &mut Vec<World>) {
        let mut world = self.clone();
        match self.writers[writer].clone() {
            Writer::Idle => self.take(writer, mistake, next),
            Writer::Holding { own } => {
                let held = self.held(writer);
                let absent = held
                    .into_iter()
                    .filter(|id| !self.table.rows.contains(id))
                    .collect();
                world.writers[writer] = Writer::Checked {
                    own,
                    checked: self.table.token,
                    absent,
                };
                next.push(world);
            }
            Writer::Checked { absent, .. } if absent.is_empty() => {
                world.writers[writer] = Writer::Committed;
                next.push(world);
            }
            Writer::Checked {
                own,
                checked,
                absent,
            } => self.send(writer, mistake, (own, checked, absent), next),
            Writer::Waiting {
                own,
                checked,
                absent,
            } => {
                world.writers[writer] = world.settled(mistake, own, checked, absent);
                if mistake == Mistake::UnknownIsLost {
                    world.next_token += 1;
                }
                next.push(world);
            }
            Writer::Committed => {
                for place in &mut world.messages {
                    if *place == Place::Held(writer) {
                        *place = Place::Acked;
                    }
                }
                world.writers[writer] = Writer::Idle;
                next.push(world);
            }
        }
    }

    /// Takes one or two ready messages.
    fn take(&self, writer: usize, mistake: Mistake, next: &mut Vec<World>) {
        let ready: Vec<usize> = (0..MESSAGES.len())
            .filter(|index| self.messages[*index] == Place::Ready)
            .collect();
        for count in 1..=ready.len().min(2) {
            let mut world = self.clone();
            for index in &ready[..count] {
                world.messages[*index] = Place::Held(writer);
            }
            world.writers[writer] = Writer::Holding {
                own: world.next_token,
            };
            world.next_token += 1;
            if mistake == Mistake::AckFirst {
                // A death after this loses them.
                world.messages.iter_mut().for_each(|place| {
                    if *place == Place::Held(writer) {
                        *place = Place::Acked;
                    }
                });
            }
            next.push(world);
        }
    }

    /// Loads the table through the fence, and sends the commit: it is answered, its answer is lost, or it is
    /// late.
    fn send(
        &self,
        writer: usize,
        mistake: Mistake,
        (own, checked, absent): (u8, u8, Vec<u8>),
        next: &mut Vec<World>,
    ) {
        let mut world = self.clone();
        if self.table.token != checked
            && mistake != Mistake::NoFence
            && mistake != Mistake::FenceOnVersion
        {
            world.writers[writer] = world.raced(mistake, own, absent);
            return next.push(world);
        }
        let commit = Commit {
            version: self.table.version,
            token: own,
            rows: absent.clone(),
        };
        if self.late.len() < LATE {
            // Anything may happen before it arrives.
            let mut late = self.clone();
            late.writers[writer] = Writer::Waiting {
                own,
                checked,
                absent: absent.clone(),
            };
            late.late.push(commit.clone());
            next.push(late);
        }
        // Lost answer.
        world.land(&commit);
        let mut lost = world.clone();
        lost.writers[writer] = Writer::Waiting {
            own,
            checked,
            absent,
        };
        next.push(lost);
        world.writers[writer] = Writer::Committed;
        next.push(world);
    }

    /// Reads the table after a commit without an answer.
    fn settled(&self, mistake: Mistake, own: u8, checked: u8, absent: Vec<u8>) -> Writer {
        match mistake {
            Mistake::UnknownIsDone => return Writer::Committed,
            Mistake::UnknownIsLost => {
                return Writer::Checked {
                    own: self.next_token,
                    checked: self.table.token,
                    absent,
                };
            }
            Mistake::FenceOnVersion if self.table.token != own => {
                return Writer::Checked {
                    own,
                    checked: self.table.token,
                    absent,
                };
            }
            _ => {}
        }
        match standing(token(self.table.token), token(checked), token(own)) {
            Standing::Committed => Writer::Committed,
            Standing::Unchanged => Writer::Checked {
                own,
                checked,
                absent,
            },
            Standing::Raced => self.raced(mistake, own, absent),
        }
    }

    fn raced(&self, mistake: Mistake, own: u8, absent: Vec<u8>) -> Writer {
        if mistake == Mistake::IdsNotReadAgain {
            return Writer::Checked {
                own,
                checked: self.table.token,
                absent,
            };
        }
        Writer::Holding { own }
    }

    /// Returns the ids of the messages that a writer took, each once. With the mistake of an early ack they are
    /// acked already.
    fn held(&self, writer: usize) -> Vec<u8> {
        let held = |place: &Place| *place == Place::Held(writer);
        let ids: BTreeSet<u8> = (0..MESSAGES.len())
            .filter(|n| held(&self.messages[*n]))
            .map(|n| MESSAGES[n])
            .collect();
        ids.into_iter().collect()
    }

    /// Returns the broken promise, if one is.
    fn broken(&self) -> Option<&'static str> {
        if self.table.rows.windows(2).any(|pair| pair[0] == pair[1]) {
            return Some("doubled");
        }
        let acked = (0..MESSAGES.len()).filter(|n| self.messages[*n] == Place::Acked);
        let mut missing = acked.filter(|n| !self.table.rows.contains(&MESSAGES[*n]));
        missing.next().map(|_| "acked, and in no row")
    }
}

/// Returns the number of states, and the first broken promise.
fn explore(mistake: Mistake) -> (usize, Option<&'static str>) {
    let mut seen: HashSet<World> = HashSet::new();
    let mut open = vec![World::new()];
    while let Some(world) = open.pop() {
        if let Some(broken) = world.broken() {
            return (seen.len(), Some(broken));
        }
        if world.next_token > 12 || !seen.insert(world.clone()) {
            continue;
        }
        open.extend(world.steps(mistake));
    }
    (seen.len(), None)
}

#[test]
fn no_interleaving_doubles_an_event_or_acks_one_that_is_in_no_row() {
    let (states, broken) = explore(Mistake::None);
    println!("{states} states");
    assert_eq!(broken, None);
    assert!(states > 10_000, "only {states} states");
}

#[test]
fn each_mistake_is_caught() {
    for (mistake, expected) in [
        (Mistake::NoFence, "doubled"),
        (Mistake::AckFirst, "acked, and in no row"),
        (Mistake::IdsNotReadAgain, "doubled"),
        (Mistake::FenceOnVersion, "doubled"),
        (Mistake::UnknownIsDone, "acked, and in no row"),
        (Mistake::UnknownIsLost, "doubled"),
    ] {
        assert_eq!(explore(mistake).1, Some(expected), "{mistake:?}");
    }
}
