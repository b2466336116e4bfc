//! A disk that can be full: a few megabytes of memory, mounted in a folder of its own.

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;

/// The disk. Dropped, it is unmounted.
pub struct SmallDisk(tempfile::TempDir);

impl SmallDisk {
    /// A disk of so many kilobytes; none where this process may not mount one.
    pub fn mount(kilobytes: u32) -> Option<Self> {
        let folder = tempfile::tempdir().expect("a folder");
        let options = format!("size={kilobytes}k,mode=755");
        let mounted = Command::new("mount")
            .args(["-t", "tmpfs", "-o", &options, "none"])
            .arg(folder.path())
            .output();
        mounted
            .is_ok_and(|output| output.status.success())
            .then(|| Self(folder))
    }

    /// Returns the mount point.
    pub fn path(&self) -> &Path {
        self.0.path()
    }

    fn ballast(&self) -> PathBuf {
        self.path().join("ballast")
    }

    /// Takes all the room that is left.
    pub fn fill(&self) {
        fill(&self.ballast());
    }

    /// Takes so many bytes.
    pub fn take(&self, bytes: u64) {
        std::fs::write(self.ballast(), vec![1; bytes as usize]).expect("they have room");
    }

    /// Gives it back.
    pub fn free(&self) {
        std::fs::remove_file(self.ballast()).expect("the ballast goes");
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        // Lazily: a process that a failed test has left may still have a file open.
        let _ = Command::new("umount").arg("-l").arg(self.path()).status();
    }
}

/// Writes until there is no room left.
pub fn fill(path: &Path) {
    let mut file = std::fs::File::create(path).expect("a file");
    let mut block = vec![0; 1 << 20];
    while !block.is_empty() {
        if file.write_all(&block).is_err() {
            block.truncate(block.len() / 2);
        }
    }
}
