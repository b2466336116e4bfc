//! The open connections of one HTTP thread, and which of them are closed when there are too many.
//!
//! A connection costs whoever opens it next to nothing, and there is room for so many. So the last fifth of the room is kept free: where more
//! are open, those are closed that have been of no use for longest, and whoever comes next is taken at once.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::time::{Duration, Instant};

use prometheus::IntCounter;

use super::connection::{Progress, Stage};
use crate::faults::control;

/// How long a body is on its way at least before its connection counts as one that is slow.
const SLOW: Duration = Duration::from_secs(3);

/// A connection that was opened, or became idle, less than this ago is not idle: what it is for may be on its way.
const FRESH: Duration = Duration::from_millis(300);

/// How soon room is made that could not be made at once.
const AGAIN: Duration = Duration::from_millis(100);

/// Least time between two lines of the log.
const QUIET: Duration = Duration::from_secs(10);

/// The connections of one HTTP thread.
pub(super) struct Crowd {
    most: usize,
    open: RefCell<Vec<Rc<Progress>>>,
    /// Those of them that were told to close.
    leaving: Cell<usize>,
    closed: IntCounter,
    told: Cell<Option<Instant>>,
    /// A task makes room from time to time.
    watched: Cell<bool>,
}

impl Crowd {
    /// A thread with room for `most` connections.
    pub(super) fn new(most: usize, closed: IntCounter) -> Rc<Self> {
        Rc::new(Self {
            most,
            open: RefCell::default(),
            leaving: Cell::new(0),
            closed,
            told: Cell::new(None),
            watched: Cell::new(false),
        })
    }

    /// A connection was opened, and others may have to make room for it. Called on the HTTP thread.
    pub(super) fn welcome(self: &Rc<Self>, progress: &Rc<Progress>) {
        self.join(progress);
        if self.make_room(Instant::now()) || self.watched.replace(true) {
            return;
        }
        // With all of them fresh, nobody may ever come again to have room made for.
        let crowd = self.clone();
        tokio::task::spawn_local(async move {
            loop {
                tokio::time::sleep(AGAIN).await;
                if crowd.make_room(Instant::now()) {
                    break;
                }
            }
            crowd.watched.set(false);
        });
    }

    fn join(&self, progress: &Rc<Progress>) {
        progress.place.set(self.open.borrow().len());
        self.open.borrow_mut().push(progress.clone());
    }

    /// A connection is gone.
    pub(super) fn leave(&self, progress: &Progress) {
        let (mut open, place) = (self.open.borrow_mut(), progress.place.get());
        if place < open.len() {
            open.swap_remove(place);
            if let Some(moved) = open.get(place) {
                moved.place.set(place);
            }
        }
        if progress.is_expelled() {
            self.leaving.set(self.leaving.get().saturating_sub(1));
        }
    }

    fn staying(&self) -> usize {
        self.open.borrow().len().saturating_sub(self.leaving.get())
    }

    /// Whether there is room again, now that the idlest were told to close.
    fn make_room(&self, now: Instant) -> bool {
        let comfortable = (self.most * 4 / 5).clamp(1, self.most.saturating_sub(1).max(1));
        let staying = self.staying();
        if staying > comfortable && !control::makes("idle_for_ever") {
            // Some more than have to: each look goes over all connections.
            self.close(staying - comfortable + self.most / 64, now);
        }
        self.staying() <= comfortable
    }

    fn close(&self, wanted: usize, now: Instant) {
        let full = self.staying() * 20 >= self.most * 19;
        let idlest: Vec<_> = {
            let open = self.open.borrow();
            let mut may: Vec<_> = open
                .iter()
                .filter_map(|progress| Some((rank(progress, full, now)?, progress.clone())))
                .collect();
            let wanted = wanted.min(may.len());
            if wanted < may.len() {
                may.select_nth_unstable_by_key(wanted, |(rank, _)| *rank);
            }
            may.into_iter()
                .take(wanted)
                .map(|(_, progress)| progress)
                .collect()
        };
        for progress in &idlest {
            progress.expel();
        }
        self.leaving.set(self.leaving.get() + idlest.len());
        self.closed.inc_by(idlest.len() as u64);
        if !idlest.is_empty()
            && self
                .told
                .get()
                .is_none_or(|told| now.duration_since(told) >= QUIET)
        {
            self.told.set(Some(now));
            tracing::warn!(
                closed = idlest.len(),
                "more than 80 % of server.max_connections are open, so the idlest are closed; deliveries go on. Raise server.max_connections \
                 if these are providers, or let a proxy in front bound them"
            );
        }
    }
}

/// How idle a connection is: the least goes first. None of one that has a whole request in hand, and, unless the room is nearly full, of one
/// whose body is on its way.
fn rank(progress: &Progress, full: bool, now: Instant) -> Option<(u8, Duration)> {
    let age = now.saturating_duration_since(progress.since());
    let oldest_first = Duration::MAX.saturating_sub(age);
    match progress.stage() {
        _ if progress.is_expelled() => None,
        Stage::Closing => Some((0, oldest_first)),
        Stage::Head if age < FRESH => None,
        // Whoever has brought a genuine event before is likelier to bring the next.
        Stage::Head if !progress.head_has_begun() => {
            Some((if progress.is_trusted() { 2 } else { 1 }, oldest_first))
        }
        Stage::Head => Some((3, oldest_first)),
        // Slowest first: by how long a byte took.
        Stage::Body if full && age > SLOW => {
            let bytes = u32::try_from(progress.bytes_read())
                .unwrap_or(u32::MAX)
                .max(1);
            Some((4, Duration::MAX.saturating_sub(age / bytes)))
        }
        Stage::Body | Stage::Answer => None,
    }
}

#[cfg(test)]
mod tests {
    use super::super::connection::Patience;
    use super::*;

    fn crowd(most: usize) -> Rc<Crowd> {
        Crowd::new(
            most,
            IntCounter::new("closed", "closed").expect("a counter"),
        )
    }

    fn join(crowd: &Crowd) -> Rc<Progress> {
        let progress = Progress::new(
            100,
            Patience {
                keep_alive: Duration::from_secs(60),
                head: Duration::from_secs(60),
            },
        );
        crowd.join(&progress);
        crowd.make_room(Instant::now() + 2 * FRESH);
        progress
    }

    fn expelled(all: &[Rc<Progress>]) -> Vec<usize> {
        (0..all.len()).filter(|at| all[*at].is_expelled()).collect()
    }

    #[test]
    fn over_four_fifths_the_idlest_goes_and_who_has_a_request_in_hand_stays() {
        let crowd = crowd(10);
        let mut all: Vec<_> = (0..8).map(|_| join(&crowd)).collect();
        assert!(expelled(&all).is_empty(), "there is room");
        let mut in_hand = all[0].clone().begin();
        in_hand.set_whole();
        let uploading = all[1].clone().begin();
        let mut trusted = all[2].clone().begin();
        trusted.set_whole();
        trusted.set_trusted();
        drop(trusted);
        all.push(join(&crowd));
        assert_eq!(
            expelled(&all),
            [3],
            "the oldest that is idle, and has brought nothing"
        );
        for _ in 0..5 {
            all.push(join(&crowd));
        }
        assert_eq!(
            expelled(&all),
            [3, 4, 5, 6, 7, 8],
            "one for each that comes"
        );
        crowd.leave(&all[3]);
        crowd.leave(&all[4]);
        assert_eq!((crowd.open.borrow().len(), crowd.staying()), (12, 8));
        assert!(
            crowd
                .open
                .borrow()
                .iter()
                .enumerate()
                .all(|(at, progress)| progress.place.get() == at)
        );
        drop((in_hand, uploading));
    }

    #[test]
    fn whoever_has_just_come_is_given_a_moment() {
        let crowd = crowd(4);
        let all: Vec<_> = (0..4)
            .map(|_| Progress::new(100, Patience::default()))
            .collect();
        all.iter().for_each(|progress| crowd.join(progress));
        assert!(!crowd.make_room(Instant::now()) && expelled(&all).is_empty());
        assert!(crowd.make_room(Instant::now() + FRESH) && expelled(&all) == [0]);
    }

    #[test]
    fn a_small_room_is_never_full_of_idle_connections() {
        for most in [1, 2, 3] {
            let crowd = crowd(most);
            let all: Vec<_> = (0..2 * most + 2).map(|_| join(&crowd)).collect();
            assert_eq!(crowd.staying(), (most - 1).max(1), "{most}");
            assert!(!all[all.len() - 1].is_expelled(), "the newest stays");
        }
    }
}
