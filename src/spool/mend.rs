//! The spool's file: opened at start, or later, as soon as that can be done. The service never ends because of it.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use super::{Spool, locked, oldest};
use crate::faults::control;
use crate::store::{Room, SpoolFile, SpoolTrouble, StoreError};

/// Between two attempts.
const RETRY: Duration = Duration::from_secs(2);

/// The file, or what is wrong with it.
#[derive(Debug)]
pub(super) struct Place {
    path: PathBuf,
    /// A file in memory will do.
    unsafely: bool,
    file: Option<Arc<SpoolFile>>,
    trouble: Option<String>,
    next: Instant,
    /// A file that was broken, and was set aside.
    broken: Option<PathBuf>,
}

impl Place {
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

    /// What `/readyz` is to say: of a file that cannot be used, and of one that was set aside and still lies there.
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

/// What became of an attempt to open the file.
struct Opened {
    result: Result<SpoolFile, SpoolTrouble>,
    /// Where a broken one went.
    aside: Option<PathBuf>,
}

/// Opens the file; one that is broken is set aside, and another is begun.
fn open(path: &Path, unsafely: bool) -> Opened {
    let broken = match SpoolFile::open(path, unsafely) {
        Err(SpoolTrouble::Broken(why)) if !control::makes("broken_spool_stays") => why,
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
    /// Opens the file where it is not open, and gives one up that was deleted, once nothing is left in it. Call it now and then.
    pub(super) fn mend(&self) {
        let _writing = locked(&self.0.writing);
        let mut place = locked(&self.0.place);
        if Instant::now() < place.next {
            return;
        }
        place.next = Instant::now() + RETRY;
        let had = place.trouble.clone();
        if let Some(file) = &place.file {
            place.trouble = file.fit().err().map(|error| error.to_string());
            if place.trouble.is_none() || !self.held().is_clear() {
                let changed = place.trouble != had;
                drop(place);
                if changed {
                    self.show();
                }
                return;
            }
            place.file = None;
        }
        let (path, unsafely) = (place.path.clone(), place.unsafely);
        drop(place);
        let opened = open(&path, unsafely);
        let counted = opened
            .result
            .and_then(|file| self.count(&file).map(|()| file).map_err(SpoolTrouble::from));
        let mut place = locked(&self.0.place);
        place.broken = opened.aside.or_else(|| place.broken.take());
        match counted {
            Ok(file) => {
                (place.file, place.trouble) = (Some(Arc::new(file)), None);
                if had.is_some() {
                    tracing::info!("the spool can be used from now on");
                }
            }
            Err(trouble) => place.trouble = Some(trouble.text().to_owned()),
        }
        drop(place);
        self.show();
    }

    /// Takes what an earlier run has left in `file` into account.
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
        self.held().opened(usage, &keys, first, Instant::now());
        Ok(())
    }

    /// A read or a write has failed: a file that turns out to be damaged is given up, and set aside with the next attempt to open it.
    pub(super) fn failed(&self, error: &StoreError) {
        let SpoolTrouble::Broken(why) = SpoolTrouble::from(error.clone()) else {
            return;
        };
        let _writing = locked(&self.0.writing);
        let mut place = locked(&self.0.place);
        let Some(file) = place.file.take() else {
            return;
        };
        // Whoever has it in hand is done within a moment; the file is renamed with the next look.
        drop(file);
        place.trouble = Some(why);
        drop(place);
        self.held()
            .opened(Default::default(), &[], None, Instant::now());
        self.show();
    }

    /// The last call: brings what waits into the file alone.
    pub fn close(&self) {
        if let Ok(file) = self.file() {
            file.close();
        }
    }
}
