//! The proof: does this request come from somebody who holds the source's secret or the provider's private key?

use std::borrow::Cow;

use sha2::{Digest, Sha256};

use crate::Secret;
use crate::UnixMillis;
use crate::check::equal::Equal;
use crate::check::hashes::{Hashes, PickHash};
use crate::check::signature_list::{Candidate, SigRule, read};
use crate::check::timestamp::Freshness;
use crate::crypto::mac::{HashName, MacKey, Tag, token_digest};
use crate::crypto::public_key::PublicKey;
use crate::json_pointers::{PathSet, Slot, Slots, WalkError};
use crate::keys::pinned_url::PinnedUrl;
use crate::keys::ring::{CheckInputs, Fetched, Unproven};
use crate::language::context::Cx;
use crate::language::place::Place;
use crate::language::template::{Piece, Template, is_challenge};
use crate::request::public_url::PublicUrl;
use crate::request::view::{View, is_form};
use crate::{Reason, Refusal};

/// Proof over a message, or by a token, that a source's senders give.
#[derive(Debug)]
pub(crate) struct Proof {
    pub(crate) by: By,
    pub(crate) sigs: Vec<SigRule>,
    pub(crate) ts: Option<Ts>,
    pub(crate) message: Template,
    pub(crate) require: Vec<Equal>,
    pub(crate) bind: Vec<Bind>,
    /// Paths that are read from the document, or from each element of it.
    pub(crate) paths: PathSet,
    pub(crate) each: Option<Each>,
    /// Number of spellings of the URL to try.
    pub(crate) spellings: usize,
    /// The same key signs challenges for anybody who asks: a message that looks like one is no event.
    pub(crate) signs_challenges: bool,
    /// Ends of the body, front and back, at which the signed time stands without a separator.
    pub(crate) time_beside_body: (bool, bool),
}

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

/// The time of signing.
#[derive(Debug)]
pub(crate) struct Ts {
    pub(crate) place: Place,
    pub(crate) rule: Freshness,
    /// The JSON value must be a number.
    pub(crate) number: Option<Slot>,
}

/// A digest that the request carries outside of the signature.
#[derive(Debug)]
pub(crate) struct Bind {
    pub(crate) equal: Equal,
    pub(crate) unless_form: bool,
}

/// Elements that are verified one by one.
#[derive(Debug)]
pub(crate) struct Each {
    pub(crate) paths: PathSet,
    pub(crate) element: Slot,
}

/// Result of a proof.
#[derive(Debug, Default)]
pub(crate) struct Proven<'v> {
    /// The key that signed, for answers that are signed too.
    pub(crate) key: Option<&'v MacKey>,
    /// Digest of what was signed, where it is asked for.
    pub(crate) signed: Option<Tag>,
    /// The claims of a token.
    pub(crate) claims: Option<Vec<u8>>,
}

/// Match of a signature.
#[derive(Debug, Default)]
struct Match<'v> {
    /// The key, where it is one that signs answers.
    key: Option<&'v MacKey>,
    /// MAC of the message: as good as a digest of it, and computed already.
    tag: Option<Tag>,
}

impl Proof {
    /// Checks everything that the scheme asks for; `digest` asks for the digest of the signed message.
    pub(crate) fn check<'v>(
        &'v self,
        view: &'v View<'v>,
        document: &[u8],
        url: Option<&PublicUrl>,
        inputs: CheckInputs<'_>,
        digest: bool,
    ) -> Result<Proven<'v>, Unproven> {
        let Some(each) = &self.each else {
            let slots = walk(&self.paths, document)?;
            return self.one(view, &slots, url, inputs, digest);
        };
        let elements = walk(&each.paths, document)?;
        if elements.raw(each.element).is_none() {
            return Err(Refusal::new(
                Reason::SignatureMissing,
                "there is no element that could be signed",
            )
            .into());
        }
        let mut proven = Proven::default();
        for element in elements.all(each.element) {
            let slots = walk(&self.paths, element.as_bytes())?;
            proven = self.one(view, &slots, url, inputs, digest)?;
        }
        Ok(proven)
    }

    fn one<'v>(
        &'v self,
        view: &View<'_>,
        slots: &Slots<'_>,
        url: Option<&PublicUrl>,
        inputs: CheckInputs<'_>,
        digest: bool,
    ) -> Result<Proven<'v>, Unproven> {
        let mut cx = Cx {
            view,
            slots,
            ts: &[],
            url,
            spelling: 0,
            key: None,
        };
        let found = read(&self.sigs, self.time_label(), cx)?;
        let ts = self.time(found.ts, cx, inputs.now)?;
        cx.ts = &ts;
        for equal in &self.require {
            equal.check(cx)?;
        }
        if let By::Token { secrets } = &self.by {
            return if matches_token(secrets, &found.candidates) {
                Ok(Proven::default())
            } else {
                Err(mismatch(&self.sigs).into())
            };
        }
        let (key, signed) = self.signed(&found.candidates, cx, inputs, digest)?;
        self.bound(cx)?;
        self.time_is_whole(view.body)?;
        Ok(Proven {
            key,
            signed,
            claims: None,
        })
    }

    /// Returns the label of the list entry that is the time.
    fn time_label(&self) -> Option<&str> {
        match self.ts.as_ref().map(|ts| &ts.place) {
            Some(Place::Sig(label)) => Some(label),
            _ => None,
        }
    }

    /// Returns the key that signed the message in one of its spellings, and the digest if it is asked for.
    fn signed<'v>(
        &'v self,
        candidates: &[Candidate],
        mut cx: Cx<'_>,
        inputs: CheckInputs<'_>,
        digest: bool,
    ) -> Result<(Option<&'v MacKey>, Option<Tag>), Unproven> {
        let certificate = match &self.by {
            By::Certificate { at, .. } => Some(at.certificate(cx, inputs.keys)?),
            _ => None,
        };
        for spelling in 0..self.spellings {
            cx.spelling = spelling;
            let pieces = self.message.pieces(cx)?;
            let found = match certificate {
                Some(certificate) => self
                    .signed_by(certificate, &pieces, candidates, cx, inputs.now)?
                    .then_some(Match::default()),
                None => self.matches(&pieces, candidates, cx),
            };
            let Some(Match { key, tag }) = found else {
                continue;
            };
            if self.signs_challenges && is_challenge(&whole(&pieces)) {
                break;
            }
            let signed = digest.then(|| tag.unwrap_or_else(|| digest_of(&pieces)));
            return Ok((key, signed));
        }
        Err(mismatch(&self.sigs).into())
    }

    fn time<'v>(
        &'v self,
        in_list: Option<Cow<'v, [u8]>>,
        cx: Cx<'v>,
        now: UnixMillis,
    ) -> Result<Cow<'v, [u8]>, Refusal> {
        let Some(ts) = &self.ts else {
            return Ok(Cow::Borrowed(&[]));
        };
        let text = match &ts.place {
            Place::Sig(_) => in_list,
            place => place.value(cx),
        };
        let number = ts.number.is_none_or(|slot| {
            cx.slots
                .raw(slot)
                .is_some_and(|raw| raw.starts_with(|c: char| c.is_ascii_digit()))
        });
        match text.filter(|text| number && !text.is_empty()) {
            Some(text) => ts.rule.check(&text, now).map(|()| text),
            None => Err(Refusal::new(
                Reason::TimestampInvalid,
                "the time of signing is missing",
            )),
        }
    }

    /// Returns the match of the first candidate that is right.
    fn matches<'v>(
        &'v self,
        pieces: &[Piece<'_>],
        candidates: &[Candidate],
        cx: Cx<'_>,
    ) -> Option<Match<'v>> {
        match &self.by {
            By::Mac { keys, hash } => matches_mac(keys, hash, pieces, candidates, cx),
            By::Hash { secrets, hash } => secrets
                .iter()
                .map(|secret| hash.of(bytes(pieces, secret.expose())))
                .find(|tag| {
                    candidates
                        .iter()
                        .any(|candidate| tag.matches(&candidate.bytes))
                })
                .map(|tag| Match {
                    key: None,
                    tag: Some(tag),
                }),
            By::Key { keys, hash } => {
                let message = whole(pieces);
                let right = |(candidate, hash): (&Candidate, HashName)| {
                    keys.iter().enumerate().any(|(position, key)| {
                        candidate.secret.is_none_or(|only| only == position)
                            && key.verifies(hash, &message, &candidate.bytes)
                    })
                };
                hash.few(candidates, cx).any(right).then(Match::default)
            }
            By::Token { .. } | By::Certificate { .. } => None,
        }
    }

    fn signed_by(
        &self,
        fetched: &Fetched,
        pieces: &[Piece<'_>],
        candidates: &[Candidate],
        cx: Cx<'_>,
        now: UnixMillis,
    ) -> Result<bool, Refusal> {
        let (By::Certificate { hash, .. }, Fetched::Certificate(certificate)) = (&self.by, fetched)
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

    /// Refuses a body that has taken digits from the time, or given some to it. JSON documents of providers begin and end with brackets.
    fn time_is_whole(&self, body: &[u8]) -> Result<(), Refusal> {
        let digit = |byte: Option<&u8>| byte.is_some_and(u8::is_ascii_digit);
        let (front, back) = self.time_beside_body;
        if (front && digit(body.first())) || (back && digit(body.last())) {
            let why = "the body begins or ends with a digit, and the signed time stands beside it: digits may have been moved between them";
            return Err(Refusal::new(Reason::PreconditionFailed, why));
        }
        Ok(())
    }

    fn bound(&self, cx: Cx<'_>) -> Result<(), Refusal> {
        for bind in &self.bind {
            let covered = bind.unless_form && (cx.view.body.is_empty() || is_form(cx.view.request));
            if !(covered && bind.equal.place.values(cx).is_empty()) {
                bind.equal.check(cx)?;
            }
        }
        Ok(())
    }
}

/// Returns the match of the first secret that made a candidate under a hash that the request may name.
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
                });
            }
        }
    }
    None
}

fn matches_token(secrets: &[Tag], candidates: &[Candidate]) -> bool {
    candidates.iter().any(|candidate| {
        let digest = token_digest(&candidate.bytes);
        let right = |(position, secret): (usize, &Tag)| {
            candidate.secret.is_none_or(|only| only == position)
                && secret.matches(digest.as_bytes())
        };
        secrets.iter().enumerate().any(right)
    })
}

fn bytes<'p>(pieces: &'p [Piece<'_>], secret: &'p [u8]) -> impl Iterator<Item = &'p [u8]> {
    pieces.iter().map(move |piece| match piece {
        Piece::Bytes(bytes) => &**bytes,
        Piece::Secret => secret,
    })
}

/// The message in one piece, for signatures that cannot be made of several.
fn whole<'p>(pieces: &'p [Piece<'_>]) -> Cow<'p, [u8]> {
    match pieces {
        [Piece::Bytes(Cow::Borrowed(one))] => Cow::Borrowed(*one),
        several => Cow::Owned(bytes(several, &[]).flatten().copied().collect()),
    }
}

fn digest_of(pieces: &[Piece<'_>]) -> Tag {
    let mut hash = Sha256::new();
    bytes(pieces, &[]).for_each(|piece| hash.update(piece));
    Tag::new(&hash.finalize())
}

/// Reads what the proof needs out of a document. Where nothing is needed, the document may be anything.
fn walk<'a>(paths: &PathSet, document: &'a [u8]) -> Result<Slots<'a>, Refusal> {
    paths.walk(document).map_err(|error| {
        Refusal::new(
            Reason::BodyMalformed,
            match error {
                WalkError::Malformed => "the body is not JSON, and a part of it is signed",
                WalkError::Ambiguous => "a key of a signed part of the body occurs twice",
                WalkError::TooMany => "the body has too many signed parts",
            },
        )
    })
}

fn mismatch(sigs: &[SigRule]) -> Refusal {
    let shown = sigs.first().map_or("the signature", |rule| &rule.shown);
    Refusal::new(
        Reason::SignatureMismatch,
        format!(
            "{shown} was not made with an active secret or key of this source, over these bytes"
        ),
    )
}
