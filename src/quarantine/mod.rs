//! Quarantine: keeps deliveries that were refused for good, beside the way of deliveries.
//!
//! A refused delivery is handed over after its sender was answered, to a queue of bounded bytes. A thread with a
//! connection of its own stores what is there, in batches. What does not fit is dropped and counted: nothing waits
//! for the quarantine.

mod room;
mod writer;

use std::fmt;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use bytes::{BufMut, Bytes};
use crossbeam_channel::{Sender, TrySendError, bounded};

use self::room::{QueueRoom, RoomBounds};
pub(crate) use self::writer::BATCH_BYTES;
use self::writer::QuarantineWriter;
pub use self::writer::RunningQuarantine;
use crate::config::model;
use crate::domain::delivery::SourceName;
use crate::domain::outcome::{RejectReason, Rejection};
use crate::domain::request::{Headers, Request};
use crate::domain::request_id::RequestId;
use crate::runtime::shutdown::CriticalTask;
use crate::store::quarantine::{NewRefused, OVERHEAD};
use crate::telemetry::{Metrics, QuarantineDrop};

/// Deliveries in the queue, at most.
const QUEUE: usize = 4096;

/// A delivery that was refused for good.
pub struct RefusedRequest {
    /// Source that refused it.
    pub source: SourceName,
    /// The request, with its body as far as it was read.
    pub request: Request,
    /// Address of the client, or of the proxy in front.
    pub peer: Option<IpAddr>,
    /// Id of the request.
    pub request_id: RequestId,
    /// Reason and detail.
    pub rejection: Rejection,
    /// True if a part of the body is missing.
    pub is_cut: bool,
}

/// Way into the quarantine. Clones share it.
#[derive(Clone, Default)]
pub struct QuarantineQueue(Option<Arc<Shared>>);

/// State of the queue.
struct Shared {
    room: Mutex<QueueRoom>,
    queue: Sender<NewRefused>,
    /// Orders to store what waits. Each gets its answer once that is done.
    flushes: Sender<Sender<()>>,
    metrics: Arc<Metrics>,
}

impl Shared {
    fn room(&self) -> MutexGuard<'_, QueueRoom> {
        self.room.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Gives the room of a delivery back.
    fn leave(&self, refused: &NewRefused) {
        self.room().leave(&refused.source, held(refused));
    }
}

/// Returns the bytes that a delivery holds in the queue.
fn held(refused: &NewRefused) -> usize {
    usize::try_from(refused.size()).unwrap_or(usize::MAX)
}

impl fmt::Debug for QuarantineQueue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.is_on() {
            "QuarantineQueue(on)"
        } else {
            "QuarantineQueue(off)"
        })
    }
}

/// Returns `true` if deliveries that are refused for this reason are kept. One that came slowly, or whose client
/// went away, is not whole, and its sender tries again.
pub fn keeps(reason: RejectReason) -> bool {
    !matches!(
        reason,
        RejectReason::BodyTooSlow | RejectReason::Disconnected
    )
}

impl QuarantineQueue {
    /// Returns `true` if refused deliveries are kept.
    pub fn is_on(&self) -> bool {
        self.0.is_some()
    }

    /// Waits until the deliveries that are in the queue now are stored or dropped, and no longer than `patience`.
    /// Returns `false` if some may be stored later.
    pub fn flush(&self, patience: Duration) -> bool {
        let Some(shared) = &self.0 else {
            return true;
        };
        let end = Instant::now() + patience;
        let (order, done) = bounded(1);
        shared.flushes.send_deadline(order, end).is_ok() && done.recv_deadline(end).is_ok()
    }

    /// Takes a refused delivery, or drops and counts it. Never waits.
    pub fn keep(&self, refused: RefusedRequest) {
        let Some(shared) = &self.0 else {
            return;
        };
        if !keeps(refused.rejection.reason) {
            return;
        }
        let (bytes, now) = (refused.size(), Instant::now());
        let entered = shared.room().enter(&refused.source, bytes, now);
        let dropped = match entered {
            Err(reason) => Some((reason, refused.source)),
            Ok(()) => match shared.queue.try_send(stored(refused)) {
                Ok(()) => None,
                Err(TrySendError::Full(refused) | TrySendError::Disconnected(refused)) => {
                    shared.leave(&refused);
                    Some((QuarantineDrop::Queue, refused.source))
                }
            },
        };
        if let Some((reason, source)) = dropped {
            shared
                .metrics
                .count_quarantine_drops(source.as_str(), reason, 1);
        }
    }
}

/// Shows no header and no body: a wrong secret may be a nearly right one.
impl fmt::Debug for RefusedRequest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (source, reason) = (&self.source, self.rejection.reason.label());
        write!(f, "RefusedRequest({source}, {reason})")
    }
}

impl RefusedRequest {
    /// Returns the bytes that it counts for.
    fn size(&self) -> usize {
        let headers = self.request.headers.iter();
        let lines = headers.map(|(name, value)| name.as_str().len() + value.len() + 3);
        let texts = self.request.target.len() + self.rejection.detail.len();
        OVERHEAD + lines.sum::<usize>() + texts + self.request.body.len()
    }
}

/// Returns the delivery as it is stored.
fn stored(refused: RefusedRequest) -> NewRefused {
    let RefusedRequest {
        source,
        request,
        peer,
        request_id,
        rejection,
        is_cut,
    } = refused;
    NewRefused {
        source,
        received_at: request.received_at,
        request_id: request_id.to_string(),
        reason: rejection.reason.label(),
        detail: rejection.detail.into_owned(),
        method: request.method.to_string(),
        target: request.target,
        peer: peer.map(|peer| peer.to_string()),
        is_cut,
        headers: header_lines(&request.headers),
        body: alone(request.body),
    }
}

/// Returns a body that holds no larger buffer of a connection in memory.
fn alone(body: Bytes) -> Bytes {
    if body.is_unique() || body.len() > COPIED {
        return body;
    }
    Bytes::copy_from_slice(&body)
}

/// Largest body that is copied.
const COPIED: usize = 64 * 1024;

/// Returns a line for each header: its name, `:`, a blank, and its value, which holds no end of a line.
pub fn header_lines(headers: &Headers) -> Vec<u8> {
    let mut lines = Vec::new();
    for (name, value) in headers.iter() {
        lines.put_slice(name.as_str().as_bytes());
        lines.put_slice(b": ");
        lines.put_slice(value.as_bytes());
        lines.put_u8(b'\n');
    }
    lines
}

/// Returns the headers of such lines. A line that is none is left out.
pub fn headers_of(lines: &[u8]) -> Headers {
    let lines = lines.split(|byte| *byte == b'\n');
    lines
        .filter_map(|line| {
            let end = line.iter().position(|byte| *byte == b':')?;
            let (name, value) = line.split_at(end);
            let value = value.strip_prefix(b": ")?;
            let value = http::HeaderValue::from_bytes(value).ok()?;
            Some((http::HeaderName::from_bytes(name).ok()?, value))
        })
        .collect()
}

/// Starts the quarantine, if it is on. `sources` is the number of configured sources.
pub fn start(
    config: &model::Config,
    metrics: &Arc<Metrics>,
    lifeline: &CriticalTask,
) -> std::io::Result<(QuarantineQueue, Option<RunningQuarantine>)> {
    let options = &config.quarantine;
    if !options.enabled {
        return Ok((QuarantineQueue::default(), None));
    }
    let (queue, waiting) = bounded(QUEUE);
    let (flushes, ordered) = bounded(1);
    let bounds = RoomBounds {
        bytes: options.queue_bytes,
        per_sec: options.source_per_sec,
    };
    let shared = Arc::new(Shared {
        room: Mutex::new(QueueRoom::new(bounds)),
        queue,
        flushes,
        metrics: metrics.clone(),
    });
    let writer = QuarantineWriter::new(config, shared.clone(), (waiting, ordered));
    let running = writer.start(lifeline)?;
    Ok((QuarantineQueue(Some(shared)), Some(running)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn headers_come_back_as_they_were_sent_repeated_and_without_a_value_too() {
        let header = |name: &'static str, value: &[u8]| {
            let value = http::HeaderValue::from_bytes(value).expect("a value");
            (http::HeaderName::from_static(name), value)
        };
        let sent = vec![
            header("x-a", b"1"),
            header("x-a", b"two: three"),
            header("x-empty", b""),
            header("x-latin", b"\xe4 \xff"),
        ];
        let back = headers_of(&header_lines(&sent.clone().into()));
        let back: Vec<_> = back.iter().cloned().collect();
        assert_eq!(back, sent);
    }

    #[test]
    fn a_delivery_gives_back_as_much_room_as_it_took() {
        let header = (
            http::header::USER_AGENT,
            http::HeaderValue::from_static("a"),
        );
        let refused = RefusedRequest {
            source: SourceName::parse("s").expect("a name"),
            request: Request {
                method: http::Method::POST,
                target: "/ingest/s?a=1".to_owned(),
                headers: vec![header].into(),
                body: Bytes::from_static(b"body"),
                received_at: crate::domain::delivery::UnixMillis(1),
            },
            peer: None,
            request_id: RequestId::next(),
            rejection: Rejection::new(RejectReason::SignatureMissing, "a detail"),
            is_cut: false,
        };
        let taken = refused.size();
        assert_eq!(taken, held(&stored(refused)));
    }

    #[test]
    fn what_is_not_whole_and_is_sent_again_is_not_kept() {
        let not = RejectReason::ALL.iter().filter(|reason| !keeps(**reason));
        let not: Vec<_> = not.map(|reason| reason.label()).collect();
        assert_eq!(not, ["body_too_slow", "disconnected"]);
    }
}
