//! The contract over the file sink.

use std::fs;
use std::path::{Path, PathBuf};

use hookweir::config::model::Publisher;
use tempfile::TempDir;

use super::{Harness, contract};
use crate::publish_rig::file;
use hookweir_testkit::sink::{Message, files};

/// A folder of events. An outage moves it away, and puts a file in its place.
pub struct FileHarness {
    above: TempDir,
    outages: usize,
}

impl FileHarness {
    fn folder(&self) -> PathBuf {
        self.above.path().join("events")
    }
}

impl Harness for FileHarness {
    fn start() -> Self {
        Self {
            above: TempDir::new().expect("a folder"),
            outages: 0,
        }
    }

    fn start_own() -> Self {
        Self::start()
    }

    fn config(&self) -> Publisher {
        file(&self.folder())
    }

    fn break_off(&mut self) {
        let away = self.above.path().join(format!("away-{}", self.outages));
        fs::rename(self.folder(), away).expect("moved away");
        fs::write(self.folder(), "in the way").expect("a file");
        self.outages += 1;
    }

    fn mend(&mut self) {
        fs::remove_file(self.folder()).expect("out of the way");
    }

    fn read(&self) -> Vec<Message> {
        let away = (0..self.outages).map(|n| self.above.path().join(format!("away-{n}")));
        away.chain([self.folder()])
            .filter(|folder| has_events(folder))
            .flat_map(|folder| files(&folder))
            .collect()
    }
}

fn has_events(folder: &Path) -> bool {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    entries.map(|entry| entry.path()).any(|path| {
        path.extension()
            .is_some_and(|extension| extension == "jsonl")
    })
}

contract!(FileHarness);
