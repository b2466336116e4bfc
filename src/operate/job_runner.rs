//! The job runner: a thread that moves jobs on, step by step. Any instance moves any job on, so a job goes
//! on after the death of the instance that was asked for it. A job for a sink is left to instances that
//! have the sink.

use std::collections::BTreeMap;
use std::io;
use std::sync::Arc;
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, Sender, TryRecvError, bounded, select};

use super::republish::{MOST_JOBS, stored_choice};
use crate::domain::sink::{SinkName, Sinks};
use crate::runtime::shutdown::CriticalTask;
use crate::store::republish::{Choice, JobId, Stepped};
use crate::store::{Republish, StoreError};

/// Interval at which the runner looks for jobs that another instance was asked for, and rest of a job
/// that cannot be moved on.
const LOOK: Duration = Duration::from_secs(10);

/// Wakes the job runner.
#[derive(Clone, Debug)]
pub struct JobWaker(Sender<()>);

impl JobWaker {
    /// Returns a waker, and the receiver for [`JobRunner::start`].
    pub fn new() -> (Self, Receiver<()>) {
        let (wake, woken) = bounded(1);
        (Self(wake), woken)
    }

    /// Has the runner look for jobs now.
    pub(super) fn wake(&self) {
        // A full channel means that it will look anyway.
        let _ = self.0.try_send(());
    }
}

/// The running thread. It ends when this is dropped.
#[derive(Debug)]
pub struct JobRunner {
    stop: Option<Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

/// Jobs that this instance does not move on at present, each with the end of its rest.
type Resting = BTreeMap<JobId, Instant>;

/// Reason for making no step of a job.
#[derive(Debug, thiserror::Error)]
enum NoStep {
    #[error(
        "it publishes to the sink {1} alone, which this instance does not have; other instances move it on, and without one it waits: add \
         the sink to the configuration, or end the job by `hookweir jobs cancel {0}`"
    )]
    NoSink(JobId, SinkName),
    #[error(
        "{1}; the step is tried again every {rest} s, and neither other jobs nor deliveries are concerned. If this goes on, end the job by \
         `hookweir jobs cancel {0}`",
        rest = LOOK.as_secs()
    )]
    Failed(JobId, StoreError),
}

struct Runner {
    store: Arc<dyn Republish>,
    sinks: Sinks,
    woken: Receiver<()>,
    stopped: Receiver<()>,
}

impl JobRunner {
    /// Starts the thread. It uses one connection of `store` for short transactions.
    pub fn start(
        store: Arc<dyn Republish>,
        sinks: Sinks,
        woken: Receiver<()>,
        lifeline: &CriticalTask,
    ) -> io::Result<Self> {
        let (stop, stopped) = bounded(0);
        let runner = Runner {
            store,
            sinks,
            woken,
            stopped,
        };
        let held = lifeline.of("jobs");
        let thread = thread::Builder::new().name("jobs".into()).spawn(move || {
            let _held = held;
            runner.run();
        })?;
        Ok(Self {
            stop: Some(stop),
            thread: Some(thread),
        })
    }
}

impl Drop for JobRunner {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            // A panic was reported by the lifeline.
            let _ = thread.join();
        }
    }
}

impl Runner {
    fn run(&self) {
        let mut failing = false;
        let mut resting = Resting::new();
        loop {
            let wait = match self.step_each(&mut resting) {
                Ok(wait) => {
                    failing = false;
                    wait
                }
                Err(error) => {
                    if !std::mem::replace(&mut failing, true) {
                        tracing::warn!(
                            %error,
                            "cannot look for jobs that publish events again: {error}; such jobs wait, deliveries are not concerned, retrying"
                        );
                    }
                    LOOK
                }
            };
            select! {
                recv(self.stopped) -> _ => return,
                recv(self.woken) -> told => if told.is_err() { return },
                default(wait) => {}
            }
        }
    }

    /// Makes a step of each job that is due, but for those that rest. Returns the time until the next
    /// one is.
    fn step_each(&self, resting: &mut Resting) -> Result<Duration, StoreError> {
        let jobs = self.store.running_jobs(MOST_JOBS)?;
        resting.retain(|id, _| jobs.iter().any(|job| job.new.id == *id));
        let mut next = LOOK;
        for job in jobs {
            let id = job.new.id;
            if self.stopped.try_recv() == Err(TryRecvError::Disconnected) {
                break;
            }
            if resting.get(&id).is_some_and(|end| Instant::now() < *end) {
                continue;
            }
            let Some(choice) = stored_choice(&job) else {
                continue;
            };
            match self.step(id, &choice) {
                Ok(Stepped::DueIn(wait)) => {
                    resting.remove(&id);
                    next = next.min(wait);
                }
                Ok(Stepped::Ended) => {
                    tracing::info!(job = %id, "job {id} has ended; `hookweir jobs` shows it");
                }
                Err(reason) => {
                    // It has been said if the job has rested before.
                    if resting.insert(id, Instant::now() + LOOK).is_none() {
                        tracing::warn!(job = %id, %reason, "job {id} does not move on here: {reason}");
                    }
                }
            }
        }
        Ok(next)
    }

    fn step(&self, id: JobId, choice: &Choice) -> Result<Stepped, NoStep> {
        let lacking = choice
            .to
            .iter()
            .find(|to| self.sinks.iter().all(|own| own != *to));
        match lacking {
            Some(sink) => Err(NoStep::NoSink(id, sink.clone())),
            None => {
                let stepped = self.store.step(id, choice, &self.sinks);
                stepped.map_err(|error| NoStep::Failed(id, error))
            }
        }
    }
}

#[cfg(test)]
mod tests;
