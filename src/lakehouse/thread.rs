//! The thread of the writer.

use std::io;
use std::sync::{Arc, mpsc};
use std::time::Duration;

use hookweir_lakehouse::error::LakeError;
use hookweir_lakehouse::feed::folder::FolderFeed;
#[cfg(feature = "kafka")]
use hookweir_lakehouse::feed::kafka::KafkaFeed;
use hookweir_lakehouse::feed::queue::QueueFeed;
use hookweir_lakehouse::run::run;
use tokio::sync::watch;

use super::RunningLakehouse;
use super::observer::{Oldest, Reporter};
use super::settings::{FeedPlace, Settings};
use crate::telemetry::Metrics;
use crate::telemetry::health::{Component, State};

/// Interval at which the file sink's folder is looked at.
const LOOK: Duration = Duration::from_millis(200);
/// Pause before a writer that has ended is started again.
const PAUSE: Duration = Duration::from_secs(30);

/// Parts that each run of the writer needs.
struct Runs {
    settings: Settings,
    metrics: Arc<Metrics>,
    health: Component,
    stop: watch::Receiver<bool>,
    oldest: Arc<Oldest>,
}

/// Starts the writer on a thread of its own.
pub(super) fn start(
    settings: Settings,
    metrics: Arc<Metrics>,
    health: Component,
) -> io::Result<RunningLakehouse> {
    let (stop, stopped) = watch::channel(false);
    let (end, ended) = mpsc::channel();
    let runs = Arc::new(Runs {
        settings,
        metrics,
        health,
        stop: stopped,
        oldest: Arc::default(),
    });
    // One worker beside this thread: Parquet files are made on the one, and the feed is read on the other.
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .thread_name("lakehouse-io")
        .enable_all()
        .build()?;
    let thread = std::thread::Builder::new().name("lakehouse".to_owned());
    thread.spawn(move || {
        runtime.block_on(async {
            tokio::select! {
                () = supervise(runs.clone()) => {}
                () = runs.oldest.measure(&runs.metrics) => {}
            }
        });
        runs.metrics.lakehouse_up.set(0);
        runtime.shutdown_background();
        // The receiver is gone if the process does not wait.
        let _ = end.send(());
    })?;
    Ok(RunningLakehouse { stop, ended })
}

/// Runs the writer until it is stopped. A panic of it ends no delivery: the writer is started again.
async fn supervise(runs: Arc<Runs>) {
    let mut stop = runs.stop.clone();
    loop {
        let inner = runs.clone();
        let failure = match tokio::spawn(async move { inner.write().await }).await {
            Ok(Ok(())) => return,
            Ok(Err(error)) => error,
            Err(_) => "the writer has died; its panic is in the log above".to_owned(),
        };
        runs.metrics.lakehouse_up.set(0);
        let seconds = PAUSE.as_secs();
        let why = format!("{failure}; events wait in the sink, next attempt in {seconds} s");
        runs.health.set(State::Degraded(why.into()));
        tokio::select! {
            () = tokio::time::sleep(PAUSE) => {}
            _ = stop.wait_for(|stop| *stop) => return,
        }
    }
}

impl Runs {
    /// Runs the writer once. Returns `Ok` if it was stopped.
    async fn write(&self) -> Result<(), String> {
        let Settings {
            place,
            feed,
            limits,
        } = &self.settings;
        let mut reporter = Reporter::new(
            self.oldest.clone(),
            self.metrics.clone(),
            self.health.clone(),
        );
        let stop = self.stop.clone();
        let done = match feed {
            FeedPlace::Folder { events, position } => {
                let feed = FolderFeed::open(events, position, LOOK).map_err(|error| {
                    format!("cannot read its position {}: {error}", position.display())
                })?;
                run(place, feed, *limits, &mut reporter, stop).await
            }
            FeedPlace::Queue(options) => {
                let feed = QueueFeed::new(options.clone());
                run(place, feed, *limits, &mut reporter, stop).await
            }
            #[cfg(feature = "kafka")]
            FeedPlace::Kafka(options) => {
                let feed = KafkaFeed::new(options.clone());
                run(place, feed, *limits, &mut reporter, stop).await
            }
        };
        done.map_err(|error: LakeError| error.to_string())
    }
}
