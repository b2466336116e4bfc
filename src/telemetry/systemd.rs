//! Talks to the service manager, if there is one: readiness, stopping, a status line, watchdog
//! pings. Without `NOTIFY_SOCKET` all of this does nothing.

use std::time::Duration;

use sd_notify::NotifyState;

fn notify(states: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(states) {
        tracing::warn!(%error, "the service manager could not be told");
    }
}

/// The service can serve.
pub fn ready(status: &str) {
    notify(&[NotifyState::Ready, NotifyState::Status(status)]);
}

/// The service starts, and waits for something; its manager is asked for ten seconds more.
pub fn still_starting(why: &str) {
    notify(&[
        NotifyState::Status(why),
        NotifyState::ExtendTimeoutUsec(10_000_000),
    ]);
}

/// The service begins to stop.
pub fn stopping(status: &str) {
    notify(&[NotifyState::Stopping, NotifyState::Status(status)]);
}

/// The service reads its configuration again. Call [`ready`] afterwards.
pub fn reloading() {
    if let Ok(now) = NotifyState::monotonic_usec_now() {
        notify(&[NotifyState::Reloading, now]);
    }
}

/// One line for `systemctl status`.
pub fn status(status: &str) {
    notify(&[NotifyState::Status(status)]);
}

/// Sends a sign of life. Call it only after every actor has given one.
pub fn alive() {
    notify(&[NotifyState::Watchdog]);
}

/// Returns the interval for calls of [`alive`]: a third of `WatchdogSec`, so that one late call
/// does no harm. `None` without a watchdog.
pub fn watchdog_interval() -> Option<Duration> {
    sd_notify::watchdog_enabled().map(|limit| limit / 3)
}
