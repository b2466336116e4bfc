//! Match of signatures: the secret or key of a source that made one.

use std::borrow::Cow;

use sha2::{Digest, Sha256};

use crate::check::hashes::{Hashes, PickHash};
use crate::check::signature_list::Candidate;
use crate::crypto::mac::{HashName, MacKey, Tag, token_digest};
use crate::crypto::public_key::PublicKey;
use crate::keys::pinned_url::PinnedUrl;
use crate::keys::ring::Fetched;
use crate::language::context::Cx;
use crate::language::template::Piece;
use crate::time::UnixMillis;
use crate::{Reason, Refusal, Secret};

/// Secret or key that the sender holds.
#[derive(Debug)]
pub(crate) enum By {
    /// One of these secrets; each under every hash that the request may name.
    Mac {
        keys: Vec<Vec<(HashName, MacKey)>>,
        hash: PickHash,
    },
    /// One of these secrets, which is a part of the message.
    Hash {
        secrets: Vec<Secret>,
        hash: HashName,
    },
    /// One of these secrets, which is sent as it is.
    Token { secrets: Vec<Tag> },
    /// The private key of one of these.
    Key { keys: Vec<PublicKey>, hash: Hashes },
    /// The private key of a certificate that the request says where to find.
    Certificate { at: PinnedUrl, hash: Hashes },
}

/// Match of a signature.
#[derive(Debug, Default)]
pub(super) struct Match<'v> {
    /// The key, where it is one that signs answers.
    pub(super) key: Option<&'v MacKey>,
    /// MAC of the message: as good as a digest of it, and computed already.
    pub(super) tag: Option<Tag>,
    /// Position of the secret, if it is a secret of the configuration.
    pub(super) secret: Option<usize>,
}

impl By {
    /// Returns the match of the first candidate that is right.
    pub(super) fn matches<'v>(
        &'v self,
        pieces: &[Piece<'_>],
        candidates: &[Candidate],
        cx: Cx<'_>,
    ) -> Option<Match<'v>> {
        match self {
            Self::Mac { keys, hash } => matches_mac(keys, hash, pieces, candidates, cx),
            Self::Hash { secrets, hash } => secrets
                .iter()
                .map(|secret| hash.of(bytes(pieces, secret.expose())))
                .enumerate()
                .find(|(_, tag)| {
                    candidates
                        .iter()
                        .any(|candidate| tag.matches(&candidate.bytes))
                })
                .map(|(position, tag)| Match {
                    key: None,
                    tag: Some(tag),
                    secret: Some(position),
                }),
            Self::Key { keys, hash } => {
                let message = whole(pieces);
                let right = |(candidate, hash): (&Candidate, HashName)| {
                    keys.iter().enumerate().any(|(position, key)| {
                        candidate.secret.is_none_or(|only| only == position)
                            && key.verifies(hash, &message, &candidate.bytes)
                    })
                };
                hash.few(candidates, cx).any(right).then(Match::default)
            }
            Self::Token { .. } | Self::Certificate { .. } => None,
        }
    }

    /// Returns `true` if the certificate's key made a candidate.
    pub(super) fn signed_by(
        &self,
        fetched: &Fetched,
        pieces: &[Piece<'_>],
        candidates: &[Candidate],
        cx: Cx<'_>,
        now: UnixMillis,
    ) -> Result<bool, Refusal> {
        let (Self::Certificate { hash, .. }, Fetched::Certificate(certificate)) = (self, fetched)
        else {
            return Ok(false);
        };
        if !certificate.is_valid_at(now) {
            return Err(Refusal::new(
                Reason::SignatureMismatch,
                "the signer's certificate is not valid at this time",
            ));
        }
        let message = whole(pieces);
        Ok(hash
            .few(candidates, cx)
            .any(|(candidate, hash)| certificate.key.verifies(hash, &message, &candidate.bytes)))
    }
}

/// Returns the match of the first secret that made a candidate under a hash that the request may
/// name.
fn matches_mac<'v>(
    keys: &'v [Vec<(HashName, MacKey)>],
    hash: &PickHash,
    pieces: &[Piece<'_>],
    candidates: &[Candidate],
    cx: Cx<'_>,
) -> Option<Match<'v>> {
    for (position, key) in keys.iter().enumerate() {
        for (name, mac) in key {
            let wanted: Vec<_> = candidates
                .iter()
                .filter(|candidate| {
                    candidate.secret.is_none_or(|only| only == position)
                        && hash.allows(*name, candidate, cx)
                })
                .collect();
            if wanted.is_empty() {
                continue;
            }
            let tag = mac.of(bytes(pieces, &[]));
            if wanted.iter().any(|candidate| tag.matches(&candidate.bytes)) {
                return Some(Match {
                    key: Some(mac),
                    tag: Some(tag),
                    secret: Some(position),
                });
            }
        }
    }
    None
}

/// Returns the position of the secret that a candidate is.
pub(super) fn matches_token(secrets: &[Tag], candidates: &[Candidate]) -> Option<usize> {
    candidates.iter().find_map(|candidate| {
        let digest = token_digest(&candidate.bytes);
        let right = |(position, secret): (usize, &Tag)| {
            candidate.secret.is_none_or(|only| only == position)
                && secret.matches(digest.as_bytes())
        };
        secrets.iter().enumerate().position(right)
    })
}

/// Pieces of a message, with the secret at its place.
pub(crate) fn bytes<'p>(
    pieces: &'p [Piece<'_>],
    secret: &'p [u8],
) -> impl Iterator<Item = &'p [u8]> {
    pieces.iter().map(move |piece| match piece {
        Piece::Bytes(bytes) => &**bytes,
        Piece::Secret => secret,
    })
}

/// The message in one piece, for signatures that cannot be made of several.
pub(super) fn whole<'p>(pieces: &'p [Piece<'_>]) -> Cow<'p, [u8]> {
    match pieces {
        [Piece::Bytes(Cow::Borrowed(one))] => Cow::Borrowed(*one),
        several => Cow::Owned(bytes(several, &[]).flatten().copied().collect()),
    }
}

pub(super) fn digest_of(pieces: &[Piece<'_>]) -> Tag {
    let mut hash = Sha256::new();
    bytes(pieces, &[]).for_each(|piece| hash.update(piece));
    Tag::new(&hash.finalize())
}
