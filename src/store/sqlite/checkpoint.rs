//! Copies what was committed from SQLite's log into its database file, beside the writer: under load that takes a fifth of its time
//! otherwise, while senders wait.
//!
//! A checkpoint beside a writer never catches up with it, and the log starts over only once all of it was copied. So the thread here
//! copies most of it, and the writer itself the little that is left, between two transactions. Neither waits for the other.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::Duration;

use crossbeam_channel::{Receiver, Sender, bounded};
use diesel::prelude::*;
use diesel::sql_query;
use diesel::sql_types::BigInt;

use super::connection::One;
use crate::store::{NewEvent, StoreError};

/// Pages written between two checkpoints of the thread.
const PAGES: u64 = 1000;
/// A log of so many pages is to start over: 16 MiB.
pub(super) const LONG_LOG: u32 = 4000;
/// Length of the log at which a commit checkpoints by itself, should the thread be stuck: 64 MiB.
pub(super) const LONGEST_LOG: u32 = 16_000;

/// State that the writer and the thread share.
#[derive(Debug)]
pub(super) struct Checkpoints {
    shared: Arc<Shared>,
    /// Dropped, the thread ends.
    wake: Sender<()>,
}

#[derive(Debug, Default)]
struct Shared {
    /// Pages written since the thread was last woken, as far as the size of events tells.
    written: AtomicU64,
    /// The log is long, and most of it is copied.
    finish: AtomicBool,
}

impl Checkpoints {
    /// Starts the thread.
    pub(super) fn start(path: &Path, busy_timeout: Duration) -> Result<Self, StoreError> {
        let shared = Arc::<Shared>::default();
        let (wake, woken) = bounded(1);
        let thread = Thread {
            shared: shared.clone(),
            connection: One::new(path, LONGEST_LOG, busy_timeout),
            woken,
        };
        thread::Builder::new()
            .name("checkpoint".to_owned())
            .spawn(move || thread.run())
            .map_err(|error| StoreError::Unfit(format!("cannot start a thread: {error}")))?;
        Ok(Self { shared, wake })
    }

    /// Counts the pages of a committed `batch`, and wakes the thread if there are enough.
    pub(super) fn committed(&self, batch: &[Arc<NewEvent>]) {
        // Its row, and the pages of the indexes that it touches.
        let pages: usize = batch.iter().map(|event| 2 + event.body.len() / 4096).sum();
        if self
            .shared
            .written
            .fetch_add(pages as u64, Ordering::Relaxed)
            >= PAGES
        {
            self.shared.written.store(0, Ordering::Relaxed);
            // Full means that the thread is at it.
            let _ = self.wake.try_send(());
        }
    }

    /// Copies the rest of a log that is long, on the connection that writes, which nobody uses meanwhile.
    pub(super) fn finish(&self, connection: &mut SqliteConnection) {
        if self.shared.finish.swap(false, Ordering::Relaxed)
            && let Err(error) = checkpoint(connection)
        {
            tracing::warn!(%error, "SQLite's log could not be copied into its file; it is tried again");
        }
    }
}

struct Thread {
    shared: Arc<Shared>,
    connection: One,
    woken: Receiver<()>,
}

impl Thread {
    fn run(self) {
        while self.woken.recv().is_ok() {
            let log = match self
                .connection
                .get()
                .map(|mut connection| checkpoint(&mut connection))
            {
                Ok(Ok(log)) => log,
                Ok(Err(error)) => {
                    tracing::warn!(%error, "SQLite's log could not be copied into its file; it is tried again");
                    continue;
                }
                // The writer says so as well.
                Err(_) => continue,
            };
            if log >= i64::from(LONG_LOG) {
                self.shared.finish.store(true, Ordering::Relaxed);
            }
        }
    }
}

/// Copies the whole log, and empties it: from then on the database file alone is the whole database.
pub(super) fn fold(connection: &mut SqliteConnection) {
    #[derive(QueryableByName)]
    struct Row {
        #[diesel(sql_type = BigInt)]
        busy: i64,
    }
    let folded = sql_query("PRAGMA wal_checkpoint(TRUNCATE)")
        .get_result::<Row>(connection)
        .map(|row| row.busy == 0);
    match folded {
        Ok(true) => {}
        Ok(false) => tracing::warn!(
            "SQLite's log is still being read, and stays: a copy of the database needs the -wal beside it as well"
        ),
        Err(error) => {
            tracing::warn!(%error, "SQLite's log could not be copied into its file: a copy of the database needs the -wal beside it as well");
        }
    }
}

/// Copies pages that nobody reads any more, without waiting. Returns the number of pages in the
/// log.
fn checkpoint(connection: &mut SqliteConnection) -> QueryResult<i64> {
    #[derive(QueryableByName)]
    struct Row {
        #[diesel(sql_type = BigInt)]
        log: i64,
    }
    Ok(sql_query("PRAGMA wal_checkpoint(PASSIVE)")
        .get_result::<Row>(connection)?
        .log)
}
