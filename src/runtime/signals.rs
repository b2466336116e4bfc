//! Signals, from the first moment of `serve` to its last. SIGTERM and SIGINT end the service in
//! order, SIGHUP reads the configuration again. SIGUSR1 and SIGUSR2, which people send by habit, end
//! nothing. Rust's runtime ignores SIGPIPE.

use std::io;
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::watch;

/// The signals of this process.
#[derive(Debug)]
pub struct Signals {
    stop: watch::Receiver<Option<&'static str>>,
    hangups: Hangups,
}

/// SIGHUPs to this process. Several before they are looked at are one.
#[derive(Clone, Debug)]
pub struct Hangups(watch::Receiver<()>);

impl Hangups {
    /// Resolves at the next SIGHUP.
    pub async fn next(&mut self) {
        if self.0.changed().await.is_err() {
            // The thread is gone, and no signal comes any more.
            std::future::pending().await
        }
    }
}

impl Signals {
    /// Starts the thread that takes signals, and returns once it does. `drain` is how long a stop
    /// may take.
    pub fn listen(drain: Duration) -> io::Result<Self> {
        let ((asked, stop), (hung_up, hangups)) = (watch::channel(None), watch::channel(()));
        let (tell, told) = mpsc::channel();
        thread::Builder::new()
            .name("signals".into())
            .spawn(move || {
                let runtime = tokio::runtime::Builder::new_current_thread()
                    .enable_io()
                    .build();
                let _ = match runtime {
                    Ok(runtime) => runtime.block_on(take(&tell, (&asked, &hung_up), drain)),
                    Err(error) => tell.send(Err(error)).map_err(io::Error::other),
                };
            })?;
        told.recv().map_err(io::Error::other)??;
        Ok(Self {
            stop,
            hangups: Hangups(hangups),
        })
    }

    /// Returns the SIGHUPs.
    pub fn hangups(&self) -> Hangups {
        self.hangups.clone()
    }

    /// Resolves once the service is asked to stop, with the signal's name. That may have been
    /// before this was called.
    pub async fn stop(&mut self) -> &'static str {
        match self
            .stop
            .wait_for(Option::is_some)
            .await
            .map(|asked| *asked)
        {
            Ok(Some(name)) => name,
            // The thread is gone: only a death or SIGKILL ends the service.
            _ => std::future::pending().await,
        }
    }
}

/// Takes signals for as long as the process lives.
async fn take(
    tell: &mpsc::Sender<io::Result<()>>,
    (asked, hung_up): (&watch::Sender<Option<&'static str>>, &watch::Sender<()>),
    drain: Duration,
) -> io::Result<()> {
    let kinds = (
        SignalKind::terminate(),
        SignalKind::interrupt(),
        SignalKind::hangup(),
    );
    let handlers = || -> io::Result<[Signal; 5]> {
        let more = [SignalKind::user_defined1(), SignalKind::user_defined2()];
        Ok([
            signal(kinds.0)?,
            signal(kinds.1)?,
            signal(kinds.2)?,
            signal(more[0])?,
            signal(more[1])?,
        ])
    };
    let [
        mut terminate,
        mut interrupt,
        mut hangup,
        mut user1,
        mut user2,
    ] = match handlers() {
        Ok(handlers) => handlers,
        Err(error) => return tell.send(Err(error)).map_err(io::Error::other),
    };
    tell.send(Ok(())).map_err(io::Error::other)?;
    loop {
        tokio::select! {
            _ = terminate.recv() => stop("SIGTERM", asked, drain),
            _ = interrupt.recv() => stop("SIGINT", asked, drain),
            _ = hangup.recv() => hung_up.send_replace(()),
            _ = user1.recv() => tracing::info!("SIGUSR1 has no meaning here; the service goes on"),
            _ = user2.recv() => tracing::info!("SIGUSR2 has no meaning here; the service goes on"),
        }
    }
}

/// Stops the service on the first signal. Later signals change nothing: open deliveries belong to
/// senders that may not retry.
fn stop(name: &'static str, asked: &watch::Sender<Option<&'static str>>, drain: Duration) {
    if asked.send_if_modified(|before| before.is_none() && before.replace(name).is_none()) {
        tracing::info!("{name}: stopping in order");
    } else {
        let secs = drain.as_secs_f32();
        tracing::warn!(
            "{name} again: the service is stopping already, within shutdown.drain_secs ({secs} s); SIGKILL ends it at once"
        );
    }
}
