//! Fetched keys in the store, so that a restart and the other instances have them without fetching. A thread of its own talks to the store:
//! what is fetched waits for nobody there.

use std::io;
use std::sync::{Arc, Mutex, PoisonError, mpsc};
use std::thread;
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, RecvTimeoutError, Sender, bounded};

use super::Bell;
use crate::runtime::shutdown::CriticalTask;
use crate::store::{FetchedKey, Secrets};

/// Time between two readings of the store for keys that other instances fetched.
const READ: Duration = Duration::from_secs(5);
/// Time for which a start waits for the store.
const PATIENCE: Duration = Duration::from_secs(1);
/// Keys that wait to be stored; what there is no room for is fetched again after a restart.
const ROOM: usize = 64;
/// A larger answer is not stored.
const MAX_STORED: usize = 64 * 1024;

/// The keys that are in the store, as of the last time it was read.
#[derive(Clone, Debug)]
pub(super) struct StoredKeys {
    read: Arc<Mutex<Snapshot>>,
    keep: Sender<FetchedKey>,
}

#[derive(Clone, Debug, Default)]
struct Snapshot {
    number: u64,
    keys: Arc<Vec<FetchedKey>>,
}

impl StoredKeys {
    /// Starts the thread, which rings `readers` after each reading, and waits until the store was read, or [`PATIENCE`] is over. Uses one connection of the store.
    pub(super) fn start(
        store: Arc<dyn Secrets>,
        readers: Vec<Bell>,
        lifeline: &CriticalTask,
    ) -> io::Result<Self> {
        let ((keep, kept), (tried, was_tried)) = (bounded(ROOM), mpsc::channel());
        let this = Self {
            read: Arc::default(),
            keep,
        };
        let (read, lifeline) = (this.read.clone(), lifeline.of("fetched-keys"));
        thread::Builder::new()
            .name("fetched-keys".into())
            .stack_size(super::STACK)
            .spawn(move || {
                let _lifeline = lifeline;
                run(&*store, &read, &kept, &readers, tried);
            })?;
        // Nothing is ever sent: it is closed, or time is up.
        let _ = was_tried.recv_timeout(PATIENCE);
        Ok(this)
    }

    /// The keys, if they were read since the reading of this number; and the number of this one.
    pub(super) fn since(&self, number: u64) -> Option<(u64, Arc<Vec<FetchedKey>>)> {
        let Snapshot { number: now, keys } = self
            .read
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone();
        (now > number).then_some((now, keys))
    }

    /// Has a key stored, if there is room for it.
    pub(super) fn keep(&self, key: FetchedKey) {
        if key.answer.len() <= MAX_STORED && self.keep.try_send(key).is_err() {
            tracing::debug!("a fetched key is not stored: there are too many");
        }
    }
}

fn run(
    store: &dyn Secrets,
    read: &Mutex<Snapshot>,
    kept: &Receiver<FetchedKey>,
    readers: &[Bell],
    tried: mpsc::Sender<()>,
) {
    let (mut read_at, mut failing, mut tried) = (Instant::now(), false, Some(tried));
    loop {
        let done = match kept.recv_deadline(read_at) {
            Ok(key) => store.keep_fetched(&key),
            Err(RecvTimeoutError::Disconnected) => return,
            Err(RecvTimeoutError::Timeout) => {
                read_at = Instant::now() + READ;
                store.fetched().map(|keys| {
                    let mut snapshot = read.lock().unwrap_or_else(PoisonError::into_inner);
                    *snapshot = Snapshot {
                        number: snapshot.number + 1,
                        keys: Arc::new(keys),
                    };
                    readers.iter().for_each(Bell::ring);
                })
            }
        };
        // The thread reads first. The caller of `start` waits for the end of that read.
        drop(tried.take());
        match done {
            Ok(()) => failing = false,
            Err(error) => {
                if !std::mem::replace(&mut failing, true) {
                    tracing::warn!(%error, "fetched keys cannot be stored or read; they are fetched again after a restart");
                }
            }
        }
    }
}
