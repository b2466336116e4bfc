//! The load: one thread, sockets that never block, requests that are made in a microsecond, answers of which as little is read as will do.

use std::collections::VecDeque;
use std::io::{self, ErrorKind, IoSlice, Read, Write};
use std::path::Path;
use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use hdrhistogram::Histogram;
use mio::{Events, Poll, Token};

use super::requests::{Own, Requests};
use super::wire::{Target, Wire};

/// Longest wait for answers after the last request was sent.
const GRACE: Duration = Duration::from_secs(10);
/// Connections that an open loop may have under way: more than the service takes into its hands, so that it has to refuse.
const OPEN_CONNECTIONS: usize = 3500;
/// Events whose redelivery may be sent.
const RECENT: usize = 10_000;

/// Pace of the requests.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Pace {
    /// By so many connections, each as soon as it has its last answer.
    Closed(usize),
    /// So many a second, at random intervals, whether or not answers come.
    Open(f64),
}

/// Shares of requests in percent; all others are new events.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Mix {
    pub(crate) duplicates: u8,
    pub(crate) forged: u8,
}

/// A run of the generator.
#[derive(Clone, Debug)]
pub(crate) struct Load {
    pub(crate) target: Target,
    pub(crate) pace: Pace,
    pub(crate) mix: Mix,
    pub(crate) start: Instant,
    /// Time at which counting begins.
    pub(crate) count_from: Instant,
    pub(crate) end: Instant,
}

/// Answers while counting. Latencies are in microseconds from the time at which a request was due.
pub(crate) struct Answers {
    pub(crate) accepted: u64,
    pub(crate) duplicate: u64,
    /// 4xx.
    pub(crate) rejected: u64,
    /// 503.
    pub(crate) shed: u64,
    /// Any other answer, and connections that broke.
    pub(crate) odd: u64,
    /// Accepted from the very first request to the last answer, counted or not.
    pub(crate) accepted_in_all: u64,
    /// Requests that were due and for which there was no connection.
    pub(crate) unsent: u64,
    /// Of answers 2xx.
    pub(crate) taken: Histogram<u64>,
    /// Of all other answers.
    pub(crate) refused: Histogram<u64>,
}

impl Answers {
    fn new() -> Self {
        let histogram =
            || Histogram::new_with_bounds(1, 120_000_000, 3).expect("bounds that are in order");
        Self {
            accepted: 0,
            duplicate: 0,
            rejected: 0,
            shed: 0,
            odd: 0,
            accepted_in_all: 0,
            unsent: 0,
            taken: histogram(),
            refused: histogram(),
        }
    }

    /// Answers of any kind.
    pub(crate) fn all(&self) -> u64 {
        self.accepted + self.duplicate + self.rejected + self.shed + self.odd
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Answer {
    Accepted,
    Duplicate,
    Rejected,
    Shed,
    Odd,
}

struct Connection {
    stream: Wire,
    own: Own,
    /// Bytes of the request that are written.
    written: usize,
    read: Vec<u8>,
    /// The request under way: its number, and when it was meant to be sent.
    under_way: Option<(u64, Instant)>,
}

/// Sends a load, and returns what came back.
pub(crate) fn run(load: &Load, requests: &mut Requests) -> io::Result<Answers> {
    // On a thread of its own: what the caller starts later must not inherit its priority.
    let generator = thread::scope(|scope| {
        scope
            .spawn(|| {
                go_first();
                generate(load, requests)
            })
            .join()
    });
    generator.unwrap_or_else(|_| Err(io::Error::other("the generator died")))
}

/// Senders are elsewhere and have cores of their own; here a request must not wait for one before it is sent. Only root may do that.
fn go_first() {
    if let Some(thread) = std::fs::read_link("/proc/thread-self")
        .ok()
        .as_deref()
        .and_then(Path::file_name)
    {
        let _ = Command::new("renice")
            .args(["-n", "-10", "-p"])
            .arg(thread)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .status();
    }
}

fn generate(load: &Load, requests: &mut Requests) -> io::Result<Answers> {
    Generator {
        load,
        requests,
        poll: Poll::new()?,
        connections: Vec::new(),
        idle: Vec::new(),
        recent: VecDeque::with_capacity(RECENT),
        next: 0,
        answers: Answers::new(),
    }
    .run()
}

struct Generator<'g> {
    load: &'g Load,
    requests: &'g mut Requests,
    poll: Poll,
    connections: Vec<Connection>,
    idle: Vec<usize>,
    recent: VecDeque<u64>,
    next: u64,
    answers: Answers,
}

impl Generator<'_> {
    fn run(mut self) -> io::Result<Answers> {
        let mut events = Events::with_capacity(1024);
        let mut due = self.load.start;
        if let Pace::Closed(connections) = self.load.pace {
            for _ in 0..connections {
                let at = self.connect()?;
                self.send(at, Instant::now())?;
            }
        }
        loop {
            let now = Instant::now();
            let over = now >= self.load.end;
            if over && (self.idle.len() == self.connections.len() || now > self.load.end + GRACE) {
                return Ok(self.answers);
            }
            let mut wait = Duration::from_millis(50);
            if let Pace::Open(rate) = self.load.pace {
                let mut stuck = false;
                while due <= now && due < self.load.end {
                    let at = match self.idle.pop() {
                        Some(at) => at,
                        None if self.connections.len() < OPEN_CONNECTIONS => self.connect()?,
                        None if over => {
                            self.answers.unsent += 1;
                            due += gap(rate);
                            continue;
                        }
                        // It is sent late, and its latency tells.
                        None => {
                            stuck = true;
                            break;
                        }
                    };
                    self.send(at, due)?;
                    due += gap(rate);
                }
                // Only an answer helps then: to look all the time would take the core from those that are to answer.
                if !stuck {
                    wait = wait.min(due.saturating_duration_since(Instant::now()));
                }
            }
            match self.poll.poll(&mut events, Some(wait)) {
                Err(error) if error.kind() != ErrorKind::Interrupted => return Err(error),
                _ => {}
            }
            for event in &events {
                self.ready(event.token().0)?;
            }
        }
    }

    fn connect(&mut self) -> io::Result<usize> {
        let stream = self.open(self.connections.len())?;
        self.connections.push(Connection {
            stream,
            own: Own::default(),
            written: 0,
            read: Vec::with_capacity(1024),
            under_way: None,
        });
        Ok(self.connections.len() - 1)
    }

    fn open(&self, token: usize) -> io::Result<Wire> {
        Wire::open(&self.load.target, self.poll.registry(), Token(token))
    }

    fn send(&mut self, at: usize, intended: Instant) -> io::Result<()> {
        let mix = self.load.mix;
        let draw = fastrand::u8(..100);
        let known = (draw < mix.duplicates)
            .then(|| {
                self.recent
                    .get(fastrand::usize(..self.recent.len().max(1)))
                    .copied()
            })
            .flatten();
        let forged = draw >= 100 - mix.forged;
        let number = known.unwrap_or_else(|| {
            self.next += 1;
            self.next
        });
        let connection = &mut self.connections[at];
        self.requests.write(number, forged, &mut connection.own);
        connection.written = 0;
        connection.under_way = Some((number, intended));
        match connection.write(self.requests.shared()) {
            Ok(()) => Ok(()),
            Err(_) => self.renew(at, Answer::Odd),
        }
    }

    fn ready(&mut self, at: usize) -> io::Result<()> {
        let connection = &mut self.connections[at];
        if connection.under_way.is_none() {
            // The service closes what is idle for long; the next request finds out.
            return Ok(());
        }
        let answer = connection
            .write(self.requests.shared())
            .and_then(|()| connection.answer());
        match answer {
            Ok(None) => Ok(()),
            Ok(Some((answer, false))) => self.answered(at, answer),
            Ok(Some((answer, true))) => self.renew(at, answer),
            Err(_) => self.renew(at, Answer::Odd),
        }
    }

    /// A new connection in the place of one that ended with this answer.
    fn renew(&mut self, at: usize, answer: Answer) -> io::Result<()> {
        let stream = self.open(at)?;
        let connection = &mut self.connections[at];
        connection.stream = stream;
        connection.read.clear();
        self.answered(at, answer)
    }

    fn answered(&mut self, at: usize, answer: Answer) -> io::Result<()> {
        let now = Instant::now();
        if let Some((number, intended)) = self.connections[at].under_way.take() {
            self.count(answer, number, intended, now);
        }
        match self.load.pace {
            // A connection that breaks at once must not keep the loop for itself.
            Pace::Closed(_) if now < self.load.end && answer != Answer::Odd => self.send(at, now),
            Pace::Closed(_) if now < self.load.end => {
                std::thread::sleep(Duration::from_millis(1));
                self.send(at, now)
            }
            _ => {
                self.idle.push(at);
                Ok(())
            }
        }
    }

    fn count(&mut self, answer: Answer, number: u64, intended: Instant, now: Instant) {
        if answer == Answer::Accepted {
            self.answers.accepted_in_all += 1;
            if self.load.mix.duplicates > 0 {
                if self.recent.len() == RECENT {
                    self.recent.pop_front();
                }
                self.recent.push_back(number);
            }
        }
        let took = u64::try_from((now - intended).as_micros()).unwrap_or(u64::MAX);
        if (self.load.count_from..self.load.end).contains(&intended) {
            let histogram = if matches!(answer, Answer::Accepted | Answer::Duplicate) {
                &mut self.answers.taken
            } else {
                &mut self.answers.refused
            };
            histogram.saturating_record(took);
        }
        if (self.load.count_from..self.load.end).contains(&now) {
            *match answer {
                Answer::Accepted => &mut self.answers.accepted,
                Answer::Duplicate => &mut self.answers.duplicate,
                Answer::Rejected => &mut self.answers.rejected,
                Answer::Shed => &mut self.answers.shed,
                Answer::Odd => &mut self.answers.odd,
            } += 1;
        }
    }
}

/// Intervals between arrivals that know nothing of each other.
fn gap(rate: f64) -> Duration {
    Duration::from_secs_f64(-(1.0 - fastrand::f64()).ln() / rate)
}

impl Connection {
    /// Writes as much of the request as the socket takes.
    fn write(&mut self, shared: &[u8]) -> io::Result<()> {
        let lengths = [self.own.head.len(), shared.len(), self.own.tail.len()];
        let all: usize = lengths.iter().sum();
        while self.written < all {
            let mut skip = self.written;
            let parts = [&self.own.head[..], shared, &self.own.tail].map(|part| {
                let skipped = skip.min(part.len());
                skip -= skipped;
                IoSlice::new(&part[skipped..])
            });
            match self.stream.write_vectored(&parts) {
                Ok(0) => return Err(ErrorKind::WriteZero.into()),
                Ok(written) => self.written += written,
                Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// The answer, once all of it is there, and whether the connection ends with it.
    fn answer(&mut self) -> io::Result<Option<(Answer, bool)>> {
        let mut block = [0; 4096];
        loop {
            match self.stream.read(&mut block) {
                Ok(0) => return Err(ErrorKind::UnexpectedEof.into()),
                Ok(read) => {
                    self.read.extend_from_slice(&block[..read]);
                    if read < block.len() && self.stream.is_emptied_by_a_short_read() {
                        break;
                    }
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        let answer = parse(&self.read);
        if answer.is_some() {
            self.read.clear();
        }
        Ok(answer)
    }
}

/// The answer, and whether the connection ends with it; none if it is not whole.
fn parse(bytes: &[u8]) -> Option<(Answer, bool)> {
    let text = std::str::from_utf8(bytes).ok()?;
    let (head, body) = text.split_once("\r\n\r\n")?;
    let header = |wanted: &str| {
        head.lines().find_map(|line| {
            line.split_once(':')
                .filter(|(name, _)| name.eq_ignore_ascii_case(wanted))
                .map(|(_, value)| value.trim())
        })
    };
    let length: usize = header("content-length")
        .and_then(|length| length.parse().ok())
        .unwrap_or(0);
    if body.len() < length {
        return None;
    }
    let answer = match head.get(9..12) {
        Some("200") if body.contains("\"duplicate\"") => Answer::Duplicate,
        Some("200") => Answer::Accepted,
        Some("503") => Answer::Shed,
        Some(status) if status.starts_with('4') => Answer::Rejected,
        _ => Answer::Odd,
    };
    Some((
        answer,
        header("connection").is_some_and(|value| value.eq_ignore_ascii_case("close")),
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn response(status: &str, headers: &str, body: &str) -> Vec<u8> {
        format!(
            "HTTP/1.1 {status}\r\ncontent-length: {}\r\n{headers}\r\n{body}",
            body.len()
        )
        .into_bytes()
    }

    #[test]
    fn each_response_counts_as_what_it_is() {
        let parsed = |status, body| parse(&response(status, "", body)).map(|(answer, _)| answer);
        let accepted = r#"{"id":"1","status":"accepted"}"#;
        let duplicate = r#"{"id":"1","status":"duplicate"}"#;
        assert!(matches!(parsed("200 OK", accepted), Some(Answer::Accepted)));
        assert!(matches!(
            parsed("200 OK", duplicate),
            Some(Answer::Duplicate)
        ));
        assert!(matches!(
            parsed("503 Service Unavailable", ""),
            Some(Answer::Shed)
        ));
        assert!(matches!(
            parsed("401 Unauthorized", ""),
            Some(Answer::Rejected)
        ));
        assert!(matches!(
            parsed("500 Internal Server Error", ""),
            Some(Answer::Odd)
        ));
    }

    #[test]
    fn a_part_of_a_response_is_waited_for() {
        let whole = response(
            "200 OK",
            "connection: close\r\n",
            r#"{"status":"accepted"}"#,
        );
        for length in 0..whole.len() {
            assert!(parse(&whole[..length]).is_none(), "{length} bytes");
        }
        assert!(matches!(parse(&whole), Some((Answer::Accepted, true))));
    }

    #[test]
    fn bodies_have_the_size_that_was_asked_for_and_ids_of_their_own() {
        for size in [400, 1200, 16_384] {
            let requests = Requests::new(size);
            assert_eq!(requests.body(1).len(), size);
            assert_eq!(requests.size(), size);
            assert_ne!(requests.body(1), requests.body(2));
            let json: serde_json::Value =
                serde_json::from_slice(&requests.body(1)).expect("a body is JSON");
            assert!(json["id"].as_str().is_some_and(|id| id.starts_with("evt_")));
        }
    }
}
