//! Shutdown: graceful on a signal, immediate when a critical actor or thread dies.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use tokio::sync::mpsc;

/// Guard that every critical actor and thread holds. If it is dropped while the service is not
/// stopping, it reports the death of its holder. A panic kills an actor for good, and a service
/// that lacks one is worse than one that restarts.
#[derive(Debug)]
pub struct CriticalTask {
    of: &'static str,
    stopping: Arc<AtomicBool>,
    deaths: mpsc::UnboundedSender<&'static str>,
}

/// Receiver of deaths.
#[derive(Debug)]
pub struct DeathWatch {
    deaths: mpsc::UnboundedReceiver<&'static str>,
    stopping: Arc<AtomicBool>,
    // Keeps the channel open when every holder is gone.
    _own: CriticalTask,
}

impl CriticalTask {
    /// Returns a guard without a holder, from which others are made, and the receiver of deaths.
    pub fn new() -> (Self, DeathWatch) {
        let stopping = Arc::new(AtomicBool::new(false));
        let (report, deaths) = mpsc::unbounded_channel();
        let guard = |of| Self {
            of,
            stopping: stopping.clone(),
            deaths: report.clone(),
        };
        (
            guard(""),
            DeathWatch {
                deaths,
                stopping: stopping.clone(),
                _own: guard(""),
            },
        )
    }

    /// Returns the guard of the actor or thread called `name`.
    #[must_use]
    pub fn of(&self, name: &'static str) -> Self {
        Self {
            of: name,
            stopping: self.stopping.clone(),
            deaths: self.deaths.clone(),
        }
    }

    /// Starts a thread called `name` that may be told to end. Its death by a panic is reported. A thread
    /// that cannot be started is an error of the caller's, and no death.
    pub fn spawn(
        &self,
        name: &'static str,
        thread: thread::Builder,
        work: impl FnOnce() + Send + 'static,
    ) -> io::Result<()> {
        let unnamed = self.clone();
        thread.spawn(move || {
            let alive = unnamed.of(name);
            work();
            alive.retire();
        })?;
        Ok(())
    }

    /// Ends the guard of a thread that was told to end. No death is reported.
    pub fn retire(mut self) {
        self.of = "";
    }
}

impl Clone for CriticalTask {
    fn clone(&self) -> Self {
        self.of("")
    }
}

impl Drop for CriticalTask {
    fn drop(&mut self) {
        if !self.of.is_empty() && !self.stopping.load(Ordering::Acquire) {
            // Without a receiver, the process is ending already.
            let _ = self.deaths.send(self.of);
        }
    }
}

impl DeathWatch {
    /// Resolves with the name of the first holder that dies.
    pub async fn death(&mut self) -> &'static str {
        match self.deaths.recv().await {
            Some(name) => name,
            None => std::future::pending().await,
        }
    }

    /// Marks the service as stopping: deaths are no longer reported.
    pub fn stopping(&self) {
        self.stopping.store(true, Ordering::Release);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_death_is_reported_unless_the_service_is_stopping() {
        let (task, mut watch) = CriticalTask::new();
        let (a, b) = (task.of("a"), task.of("b"));
        drop(task.clone());
        task.of("told to end").retire();
        drop(a);
        assert_eq!(watch.death().await, "a");
        // No system has a stack of that size.
        let impossible = thread::Builder::new().stack_size(usize::MAX / 2);
        task.spawn("not started", impossible, || {})
            .expect_err("no room");
        task.spawn("ends", thread::Builder::new(), || {})
            .expect("a thread");
        task.spawn("dies", thread::Builder::new(), || panic!("on purpose"))
            .expect("a thread");
        assert_eq!(watch.death().await, "dies", "the only death of the three");
        watch.stopping();
        drop(b);
        assert!(watch.deaths.try_recv().is_err());
    }
}
