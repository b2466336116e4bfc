//! Stalls of this process itself. If the harness was too busy to read an answer, the service did
//! not answer late.

use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

const BEAT: Duration = Duration::from_millis(10);
/// Overshoots that a busy machine has all the time.
const USUAL: Duration = Duration::from_millis(40);

/// A task among those that send, which sleeps and looks how long it slept. It ends with the last handle.
#[derive(Clone, Default)]
pub struct Pulse(Arc<Mutex<Vec<(Instant, Duration)>>>);

impl Pulse {
    /// Starts it.
    pub fn start() -> Self {
        let pulse = Self::default();
        let stalls = Arc::downgrade(&pulse.0);
        tokio::spawn(async move {
            while let Some(stalls) = stalls.upgrade() {
                let began = Instant::now();
                tokio::time::sleep(BEAT).await;
                let late = began.elapsed().saturating_sub(BEAT);
                if late > USUAL {
                    stalls.lock().expect("stalls").push((began, late));
                }
            }
        });
        pulse
    }

    /// Returns the sum of the stalls between two times.
    pub fn stalled(&self, from: Instant, to: Instant) -> Duration {
        let stalls = self.0.lock().expect("stalls");
        stalls
            .iter()
            .filter(|(at, late)| *at < to && *at + BEAT + *late > from)
            .map(|(_, late)| *late)
            .sum()
    }
}
