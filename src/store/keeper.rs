//! Background upkeep of the store: preparation until it succeeds, this instance's lease, deletion
//! of old rows, and measures of what waits.

use std::io;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, PoisonError, mpsc};
use std::thread;
use std::time::{Duration, Instant};

use super::sink_backlogs::SinkBacklogs;
use super::upkeep::{Excess, PruneBounds, Upkeep};
use super::{Housekeeping, PauseWatch, Reached, StoreError};
use crate::config::model;
use crate::domain::delivery::InstanceId;
use crate::domain::sink::Sinks;
use crate::runtime::shutdown::CriticalTask;
use crate::telemetry::Metrics;
use crate::telemetry::health::{Component, State};

/// Delay before something that failed is tried again.
pub(super) const RETRY: Duration = Duration::from_secs(1);
/// Interval between two measures of the backlog, and longest interval between two checks of the
/// store.
pub(super) const MEASURE: Duration = Duration::from_secs(5);
/// Time that rows may wait, beyond the longest retry, while nothing leaves the outbox.
const PATIENCE: Duration = Duration::from_secs(30);
/// Time in which the confirms of messages in flight come, after publishing has ended for a move.
const LAST_CONFIRMS: Duration = Duration::from_secs(3);
/// Time that a stop waits for a running statement.
const STOP: Duration = Duration::from_secs(5);

/// Lease of this instance. Without it nothing may be published: other instances take the rows over.
#[derive(Clone, Debug)]
pub struct Lease {
    born: Instant,
    /// Milliseconds after `born`; 0 is no lease.
    until: Arc<AtomicU64>,
    /// Milliseconds after `born` of the last renewal; 0 is never.
    renewed: Arc<AtomicU64>,
}

impl Lease {
    fn none() -> Self {
        Self {
            born: Instant::now(),
            until: Arc::default(),
            renewed: Arc::default(),
        }
    }

    /// Returns a lease that never ends, for a user without rows of its own.
    pub fn forever() -> Self {
        Self {
            born: Instant::now(),
            until: Arc::new(AtomicU64::new(u64::MAX)),
            renewed: Arc::default(),
        }
    }

    /// Returns `true` if the lease is held now. It is counted on the monotonic clock from *before*
    /// the database was asked. So it ends here before it ends there, whatever the wall clocks do.
    pub fn is_held(&self) -> bool {
        u128::from(self.until.load(Ordering::Acquire)) > self.born.elapsed().as_millis()
    }

    /// Returns the time at which the database was asked for the last renewal that succeeded.
    pub fn renewed(&self) -> Option<Instant> {
        let millis = self.renewed.load(Ordering::Acquire);
        (millis > 0).then(|| self.born + Duration::from_millis(millis))
    }

    fn extend(&self, asked: Instant, lease: Duration) {
        let since_birth = |time: Instant| {
            u64::try_from(time.saturating_duration_since(self.born).as_millis()).unwrap_or(u64::MAX)
        };
        self.until
            .store(since_birth(asked + lease), Ordering::Release);
        self.renewed.store(since_birth(asked), Ordering::Release);
    }

    fn end(&self) {
        self.until.store(0, Ordering::Release);
    }
}

/// Two threads: `keeper` for the lease, and `upkeep` for everything that may take its time.
#[derive(Debug)]
pub struct Keeper {
    lease: Lease,
    stop: Arc<Stop>,
    /// Closed once the store has been tried.
    tried: mpsc::Receiver<()>,
    ended: mpsc::Receiver<()>,
}

/// Dependencies of the keeper.
pub struct Kept {
    /// The store.
    pub store: Arc<dyn Housekeeping>,
    /// Instance whose lease is renewed.
    pub instance: InstanceId,
    /// Note that the store was reached before.
    pub known: Reached,
    /// The longest window of any source.
    pub longest_window: Duration,
    /// Metrics to update.
    pub metrics: Arc<Metrics>,
    /// The health of the store.
    pub health: Component,
    /// The health of the outbox.
    pub outbox: Component,
    /// The configured sinks.
    pub sinks: Sinks,
    /// Pauses in the store.
    pub pauses: PauseWatch,
}

/// Starts a thread. `running` is closed at its end.
fn spawn(
    name: &'static str,
    lifeline: &CriticalTask,
    running: mpsc::Sender<()>,
    work: impl FnOnce() + Send + 'static,
) -> io::Result<()> {
    let held = (lifeline.of(name), running);
    thread::Builder::new().name(name.into()).spawn(move || {
        let _held = held;
        work();
    })?;
    Ok(())
}

impl Keeper {
    /// Starts the two threads. Uses up to two connections.
    pub fn start(kept: Kept, config: &model::Store, lifeline: &CriticalTask) -> io::Result<Self> {
        let Kept {
            store,
            instance,
            known,
            longest_window,
            metrics,
            health,
            outbox,
            sinks,
            pauses,
        } = kept;
        let (lease, stop) = (Lease::none(), Arc::<Stop>::default());
        let (running, ended) = mpsc::channel();
        let (trying, tried) = mpsc::channel();
        let parked = health.beside("parked");
        let tenancy = Tenancy {
            store: store.clone(),
            instance,
            duration: config.lease,
            lease: lease.clone(),
            health,
            stop: stop.clone(),
            prepared: false,
            reached: known.is_known(),
            known,
            trying: Some(trying),
            pauses: Some(pauses.clone()),
            left: None,
        };
        let upkeep = Upkeep {
            store,
            instance,
            bounds: PruneBounds::new(config, longest_window),
            excess: Excess::default(),
            metrics,
            parked,
            lease: lease.clone(),
            stop: stop.clone(),
            outbox,
            pauses,
            sinks: SinkBacklogs::new(&sinks, PATIENCE + config.longest_retry, Instant::now()),
        };
        spawn("keeper", lifeline, running.clone(), move || tenancy.run())?;
        spawn("upkeep", lifeline, running, move || upkeep.run())?;
        Ok(Self {
            lease,
            stop,
            tried,
            ended,
        })
    }

    /// Waits for the end of the first attempt to prepare the store, at most for `limit`.
    pub fn until_tried(&self, limit: Duration) {
        // Nothing is ever sent: it is closed, or time is up.
        let _ = self.tried.recv_timeout(limit);
    }

    /// Returns this instance's lease.
    pub fn lease(&self) -> Lease {
        self.lease.clone()
    }

    /// Ends both threads. With `release`, this instance's rows are free for others at once: only
    /// after publishing has ended. Returns `false` if a statement still hangs; the lease then runs
    /// out by itself.
    pub fn stop(self, release: bool) -> bool {
        self.stop.request(release);
        matches!(
            self.ended.recv_timeout(STOP),
            Err(mpsc::RecvTimeoutError::Disconnected)
        )
    }
}

/// Asks the threads to stop, and wakes them for it.
#[derive(Debug, Default)]
pub(super) struct Stop {
    /// Request to stop: `true` to release the lease.
    asked: Mutex<Option<bool>>,
    wake: Condvar,
}

impl Stop {
    fn request(&self, release: bool) {
        *self.asked.lock().unwrap_or_else(PoisonError::into_inner) = Some(release);
        self.wake.notify_all();
    }

    /// Waits until `time`, or for the request to stop.
    pub(super) fn wait(&self, time: Instant) -> Option<bool> {
        let mut asked = self.asked.lock().unwrap_or_else(PoisonError::into_inner);
        loop {
            let left = time.saturating_duration_since(Instant::now());
            if asked.is_some() || left.is_zero() {
                return *asked;
            }
            asked = self
                .wake
                .wait_timeout(asked, left)
                .unwrap_or_else(PoisonError::into_inner)
                .0;
        }
    }
}

struct Tenancy {
    store: Arc<dyn Housekeeping>,
    instance: InstanceId,
    duration: Duration,
    lease: Lease,
    health: Component,
    stop: Arc<Stop>,
    prepared: bool,
    /// The store was reached, by this process or one before.
    reached: bool,
    known: Reached,
    /// Dropped after the first attempt.
    trying: Option<mpsc::Sender<()>>,
    /// Dropped after the first look.
    pauses: Option<PauseWatch>,
    /// Time at which publishing ended because a move has closed the store.
    left: Option<Instant>,
}

impl Tenancy {
    fn run(mut self) {
        let release = loop {
            let renewed = self.renew();
            self.trying = None;
            match &renewed {
                Ok(()) => self.health.set(State::Ready),
                // What was never reached may be named wrongly, and waiting mends no mistake.
                Err(error) if !self.reached => {
                    self.health.set_unfit(&format!("never reached: {error}"))
                }
                Err(StoreError::Unfit(why)) => self.health.set_unfit(why),
                Err(error) => self.health.set(State::NotReady(error.to_string().into())),
            }
            let pause = if renewed.is_ok() {
                (self.duration / 3).min(MEASURE)
            } else {
                RETRY
            };
            if let Some(release) = self.stop.wait(Instant::now() + pause) {
                break release;
            }
        };
        self.lease.end();
        if release && let Err(error) = self.store.release(self.instance) {
            tracing::warn!(%error, "the lease could not be released; others take this instance's rows over when it runs out");
        }
    }

    fn renew(&mut self) -> Result<(), StoreError> {
        if !self.prepared {
            self.store.hold()?;
            self.store.prepare()?;
            self.prepared = true;
        }
        if let Err(error) = self.store.refuse_moved() {
            if matches!(error, StoreError::Unfit(_)) {
                self.leave();
            }
            return Err(error);
        }
        self.left = None;
        let asked = Instant::now();
        self.store.renew_lease(self.instance, self.duration)?;
        // Before the first lease, so that no paused sink gets an event. Later on, a table that is locked
        // must not cost the lease.
        if let Some(mut pauses) = self.pauses.take() {
            pauses.look();
        }
        self.lease.extend(asked, self.duration);
        self.store.still_fit()?;
        if !self.reached {
            self.known.note();
            self.reached = true;
        }
        Ok(())
    }
}

impl Tenancy {
    /// Ends publishing from a store that a move has closed. The lease is released once the confirms of
    /// messages in flight had time to come: the move waits for it.
    fn leave(&mut self) {
        let left = *self.left.get_or_insert_with(Instant::now);
        self.lease.end();
        if left.elapsed() >= LAST_CONFIRMS
            && let Err(error) = self.store.release(self.instance)
        {
            tracing::warn!(%error, "the lease could not be released for the move; it goes on when the lease runs out");
        }
    }
}
