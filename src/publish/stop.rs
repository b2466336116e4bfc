//! Stop of the publishers.

use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use super::start::RunningPublisher;

/// Interval at which a stop checks its progress.
const CHECK: Duration = Duration::from_millis(5);

impl RunningPublisher {
    /// Returns the number of events in memory.
    pub fn in_memory(&self) -> usize {
        self.outbox.budget.used().0 + self.relay_budget.used().0
    }

    /// Stops within about `limit`, and returns the number of events that stay in the outbox.
    ///
    /// The order: the relay ends; events in memory are published; batches under way are awaited;
    /// the connection is closed; the results are recorded in the store. This blocks, so call it on
    /// a thread of its own. Nothing may send hints any more.
    pub fn stop(self, limit: Duration) -> usize {
        let began = Instant::now();
        let in_memory = {
            let (hints, relayed) = (self.outbox.budget.clone(), self.relay_budget.clone());
            move || hints.used().0 + relayed.used().0
        };
        drop(self.relay_stop);
        wait_until(began + limit, || self.relay.is_finished());

        // If the sink is away there is nothing to wait for: the outbox has the rows.
        wait_until(began + limit.mul_f64(0.7), || {
            in_memory() == 0 || !self.health.is_up()
        });
        self.halt.halted.store(true, Ordering::Release);
        wait_until(began + limit.mul_f64(0.9), || {
            self.halt.under_way.load(Ordering::Acquire) == 0 || !self.health.is_up()
        });

        self.io.stop.send_replace(true);
        wait_until(began + limit, || self.io.supervisor.is_finished());
        self.io.runtime.shutdown_timeout(Duration::from_millis(100));
        let left = in_memory();

        // Without the actor no result comes any more, and the confirm writer records the rest.
        self.arbiter.stop();
        // An arbiter ends after its actor's current message.
        let _ = self.arbiter.join();
        self.outbox.confirms.close();
        wait_until(began + limit, || self.confirm_writer.is_finished());
        drop(self.confirms_give_up);
        wait_until(began + limit, || self.confirm_writer.is_finished());
        left
    }
}

/// Stops the publishers side by side, each within about `limit`. Returns the number of rows that stay
/// in the outbox.
pub fn stop_all(publishers: Vec<RunningPublisher>, limit: Duration) -> usize {
    std::thread::scope(|scope| {
        let stop = |publisher: RunningPublisher| scope.spawn(move || publisher.stop(limit));
        let stopping: Vec<_> = publishers.into_iter().map(stop).collect();
        // A stop that panics has left its rows in the outbox.
        let left = stopping.into_iter().filter_map(|stop| stop.join().ok());
        left.sum()
    })
}

fn wait_until(end: Instant, done: impl Fn() -> bool) {
    while !done() && Instant::now() < end {
        std::thread::sleep(CHECK);
    }
}
