//! The spool's file: opened at start, or later as soon as that is possible. Its errors never end
//! the service.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use super::{Spool, locked, oldest};
use crate::faults::mutants::Mutant;
use crate::store::{Room, SpoolFile, SpoolTrouble, StoreError};

/// Delay between two attempts to open the file.
const RETRY: Duration = Duration::from_secs(2);

/// The file, or the reason why it cannot be used.
#[derive(Debug)]
pub(super) struct SpoolSlot {
    path: PathBuf,
    /// A file in memory is allowed.
    unsafely: bool,
    file: Option<Arc<SpoolFile>>,
    trouble: Option<String>,
    next: Instant,
    /// A broken file that was renamed.
    broken: Option<PathBuf>,
}

impl SpoolSlot {
    pub(super) fn new(path: &Path, unsafely: bool) -> Self {
        Self {
            path: path.into(),
            unsafely,
            file: None,
            trouble: None,
            next: Instant::now(),
            broken: None,
        }
    }

    pub(super) fn file(&self) -> Result<Arc<SpoolFile>, StoreError> {
        self.file.clone().ok_or_else(|| {
            StoreError::Unavailable(format!(
                "the spool cannot be used: {}",
                self.trouble.as_deref().unwrap_or("not open yet")
            ))
        })
    }

    /// Returns the texts for `/readyz`: about a file that cannot be used, and about a broken one
    /// that still exists.
    pub(super) fn words(&self) -> (Option<String>, Option<String>) {
        let trouble = self.trouble.as_ref().map(|why| {
            format!(
                "the spool cannot be used, so that deliveries are answered 503 whenever the store is away: {why}. It is tried again every {} s",
                RETRY.as_secs()
            )
        });
        let broken = self.broken.as_ref().filter(|aside| aside.exists()).map(|aside| {
            format!(
                "a broken spool was set aside as {}: events in it were accepted and are not in the store. Recover them (`sqlite3 FILE .recover`), \
                 or delete the file",
                aside.display()
            )
        });
        (trouble, broken)
    }
}

/// Result of an attempt to open the file.
struct Opened {
    result: Result<SpoolFile, SpoolTrouble>,
    /// New path of a broken file.
    aside: Option<PathBuf>,
}

/// Opens the file. If it is broken, renames it and creates another.
fn open(path: &Path, unsafely: bool) -> Opened {
    let broken = match SpoolFile::open(path, unsafely) {
        Err(SpoolTrouble::Broken(why)) if !Mutant::BrokenSpoolStays.is_on() => why,
        result => {
            return Opened {
                result,
                aside: None,
            };
        }
    };
    match SpoolFile::set_aside(path) {
        Ok(aside) => {
            tracing::error!(
                "the spool is broken: {broken}. It was set aside as {}, and a new one is begun; events that were in it are not in the store",
                aside.display()
            );
            Opened {
                result: SpoolFile::open(path, unsafely),
                aside: Some(aside),
            }
        }
        Err(error) => {
            let why = format!("{broken}; and it cannot be set aside: {error}: move it away");
            Opened {
                result: Err(SpoolTrouble::Unusable(why)),
                aside: None,
            }
        }
    }
}

impl Spool {
    /// Opens the file if it is not open. Gives up a deleted file once no event is left in it. Call
    /// it regularly.
    pub(super) fn reopen(&self) {
        let _writing = locked(&self.0.writing);
        let mut slot = locked(&self.0.slot);
        if Instant::now() < slot.next {
            return;
        }
        slot.next = Instant::now() + RETRY;
        let had = slot.trouble.clone();
        if let Some(file) = &slot.file {
            slot.trouble = file.fit().err().map(|error| error.to_string());
            if slot.trouble.is_none() || !self.contents().is_clear() {
                let changed = slot.trouble != had;
                drop(slot);
                if changed {
                    self.report();
                }
                return;
            }
            slot.file = None;
        }
        let (path, unsafely) = (slot.path.clone(), slot.unsafely);
        drop(slot);
        let opened = open(&path, unsafely);
        let counted = opened
            .result
            .and_then(|file| self.count(&file).map(|()| file).map_err(SpoolTrouble::from));
        let mut slot = locked(&self.0.slot);
        slot.broken = opened.aside.or_else(|| slot.broken.take());
        match counted {
            Ok(file) => {
                (slot.file, slot.trouble) = (Some(Arc::new(file)), None);
                if had.is_some() {
                    tracing::info!("the spool can be used from now on");
                }
            }
            Err(trouble) => slot.trouble = Some(trouble.text().to_owned()),
        }
        drop(slot);
        self.report();
    }

    /// Counts the events of an earlier run in `file`.
    fn count(&self, file: &SpoolFile) -> Result<(), StoreError> {
        let (usage, keys) = (file.usage()?, file.keys()?);
        let first = oldest(
            file,
            Room {
                events: 1,
                bytes: 0,
            },
        )?
        .1;
        self.0.parked.store(file.parked_rows()?, Ordering::Relaxed);
        self.contents().opened(usage, &keys, first, Instant::now());
        Ok(())
    }

    /// Handles a failed read or write. A damaged file is given up, and renamed by the next attempt
    /// to open it.
    pub(super) fn failed(&self, error: &StoreError) {
        let SpoolTrouble::Broken(why) = SpoolTrouble::from(error.clone()) else {
            return;
        };
        let _writing = locked(&self.0.writing);
        let mut slot = locked(&self.0.slot);
        let Some(file) = slot.file.take() else {
            return;
        };
        // Other users are done within a moment. The next attempt renames the file.
        drop(file);
        slot.trouble = Some(why);
        drop(slot);
        self.contents()
            .opened(Default::default(), &[], None, Instant::now());
        self.report();
    }

    /// Checkpoints the file, as the last call.
    pub fn close(&self) {
        if let Ok(file) = self.file() {
            file.close();
        }
    }
}
