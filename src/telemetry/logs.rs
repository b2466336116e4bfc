//! Structured logs: never a secret, never a payload.

mod senders;

use std::backtrace::{Backtrace, BacktraceStatus};
use std::fs::File;
use std::io::{self, IsTerminal, Write};
use std::os::fd::AsFd;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::{LazyLock, OnceLock};
use std::time::Duration;

use http::Method;
use tracing::{Event, Level, Subscriber};
use tracing_subscriber::fmt::format::{FormatEvent, FormatFields, Writer};
use tracing_subscriber::fmt::{FmtContext, time::SystemTime};
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::registry::LookupSpan;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{EnvFilter, reload};

use super::journal::{self, JournalLayer};
use super::line_limit::{Admitted, LineLimit};
use super::log_filter;
use super::log_queue::{Line, Output, Queue};
use super::record::{Record, Shape};
use super::{Metrics, SourceMetrics};
use crate::config::model::{Log, LogDeliveries, LogFormat};
use crate::domain::delivery::{EventId, SourceName};
use crate::domain::outcome::Outcome;
use crate::domain::request_id::RequestId;

pub use self::senders::{address_missed, handshake_refused, proxy_header_refused, untrusted_proxy};

/// Longest part of a path that is shown, in characters.
const LONGEST_PATH: usize = 100;

static DELIVERIES: AtomicU8 = AtomicU8::new(LogDeliveries::Problems as u8);

/// The queue of this process's log, once it serves.
static QUEUE: OnceLock<Queue> = OnceLock::new();

/// Format of lines, once it is known.
static LOOK: OnceLock<Look> = OnceLock::new();

/// Longest wait for the last lines at the end of the process.
const FLUSH: Duration = Duration::from_secs(2);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Look {
    shape: Shape,
    /// Priority before each line, such as "<4>" for a warning, as sd-daemon(3) has it.
    prefix: bool,
}

/// Starts the log's own thread, and makes a panic a log line. Call it first: from here on nothing
/// writes to standard error by itself.
pub fn start() {
    QUEUE.get_or_init(|| Queue::start(Output::new(Path::new(journal::SOCKET))));
    std::panic::set_hook(Box::new(panicked));
}

/// Starts logging as configured. Once, at start.
pub fn init(log: &Log, metrics: &Metrics) -> Result<(), String> {
    start();
    let Some(queue) = QUEUE.get() else {
        return Err("logging was not started".to_owned());
    };
    queue.count_in(&metrics.log_lines_dropped);
    DELIVERIES.store(log.deliveries as u8, Ordering::Relaxed);
    let filter = log_filter::parsed(&log.filter)?;
    let terminal = io::stderr().is_terminal();
    let look = *LOOK.get_or_init(|| {
        Look::chosen(
            log.format,
            terminal,
            stderr_is_journal(),
            journal::is_there(),
        )
    });
    let (filter, handle) = reload::Layer::new(filter);
    let apply = move |next: EnvFilter| handle.reload(next).map_err(|error| error.to_string());
    log_filter::begin(&log.filter, Box::new(apply));
    let base = tracing_subscriber::registry().with(filter);
    let lines = tracing_subscriber::fmt::layer()
        .log_internal_errors(false)
        .with_writer(move || Offer(queue));
    let started = match look.shape {
        Shape::Pretty => base
            .with(lines.with_ansi(terminal).map_event_format(Prefixed))
            .try_init(),
        Shape::Json => base
            .with(
                lines
                    .json()
                    .with_timer(SystemTime)
                    .flatten_event(true)
                    .with_current_span(false)
                    .with_span_list(false)
                    .map_event_format(Prefixed),
            )
            .try_init(),
        Shape::Journal => base.with(JournalLayer(queue.clone())).try_init(),
    };
    started.map_err(|error| format!("logging could not be started: {error}"))
}

/// Takes over the filter and the choice of deliveries of a reload.
pub fn refilter(log: &Log) -> Result<(), String> {
    log_filter::configure(&log.filter)?;
    DELIVERIES.store(log.deliveries as u8, Ordering::Relaxed);
    Ok(())
}

/// Logs a text as it is. Returns `false` if this process does not log.
pub fn note(text: &str) -> bool {
    QUEUE
        .get()
        .inspect(|queue| queue.offer(shape().note(text)))
        .is_some()
}

/// Logs a line of the program's own. Returns `false` if this process does not log yet, or if its
/// log is pretty: the caller prints plain text then.
pub fn tell(level: Level, text: &str) -> bool {
    let told = QUEUE
        .get()
        .filter(|_| LOOK.get().is_some_and(|look| look.shape != Shape::Pretty));
    told.inspect(|queue| queue.offer(shape().line(&Record::new(level, "hookweir", text))))
        .is_some()
}

/// Waits until the last lines are written, for at most two seconds.
pub fn flush() {
    if let Some(queue) = QUEUE.get() {
        queue.flush(FLUSH);
    }
}

/// Returns `true` if standard error goes to journald.
pub fn stderr_is_journal() -> bool {
    static IS: LazyLock<bool> = LazyLock::new(|| {
        let file = io::stderr()
            .as_fd()
            .try_clone_to_owned()
            .ok()
            .map(File::from)
            .and_then(|file| file.metadata().ok());
        let device_and_inode = file.map(|file| (file.dev(), file.ino()));
        journal::reads_stderr(
            std::env::var("JOURNAL_STREAM").ok().as_deref(),
            device_and_inode,
        )
    });
    *IS
}

/// Returns the number of a level in syslog.
pub fn priority(level: Level) -> u8 {
    match level {
        Level::ERROR => 3,
        Level::WARN => 4,
        Level::INFO => 6,
        _ => 7,
    }
}

/// Returns the shape of lines: pretty until it is known.
pub(super) fn shape() -> Shape {
    LOOK.get().map_or(Shape::Pretty, |look| look.shape)
}

/// Returns `true` if each line begins with its priority.
pub(super) fn has_prefix() -> bool {
    LOOK.get().is_some_and(|look| look.prefix)
}

impl Look {
    fn chosen(
        format: LogFormat,
        terminal: bool,
        journal_reads: bool,
        journal_listens: bool,
    ) -> Self {
        let native = journal_listens
            && (format == LogFormat::Journal || format == LogFormat::Auto && journal_reads);
        let shape = match format {
            _ if native => Shape::Journal,
            LogFormat::Pretty => Shape::Pretty,
            LogFormat::Auto if terminal => Shape::Pretty,
            LogFormat::Auto | LogFormat::Json | LogFormat::Journal => Shape::Json,
        };
        Self {
            shape,
            prefix: !native && (journal_reads || format == LogFormat::Journal),
        }
    }
}

/// Writer into the queue. tracing-subscriber passes one line at a time.
struct Offer(&'static Queue);

impl Write for Offer {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        self.0.offer(Line::Text(line.to_vec()));
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Puts the priority before a line, if a journal reads it.
struct Prefixed<F>(F);

impl<S, N, F> FormatEvent<S, N> for Prefixed<F>
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
    F: FormatEvent<S, N>,
{
    fn format_event(
        &self,
        context: &FmtContext<'_, S, N>,
        mut writer: Writer<'_>,
        event: &Event<'_>,
    ) -> std::fmt::Result {
        if has_prefix() {
            write!(writer, "<{}>", priority(*event.metadata().level()))?;
        }
        self.0.format_event(context, writer, event)
    }
}

/// A panic's message is shown only where it is a literal: a formatted one may quote a payload.
/// Nothing in here may panic, which would end the process, so it goes around `tracing`: straight
/// into the queue.
fn panicked(panic: &std::panic::PanicHookInfo<'_>) {
    let message = panic
        .payload()
        .downcast_ref::<&'static str>()
        .copied()
        .unwrap_or("(a formatted message, not shown)");
    let location = panic
        .location()
        .map(ToString::to_string)
        .unwrap_or_default();
    let thread = std::thread::current();
    let backtrace = Backtrace::capture();
    let backtrace = matches!(backtrace.status(), BacktraceStatus::Captured)
        .then(|| backtrace.to_string())
        .unwrap_or_default();
    let text = format!("panic: {message}");
    let record = Record::new(Level::ERROR, "hookweir::panic", &text)
        .with("location", &location)
        .with("thread", thread.name().unwrap_or_default())
        .with("backtrace", &backtrace);
    if let Some(queue) = QUEUE.get() {
        queue.offer(shape().line(&record));
    }
}

/// Logs the line of a delivery.
pub fn delivery(
    source: &SourceMetrics,
    request_id: RequestId,
    event_id: Option<&EventId>,
    outcome: &Outcome,
    took: Duration,
) {
    let deliveries = DELIVERIES.load(Ordering::Relaxed);
    let (problem, detail) = match outcome {
        Outcome::Accepted { .. } | Outcome::Duplicate { .. } | Outcome::Challenge(_) => (false, ""),
        Outcome::Rejected(rejection) => (true, rejection.detail.as_ref()),
        Outcome::Shed(_) | Outcome::Failed(_) => (true, ""),
    };
    if deliveries == LogDeliveries::None as u8
        || (!problem && deliveries != LogDeliveries::All as u8)
    {
        return;
    }
    if problem {
        match source.lines.admit_now() {
            Admitted::No => return,
            Admitted::Yes { left_out: 0 } => {}
            Admitted::Yes { left_out } => {
                tracing::warn!(target: "hookweir::domain::delivery", source = %source.source(), left_out, "left out {left_out} lines about problems of this source");
            }
        }
    }
    macro_rules! line {
        ($level:expr) => {
            tracing::event!(
                target: "hookweir::domain::delivery",
                $level,
                source = %source.source(),
                %request_id,
                event_id = event_id.map(EventId::as_str),
                outcome = outcome.label(),
                reason = outcome.reason(),
                option = outcome.bounded_by(),
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

/// Logs a request that reached no source, so that an operator finds a wrong URL. The query is left
/// out: it may hold a token.
pub fn no_source<'n>(
    request_id: RequestId,
    method: &Method,
    path: &str,
    nearest: impl FnOnce() -> Option<&'n str>,
) {
    static LINES: LineLimit = LineLimit::new();
    match LINES.admit_now() {
        Admitted::No => return,
        Admitted::Yes { left_out: 0 } => {}
        Admitted::Yes { left_out } => {
            tracing::info!(target: "hookweir::http", left_out, "left out {left_out} lines about requests to no source")
        }
    }
    let path = printable(path);
    match nearest() {
        Some(nearest) => tracing::info!(
            target: "hookweir::http", %request_id, %method, path,
            "answered 404: no source has this path; did the sender mean /ingest/{nearest}?"
        ),
        None => {
            tracing::info!(target: "hookweir::http", %request_id, %method, path, "answered 404: no source has this path")
        }
    }
}

/// Logs a request with a method that its source does not accept. A provider that is set to another
/// method loses its events.
pub fn method_not_allowed(source: &SourceName, request_id: RequestId, method: &Method) {
    static LINES: LineLimit = LineLimit::new();
    match LINES.admit_now() {
        Admitted::No => return,
        Admitted::Yes { left_out: 0 } => {}
        Admitted::Yes { left_out } => {
            tracing::warn!(target: "hookweir::http", left_out, "left out {left_out} lines about requests with a wrong method")
        }
    }
    tracing::warn!(
        target: "hookweir::http", %source, %request_id, %method,
        "answered 405, and did not store the request: this source does not accept its method; set the webhook to POST at the provider"
    );
}

/// Logs a request to the admin API that was refused for its caller.
pub fn admin_refused(peer: &str, path: &str, status: u16, why: &str) {
    static LINES: LineLimit = LineLimit::new();
    match LINES.admit_now() {
        Admitted::No => return,
        Admitted::Yes { left_out: 0 } => {}
        Admitted::Yes { left_out } => {
            tracing::warn!(target: "hookweir::admin", left_out, "left out {left_out} lines about refused requests to the admin API")
        }
    }
    let path = printable(path);
    tracing::warn!(target: "hookweir::admin", peer, path, status, "admin API answered {status} to {peer}: {why}");
}

/// Returns the beginning of a path that a stranger has sent, without control characters.
fn printable(path: &str) -> String {
    let path = path.chars().take(LONGEST_PATH);
    path.flat_map(char::escape_default).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_journal_gets_entries_and_everybody_else_what_is_configured() {
        let look = |format, terminal, reads, listens| {
            let look = Look::chosen(format, terminal, reads, listens);
            (look.shape, look.prefix)
        };
        assert_eq!(
            look(LogFormat::Auto, true, false, true),
            (Shape::Pretty, false)
        );
        assert_eq!(
            look(LogFormat::Auto, false, false, true),
            (Shape::Json, false)
        );
        assert_eq!(
            look(LogFormat::Auto, false, true, true),
            (Shape::Journal, false)
        );
        assert_eq!(
            look(LogFormat::Auto, false, true, false),
            (Shape::Json, true),
            "its socket is out of reach"
        );
        assert_eq!(
            look(LogFormat::Json, false, true, true),
            (Shape::Json, true),
            "asked for JSON, and a journal reads it"
        );
        assert_eq!(
            look(LogFormat::Journal, false, false, true),
            (Shape::Journal, false)
        );
        assert_eq!(
            look(LogFormat::Journal, true, false, false),
            (Shape::Json, true)
        );
    }

    #[test]
    fn no_filter_turns_a_payload_into_a_log_line() {
        let filter = log_filter::parsed("trace,lapin::returned_messages=trace")
            .expect("a filter")
            .to_string();
        assert!(
            filter.contains("lapin::returned_messages=off")
                && !filter.contains("lapin::returned_messages=trace"),
            "{filter}"
        );
        let chatty = log_filter::parsed("info,actix_server=info")
            .expect("a filter")
            .to_string();
        assert!(
            chatty.contains("actix_server=info") && !chatty.contains("actix_server=warn"),
            "{chatty}"
        );
        assert!(
            log_filter::parsed("hookweir=loud")
                .is_err_and(|error| error.contains("log.filter \"hookweir=loud\""))
        );
    }
}
