//! Fetched keys in the store, for restarts and other instances. A thread of its own talks to the
//! store, so that no fetch waits for the store.

use std::io;
use std::sync::{Arc, Mutex, PoisonError, mpsc};
use std::thread;
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, RecvTimeoutError, Sender, bounded};

use super::WeakBell;
use crate::runtime::shutdown::CriticalTask;
use crate::store::{FetchedKey, Secrets};

/// Time between two readings of the store for keys that other instances fetched.
const READ: Duration = Duration::from_secs(5);
/// Time for which a start waits for the store.
const PATIENCE: Duration = Duration::from_secs(1);
/// Most keys that wait to be stored. Any other is fetched again after a restart.
const ROOM: usize = 64;
/// Largest response that is stored, in bytes.
const MAX_STORED: usize = 64 * 1024;

/// Keys in the store, at its last reading.
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
    /// Starts the thread, which rings `readers` after each reading. Waits for the first reading, at
    /// most [`PATIENCE`]. Uses one connection of the store.
    pub(super) fn start(
        store: Arc<dyn Secrets>,
        readers: Vec<WeakBell>,
        lifeline: &CriticalTask,
    ) -> io::Result<Self> {
        let ((keep, kept), (tried, was_tried)) = (bounded(ROOM), mpsc::channel());
        let this = Self {
            read: Arc::default(),
            keep,
        };
        let read = this.read.clone();
        let thread = thread::Builder::new()
            .name("fetched-keys".into())
            .stack_size(super::STACK);
        lifeline.spawn("fetched-keys", thread, move || {
            run(&*store, &read, &kept, &readers, tried);
        })?;
        // No message is sent: the channel closes after the first reading.
        let _ = was_tried.recv_timeout(PATIENCE);
        Ok(this)
    }

    /// Returns the number of the last reading and its keys, if it came after the reading `number`.
    pub(super) fn since(&self, number: u64) -> Option<(u64, Arc<Vec<FetchedKey>>)> {
        let Snapshot { number: now, keys } = self
            .read
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone();
        (now > number).then_some((now, keys))
    }

    /// Stores a key, if not too many wait.
    pub(super) fn keep(&self, key: FetchedKey) {
        if key.answer.len() <= MAX_STORED && self.keep.try_send(key).is_err() {
            tracing::debug!(
                "a fetched key is not stored, since too many wait for the store; the key is fetched again after a restart"
            );
        }
    }
}

fn run(
    store: &dyn Secrets,
    read: &Mutex<Snapshot>,
    kept: &Receiver<FetchedKey>,
    readers: &[WeakBell],
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
                    readers.iter().for_each(WeakBell::ring);
                })
            }
        };
        // The thread reads first. The caller of `start` waits for the end of that read.
        drop(tried.take());
        match done {
            Ok(()) => failing = false,
            Err(error) => {
                if !std::mem::replace(&mut failing, true) {
                    tracing::warn!(%error, "cannot store or read fetched keys; deliveries are verified by the keys at hand, next attempt in 5 s");
                }
            }
        }
    }
}
