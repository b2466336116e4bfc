//! Reads a raw body: never more than its limit, never past its deadline, never slower than the minimum rate.

use std::time::{Duration, Instant};

use actix_http::error::PayloadError;
use bytes::Bytes;
use futures_util::{Stream, StreamExt};

use crate::domain::outcome::ShedReason;
use crate::in_flight::{Kind, Permit};

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

/// How slow a body may be. It has to keep up with a rate, which is higher for a larger body, and be there by the end in any case.
#[derive(Debug)]
pub(super) struct Pace {
    end: Instant,
    /// When the body is too slow, unless more of it comes.
    until: Instant,
    /// Bytes a second.
    rate: u64,
    upload: Duration,
}

/// How long a body may pause: what is sent ahead of the rate counts for as much as this and no more, so that nobody holds much room open by
/// keeping back a last byte. Long enough for a lost packet that is sent again twice.
const PAUSE: Duration = Duration::from_secs(3);

impl Pace {
    /// A body that begins `now` and has `upload` for all of it, at no less than `rate` bytes a second; of `declared` bytes, if it says so.
    pub(super) fn new(now: Instant, upload: Duration, rate: u64, declared: Option<usize>) -> Self {
        let mut pace = Self {
            end: now + upload,
            until: now + PAUSE.min(upload),
            rate: rate.max(1),
            upload,
        };
        pace.expects(declared.unwrap_or(0));
        pace
    }

    /// Of a body of `bytes` bytes the rate is at least what brings it here in time.
    fn expects(&mut self, bytes: usize) {
        let millis = u64::try_from(self.upload.as_millis())
            .unwrap_or(u64::MAX)
            .max(1);
        self.rate = self.rate.max((bytes as u64).saturating_mul(1000) / millis);
    }

    /// `more` bytes have come, `whole` in all.
    fn came(&mut self, now: Instant, more: usize, whole: usize) {
        self.expects(whole);
        let worth = Duration::from_millis((more as u64).saturating_mul(1000) / self.rate);
        self.until = (self.until + worth).min(now + PAUSE).min(self.end);
    }
}

/// How large a body may be.
#[derive(Clone, Copy, Debug)]
pub(super) struct Size {
    /// Its `Content-Length`, at most `limit`.
    pub(super) declared: Option<usize>,
    pub(super) limit: usize,
    /// What its provider usually sends at most: a larger one competes for less of the room.
    pub(super) usual: usize,
}

/// Reads the body to its end. Room is taken from `permit` for the memory that the body really occupies, as it comes: a promise of bytes
/// costs its sender nothing, so it is given no room.
pub(super) async fn read<S>(
    body: &mut S,
    size: Size,
    mut pace: Pace,
    permit: &mut Permit,
) -> Result<Bytes, Fault>
where
    S: Stream<Item = Result<Bytes, PayloadError>> + Unpin,
{
    let declared = size.declared;
    let limit = declared.unwrap_or(size.limit);
    let mut whole: Vec<u8> = Vec::new();
    loop {
        let chunk = match tokio::time::timeout_at(pace.until.into(), body.next()).await {
            Err(_) => return Err(Fault::TooSlow),
            Ok(None) => return Ok(whole.into()),
            Ok(Some(Ok(chunk))) => chunk,
            Ok(Some(Err(PayloadError::Incomplete(_) | PayloadError::Io(_)))) => {
                return Err(Fault::Gone);
            }
            Ok(Some(Err(_))) => return Err(Fault::Malformed),
        };
        let needed = whole.len() + chunk.len();
        if needed > limit {
            return Err(Fault::TooLarge);
        }
        let kind = |bytes| {
            Kind::of(
                declared.unwrap_or(bytes),
                size.usual,
                declared == Some(needed),
            )
        };
        if declared == Some(chunk.len()) && chunk.len() >= KEEP {
            permit
                .grow(chunk.len(), kind(needed))
                .map_err(Fault::Shed)?;
            return Ok(chunk);
        }
        if needed > whole.capacity() {
            let room = if declared == Some(needed) {
                needed
            } else {
                needed.max(2 * whole.capacity()).max(FIRST).min(limit)
            };
            permit
                .grow(room - whole.capacity(), kind(room))
                .map_err(Fault::Shed)?;
            whole.reserve_exact(room - whole.len());
        }
        whole.extend_from_slice(&chunk);
        if declared == Some(needed) {
            return Ok(whole.into());
        }
        pace.came(Instant::now(), chunk.len(), needed);
    }
}

/// Reads a body of at most `limit` bytes to its end and forgets it, so that the connection can be used again. False if it can't.
pub(super) async fn skip<S>(body: &mut S, limit: usize, mut pace: Pace) -> bool
where
    S: Stream<Item = Result<Bytes, PayloadError>> + Unpin,
{
    let mut bytes = 0;
    while bytes <= limit {
        match tokio::time::timeout_at(pace.until.into(), body.next()).await {
            Ok(None) => return true,
            Ok(Some(Ok(chunk))) => {
                bytes += chunk.len();
                pace.came(Instant::now(), chunk.len(), bytes);
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
    use crate::in_flight::Budget;

    fn pace() -> Pace {
        Pace::new(Instant::now(), Duration::from_secs(60), 1, None)
    }

    async fn whole(
        chunks: &[&[u8]],
        declared: Option<usize>,
        limit: usize,
        room: usize,
    ) -> Result<(Bytes, usize), Fault> {
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
            Size {
                declared,
                limit,
                usual: limit,
            },
            pace(),
            &mut permit,
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
            Err(Fault::TooLarge)
        );
        assert_eq!(
            whole(&[b"abc"], Some(3), 10, 2).await,
            Err(Fault::Shed(ShedReason::Bytes))
        );
        assert_eq!(
            whole(&[&big], Some(KEEP), KEEP, KEEP - 1).await,
            Err(Fault::Shed(ShedReason::Bytes))
        );
    }

    #[test]
    fn a_body_keeps_up_with_a_rate_that_grows_with_its_length() {
        let (start, secs) = (Instant::now(), Duration::from_secs);
        let mut small = Pace::new(start, secs(30), 1000, Some(9000));
        assert_eq!(small.until - start, PAUSE);
        small.came(start, 1, 1);
        assert_eq!(
            small.until - start,
            PAUSE,
            "what comes early earns no longer pause"
        );
        small.came(start + secs(2), 1000, 1001);
        assert_eq!(small.until - start, secs(4), "a second's worth");
        small.came(start + secs(3), 8000, 9001);
        assert_eq!(
            small.until - start,
            secs(3) + PAUSE,
            "no more than the pause is kept"
        );
        let mut short = Pace::new(start, secs(4), 1000, None);
        short.came(start + secs(3), 9000, 9000);
        assert_eq!(short.until - start, secs(4), "never past the end");

        let mut large = Pace::new(start, secs(30), 1000, Some(30_000_000));
        large.came(start + secs(2), 1_000_000, 1_000_000);
        assert_eq!(
            large.until - start,
            secs(4),
            "a million bytes a second are expected"
        );
        let mut unknown = Pace::new(start, secs(30), 1000, None);
        unknown.came(start + secs(2), 29_999_000, 30_000_000);
        unknown.came(start + secs(4), 1_000_000, 31_000_000);
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
        let pace = Pace::new(Instant::now(), Duration::from_millis(300), 1, Some(901));
        let size = Size {
            declared: Some(901),
            limit: 1000,
            usual: 1000,
        };
        assert_eq!(
            read(&mut body, size, pace, &mut permit).await,
            Err(Fault::TooSlow)
        );
    }
}
