//! A bounded model check of publishing again: every interleaving of two jobs, the deletion of old events, two instances that publish, and a
//! budget of faults (a crash, a lost confirm, a row that is taken over from an instance that goes on), for one event.
//!
//! It holds the design, as `protocol_model` does. Each mistake below must be caught.

use std::collections::{HashSet, VecDeque};

const JOBS: usize = 2;
const INSTANCES: usize = 2;
/// Owner of a row whose instance has crashed: a restart has another id.
const GONE: usize = INSTANCES;
const FAULTS: u8 = 2;
const DELETIONS: u8 = 3;

/// A mistake in the design.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Mistake {
    None,
    /// A step runs while a deletion has judged its events and has not deleted them yet.
    NoLock,
    /// A deletion does not look at the outbox.
    DeletesWhatWaits,
    /// The place of the job is committed before the rows.
    PlaceFirst,
    /// A row that is there counts as published.
    RowIsGone,
    /// Nobody takes over a row whose instance is gone.
    NoTakeOver,
}

#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
enum Job {
    Begun,
    /// Its place is committed, its row is not.
    Moved,
    /// `found`: the event was there.
    Over {
        found: bool,
    },
}

/// The row in the memory of an instance.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
enum Held {
    No,
    Claimed,
    Acked,
}

#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
struct World {
    event: bool,
    /// A confirm that is old enough for a deletion.
    published: bool,
    row: bool,
    /// Instance that the row belongs to.
    owner: usize,
    held: [Held; INSTANCES],
    jobs: [Job; JOBS],
    /// The deletion has judged: the event goes, or stays.
    judged: Option<bool>,
    deletions: u8,
    copies: u8,
    faults: u8,
}

impl World {
    fn start(waits: bool) -> Self {
        Self {
            event: true,
            published: !waits,
            row: waits,
            owner: GONE,
            held: [Held::No; INSTANCES],
            jobs: [Job::Begun; JOBS],
            judged: None,
            deletions: 0,
            copies: 0,
            faults: 0,
        }
    }

    /// Writes the row of a step at `instance`, if its event is there. A row that is there keeps its owner.
    fn write(&mut self, instance: usize) -> bool {
        if self.event && !self.row {
            (self.row, self.owner) = (true, instance);
        }
        self.event
    }

    fn steps(self, mistake: Mistake, next: &mut Vec<Self>) {
        for at in 0..JOBS {
            let mut world = self;
            match self.jobs[at] {
                Job::Begun if self.judged.is_some() && mistake != Mistake::NoLock => continue,
                Job::Begun if mistake == Mistake::PlaceFirst => world.jobs[at] = Job::Moved,
                Job::Begun => {
                    let found = world.write(at % INSTANCES);
                    world.jobs[at] = Job::Over { found };
                }
                Job::Moved => {
                    let found = world.write(at % INSTANCES);
                    world.jobs[at] = Job::Over { found };
                }
                Job::Over { .. } => continue,
            }
            next.push(world);
        }
    }

    fn deletes(self, mistake: Mistake, next: &mut Vec<Self>) {
        match self.judged {
            None if self.published && self.deletions < DELETIONS => next.push(Self {
                judged: Some(!self.row || mistake == Mistake::DeletesWhatWaits),
                deletions: self.deletions + 1,
                ..self
            }),
            Some(goes) => next.push(Self {
                event: self.event && !goes,
                published: false,
                judged: None,
                ..self
            }),
            None => {}
        }
    }

    fn with(self, instance: usize, held: Held) -> Self {
        let mut world = self;
        world.held[instance] = held;
        world
    }

    fn publishes(self, mistake: Mistake, next: &mut Vec<Self>) {
        for (at, held) in self.held.into_iter().enumerate() {
            let is_gone = self.owner == GONE && mistake != Mistake::NoTakeOver;
            match held {
                Held::No if self.row && (self.owner == at || is_gone) => {
                    let owner = at;
                    next.push(Self { owner, ..self }.with(at, Held::Claimed));
                }
                Held::No => {}
                Held::Claimed => {
                    let sent = Self {
                        copies: self.copies + 1,
                        ..self
                    };
                    next.push(sent.with(at, Held::Acked));
                    if self.faults < FAULTS {
                        // The confirm is lost: the row is tried again.
                        next.push(Self {
                            faults: self.faults + 1,
                            ..sent
                        });
                    }
                }
                Held::Acked => {}
            }
            if held == Held::Acked || held == Held::Claimed && mistake == Mistake::RowIsGone {
                let confirmed = Self {
                    row: false,
                    published: true,
                    ..self
                };
                next.push(confirmed.with(at, Held::No));
            }
        }
    }

    /// Takes the row over from an instance that has lost its lease, and goes on with what it holds.
    fn takes_over(self, next: &mut Vec<Self>) {
        if self.row && self.owner != GONE && self.faults < FAULTS {
            next.push(Self {
                owner: (self.owner + 1) % INSTANCES,
                faults: self.faults + 1,
                ..self
            });
        }
    }

    fn crashes(self, next: &mut Vec<Self>) {
        if self.faults == FAULTS {
            return;
        }
        for at in 0..INSTANCES {
            let mut world = self.with(at, Held::No);
            world.faults += 1;
            if world.owner == at {
                world.owner = GONE;
            }
            // The next instance goes on behind the place.
            if world.jobs[at] == Job::Moved {
                world.jobs[at] = Job::Over { found: self.event };
            }
            next.push(world);
        }
    }

    fn next(self, mistake: Mistake) -> Vec<Self> {
        let mut next = Vec::new();
        self.steps(mistake, &mut next);
        self.deletes(mistake, &mut next);
        self.publishes(mistake, &mut next);
        // A fault is no progress: a world in which only faults are left is an end.
        if !next.is_empty() {
            self.takes_over(&mut next);
            self.crashes(&mut next);
        }
        next
    }

    /// Complaint that an operator would have, if any.
    fn complaint(&self, is_end: bool) -> Option<&'static str> {
        if self.row && !self.event {
            return Some("a row waits without its event");
        }
        let found = self.jobs.contains(&Job::Over { found: true });
        if is_end && found && self.copies == 0 {
            return Some("a job is done, and nothing was published");
        }
        if is_end && self.row {
            return Some("a row waits for ever");
        }
        (self.copies > JOBS as u8 + 1 + FAULTS).then_some("more copies than jobs and faults")
    }
}

/// Looks at every world. Returns their number, or the first complaint.
fn check(mistake: Mistake) -> Result<usize, &'static str> {
    let mut todo: VecDeque<World> = [World::start(false), World::start(true)].into();
    let mut seen: HashSet<World> = todo.iter().copied().collect();
    while let Some(world) = todo.pop_front() {
        let next = world.next(mistake);
        if let Some(complaint) = world.complaint(next.is_empty()) {
            return Err(complaint);
        }
        for world in next {
            if seen.insert(world) {
                todo.push_back(world);
            }
        }
    }
    Ok(seen.len())
}

#[test]
fn no_order_of_steps_deletions_crashes_and_take_overs_loses_an_event_that_is_published_again() {
    let worlds = check(Mistake::None).expect("no complaint");
    assert!(worlds > 5000, "{worlds} worlds");
}

#[test]
fn each_mistake_in_publishing_again_is_caught() {
    for mistake in [
        Mistake::NoLock,
        Mistake::DeletesWhatWaits,
        Mistake::PlaceFirst,
        Mistake::RowIsGone,
        Mistake::NoTakeOver,
    ] {
        assert!(check(mistake).is_err(), "{mistake:?} is not caught");
    }
}
