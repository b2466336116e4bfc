//! A bounded model check of the protocol: every interleaving of one event id, two instances, overlapping retries of the provider, and a
//! budget of faults (crash, lost commit answer, refused commit, nack, lost confirm, a lease that runs out under a living instance).
//!
//! It holds the design, not the code: the code's own tests hold the code. What makes it worth its place are the mutants below, each a
//! mistake that somebody in this field has shipped: the check must catch all of them.

use std::collections::{HashSet, VecDeque};

const ATTEMPTS: usize = 3;
const INSTANCES: usize = 2;
const FAULTS: u8 = 2;

/// A mistake in the protocol.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Mistake {
    None,
    /// The key is committed without an outbox row; the handler publishes. ("Mark as seen, then publish.")
    KeyWithoutRow,
    /// Publish, then insert the key.
    PublishFirst,
    /// 2xx before the commit.
    AnswerBeforeCommit,
    /// The cache learns a key when it is sent to the store.
    CacheBeforeCommit,
    /// A redelivery of an event that is being stored is answered 2xx at once.
    JoinedAnsweredAtOnce,
    /// A lost commit answer counts as success.
    AmbiguousIsSuccess,
    /// The row is deleted when the message was sent.
    DeleteOnSend,
    /// A nack counts as a confirm.
    NackIsAck,
    /// The relay looks only at rows of dead instances.
    NoOwnRowSweep,
    /// The relay also takes rows that are in memory.
    SweepIgnoresMemory,
    /// The sweep forgets what was settled since it began.
    SweepForgetsDropped,
    /// Rows are taken over while their owner's lease runs.
    TakeOverLiving,
}

const MISTAKES: [Mistake; 12] = [
    Mistake::KeyWithoutRow,
    Mistake::PublishFirst,
    Mistake::AnswerBeforeCommit,
    Mistake::CacheBeforeCommit,
    Mistake::JoinedAnsweredAtOnce,
    Mistake::AmbiguousIsSuccess,
    Mistake::DeleteOnSend,
    Mistake::NackIsAck,
    Mistake::NoOwnRowSweep,
    Mistake::SweepIgnoresMemory,
    Mistake::SweepForgetsDropped,
    Mistake::TakeOverLiving,
];

#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
enum Attempt {
    NotSent,
    At(u8),
    Accepted,
    Refused,
}

#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
enum Writing {
    No,
    Sent,
    Committed { new: bool },
}

#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
enum Publishing {
    No,
    Hinted,
    Acked,
    RowGone,
}

#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
enum Sweep {
    No,
    Begun { dropped: bool },
    Read { dropped: bool },
}

#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
struct Instance {
    incarnation: u8,
    leased: bool,
    writing: Writing,
    /// The hold of the batch under way, and of the publisher: at most one of them, for there is one event.
    held_by_writer: bool,
    publishing: Publishing,
    cached: bool,
    sweep: Sweep,
}

const FRESH: Instance = Instance {
    incarnation: 0,
    leased: true,
    writing: Writing::No,
    held_by_writer: false,
    publishing: Publishing::No,
    cached: false,
    sweep: Sweep::No,
};

#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
struct World {
    attempts: [Attempt; ATTEMPTS],
    instances: [Instance; INSTANCES],
    key: bool,
    /// Owner of the outbox row: instance and incarnation.
    row: Option<(u8, u8)>,
    /// Leases of incarnations that have died run on for a while.
    dead_lease: [Option<u8>; INSTANCES],
    copies: u8,
    faults: u8,
}

impl World {
    fn start() -> Self {
        Self {
            attempts: [Attempt::NotSent; ATTEMPTS],
            instances: [FRESH; INSTANCES],
            key: false,
            row: None,
            dead_lease: [None; INSTANCES],
            copies: 0,
            faults: 0,
        }
    }

    fn holds(&self, i: usize) -> bool {
        self.instances[i].held_by_writer || self.instances[i].publishing != Publishing::No
    }

    fn drop_hold(&mut self, i: usize) {
        match &mut self.instances[i].sweep {
            Sweep::Begun { dropped } | Sweep::Read { dropped } => *dropped = true,
            Sweep::No => {}
        }
    }

    fn answer(&mut self, i: usize, with: Attempt) {
        for attempt in &mut self.attempts {
            if *attempt == Attempt::At(i as u8) {
                *attempt = with;
            }
        }
    }

    fn is_alive(&self, (i, incarnation): (u8, u8)) -> bool {
        let instance = &self.instances[i as usize];
        (instance.incarnation == incarnation && instance.leased)
            || self.dead_lease[i as usize] == Some(incarnation)
    }

    fn accepted(&self) -> bool {
        self.attempts.contains(&Attempt::Accepted)
    }

    /// Every state that one step leads to.
    fn steps(&self, mistake: Mistake) -> Vec<World> {
        let mut next = Vec::new();
        for attempt in 0..ATTEMPTS {
            if self.attempts[attempt] == Attempt::NotSent
                && (attempt == 0 || self.attempts[attempt - 1] != Attempt::NotSent)
            {
                next.extend((0..INSTANCES).map(|i| self.deliver(attempt, i, mistake)));
            }
        }
        for i in 0..INSTANCES {
            self.write(i, mistake, &mut next);
            self.publish(i, mistake, &mut next);
            self.sweep(i, mistake, &mut next);
            if self.dead_lease[i].is_some() {
                let mut w = *self;
                w.dead_lease[i] = None;
                next.push(w);
            }
            if !self.instances[i].leased {
                let mut w = *self;
                w.instances[i].leased = true;
                next.push(w);
            }
            if self.faults < FAULTS {
                next.push(self.crash(i));
                if self.instances[i].leased {
                    let mut w = *self;
                    w.faults += 1;
                    w.instances[i].leased = false;
                    next.push(w);
                }
            }
        }
        next
    }

    fn deliver(&self, attempt: usize, i: usize, mistake: Mistake) -> World {
        let mut w = *self;
        let instance = &mut w.instances[i];
        w.attempts[attempt] = Attempt::At(i as u8);
        if instance.cached {
            w.attempts[attempt] = Attempt::Accepted;
        } else if instance.writing == Writing::No {
            instance.writing = Writing::Sent;
            instance.held_by_writer = instance.publishing == Publishing::No;
            instance.cached = mistake == Mistake::CacheBeforeCommit;
            if mistake == Mistake::PublishFirst {
                w.copies += 1;
            }
            if mistake == Mistake::AnswerBeforeCommit {
                w.attempts[attempt] = Attempt::Accepted;
            }
        } else if mistake == Mistake::JoinedAnsweredAtOnce {
            w.attempts[attempt] = Attempt::Accepted;
        }
        w
    }

    fn write(&self, i: usize, mistake: Mistake, next: &mut Vec<World>) {
        match self.instances[i].writing {
            Writing::No => {}
            Writing::Sent => {
                let mut w = *self;
                let new = !w.key;
                if new {
                    w.key = true;
                    let has_row =
                        !matches!(mistake, Mistake::KeyWithoutRow | Mistake::PublishFirst);
                    w.row = has_row.then_some((i as u8, w.instances[i].incarnation));
                }
                w.instances[i].writing = Writing::Committed { new };
                next.push(w);
                if self.faults < FAULTS {
                    next.push(self.commit_failed(i, mistake));
                }
            }
            Writing::Committed { new } => {
                let mut w = *self;
                w.instances[i].writing = Writing::No;
                w.instances[i].cached |= new;
                w.answer(i, Attempt::Accepted);
                let held = std::mem::take(&mut w.instances[i].held_by_writer);
                if mistake == Mistake::PublishFirst {
                    next.push(w);
                } else {
                    // The publisher has no room: the hint is dropped. Not a fault.
                    let mut dropped = w;
                    if held {
                        dropped.drop_hold(i);
                    }
                    if !(new && mistake == Mistake::KeyWithoutRow) {
                        next.push(dropped);
                    }
                    if new && held {
                        w.instances[i].publishing = Publishing::Hinted;
                        next.push(w);
                    }
                }
                if self.faults < FAULTS {
                    next.push(self.commit_failed(i, mistake));
                }
            }
        }
    }

    /// Before the commit: refused. After it: its answer is lost. The instance cannot tell which.
    fn commit_failed(&self, i: usize, mistake: Mistake) -> World {
        let mut w = *self;
        w.faults += 1;
        w.instances[i].writing = Writing::No;
        if std::mem::take(&mut w.instances[i].held_by_writer) {
            w.drop_hold(i);
        }
        w.answer(
            i,
            if mistake == Mistake::AmbiguousIsSuccess {
                Attempt::Accepted
            } else {
                Attempt::Refused
            },
        );
        w
    }

    fn publish(&self, i: usize, mistake: Mistake, next: &mut Vec<World>) {
        let done = |mut w: World| {
            w.instances[i].publishing = Publishing::No;
            w.drop_hold(i);
            w
        };
        match self.instances[i].publishing {
            Publishing::No => {}
            Publishing::Hinted if !self.instances[i].leased => next.push(done(*self)),
            Publishing::Hinted => {
                let mut w = *self;
                if mistake == Mistake::DeleteOnSend {
                    w.row = None;
                }
                let mut acked = w;
                acked.copies += 1;
                acked.instances[i].publishing = Publishing::Acked;
                next.push(acked);
                if self.faults < FAULTS {
                    w.faults += 1;
                    let mut nacked = w;
                    if mistake == Mistake::NackIsAck {
                        nacked.instances[i].publishing = Publishing::Acked;
                        next.push(nacked);
                    } else {
                        next.push(done(nacked));
                    }
                    let mut confirm_lost = w;
                    confirm_lost.copies += 1;
                    next.push(done(confirm_lost));
                }
            }
            Publishing::Acked => {
                let mut w = *self;
                w.row = None;
                w.instances[i].publishing = Publishing::RowGone;
                next.push(w);
            }
            Publishing::RowGone => next.push(done(*self)),
        }
    }

    fn sweep(&self, i: usize, mistake: Mistake, next: &mut Vec<World>) {
        let mut w = *self;
        match self.instances[i].sweep {
            // A sweep that would find nothing changes nothing.
            Sweep::No if self.row.is_none() => return,
            Sweep::No => w.instances[i].sweep = Sweep::Begun { dropped: false },
            Sweep::Begun { dropped } => {
                let me = (i as u8, self.instances[i].incarnation);
                let mine = self.row == Some(me) && mistake != Mistake::NoOwnRowSweep;
                let orphan = self.row.is_some_and(|owner| {
                    owner != me && (mistake == Mistake::TakeOverLiving || !self.is_alive(owner))
                });
                if orphan {
                    w.row = Some(me);
                }
                w.instances[i].sweep = if mine || orphan {
                    Sweep::Read { dropped }
                } else {
                    Sweep::No
                };
            }
            Sweep::Read { dropped } => {
                w.instances[i].sweep = Sweep::No;
                let remembered = dropped && mistake != Mistake::SweepForgetsDropped;
                let in_hand = self.holds(i) && mistake != Mistake::SweepIgnoresMemory;
                if !in_hand && !remembered {
                    w.instances[i].publishing = Publishing::Hinted;
                }
            }
        }
        next.push(w);
    }

    fn crash(&self, i: usize) -> World {
        let mut w = *self;
        w.faults += 1;
        w.answer(i, Attempt::Refused);
        let dead = w.instances[i];
        w.dead_lease[i] = dead.leased.then_some(dead.incarnation);
        w.instances[i] = Instance {
            incarnation: dead.incarnation + 1,
            ..FRESH
        };
        w
    }

    /// Returns the rule that this state breaks, whatever comes next.
    fn violation(&self) -> Option<&'static str> {
        if self.accepted() && !self.key {
            return Some("2xx before it was durable");
        }
        if self.copies > 1 && self.faults == 0 {
            return Some("a copy without a fault");
        }
        if self.copies > 1 + self.faults * 2 {
            return Some("more copies than faults allow");
        }
        None
    }

    /// Returns the rule that is broken if nothing is left to do.
    fn violation_at_rest(&self) -> Option<&'static str> {
        if self.accepted() && self.copies == 0 {
            return Some("lost: answered 2xx and never published");
        }
        if self.row.is_some() {
            return Some("a row is stranded in the outbox");
        }
        None
    }
}

/// Walks through every state; the number of them, or the first violation.
fn check(mistake: Mistake) -> Result<usize, &'static str> {
    let mut seen = HashSet::from([World::start()]);
    let mut todo = VecDeque::from([World::start()]);
    while let Some(world) = todo.pop_front() {
        if let Some(violation) = world.violation() {
            return Err(violation);
        }
        let next = world.steps(mistake);
        // At rest: all that can still happen is a fault, a new attempt, or a sweep that finds nothing to do.
        let busy = world
            .attempts
            .iter()
            .any(|attempt| matches!(attempt, Attempt::At(_)))
            || world.instances.iter().any(|i| {
                i.writing != Writing::No
                    || i.publishing != Publishing::No
                    || i.sweep != Sweep::No
                    || !i.leased
            })
            || world.dead_lease.iter().any(Option::is_some);
        if !busy {
            let relayed = world.row.is_some() && sweeps_lead_out(&world, mistake);
            if !relayed && let Some(violation) = world.violation_at_rest() {
                return Err(violation);
            }
        }
        for state in next {
            if seen.insert(state) {
                todo.push_back(state);
            }
        }
    }
    Ok(seen.len())
}

/// With no faults and no new attempts, do the relays publish the row that waits?
fn sweeps_lead_out(world: &World, mistake: Mistake) -> bool {
    let mut seen = HashSet::from([*world]);
    let mut todo = vec![*world];
    while let Some(state) = todo.pop() {
        if state.row.is_none() {
            return true;
        }
        let mut next = Vec::new();
        for i in 0..INSTANCES {
            state.sweep(i, mistake, &mut next);
            state.publish(i, mistake, &mut next);
        }
        todo.extend(
            next.into_iter()
                .filter(|next| next.faults == state.faults && seen.insert(*next)),
        );
    }
    false
}

#[test]
fn the_protocol_holds_in_every_interleaving() {
    let states = check(Mistake::None)
        .unwrap_or_else(|violation| panic!("the design itself is wrong: {violation}"));
    println!("{states} states");
    assert!(
        states > 10_000,
        "only {states} states were reached: the model has lost its steps"
    );
}

#[test]
fn every_known_mistake_is_caught() {
    for mistake in MISTAKES {
        let caught = check(mistake).expect_err(&format!("{mistake:?} went unnoticed"));
        println!("{mistake:?}: {caught}");
    }
}
