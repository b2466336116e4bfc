//! The running writer, as the wiring holds it.

use std::sync::mpsc;
use std::time::Instant;

use tokio::sync::watch;

/// The running writer.
#[derive(Debug)]
pub struct RunningLakehouse {
    /// Turns to `true` if the writer shall stop.
    pub(super) stop: watch::Sender<bool>,
    /// Message of the thread at its end.
    pub(super) ended: mpsc::Receiver<()>,
}

impl RunningLakehouse {
    /// Asks the writer to commit what it has, and waits until it has ended, at most until `end`. Returns
    /// `false` if it has not.
    pub fn stop(self, end: Instant) -> bool {
        self.stop.send_replace(true);
        let left = end.saturating_duration_since(Instant::now());
        self.ended.recv_timeout(left).is_ok()
    }
}
