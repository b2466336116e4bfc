//! Reader of the service's log pipe, which a test can stall or close.

use std::io::{BufRead, BufReader, Read};
use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// The process at the other end of the log's pipe, as it were.
#[derive(Clone, Default)]
pub struct LogReader(Arc<AtomicU8>);

const READS: u8 = 0;
const STANDS_STILL: u8 = 1;
const GONE: u8 = 2;

impl LogReader {
    /// Reads no more, from its next line on, and keeps the pipe open.
    pub fn stands_still(&self) {
        self.0.store(STANDS_STILL, Ordering::Relaxed);
    }

    /// Closes the pipe after its next line; at a start, at once.
    pub fn goes_away(&self) {
        self.0.store(GONE, Ordering::Relaxed);
    }

    /// Reads again, if it is not gone.
    pub fn reads(&self) {
        self.0.store(READS, Ordering::Relaxed);
    }
}

pub(crate) fn collect(
    stream: impl Read + Send + 'static,
    log: Arc<Mutex<Vec<String>>>,
    reader: LogReader,
) {
    std::thread::spawn(move || {
        let mut lines = BufReader::new(stream).lines().map_while(Result::ok);
        loop {
            match reader.0.load(Ordering::Relaxed) {
                GONE => return,
                STANDS_STILL => std::thread::sleep(Duration::from_millis(5)),
                _ => match lines.next() {
                    Some(line) => log.lock().expect("log").push(line),
                    None => return,
                },
            }
        }
    });
}
