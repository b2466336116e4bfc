//! The words that every stage shares: what a source, an event and a message are called.
//!
//! Everything here is parsed once, at the edge, and carried as a type from then on. Imports nothing of ours but
//! words of the signature engine.

use std::fmt;
use std::hash::{Hash, Hasher};
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

pub use hookweir_signatures::{BodyDigest, IdClass, UnixMillis};
use sha2::{Digest, Sha256};
use uuid::Uuid;

use crate::faults::clock;

/// The name of a configured inbound: `stripe`, `github-ci`. It labels metrics and logs, so it comes
/// from configuration only.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SourceName(Arc<str>);

impl SourceName {
    /// Longest name that is accepted, in bytes.
    pub const MAX_LEN: usize = 63;

    /// Accepts `[a-z0-9][a-z0-9_-]*` of at most [`Self::MAX_LEN`] bytes.
    pub fn parse(text: &str) -> Result<Self, String> {
        let first = text
            .bytes()
            .next()
            .is_some_and(|b| b.is_ascii_lowercase() || b.is_ascii_digit());
        let rest = text
            .bytes()
            .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_' || b == b'-');
        if first && rest && text.len() <= Self::MAX_LEN {
            Ok(Self(text.into()))
        } else {
            Err(format!(
                "\"{}\" is not a source name: use 1 to {} characters of a-z, 0-9, \"_\" and \"-\", starting with a letter or digit",
                text.escape_debug(),
                Self::MAX_LEN
            ))
        }
    }

    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for SourceName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for SourceName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The id under which an event is shown, stored and passed on.
///
/// It is the provider's own id where that is printable and of sane length. Any other id (NULs,
/// 9,000 characters) is shown as `sha256:<hex>`, because text columns, log lines and AMQP headers
/// should not carry it. Such an event is accepted, and its [`DedupKey`] is made of the id as the
/// provider sent it.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct EventId(Arc<str>);

impl EventId {
    /// Longest id that is shown as it came, in bytes.
    pub const MAX_LEN: usize = 512;

    /// Takes the id as the provider sent it.
    pub fn new(text: &str) -> Self {
        if text.len() <= Self::MAX_LEN && !text.chars().any(char::is_control) {
            Self(text.into())
        } else {
            Self(format!("sha256:{}", hex::encode(Sha256::digest(text.as_bytes()))).into())
        }
    }

    /// The id as text: at most [`Self::MAX_LEN`] bytes, no control characters.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for EventId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for EventId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Digest by which two deliveries are the same event. Any id fits its fixed-size unique column.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct DedupKey([u8; 32]);

/// A part of a digest is as good as all of it, and an event's key is hashed a dozen times on its
/// way.
impl Hash for DedupKey {
    fn hash<H: Hasher>(&self, state: &mut H) {
        let [a, b, c, d, e, f, g, h, ..] = self.0;
        state.write_u64(u64::from_ne_bytes([a, b, c, d, e, f, g, h]));
    }
}

impl DedupKey {
    /// The key of an event: its source and the parts of its id, each with its length in front, so
    /// that `("ab", "c")` and `("a", "bc")` differ. `purpose` keeps keys of different meaning apart
    /// (`"id"`, `"body"`).
    pub fn new(source: &SourceName, purpose: &str, parts: &[&[u8]]) -> Self {
        let mut hash = Sha256::new();
        for part in [
            b"hookweir/1",
            purpose.as_bytes(),
            source.as_str().as_bytes(),
        ]
        .iter()
        .chain(parts)
        {
            hash.update((part.len() as u64).to_be_bytes());
            hash.update(part);
        }
        Self(hash.finalize().into())
    }

    /// A key that equals no other, for a source whose deliveries are all taken as new events.
    pub fn unique(source: &SourceName) -> Self {
        Self::new(source, "unique", &[Uuid::now_v7().as_bytes()])
    }

    /// A key that was stored before.
    pub fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// The 32 bytes of the key.
    pub fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }

    /// The key of another body under this key's id.
    #[must_use]
    pub fn variant(&self, source: &SourceName, digest: &BodyDigest) -> Self {
        Self::new(source, "variant", &[&self.0, digest.as_bytes()])
    }
}

impl fmt::Debug for DedupKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&hex::encode(&self.0[..8]))
    }
}

/// Key of a message: stored with the event and never made again, so that every copy has the same
/// message id, whichever instance sends it.
///
/// Made of id and body where an id stands for one event, so that instances that cannot ask each
/// other agree. Fresh where an event that comes again later is another one.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct MessageKey([u8; 32]);

impl MessageKey {
    /// The key of the message of the one event that ever has this dedup key.
    pub fn of(key: &DedupKey) -> Self {
        Self(key.0)
    }

    /// A key that equals no other. Its halves are equal, by which the store tells it from the
    /// others.
    pub fn fresh() -> Self {
        let half = *Uuid::now_v7().as_bytes();
        let mut bytes = [0; 32];
        bytes[..16].copy_from_slice(&half);
        bytes[16..].copy_from_slice(&half);
        Self(bytes)
    }

    /// It was made by [`Self::fresh`].
    pub fn is_fresh(&self) -> bool {
        self.0[..16] == self.0[16..]
    }

    /// A key that was stored before.
    pub fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// The 32 bytes of the key.
    pub fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }

    /// The id of the message: the key's first half, as a UUID.
    pub fn message_id(&self) -> MessageId {
        let mut bytes = [0; 16];
        bytes.copy_from_slice(&self.0[..16]);
        MessageId(Uuid::new_v8(bytes))
    }
}

/// As with [`DedupKey`], by its other end.
impl Hash for MessageKey {
    fn hash<H: Hasher>(&self, state: &mut H) {
        // Fresh ones begin with the time.
        let [.., a, b, c, d, e, f, g, h] = self.0;
        state.write_u64(u64::from_ne_bytes([a, b, c, d, e, f, g, h]));
    }
}

impl fmt::Debug for MessageKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&hex::encode(&self.0[..8]))
    }
}

/// The `message_id` on the queue and the `id` of an answer: a UUID (version 8), 36 characters.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct MessageId(Uuid);

impl MessageId {
    /// Length of its text.
    pub const LEN: usize = uuid::fmt::Hyphenated::LENGTH;

    /// An id that was stored before.
    pub fn from_bytes(bytes: [u8; 16]) -> Self {
        Self(Uuid::from_bytes(bytes))
    }

    /// Returns the id in this text. None if the text is no UUID.
    pub fn parse(text: &str) -> Option<Self> {
        Uuid::try_parse(text).ok().map(Self)
    }

    /// The 16 bytes of the id.
    pub fn as_bytes(&self) -> &[u8; 16] {
        self.0.as_bytes()
    }
}

/// Doubts about a published event, each with the message id of the event that came first.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct Marks {
    /// That one had the same id and another body.
    pub conflict_of: Option<MessageId>,
    /// That one had the same bytes.
    pub same_bytes_as: Option<MessageId>,
}

impl fmt::Display for MessageId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.hyphenated().fmt(f)
    }
}

impl fmt::Debug for MessageId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// This process's name in the database for as long as it runs: owner of leases and outbox rows.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct InstanceId(Uuid);

impl InstanceId {
    /// A fresh one at each start.
    pub fn random() -> Self {
        Self(Uuid::now_v7())
    }

    /// An id that was stored before.
    pub fn from_bytes(bytes: [u8; 16]) -> Self {
        Self(Uuid::from_bytes(bytes))
    }

    /// The 16 bytes of the id.
    pub fn as_bytes(&self) -> &[u8; 16] {
        self.0.as_bytes()
    }
}

impl fmt::Display for InstanceId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.hyphenated().fmt(f)
    }
}

/// Returns the wall clock now. Pure code takes the time as an argument; only the edges read it.
pub fn wall_clock() -> UnixMillis {
    let since = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    let now = i64::try_from(since.as_millis()).unwrap_or(i64::MAX);
    UnixMillis(now.saturating_add(clock::shift_ms()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn source(name: &str) -> SourceName {
        SourceName::parse(name).expect("a valid name")
    }

    #[test]
    fn parts_of_a_key_do_not_run_into_each_other() {
        let s = source("s");
        assert_ne!(
            DedupKey::new(&s, "id", &[b"ab", b"c"]),
            DedupKey::new(&s, "id", &[b"a", b"bc"])
        );
        assert_ne!(
            DedupKey::new(&s, "id", &[b"ab"]),
            DedupKey::new(&s, "id", &[b"ab", b""])
        );
        assert_ne!(
            DedupKey::new(&s, "id", &[b"ab"]),
            DedupKey::new(&s, "body", &[b"ab"])
        );
        assert_ne!(
            DedupKey::new(&s, "id", &[b"ab"]),
            DedupKey::new(&source("sa"), "id", &[b"b"])
        );
        assert_eq!(
            DedupKey::new(&s, "id", &[b"ab"]),
            DedupKey::new(&s, "id", &[b"ab"])
        );
    }

    #[test]
    fn an_id_that_no_column_should_carry_is_shown_as_its_digest() {
        assert_eq!(EventId::new("evt_1").as_str(), "evt_1");
        assert!(EventId::new("a\0b").as_str().starts_with("sha256:"));
        assert_eq!(EventId::new(&"x".repeat(9000)).as_str().len(), 71);
    }

    #[test]
    fn source_names_are_fit_for_labels() {
        for bad in ["", "-a", "A", "a b", "a/b", "é", &"a".repeat(64)] {
            assert!(SourceName::parse(bad).is_err(), "{bad:?} was accepted");
        }
        for good in ["a", "0", "stripe-test_2", &"a".repeat(63)] {
            assert!(SourceName::parse(good).is_ok(), "{good:?} was refused");
        }
    }
}
