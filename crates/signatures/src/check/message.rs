//! Proof by a signature over a message, or by a token that is sent as it is.

use std::borrow::Cow;

use crate::UnixMillis;
use crate::check::by::{By, Match, digest_of, matches_token, whole};
use crate::check::equal::Equal;
use crate::check::signature_list::{Candidate, SigRule, read};
use crate::check::timestamp::Freshness;
use crate::crypto::mac::{MacKey, Tag};
use crate::json_pointers::{JsonKind, PathSet, Slot, Slots, WalkError};
use crate::keys::ring::{CheckInputs, Unproven};
use crate::language::context::Cx;
use crate::language::place::Place;
use crate::language::template::{Template, is_challenge};
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
    /// The key also signs challenges of unverified handshakes. A message that looks like a
    /// challenge is refused.
    pub(crate) signs_challenges: bool,
    /// Ends of the body, front and back, at which the signed time stands without a separator.
    pub(crate) time_beside_body: (bool, bool),
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
    /// Position of the secret that has proven it, if it was one of the configuration.
    pub(crate) secret: Option<usize>,
    /// Time of signing, if the scheme has one.
    pub(crate) signed_at: Option<UnixMillis>,
}

impl Proof {
    /// Checks the proof of a request. If `digest` is true, the result holds the digest of the
    /// signed message.
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
                "the array of signed elements is missing or empty",
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
        let (ts, signed_at) = self.time(found.ts, cx, inputs.now)?;
        cx.ts = &ts;
        for equal in &self.require {
            equal.check(cx)?;
        }
        if let By::Token { secrets } = &self.by {
            return match matches_token(secrets, &found.candidates) {
                Some(position) => Ok(Proven {
                    secret: Some(position),
                    ..Proven::default()
                }),
                None => Err(mismatch(&self.sigs).into()),
            };
        }
        let proven = self.signed(&found.candidates, cx, inputs, digest)?;
        self.bound(cx)?;
        self.time_is_whole(view.body)?;
        Ok(Proven {
            signed_at,
            ..proven
        })
    }

    /// Returns the label of the list entry that is the time.
    fn time_label(&self) -> Option<&str> {
        match self.ts.as_ref().map(|ts| &ts.place) {
            Some(Place::Sig(label)) => Some(label),
            _ => None,
        }
    }

    /// Returns the key and the secret that signed the message, and its digest if `digest` is true.
    fn signed<'v>(
        &'v self,
        candidates: &[Candidate],
        mut cx: Cx<'_>,
        inputs: CheckInputs<'_>,
        digest: bool,
    ) -> Result<Proven<'v>, Unproven> {
        let certificate = match &self.by {
            By::Certificate { at, .. } => Some(at.certificate(cx, inputs.keys)?),
            _ => None,
        };
        for spelling in 0..self.spellings {
            cx.spelling = spelling;
            let pieces = self.message.pieces(cx)?;
            let found = match certificate {
                Some(certificate) => self
                    .by
                    .signed_by(certificate, &pieces, candidates, cx, inputs.now)?
                    .then_some(Match::default()),
                None => self.by.matches(&pieces, candidates, cx),
            };
            let Some(Match { key, tag, secret }) = found else {
                continue;
            };
            if self.signs_challenges && is_challenge(&whole(&pieces)) {
                break;
            }
            let signed = digest.then(|| tag.unwrap_or_else(|| digest_of(&pieces)));
            return Ok(Proven {
                key,
                signed,
                claims: None,
                secret,
                signed_at: None,
            });
        }
        Err(mismatch(&self.sigs).into())
    }

    fn time<'v>(
        &'v self,
        in_list: Option<Cow<'v, [u8]>>,
        cx: Cx<'v>,
        now: UnixMillis,
    ) -> Result<(Cow<'v, [u8]>, Option<UnixMillis>), Refusal> {
        let Some(ts) = &self.ts else {
            return Ok((Cow::Borrowed(&[]), None));
        };
        let text = match &ts.place {
            Place::Sig(_) => in_list,
            place => place.value(cx),
        };
        let number = ts.number.is_none_or(|slot| {
            cx.slots
                .raw(slot)
                .is_some_and(|raw| JsonKind::of(raw) == JsonKind::Number)
        });
        match text.filter(|text| number && !text.is_empty()) {
            Some(text) => {
                let signed_at = ts.rule.check(&text, now)?;
                Ok((text, Some(signed_at)))
            }
            None => Err(Refusal::new(
                Reason::TimestampInvalid,
                "the time of signing is missing",
            )),
        }
    }

    /// Refuses a body that begins or ends with a digit beside the signed time. Digits could have
    /// been moved between the two.
    fn time_is_whole(&self, body: &[u8]) -> Result<(), Refusal> {
        let digit = |byte: Option<&u8>| byte.is_some_and(u8::is_ascii_digit);
        let (front, back) = self.time_beside_body;
        if (front && digit(body.first())) || (back && digit(body.last())) {
            let why = "the body begins or ends with a digit beside the signed time, so digits could have been moved between the two";
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

/// Reads the signed values from a document. If no value is signed, any document is accepted.
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
