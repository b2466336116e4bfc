//! Note that a store was once reached from this disk. With it, a start during an outage is as ready
//! as the process before.

use std::fs::{self, OpenOptions};
use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

/// A note beside the spool that a store was reached.
#[derive(Clone, Debug)]
pub struct Reached {
    note: Option<PathBuf>,
    /// Which store: its URL as it is shown, without password.
    store: String,
}

impl Reached {
    /// The note of `store`, beside the spool; without a spool there is none, and nothing to be ready with.
    pub fn beside(spool: Option<&Path>, store: impl ToString) -> Self {
        let note = spool.map(|path| {
            let mut name = path.file_name().unwrap_or_default().to_owned();
            name.push("-store");
            path.with_file_name(name)
        });
        Self {
            note,
            store: store.to_string(),
        }
    }

    /// Returns `true` if this store was reached before.
    pub(super) fn is_known(&self) -> bool {
        self.note.as_ref().is_some_and(|note| {
            fs::read_to_string(note).is_ok_and(|known| known.trim_end() == self.store)
        })
    }

    /// Notes that the store was reached. If the note cannot be written, the next start asks the store.
    pub(super) fn note(&self) {
        let Some(note) = self.note.as_ref().filter(|_| !self.is_known()) else {
            return;
        };
        let draft = note.with_extension("draft");
        let written = OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(true)
            .mode(0o600)
            .open(&draft)
            .and_then(|mut file| file.write_all(self.store.as_bytes()))
            .and_then(|()| fs::rename(&draft, note));
        if let Err(error) = written {
            tracing::debug!(%error, note = %note.display(), "cannot note that the store was reached");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_note_is_of_one_store_and_outlives_the_process() {
        let folder = tempfile::tempdir().expect("a folder");
        let spool = folder.path().join("spool.db");
        let of = |store: &str| Reached::beside(Some(&spool), store);
        assert!(!of("postgres://a/d").is_known());
        of("postgres://a/d").note();
        assert!(of("postgres://a/d").is_known() && !of("postgres://b/d").is_known());
        of("postgres://b/d").note();
        assert!(of("postgres://b/d").is_known() && !of("postgres://a/d").is_known());
        assert_eq!(fs::read_dir(folder.path()).expect("a folder").count(), 1);
        let without = Reached::beside(None, "postgres://a/d");
        without.note();
        assert!(!without.is_known());
    }
}
