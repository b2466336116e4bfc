//! The job runner: a thread that moves jobs on, step by step. Any instance moves any job on, so a job goes
//! on after the death of the instance that was asked for it.

use std::io;
use std::sync::Arc;
use std::thread::{self, JoinHandle};
use std::time::Duration;

use crossbeam_channel::{Receiver, Sender, bounded, select};

use super::republish::{MOST_JOBS, stored_choice};
use crate::domain::sink::Sinks;
use crate::runtime::shutdown::CriticalTask;
use crate::store::republish::Stepped;
use crate::store::{Republish, StoreError};

/// Interval at which the runner looks for jobs that another instance was asked for.
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
        loop {
            let wait = match self.step_each() {
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

    /// Makes a step of each job that is due. Returns the time until the next one is.
    fn step_each(&self) -> Result<Duration, StoreError> {
        let mut next = LOOK;
        for job in self.store.running_jobs(MOST_JOBS)? {
            let Some(choice) = stored_choice(&job) else {
                continue;
            };
            match self.store.step(job.new.id, &choice, &self.sinks)? {
                Stepped::DueIn(wait) => next = next.min(wait),
                Stepped::Ended => {
                    tracing::info!(job = %job.new.id, "job {} has ended; `hookweir jobs` shows it", job.new.id);
                }
            }
        }
        Ok(next)
    }
}
