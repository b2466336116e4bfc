//! A bounded model check of publishing again: every interleaving of two jobs, the deletion of old events, an instance that publishes, and a
//! budget of faults (a crash, a lost confirm), for one event.
//!
//! It holds the design, as `protocol_model` does. Each mistake below must be caught.

use std::collections::{HashSet, VecDeque};

const JOBS: usize = 2;
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

#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
struct World {
    event: bool,
    /// A confirm that is old enough for a deletion.
    published: bool,
    row: bool,
    /// The instance has the row in memory.
    claimed: bool,
    acked: bool,
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
            claimed: false,
            acked: false,
            jobs: [Job::Begun; JOBS],
            judged: None,
            deletions: 0,
            copies: 0,
            faults: 0,
        }
    }

    /// Writes the row of a step, if its event is there.
    fn write(&mut self) -> bool {
        self.row |= self.event;
        self.event
    }

    fn steps(self, mistake: Mistake, next: &mut Vec<Self>) {
        for at in 0..JOBS {
            let mut world = self;
            match self.jobs[at] {
                Job::Begun if self.judged.is_some() && mistake != Mistake::NoLock => continue,
                Job::Begun if mistake == Mistake::PlaceFirst => world.jobs[at] = Job::Moved,
                Job::Begun => {
                    let found = world.write();
                    world.jobs[at] = Job::Over { found };
                }
                Job::Moved => {
                    let found = world.write();
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

    fn publishes(self, mistake: Mistake, next: &mut Vec<Self>) {
        if self.row && !self.claimed {
            next.push(Self {
                claimed: true,
                ..self
            });
        }
        if self.claimed && !self.acked {
            let sent = Self {
                copies: self.copies + 1,
                ..self
            };
            next.push(Self {
                acked: true,
                ..sent
            });
            if self.faults < FAULTS {
                // The confirm is lost: the row is tried again.
                next.push(Self {
                    faults: self.faults + 1,
                    ..sent
                });
            }
        }
        if self.claimed && (self.acked || mistake == Mistake::RowIsGone) {
            next.push(Self {
                row: false,
                published: true,
                claimed: false,
                acked: false,
                ..self
            });
        }
    }

    fn crashes(self, next: &mut Vec<Self>) {
        if self.faults == FAULTS {
            return;
        }
        let jobs = self.jobs.map(|job| match job {
            // The next instance goes on behind the place.
            Job::Moved => Job::Over { found: self.event },
            job => job,
        });
        next.push(Self {
            jobs,
            claimed: false,
            acked: false,
            faults: self.faults + 1,
            ..self
        });
    }

    fn next(self, mistake: Mistake) -> Vec<Self> {
        let mut next = Vec::new();
        self.steps(mistake, &mut next);
        self.deletes(mistake, &mut next);
        self.publishes(mistake, &mut next);
        // A crash is no progress: a world in which only a crash is left is an end.
        if !next.is_empty() {
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
fn no_order_of_steps_deletions_and_crashes_loses_an_event_that_is_published_again() {
    let worlds = check(Mistake::None).expect("no complaint");
    assert!(worlds > 500, "{worlds} worlds");
}

#[test]
fn each_mistake_in_publishing_again_is_caught() {
    for mistake in [
        Mistake::NoLock,
        Mistake::DeletesWhatWaits,
        Mistake::PlaceFirst,
        Mistake::RowIsGone,
    ] {
        assert!(check(mistake).is_err(), "{mistake:?} is not caught");
    }
}
