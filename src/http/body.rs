//! Reads a raw body: never more than its limit, never past its deadline, never slower than the minimum rate.

use std::time::{Duration, Instant};

use actix_http::error::PayloadError;
use bytes::Bytes;
use futures_util::{Stream, StreamExt};

use crate::in_flight::Permit;
use crate::outcome::ShedReason;

/// A body at least this long keeps the connection's read buffer that it lies in; a shorter one is copied, for else an event of 1 KB
/// would hold a buffer of 8 KB or more on its way to the queue.
const KEEP: usize = 16 * 1024;

/// The first room for a body that comes in pieces.
const FIRST: usize = 4 * 1024;

/// Why a body was not read to its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fault {
    /// Larger than the limit.
    TooLarge,
    /// Slower than the minimum rate, or not there by the deadline.
    TooSlow,
    /// No room in the budget.
    Shed(ShedReason),
    /// Not a body by the rules of HTTP.
    Malformed,
    /// The client went away.
    Gone,
}

/// How slow a body may be.
#[derive(Clone, Copy, Debug)]
pub(super) struct Pace {
    pub(super) started: Instant,
    pub(super) deadline: Instant,
    pub(super) min_bytes_per_sec: u64,
}

impl Pace {
    /// When a body of which `bytes` have come is too slow: after a first second of grace, it has to keep up with the minimum rate.
    pub(super) fn until(&self, bytes: usize) -> Instant {
        let keeps_up = Duration::from_millis(1000 * (bytes as u64 + 1) / self.min_bytes_per_sec.max(1));
        self.deadline.min(self.started + Duration::from_secs(1) + keeps_up)
    }
}

/// Reads the body to its end. `declared` is its `Content-Length`, at most `limit`. Room is taken from `permit` for the memory that the
/// body really occupies, as it comes: a promise of bytes costs its sender nothing, so it is given no room.
pub(super) async fn read<S>(body: &mut S, declared: Option<usize>, limit: usize, pace: Pace, permit: &mut Permit) -> Result<Bytes, Fault>
where
    S: Stream<Item = Result<Bytes, PayloadError>> + Unpin,
{
    let limit = declared.unwrap_or(limit);
    let mut whole: Vec<u8> = Vec::new();
    loop {
        let chunk = match tokio::time::timeout_at(pace.until(whole.len()).into(), body.next()).await {
            Err(_) => return Err(Fault::TooSlow),
            Ok(None) => return Ok(whole.into()),
            Ok(Some(Ok(chunk))) => chunk,
            Ok(Some(Err(PayloadError::Incomplete(_) | PayloadError::Io(_)))) => return Err(Fault::Gone),
            Ok(Some(Err(_))) => return Err(Fault::Malformed),
        };
        let needed = whole.len() + chunk.len();
        if needed > limit {
            return Err(Fault::TooLarge);
        }
        if declared == Some(chunk.len()) && chunk.len() >= KEEP {
            permit.grow(chunk.len()).map_err(Fault::Shed)?;
            return Ok(chunk);
        }
        if needed > whole.capacity() {
            let room = if declared == Some(needed) { needed } else { needed.max(2 * whole.capacity()).max(FIRST).min(limit) };
            permit.grow(room - whole.capacity()).map_err(Fault::Shed)?;
            whole.reserve_exact(room - whole.len());
        }
        whole.extend_from_slice(&chunk);
        if declared == Some(needed) {
            return Ok(whole.into());
        }
    }
}

/// Reads a body of at most `limit` bytes to its end and forgets it, so that the connection can be used again. False if it can't.
pub(super) async fn skip<S>(body: &mut S, limit: usize, pace: Pace) -> bool
where
    S: Stream<Item = Result<Bytes, PayloadError>> + Unpin,
{
    let mut bytes = 0;
    while bytes <= limit {
        match tokio::time::timeout_at(pace.until(bytes).into(), body.next()).await {
            Ok(None) => return true,
            Ok(Some(Ok(chunk))) => bytes += chunk.len(),
            Ok(Some(Err(_))) | Err(_) => return false,
        }
    }
    false
}

#[cfg(test)]
mod tests {
    use futures_util::stream;

    use super::*;
    use crate::in_flight::Budget;

    fn pace() -> Pace {
        let started = Instant::now();
        Pace { started, deadline: started + Duration::from_secs(60), min_bytes_per_sec: 1 }
    }

    async fn whole(chunks: &[&[u8]], declared: Option<usize>, limit: usize, room: usize) -> Result<(Bytes, usize), Fault> {
        let mut body = stream::iter(chunks.iter().map(|chunk| Ok(Bytes::copy_from_slice(chunk))).collect::<Vec<_>>());
        let budget = Budget::new(1, room);
        let mut permit = budget.reserve(1, 0).expect("room");
        let bytes = read(&mut body, declared, limit, pace(), &mut permit).await?;
        Ok((bytes, budget.used().1))
    }

    #[tokio::test]
    async fn a_body_is_whole_or_refused_and_takes_the_room_it_occupies() {
        let big = vec![7; KEEP];
        assert_eq!(whole(&[], None, 10, 0).await, Ok((Bytes::new(), 0)));
        assert_eq!(whole(&[b"abc"], Some(3), 10, 3).await, Ok((Bytes::from_static(b"abc"), 3)));
        assert_eq!(whole(&[b"ab", b"c"], Some(3), 10, 3).await, Ok((Bytes::from_static(b"abc"), 3)), "room for what was declared");
        assert_eq!(whole(&[b"ab", b"c"], None, 10, 99).await, Ok((Bytes::from_static(b"abc"), 10)), "room up to the limit");
        assert_eq!(whole(&[&big], Some(KEEP), KEEP, KEEP).await, Ok((Bytes::from(big.clone()), KEEP)));
        assert_eq!(whole(&[&big, b"x"], None, KEEP + 1, 9 * KEEP).await.map(|(bytes, _)| bytes.len()), Ok(KEEP + 1));

        assert_eq!(whole(&[b"abc", b"d"], None, 3, 99).await, Err(Fault::TooLarge));
        assert_eq!(whole(&[b"abc"], Some(3), 10, 2).await, Err(Fault::Shed(ShedReason::Bytes)));
        assert_eq!(whole(&[&big], Some(KEEP), KEEP, KEEP - 1).await, Err(Fault::Shed(ShedReason::Bytes)));
    }

    #[test]
    fn after_a_second_of_grace_a_body_keeps_up_with_the_minimum_rate() {
        let started = Instant::now();
        let pace = Pace { started, deadline: started + Duration::from_secs(10), min_bytes_per_sec: 1000 };
        assert_eq!(pace.until(0) - started, Duration::from_millis(1001));
        assert_eq!(pace.until(4999) - started, Duration::from_secs(6));
        assert_eq!(pace.until(50_000) - started, Duration::from_secs(10), "never past the deadline");
    }
}
