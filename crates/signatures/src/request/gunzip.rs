//! Decompression of gzip bodies, within bounds.

use std::borrow::Cow;
use std::io::Read;

use crate::refusal::{Reason, Refusal};

/// Returns the decompressed length as a gzip body states it. None if the body is not gzip. The
/// number is not trusted: [`gunzip`] fails on a longer body.
pub(crate) fn unpacked_len(body: &[u8]) -> Option<usize> {
    // RFC 1952: a head of at least 10 bytes, and at the end the checksum and the length.
    let (_, trailer) = body
        .split_last_chunk::<4>()
        .filter(|_| body.starts_with(&[0x1f, 0x8b]) && body.len() >= 18)?;
    usize::try_from(u32::from_le_bytes(*trailer)).ok()
}

/// Returns the body, decompressed if it is gzip. Fails if it has more than `limit` bytes, or more
/// than it states. Bytes after the first gzip member would not be verified, so they are refused.
pub(crate) fn gunzip(body: &[u8], limit: usize) -> Result<Cow<'_, [u8]>, Refusal> {
    if !body.starts_with(&[0x1f, 0x8b]) {
        return Ok(Cow::Borrowed(body));
    }
    let malformed = || {
        Refusal::new(
            Reason::BodyMalformed,
            "the body starts like gzip, but is not exactly one gzip member",
        )
    };
    let size = unpacked_len(body).ok_or_else(malformed)?;
    if size > limit {
        return Err(Refusal::new(
            Reason::BodyTooLarge,
            format!("the body is larger than {limit} bytes when decompressed"),
        ));
    }
    let mut plain = Vec::with_capacity(size);
    let mut rest = body;
    let mut decoder = flate2::bufread::GzDecoder::new(&mut rest);
    // The decoder checks the trailer when it is asked for more than there is.
    let read = (&mut decoder)
        .take(size as u64)
        .read_to_end(&mut plain)
        .and_then(|_| decoder.read(&mut [0]));
    match read {
        Ok(0) if plain.len() == size && rest.is_empty() => Ok(Cow::Owned(plain)),
        _ => Err(malformed()),
    }
}
