//! Queue and thread between the service and the reader of its log. Logging never waits and never
//! fails: if the reader stands still, is gone or has a full disk, lines are dropped and counted,
//! and one line tells the number once writing works again.

use std::fs::File;
use std::io::{self, ErrorKind, Write};
use std::os::fd::AsFd;
use std::os::unix::net::UnixDatagram;
use std::path::Path;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};
use std::thread;
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, RecvTimeoutError, Sender};
use prometheus::IntCounter;

use super::record::Record;
use crate::faults::mutants;

/// Lines that wait for the thread at most.
const LINES: usize = 8192;
/// Bytes of lines that wait for the thread at most.
pub const BYTES: usize = 4 << 20;
/// Between two lines that tell how many were lost.
const TELL_EVERY: Duration = Duration::from_secs(1);
/// Between two looks at a log that takes nothing at the moment.
const LOOK: Duration = Duration::from_millis(10);
/// A flush gives up if no line was written for so long.
const STALLED: Duration = Duration::from_millis(250);

/// A line on its way to the log.
#[derive(Debug)]
pub(super) enum Line {
    /// Bytes for standard error, with their newline.
    Text(Vec<u8>),
    /// A datagram for journald.
    Entry(Vec<u8>),
}

/// Counters of the queue.
#[derive(Debug, Default)]
struct Counts {
    /// Lines offered and not yet written or dropped.
    waiting: AtomicUsize,
    /// Their bytes.
    bytes: AtomicUsize,
    /// Lines dropped since the start.
    dropped: AtomicU64,
    /// The metric, once there is one.
    metric: OnceLock<IntCounter>,
}

impl Counts {
    fn drop_line(&self) {
        self.dropped.fetch_add(1, Ordering::Relaxed);
        if let Some(metric) = self.metric.get() {
            metric.inc();
        }
    }

    fn done(&self, line: &Line) {
        self.bytes.fetch_sub(line.len(), Ordering::Relaxed);
        self.waiting.fetch_sub(1, Ordering::Release);
    }
}

impl Line {
    fn len(&self) -> usize {
        match self {
            Self::Text(bytes) | Self::Entry(bytes) => bytes.len(),
        }
    }
}

/// The queue in front of the thread.
#[derive(Clone, Debug)]
pub(super) struct Queue {
    lines: Sender<Line>,
    counts: Arc<Counts>,
}

impl Queue {
    /// Starts the thread that writes to `output`. Without a thread, all lines are dropped and
    /// counted.
    pub(super) fn start(output: Output) -> Self {
        let (lines, taken) = crossbeam_channel::bounded(LINES);
        let counts = Arc::<Counts>::default();
        let writer = Writer {
            lines: taken,
            counts: counts.clone(),
            output,
            told: 0,
            told_at: None,
        };
        // If there is no thread, the receiver is gone, and that is counted line by line.
        let _ = thread::Builder::new()
            .name("log".into())
            .spawn(move || writer.run());
        Self { lines, counts }
    }

    /// Takes a line if there is room, else drops and counts it.
    pub(super) fn offer(&self, line: Line) {
        if mutants::writes_log_at_once(|| line.bytes()) {
            return;
        }
        let bytes = line.len();
        self.counts.waiting.fetch_add(1, Ordering::Relaxed);
        let room = self.counts.bytes.fetch_add(bytes, Ordering::Relaxed) + bytes <= BYTES;
        let refused = match room {
            true => self
                .lines
                .try_send(line)
                .err()
                .map(|error| error.into_inner()),
            false => Some(line),
        };
        if let Some(line) = refused {
            self.counts.drop_line();
            self.counts.done(&line);
        }
    }

    /// Counts in `metric` from here on, and adds what was dropped before.
    pub(super) fn count_in(&self, metric: &IntCounter) {
        if self.counts.metric.set(metric.clone()).is_ok() {
            metric.inc_by(self.counts.dropped.load(Ordering::Relaxed));
        }
    }

    /// Waits until all lines are written, for `limit` at most, and for a moment only if the reader
    /// stands still.
    pub(super) fn flush(&self, limit: Duration) {
        let end = Instant::now() + limit;
        let (mut least, mut progress) = (usize::MAX, Instant::now());
        loop {
            let waiting = self.counts.waiting.load(Ordering::Acquire);
            let now = Instant::now();
            if waiting < least {
                (least, progress) = (waiting, now);
            }
            if waiting == 0 || now >= end || now.duration_since(progress) >= STALLED {
                return;
            }
            thread::sleep(LOOK);
        }
    }
}

impl Line {
    fn bytes(&self) -> &[u8] {
        match self {
            Self::Text(bytes) | Self::Entry(bytes) => bytes,
        }
    }
}

/// The thread.
struct Writer {
    lines: Receiver<Line>,
    counts: Arc<Counts>,
    output: Output,
    /// Dropped lines that the log tells of.
    told: u64,
    told_at: Option<Instant>,
}

impl Writer {
    fn run(mut self) {
        loop {
            let line = match self.untold() {
                0 => self
                    .lines
                    .recv()
                    .map_err(|_| RecvTimeoutError::Disconnected),
                _ => self.lines.recv_timeout(TELL_EVERY),
            };
            match line {
                Ok(line) => {
                    let written = self.tell() && self.output.write(&line);
                    if !written {
                        self.counts.drop_line();
                    }
                    self.counts.done(&line);
                }
                Err(RecvTimeoutError::Timeout) => {
                    self.tell();
                }
                Err(RecvTimeoutError::Disconnected) => return,
            }
        }
    }

    fn untold(&self) -> u64 {
        self.counts
            .dropped
            .load(Ordering::Relaxed)
            .saturating_sub(self.told)
    }

    /// Writes how many lines were lost since that was told last. False if even that cannot be
    /// written.
    fn tell(&mut self) -> bool {
        let lost = self.untold();
        if lost == 0 || self.told_at.is_some_and(|at| at.elapsed() < TELL_EVERY) {
            return true;
        }
        let shape = super::logs::shape();
        let message = format!(
            "{lost} lines of the log were lost: its reader was too slow, gone, or had no room"
        );
        let record = Record::new(tracing::Level::WARN, "hookweir::log", &message)
            .with("lost", &lost.to_string());
        let written = self.output.write(&shape.line(&record));
        if written {
            self.told += lost;
            self.told_at = Some(Instant::now());
        }
        written
    }
}

/// Destination of the lines.
#[derive(Debug)]
pub(super) struct Output {
    /// A descriptor of its own: the one of `std` has a lock, and a write that stands still would
    /// keep it.
    stderr: Option<File>,
    /// The last line was written in part.
    torn: bool,
    journal: Option<UnixDatagram>,
    journal_path: &'static Path,
}

impl Output {
    /// Standard error, and journald's socket at `journal_path`.
    pub(super) fn new(journal_path: &'static Path) -> Self {
        let stderr = io::stderr()
            .as_fd()
            .try_clone_to_owned()
            .ok()
            .map(File::from);
        Self {
            stderr,
            torn: false,
            journal: UnixDatagram::unbound().ok(),
            journal_path,
        }
    }

    fn write(&mut self, line: &Line) -> bool {
        match line {
            Line::Text(text) => {
                let (torn, Some(file)) = (self.torn, &mut self.stderr) else {
                    return false;
                };
                let (written, whole) = match torn {
                    true => write_whole(file, &[b"\n", text.as_slice()].concat()),
                    false => write_whole(file, text),
                };
                self.torn = !whole && (torn || written > 0);
                whole
            }
            // Not connected: journald's next socket at the same place works as well.
            Line::Entry(entry) => loop {
                let Some(socket) = &self.journal else {
                    return false;
                };
                match socket.send_to(entry, self.journal_path) {
                    Ok(_) => return true,
                    Err(error) if error.kind() == ErrorKind::Interrupted => {}
                    Err(error) if error.kind() == ErrorKind::WouldBlock => thread::sleep(LOOK),
                    Err(_) => return false,
                }
            },
        }
    }
}

/// Writes all of `bytes`, and waits for as long as that takes. Returns how many were written, and
/// whether that is all.
fn write_whole(file: &mut impl Write, bytes: &[u8]) -> (usize, bool) {
    let mut written = 0;
    while written < bytes.len() {
        match file.write(&bytes[written..]) {
            Ok(0) => return (written, false),
            Ok(count) => written += count,
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            // Somebody else who has the same terminal or pipe made it so.
            Err(error) if error.kind() == ErrorKind::WouldBlock => thread::sleep(LOOK),
            Err(_) => return (written, false),
        }
    }
    (written, true)
}
