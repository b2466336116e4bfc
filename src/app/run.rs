//! The running service: from the first connection to an orderly stop.

use std::net::TcpListener;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use actix::Arbiter;
use futures_util::FutureExt;

use super::sockets::Sockets;
use super::stages::Service;
use super::{ServeError, operator};
use crate::admin::{self, Api};
use crate::config::Config;
use crate::config::model::TlsListener;
use crate::operate::{Operator, ReloadOrder};
use crate::runtime::listener::StopMode;
use crate::runtime::mailbox::ActorRegistry;
use crate::runtime::shutdown::DeathWatch;
use crate::runtime::signals::{Hangups, Signals};
use crate::telemetry::{Health, systemd, traces};
use crate::{http, operate, publish};

/// Interval at which a stop looks at its progress.
const LOOK: Duration = Duration::from_millis(10);
/// Time of a stop for refused deliveries that are not in the store yet.
const QUARANTINE_STOP: Duration = Duration::from_secs(2);
/// Time of a stop for the lakehouse's writer: its protocol allows an end at any point, and providers wait.
const LAKEHOUSE_STOP: Duration = Duration::from_secs(2);

/// The admin listener's server, while the service drains.
struct AdminServer {
    server: tokio::task::JoinHandle<std::io::Result<()>>,
    asked_to_stop: Instant,
}

impl Service {
    /// Serves until a signal comes or an actor dies, then stops the stages in order.
    pub(super) async fn run(
        self,
        config: &Config,
        sockets: Sockets,
        mut end: End,
    ) -> Result<(), ServeError> {
        let (stop_admin, admin_stopped) = tokio::sync::oneshot::channel::<()>();
        let admin = match self
            .serve_http(config, sockets, admin_stopped, &mut end)
            .await
        {
            Ok(admin) => admin,
            Err(error) => {
                // The process ends now. A stage whose actor is dead has no orderly drop: nothing may
                // wait for it.
                std::mem::forget(self);
                return Err(error);
            }
        };
        end.vigil.stopping();
        self.drain(admin.asked_to_stop + config.shutdown.drain)
            .await;
        drop(stop_admin);
        // The collector may be away, and a thread may wait for it.
        let flushed = tokio::task::spawn_blocking(|| traces::flush(traces::LAST_SPANS));
        let _ = flushed.await;
        // The admin listener stops within a second, or the process ends without it.
        let _ = admin.server.await;
        Ok(())
    }

    /// Serves until a signal comes, and until the requests in flight are answered. The admin listener
    /// goes on for the drain.
    async fn serve_http(
        &self,
        config: &Config,
        sockets: Sockets,
        admin_stopped: tokio::sync::oneshot::Receiver<()>,
        end: &mut End,
    ) -> Result<AdminServer, ServeError> {
        let cannot =
            |error: std::io::Error| ServeError::Unavailable(format!("cannot serve HTTP: {error}"));
        let (front, started) = (self.front.clone(), Arc::new(AtomicUsize::new(0)));
        let verifier = move || {
            front.start(
                &Arbiter::current(),
                &format!("http-{}", started.fetch_add(1, Ordering::Relaxed)),
            )
        };
        let ingest = http::serve(
            sockets.ingest,
            self.edge.clone(),
            verifier,
            &config.server,
            self.certificates.of(TlsListener::Ingest),
            config.shutdown.drain,
        )
        .map_err(cannot)?;
        let server = self
            .serve_admin(config, sockets.admin, admin_stopped)
            .map_err(cannot)?;
        actix::spawn(tell_when_ready(self.admin.health.clone()));
        actix::spawn(operate::advise_in_log(self.operator.clone()));
        actix::spawn(keep_watchdog_quiet(self.roster.clone()));
        let hangups = end.signals.hangups();
        actix::spawn(reload_on_hangup(self.operator.clone(), hangups));

        let (mut died, mut asked_to_stop) = (None, Instant::now());
        let stop = async {
            died = end.wait().await;
            asked_to_stop = Instant::now();
            if died.is_some() {
                StopMode::Immediate
            } else {
                StopMode::Graceful
            }
        };
        let ended = ingest.until(stop).await;
        match died {
            Some(name) => Err(ServeError::Died(name)),
            None => ended
                .map(|()| AdminServer {
                    server,
                    asked_to_stop,
                })
                .map_err(cannot),
        }
    }

    /// Starts the admin listener and the admin API. Both stop gracefully once the service ends, which
    /// drops the sender of `stopped`.
    fn serve_admin(
        &self,
        config: &Config,
        listener: TcpListener,
        stopped: tokio::sync::oneshot::Receiver<()>,
    ) -> std::io::Result<tokio::task::JoinHandle<std::io::Result<()>>> {
        let at = (config.scheme(TlsListener::Admin), listener.local_addr()?);
        let api = Api::new(&config.admin, self.operator.clone(), at);
        let certificate = self.certificates.of(TlsListener::Admin);
        let (listening, shown) = ((listener, certificate), self.admin.clone());
        let admin = admin::serve(listening, shown, Some(api.clone()))?;
        let api = operator::serve(config, api);
        let stopped = stopped.map(|_| StopMode::Graceful).shared();
        Ok(actix::spawn(async move {
            let api = async {
                if let Some(api) = api {
                    api.until(stopped.clone()).await;
                }
            };
            let (ended, ()) = tokio::join!(admin.until(stopped.clone()), api);
            ended
        }))
    }

    /// Stops the stages from the front to the back: accepted deliveries are stored and answered, events in
    /// memory are published, the rest stays in the outbox.
    async fn drain(self, end: Instant) {
        let in_time = until(end, || self.budget.used() == (0, 0)).await;
        self.dedup.close();
        let written = until(end, || self.dedup.is_finished()).await;
        if !in_time || !written {
            tracing::warn!(
                "the store did not finish within shutdown.drain_secs; senders that got no answer will try again"
            );
        }
        let (publishers, keeper, spool, store) =
            (self.publishers, self.keeper, self.spool, self.store);
        let (lakehouse, jobs, quarantine) = (self.lakehouse, self.jobs, self.quarantine);
        let stopped = tokio::task::spawn_blocking(move || {
            // The step that is being made ends first, in the time of all.
            drop(jobs);
            if let Some(quarantine) = quarantine {
                quarantine.stop(end.min(Instant::now() + QUARANTINE_STOP));
            }
            let left = end.saturating_duration_since(Instant::now());
            if let Some((spool, draining)) = spool {
                draining.stop(Instant::now() + left / 4);
                if !spool.is_empty() {
                    tracing::warn!(
                        left = spool.len(),
                        "{} events stay in the spool, on this machine's disk, for the next start here",
                        spool.len()
                    );
                }
                spool.close();
            }
            let left = publish::stop_all(publishers, left);
            // During a commit the lease is not released: its rows would have no owner. It expires.
            keeper.stop(written);
            store.close();
            if lakehouse
                .is_some_and(|lakehouse| !lakehouse.stop(end.min(Instant::now() + LAKEHOUSE_STOP)))
            {
                tracing::warn!(
                    "the lakehouse was in the middle of its work; the next start brings the rest into the table"
                );
            }
            left
        });
        match stopped.await {
            Ok(0) => tracing::info!("stopped; nothing was left in memory"),
            Ok(left) => tracing::info!(
                left,
                "stopped; {left} events stay in the outbox for the next start or another instance"
            ),
            Err(error) => {
                tracing::error!(%error, "the publisher's stop failed; what it had stays in the outbox")
            }
        }
    }
}

/// Events that end the service.
pub(super) struct End {
    /// Reports the death of an actor or a thread.
    pub(super) vigil: DeathWatch,
    /// Signals to the process.
    pub(super) signals: Signals,
}

impl End {
    /// Resolves at a signal with None, or with the name of the actor or thread that died.
    async fn wait(&mut self) -> Option<&'static str> {
        tokio::select! {
            name = self.vigil.death() => return Some(name),
            _ = self.signals.stop() => {}
        }
        systemd::stopping("finishing the requests in flight");
        None
    }
}

async fn until(end: Instant, done: impl Fn() -> bool) -> bool {
    while !done() {
        if Instant::now() >= end {
            return false;
        }
        tokio::time::sleep(LOOK).await;
    }
    true
}

/// Reports READY to the service manager when deliveries can be accepted, and asks for patience before.
async fn tell_when_ready(health: Health) {
    while let Err(why) = health.accepting() {
        systemd::still_starting(&why);
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    match health.ready() {
        Ok(()) => systemd::ready("serving"),
        Err(why) => systemd::ready(&format!("taking deliveries; not ready: {why}")),
    }
}

/// Reads the configuration again at each SIGHUP. The service manager may wait for the end of it.
async fn reload_on_hangup(operator: Arc<Operator>, mut hangups: Hangups) {
    loop {
        hangups.next().await;
        systemd::reloading();
        let operator = operator.clone();
        let reload = move || operator.reload(&ReloadOrder::default(), "SIGHUP");
        let status = match tokio::task::spawn_blocking(reload).await {
            Ok(Ok(_)) => "serving",
            // The log has the mistakes.
            Ok(Err(_)) => {
                "serving by the configuration before: the new one has mistakes, see the log"
            }
            Err(_) => "serving by the configuration before: the reload has panicked, see the log",
        };
        systemd::ready(status);
    }
}

/// Reports to the watchdog each time that a message has gone through every actor's own queue.
async fn keep_watchdog_quiet(roster: ActorRegistry) {
    let Some(interval) = systemd::watchdog_interval() else {
        return;
    };
    loop {
        for entry in roster.entries() {
            if entry.liveness.check().await.is_err() {
                return;
            }
        }
        systemd::alive();
        tokio::time::sleep(interval).await;
    }
}
