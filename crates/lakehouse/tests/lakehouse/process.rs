//! A writer in a process of its own.

use std::io::{BufRead as _, BufReader};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// Longest wait for a writer on a slow day.
pub(crate) const PATIENCE: Duration = Duration::from_secs(120);

/// A writer process, killed when dropped.
pub(crate) struct Process {
    child: Child,
}

impl Process {
    /// Starts `lake-test-writer`, as `prepare` has it.
    pub(crate) fn start(prepare: impl FnOnce(&mut Command)) -> Self {
        let mut command = Command::new(env!("CARGO_BIN_EXE_lake-test-writer"));
        prepare(&mut command);
        command.stdout(Stdio::piped()).stderr(Stdio::null());
        let mut child = command.spawn().expect("it starts");
        let lines = BufReader::new(child.stdout.take().expect("stdout")).lines();
        std::thread::spawn(move || lines.for_each(drop));
        Self { child }
    }

    pub(crate) fn kill(&mut self) {
        // SIGKILL. It may be dead already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }

    /// Waits until the process dies by itself.
    pub(crate) fn await_death(&mut self) {
        let since = Instant::now();
        while self.child.try_wait().expect("asked").is_none() {
            assert!(since.elapsed() < PATIENCE, "the writer still runs");
            std::thread::sleep(Duration::from_millis(5));
        }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.kill();
    }
}
