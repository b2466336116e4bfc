//! Open connections of one HTTP thread, and the choice of those to close when there are too many.
//!
//! Opening a connection costs a client next to nothing, and `server.max_connections` bounds them.
//! The last fifth of the room is kept free: if more are open, the longest idle ones are closed, so
//! that a new client is taken at once.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::time::{Duration, Instant};

use prometheus::IntCounter;

use super::progress::{Progress, Stage};
use crate::faults::mutants::Mutant;

/// Least age of a body before its connection counts as slow.
const SLOW: Duration = Duration::from_secs(3);

/// Least age of an idle connection: before that, its request may be on its way.
const FRESH: Duration = Duration::from_millis(300);

/// Interval between attempts to make room.
const AGAIN: Duration = Duration::from_millis(100);

/// Least time between two log lines.
const QUIET: Duration = Duration::from_secs(10);

/// The connections of one HTTP thread.
pub(super) struct Connections {
    most: usize,
    open: RefCell<Vec<Rc<Progress>>>,
    /// Number of connections that are closing.
    leaving: Cell<usize>,
    closed: IntCounter,
    told: Cell<Option<Instant>>,
    /// A task makes room at intervals.
    watched: Cell<bool>,
}

impl Connections {
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

    /// Adds a connection, and closes idle ones if there are too many. Call it on the HTTP thread.
    pub(super) fn add(self: &Rc<Self>, progress: &Rc<Progress>) {
        self.insert(progress);
        if self.make_room(Instant::now()) || self.watched.replace(true) {
            return;
        }
        // All connections are fresh. Without a new one, nothing else would make room later.
        let connections = self.clone();
        tokio::task::spawn_local(async move {
            loop {
                tokio::time::sleep(AGAIN).await;
                if connections.make_room(Instant::now()) {
                    break;
                }
            }
            connections.watched.set(false);
        });
    }

    fn insert(&self, progress: &Rc<Progress>) {
        progress.position.set(self.open.borrow().len());
        self.open.borrow_mut().push(progress.clone());
    }

    /// Removes a closed connection.
    pub(super) fn remove(&self, progress: &Progress) {
        let (mut open, place) = (self.open.borrow_mut(), progress.position.get());
        if place < open.len() {
            open.swap_remove(place);
            if let Some(moved) = open.get(place) {
                moved.position.set(place);
            }
        }
        if progress.is_expelled() {
            self.leaving.set(self.leaving.get().saturating_sub(1));
        }
    }

    fn staying(&self) -> usize {
        self.open.borrow().len().saturating_sub(self.leaving.get())
    }

    /// Closes the longest idle connections if there are too many. Returns `true` if there is room
    /// then.
    fn make_room(&self, now: Instant) -> bool {
        let comfortable = (self.most * 4 / 5).clamp(1, self.most.saturating_sub(1).max(1));
        let staying = self.staying();
        if staying > comfortable && !Mutant::IdleForEver.is_on() {
            // Close some more than needed, since each attempt goes over all connections.
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
                "more than 80 % of server.max_connections are open: closed {} idle ones; deliveries continue. If these clients are providers, \
                 raise server.max_connections; otherwise let a proxy in front bound them",
                idlest.len()
            );
        }
    }
}

/// Returns the rank of a connection for closing; the lowest is closed first. Returns `None` for a
/// connection with a whole request, and, unless the room is nearly full, for one whose body is on
/// its way.
fn rank(progress: &Progress, full: bool, now: Instant) -> Option<(u8, Duration)> {
    let age = now.saturating_duration_since(progress.since());
    let oldest_first = Duration::MAX.saturating_sub(age);
    match progress.stage() {
        _ if progress.is_expelled() => None,
        Stage::Closing => Some((0, oldest_first)),
        Stage::Head if age < FRESH => None,
        // A client that sent a genuine event is likely to send the next one.
        Stage::Head if !progress.head_has_begun() => {
            Some((if progress.is_trusted() { 2 } else { 1 }, oldest_first))
        }
        Stage::Head => Some((3, oldest_first)),
        // Slowest first: by the time that a byte took.
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
    use super::super::progress::HeadTimeouts;
    use super::super::request_guard::RequestGuard;
    use super::*;

    fn connections(most: usize) -> Rc<Connections> {
        Connections::new(
            most,
            IntCounter::new("closed", "closed").expect("a counter"),
        )
    }

    fn join(connections: &Connections) -> Rc<Progress> {
        let timeouts = HeadTimeouts {
            keep_alive: Duration::from_secs(60),
            head: Duration::from_secs(60),
        };
        let progress = Progress::new(100, timeouts, Instant::now());
        connections.insert(&progress);
        connections.make_room(Instant::now() + 2 * FRESH);
        progress
    }

    fn expelled(all: &[Rc<Progress>]) -> Vec<usize> {
        (0..all.len()).filter(|at| all[*at].is_expelled()).collect()
    }

    #[test]
    fn over_four_fifths_the_idlest_is_closed_and_an_open_request_keeps_its_connection() {
        let connections = connections(10);
        let mut all: Vec<_> = (0..8).map(|_| join(&connections)).collect();
        assert!(expelled(&all).is_empty(), "there is room");
        let mut open = RequestGuard::new(all[0].clone());
        open.set_whole();
        let uploading = RequestGuard::new(all[1].clone());
        let mut trusted = RequestGuard::new(all[2].clone());
        trusted.set_whole();
        trusted.set_trusted();
        drop(trusted);
        all.push(join(&connections));
        assert_eq!(
            expelled(&all),
            [3],
            "the oldest that is idle, and has brought nothing"
        );
        for _ in 0..5 {
            all.push(join(&connections));
        }
        assert_eq!(
            expelled(&all),
            [3, 4, 5, 6, 7, 8],
            "one for each that comes"
        );
        connections.remove(&all[3]);
        connections.remove(&all[4]);
        assert_eq!(
            (connections.open.borrow().len(), connections.staying()),
            (12, 8)
        );
        assert!(
            connections
                .open
                .borrow()
                .iter()
                .enumerate()
                .all(|(at, progress)| progress.position.get() == at)
        );
        drop((open, uploading));
    }

    #[test]
    fn a_new_connection_is_given_a_moment() {
        let connections = connections(4);
        let all: Vec<_> = (0..4)
            .map(|_| Progress::new(100, HeadTimeouts::default(), Instant::now()))
            .collect();
        all.iter().for_each(|progress| connections.insert(progress));
        assert!(!connections.make_room(Instant::now()) && expelled(&all).is_empty());
        assert!(connections.make_room(Instant::now() + FRESH) && expelled(&all) == [0]);
    }

    #[test]
    fn a_small_room_is_never_full_of_idle_connections() {
        for most in [1, 2, 3] {
            let connections = connections(most);
            let all: Vec<_> = (0..2 * most + 2).map(|_| join(&connections)).collect();
            assert_eq!(connections.staying(), (most - 1).max(1), "{most}");
            assert!(!all[all.len() - 1].is_expelled(), "the newest stays");
        }
    }
}
