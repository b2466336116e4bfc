//! Reading of a raw body within its size limit, deadline and minimum rate.

use std::time::{Duration, Instant};

use actix_http::error::PayloadError;
use bytes::Bytes;
use futures_util::{Stream, StreamExt};

/// Least length of a body that keeps the connection's read buffer. A shorter one is copied: an
/// event of 1 KB would hold a buffer of 8 KB or more on its way to the queue.
const KEEP: usize = 16 * 1024;

/// The first room for a body that comes in pieces.
const FIRST: usize = 4 * 1024;

/// Reason why a body was not read to its end. `R` is the refusal of more room.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::http) enum BodyFault<R> {
    /// Larger than the limit. Holds the part that was read before.
    TooLarge(Bytes),
    /// Slower than the minimum rate, or not there by the deadline.
    TooSlow,
    /// No room for more of it.
    NoRoom(R),
    /// Not a body by the rules of HTTP.
    Malformed,
    /// The client went away.
    Gone,
}

/// Minimum rate of a body, which is higher for a larger body, and its deadline.
#[derive(Debug)]
pub(in crate::http) struct Rate {
    end: Instant,
    /// Time at which the body is too slow, unless more of it comes.
    until: Instant,
    bytes_per_sec: u64,
    upload: Duration,
}

/// Longest pause of a body. Bytes ahead of the rate count for at most this time, so that a client
/// that keeps back a last byte holds its room only briefly. It is long enough for a lost packet
/// that is sent again twice.
const PAUSE: Duration = Duration::from_secs(3);

impl Rate {
    /// Rate of a body that begins `now` and has `upload` for all of it, at `bytes_per_sec` or more.
    /// `declared` is its length, if known.
    pub(in crate::http) fn new(
        now: Instant,
        upload: Duration,
        bytes_per_sec: u64,
        declared: Option<usize>,
    ) -> Self {
        let mut rate = Self {
            end: now + upload,
            until: now + PAUSE.min(upload),
            bytes_per_sec: bytes_per_sec.max(1),
            upload,
        };
        rate.expects(declared.unwrap_or(0));
        rate
    }

    /// Raises the rate to the one that brings `bytes` bytes here in time.
    fn expects(&mut self, bytes: usize) {
        let millis = u64::try_from(self.upload.as_millis())
            .unwrap_or(u64::MAX)
            .max(1);
        self.bytes_per_sec = self
            .bytes_per_sec
            .max((bytes as u64).saturating_mul(1000) / millis);
    }

    /// Counts `more` bytes that came, `whole` in all.
    fn has_read(&mut self, now: Instant, more: usize, whole: usize) {
        self.expects(whole);
        let worth = Duration::from_millis((more as u64).saturating_mul(1000) / self.bytes_per_sec);
        self.until = (self.until + worth).min(now + PAUSE).min(self.end);
    }
}

/// Size of a body.
#[derive(Clone, Copy, Debug)]
pub(in crate::http) struct Size {
    /// Its `Content-Length`, at most `limit`.
    pub(in crate::http) declared: Option<usize>,
    /// Most bytes.
    pub(in crate::http) limit: usize,
}

/// Room that a body asks for.
#[derive(Clone, Copy, Debug)]
pub(in crate::http) struct Claim {
    /// Bytes on top of those it has.
    pub(in crate::http) more: usize,
    /// Length of the whole body, as far as it is known.
    pub(in crate::http) whole: usize,
    /// The body is whole with this room.
    pub(in crate::http) is_last: bool,
}

/// Reads the body to its end. `reserve` is asked for the memory that the body occupies, as it
/// comes. A declared length alone gets no room, since declaring costs the sender nothing.
pub(in crate::http) async fn read<S, R>(
    body: &mut S,
    size: Size,
    mut rate: Rate,
    mut reserve: impl FnMut(Claim) -> Result<(), R>,
) -> Result<Bytes, BodyFault<R>>
where
    S: Stream<Item = Result<Bytes, PayloadError>> + Unpin,
{
    let declared = size.declared;
    let limit = declared.unwrap_or(size.limit);
    let mut whole: Vec<u8> = Vec::new();
    loop {
        let chunk = match tokio::time::timeout_at(rate.until.into(), body.next()).await {
            Err(_) => return Err(BodyFault::TooSlow),
            Ok(None) => return Ok(whole.into()),
            Ok(Some(Ok(chunk))) => chunk,
            Ok(Some(Err(PayloadError::Incomplete(_) | PayloadError::Io(_)))) => {
                return Err(BodyFault::Gone);
            }
            Ok(Some(Err(_))) => return Err(BodyFault::Malformed),
        };
        let needed = whole.len() + chunk.len();
        if needed > limit {
            return Err(BodyFault::TooLarge(whole.into()));
        }
        let claim = |more, whole| Claim {
            more,
            whole: declared.unwrap_or(whole),
            is_last: declared == Some(needed),
        };
        if declared == Some(chunk.len()) && chunk.len() >= KEEP {
            reserve(claim(chunk.len(), needed)).map_err(BodyFault::NoRoom)?;
            return Ok(chunk);
        }
        if needed > whole.capacity() {
            let room = if declared == Some(needed) {
                needed
            } else {
                needed.max(2 * whole.capacity()).max(FIRST).min(limit)
            };
            reserve(claim(room - whole.capacity(), room)).map_err(BodyFault::NoRoom)?;
            whole.reserve_exact(room - whole.len());
        }
        whole.extend_from_slice(&chunk);
        if declared == Some(needed) {
            return Ok(whole.into());
        }
        rate.has_read(Instant::now(), chunk.len(), needed);
    }
}

/// Reads and drops a body of at most `limit` bytes. Returns `true` if it was read to its end: the
/// connection can be used again.
pub(in crate::http) async fn skip<S>(body: &mut S, limit: usize, mut rate: Rate) -> bool
where
    S: Stream<Item = Result<Bytes, PayloadError>> + Unpin,
{
    let mut bytes = 0;
    while bytes <= limit {
        match tokio::time::timeout_at(rate.until.into(), body.next()).await {
            Ok(None) => return true,
            Ok(Some(Ok(chunk))) => {
                bytes += chunk.len();
                rate.has_read(Instant::now(), chunk.len(), bytes);
            }
            Ok(Some(Err(_))) | Err(_) => return false,
        }
    }
    false
}

#[cfg(test)]
mod tests {
    use futures_util::stream;

    use super::*;
    use crate::domain::outcome::ShedReason;
    use crate::in_flight::{BodyKind, Budget};

    fn rate() -> Rate {
        Rate::new(Instant::now(), Duration::from_secs(60), 1, None)
    }

    async fn whole(
        chunks: &[&[u8]],
        declared: Option<usize>,
        limit: usize,
        room: usize,
    ) -> Result<(Bytes, usize), BodyFault<ShedReason>> {
        let mut body = stream::iter(
            chunks
                .iter()
                .map(|chunk| Ok(Bytes::copy_from_slice(chunk)))
                .collect::<Vec<_>>(),
        );
        let budget = Budget::new(1, room);
        let mut permit = budget.reserve(1, 0).expect("room");
        let bytes = read(
            &mut body,
            Size { declared, limit },
            rate(),
            |claim: Claim| permit.grow(claim.more, BodyKind::of(claim.whole, limit, claim.is_last)),
        )
        .await?;
        Ok((bytes, budget.used().1))
    }

    #[tokio::test]
    async fn a_body_is_whole_or_refused_and_takes_the_room_it_occupies() {
        let big = vec![7; KEEP];
        assert_eq!(whole(&[], None, 10, 0).await, Ok((Bytes::new(), 0)));
        assert_eq!(
            whole(&[b"abc"], Some(3), 10, 3).await,
            Ok((Bytes::from_static(b"abc"), 3))
        );
        assert_eq!(
            whole(&[b"ab", b"c"], Some(3), 10, 3).await,
            Ok((Bytes::from_static(b"abc"), 3)),
            "room for what was declared"
        );
        assert_eq!(
            whole(&[b"ab", b"c"], None, 10, 99).await,
            Ok((Bytes::from_static(b"abc"), 10)),
            "room up to the limit"
        );
        assert_eq!(
            whole(&[&big], Some(KEEP), KEEP, KEEP).await,
            Ok((Bytes::from(big.clone()), KEEP))
        );
        assert_eq!(
            whole(&[&big, b"x"], None, KEEP + 1, 9 * KEEP)
                .await
                .map(|(bytes, _)| bytes.len()),
            Ok(KEEP + 1)
        );

        assert_eq!(
            whole(&[b"abc", b"d"], None, 3, 99).await,
            Err(BodyFault::TooLarge(Bytes::from_static(b"abc")))
        );
        assert_eq!(
            whole(&[b"abc"], Some(3), 10, 2).await,
            Err(BodyFault::NoRoom(ShedReason::Bytes))
        );
        assert_eq!(
            whole(&[&big], Some(KEEP), KEEP, KEEP - 1).await,
            Err(BodyFault::NoRoom(ShedReason::Bytes))
        );
    }

    #[test]
    fn a_body_keeps_up_with_a_rate_that_grows_with_its_length() {
        let (start, secs) = (Instant::now(), Duration::from_secs);
        let mut small = Rate::new(start, secs(30), 1000, Some(9000));
        assert_eq!(small.until - start, PAUSE);
        small.has_read(start, 1, 1);
        assert_eq!(
            small.until - start,
            PAUSE,
            "what comes early earns no longer pause"
        );
        small.has_read(start + secs(2), 1000, 1001);
        assert_eq!(small.until - start, secs(4), "a second's worth");
        small.has_read(start + secs(3), 8000, 9001);
        assert_eq!(
            small.until - start,
            secs(3) + PAUSE,
            "no more than the pause is kept"
        );
        let mut short = Rate::new(start, secs(4), 1000, None);
        short.has_read(start + secs(3), 9000, 9000);
        assert_eq!(short.until - start, secs(4), "never past the end");

        let mut large = Rate::new(start, secs(30), 1000, Some(30_000_000));
        large.has_read(start + secs(2), 1_000_000, 1_000_000);
        assert_eq!(
            large.until - start,
            secs(4),
            "a million bytes a second are expected"
        );
        let mut unknown = Rate::new(start, secs(30), 1000, None);
        unknown.has_read(start + secs(2), 29_999_000, 30_000_000);
        unknown.has_read(start + secs(4), 1_000_000, 31_000_000);
        assert!(
            unknown.until - start < secs(6),
            "likewise where no length is declared"
        );
    }

    #[tokio::test]
    async fn a_last_byte_that_is_kept_back_is_not_waited_for() {
        let sent: &[u8] = &[7; 900];
        let mut body = stream::iter([Ok(Bytes::from_static(sent))]).chain(stream::pending());
        let budget = Budget::new(1, 2000);
        let mut permit = budget.reserve(1, 0).expect("room");
        let rate = Rate::new(Instant::now(), Duration::from_millis(300), 1, Some(901));
        let size = Size {
            declared: Some(901),
            limit: 1000,
        };
        let room =
            |claim: Claim| permit.grow(claim.more, BodyKind::of(claim.whole, 1000, claim.is_last));
        assert_eq!(
            read(&mut body, size, rate, room).await,
            Err(BodyFault::TooSlow)
        );
    }
}
