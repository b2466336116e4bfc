//! Ending: on a signal in order, on the death of an actor at once.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use tokio::sync::mpsc;

/// Held by every actor and thread that the service cannot do without. Dropped while the service is not stopping, it reports that its
/// holder has died: a panic kills an actor for good, and a service that lacks one is worse than one that restarts.
#[derive(Debug)]
pub struct Lifeline {
    of: &'static str,
    stopping: Arc<AtomicBool>,
    deaths: mpsc::UnboundedSender<&'static str>,
}

/// Where deaths are reported.
#[derive(Debug)]
pub struct Vigil {
    deaths: mpsc::UnboundedReceiver<&'static str>,
    stopping: Arc<AtomicBool>,
    // Keeps the channel open when every holder is gone.
    _own: Lifeline,
}

impl Lifeline {
    /// A lifeline to hand out clones of, and where deaths are reported.
    pub fn new() -> (Self, Vigil) {
        let stopping = Arc::new(AtomicBool::new(false));
        let (report, deaths) = mpsc::unbounded_channel();
        let lifeline = |of| Self {
            of,
            stopping: stopping.clone(),
            deaths: report.clone(),
        };
        (
            lifeline(""),
            Vigil {
                deaths,
                stopping: stopping.clone(),
                _own: lifeline(""),
            },
        )
    }

    /// The lifeline of the actor or thread called `name`.
    #[must_use]
    pub fn of(&self, name: &'static str) -> Self {
        Self {
            of: name,
            stopping: self.stopping.clone(),
            deaths: self.deaths.clone(),
        }
    }
}

impl Clone for Lifeline {
    fn clone(&self) -> Self {
        self.of("")
    }
}

impl Drop for Lifeline {
    fn drop(&mut self) {
        if !self.of.is_empty() && !self.stopping.load(Ordering::Acquire) {
            // Nobody listens any more: the process is ending already.
            let _ = self.deaths.send(self.of);
        }
    }
}

impl Vigil {
    /// Resolves with the name of the first one that dies.
    pub async fn death(&mut self) -> &'static str {
        match self.deaths.recv().await {
            Some(name) => name,
            None => std::future::pending().await,
        }
    }

    /// From here on everything ends because it should.
    pub fn stopping(&self) {
        self.stopping.store(true, Ordering::Release);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_death_is_reported_unless_the_service_is_stopping() {
        let (lifeline, mut vigil) = Lifeline::new();
        let (a, b) = (lifeline.of("a"), lifeline.of("b"));
        drop(lifeline.clone());
        drop(a);
        assert_eq!(vigil.death().await, "a");
        vigil.stopping();
        drop(b);
        assert!(vigil.deaths.try_recv().is_err());
    }
}
