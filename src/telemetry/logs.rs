//! Structured logs: never a secret, never a payload.

use std::backtrace::{Backtrace, BacktraceStatus};
use std::io::IsTerminal;
use std::sync::LazyLock;
use std::sync::atomic::{AtomicU8, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use http::Method;
use tracing::Level;
use tracing_subscriber::EnvFilter;
use tracing_subscriber::util::SubscriberInitExt;

use super::SourceMetrics;
use crate::config::model::{Log, LogDeliveries, LogFormat};
use crate::delivery::{EventId, SourceName};
use crate::in_flight::RequestId;
use crate::outcome::Outcome;

/// Appended to every filter. lapin logs a returned message with its whole payload; actix-http logs an error for each malformed request,
/// so anybody could fill the disk.
const NEVER: &str = "lapin::returned_messages=off,actix_http::h1=off";

/// Put before every filter, so that it can be overridden: actix-server tells about each of its threads.
const UNLESS_ASKED: &str = "actix_server=warn";

/// Lines about one source's problems in one second; the rest is counted and told in one line.
const LINES_PER_SECOND: u32 = 20;

/// What is shown of a path, in characters.
const LONGEST_PATH: usize = 100;

static DELIVERIES: AtomicU8 = AtomicU8::new(LogDeliveries::Problems as u8);

/// Starts logging to standard error, and makes a panic a log line. Once, at start.
pub fn init(log: &Log) -> Result<(), String> {
    DELIVERIES.store(log.deliveries as u8, Ordering::Relaxed);
    let filter = filter(&log.filter)?;
    let json = match log.format {
        LogFormat::Json => true,
        LogFormat::Pretty => false,
        LogFormat::Auto => !std::io::stderr().is_terminal(),
    };
    let base = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    let started = if json {
        base.json().flatten_event(true).with_current_span(false).with_span_list(false).finish().try_init()
    } else {
        base.with_ansi(std::io::stderr().is_terminal()).finish().try_init()
    };
    started.map_err(|error| format!("logging could not be started: {error}"))?;
    std::panic::set_hook(Box::new(panicked));
    Ok(())
}

fn filter(directives: &str) -> Result<EnvFilter, String> {
    EnvFilter::builder()
        .parse(format!("{UNLESS_ASKED},{directives},{NEVER}"))
        .map_err(|error| format!("log.filter \"{directives}\": {error}; write it as in \"hookweir=debug,info\""))
}

/// A panic's message is shown only where it is a literal: a formatted one may quote a payload.
fn panicked(panic: &std::panic::PanicHookInfo<'_>) {
    let message = panic.payload().downcast_ref::<&'static str>().copied().unwrap_or("(a formatted message, not shown)");
    let location = panic.location().map(ToString::to_string).unwrap_or_default();
    let thread = std::thread::current();
    let backtrace = Backtrace::capture();
    let backtrace = matches!(backtrace.status(), BacktraceStatus::Captured).then(|| backtrace.to_string());
    tracing::error!(message, location, thread = thread.name(), backtrace, "panic");
}

/// The one line of a delivery.
pub fn delivery(source: &SourceMetrics, request_id: RequestId, event_id: Option<&EventId>, outcome: &Outcome, took: Duration) {
    let deliveries = DELIVERIES.load(Ordering::Relaxed);
    let (problem, detail) = match outcome {
        Outcome::Accepted { .. } | Outcome::Duplicate { .. } | Outcome::Challenge(_) => (false, ""),
        Outcome::Rejected(rejection) => (true, rejection.detail.as_ref()),
        Outcome::Shed(_) | Outcome::Failed(_) => (true, ""),
    };
    if deliveries == LogDeliveries::None as u8 || (!problem && deliveries != LogDeliveries::All as u8) {
        return;
    }
    if problem {
        match source.lines.admit(seconds_since_start()) {
            Admitted::No => return,
            Admitted::Yes { left_out: 0 } => {}
            Admitted::Yes { left_out } => {
                tracing::warn!(target: "hookweir::delivery", source = %source.source(), left_out, "more problems than lines");
            }
        }
    }
    macro_rules! line {
        ($level:expr) => {
            tracing::event!(
                target: "hookweir::delivery",
                $level,
                source = %source.source(),
                %request_id,
                event_id = event_id.map(EventId::as_str),
                outcome = outcome.label(),
                reason = outcome.reason(),
                detail,
                took_us = u64::try_from(took.as_micros()).unwrap_or(u64::MAX),
                "delivery {}",
                outcome.label()
            )
        };
    }
    match outcome {
        Outcome::Shed(_) | Outcome::Failed(_) => line!(Level::WARN),
        _ => line!(Level::INFO),
    }
}

/// The line of a request that reached no source, so that an operator sees what a provider was told to send where. Without the query,
/// which may hold a token.
pub fn no_source(request_id: RequestId, method: &Method, path: &str) {
    static LINES: LineLimit = LineLimit(AtomicU64::new(0));
    match LINES.admit(seconds_since_start()) {
        Admitted::No => return,
        Admitted::Yes { left_out: 0 } => {}
        Admitted::Yes { left_out } => tracing::info!(target: "hookweir::http", left_out, "more requests to no source than lines"),
    }
    let path: String = path.chars().take(LONGEST_PATH).flat_map(char::escape_default).collect();
    tracing::info!(target: "hookweir::http", %request_id, %method, path, "a request to no source");
}

/// The line of a request whose method its source does not take: a provider that is set to another method loses its events there.
pub fn method_not_allowed(source: &SourceName, request_id: RequestId, method: &Method) {
    static LINES: LineLimit = LineLimit(AtomicU64::new(0));
    match LINES.admit(seconds_since_start()) {
        Admitted::No => return,
        Admitted::Yes { left_out: 0 } => {}
        Admitted::Yes { left_out } => tracing::warn!(target: "hookweir::http", left_out, "more requests with a wrong method than lines"),
    }
    tracing::warn!(
        target: "hookweir::http", %source, %request_id, %method,
        "a request with a method that this source does not take was answered 405 and not stored; set the webhook to POST at the provider"
    );
}

fn seconds_since_start() -> u32 {
    static START: LazyLock<Instant> = LazyLock::new(Instant::now);
    u32::try_from(START.elapsed().as_secs()).unwrap_or(u32::MAX)
}

/// Lets through a bounded number of lines per second. The current second is in the upper half, the lines asked for in it in the lower.
#[derive(Debug, Default)]
pub(super) struct LineLimit(AtomicU64);

#[derive(Debug, PartialEq, Eq)]
enum Admitted {
    /// Write the line; so many were left out in the last second that had any.
    Yes { left_out: u32 },
    /// Leave it out.
    No,
}

impl LineLimit {
    fn admit(&self, now: u32) -> Admitted {
        let halves = |both: u64| ((both >> 32) as u32, both as u32);
        let next = |both: u64| {
            let (second, lines) = halves(both);
            let lines = if second == now { lines.saturating_add(1) } else { 1 };
            Some(u64::from(now) << 32 | u64::from(lines))
        };
        let before = match self.0.fetch_update(Ordering::Relaxed, Ordering::Relaxed, next) {
            Ok(before) | Err(before) => before,
        };
        match halves(before) {
            (second, lines) if second == now && lines >= LINES_PER_SECOND => Admitted::No,
            (second, _) if second == now => Admitted::Yes { left_out: 0 },
            (_, lines) => Admitted::Yes { left_out: lines.saturating_sub(LINES_PER_SECOND) },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flood_costs_a_bounded_number_of_lines() {
        let limit = LineLimit::default();
        let admitted = (0..1000).filter(|_| limit.admit(7) == Admitted::Yes { left_out: 0 }).count();
        assert_eq!(admitted, LINES_PER_SECOND as usize);
        assert_eq!(limit.admit(9), Admitted::Yes { left_out: 1000 - LINES_PER_SECOND });
        assert_eq!(limit.admit(9), Admitted::Yes { left_out: 0 });
    }

    #[test]
    fn no_filter_turns_a_payload_into_a_log_line() {
        let filter = filter("trace,lapin::returned_messages=trace").expect("a filter").to_string();
        assert!(filter.contains("lapin::returned_messages=off") && !filter.contains("lapin::returned_messages=trace"), "{filter}");
        let chatty = super::filter("info,actix_server=info").expect("a filter").to_string();
        assert!(chatty.contains("actix_server=info") && !chatty.contains("actix_server=warn"), "{chatty}");
        assert!(super::filter("hookweir=loud").is_err_and(|error| error.contains("log.filter \"hookweir=loud\"")));
    }
}
