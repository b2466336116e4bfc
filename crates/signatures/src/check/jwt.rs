//! Proof by JSON Web Token (RFC 7519). Only algorithms of the scheme are accepted. The body is
//! covered only if a claim holds its digest.

use std::borrow::Cow;

use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;

use crate::UnixMillis;
use crate::check::claims::{Claim, DigestClaim};
use crate::check::timestamp::Freshness;
use crate::check::token_keys::TokenKeys;
use crate::crypto::jws::JwtAlg;
use crate::crypto::mac::{Encoding, MacKey};
use crate::json_pointers::{JsonPointer, PathSet, Slot, Slots, scalar};
use crate::keys::ring::{CheckInputs, Unproven};
use crate::language::context::Cx;
use crate::language::place::Place;
use crate::language::template::Template;
use crate::request::public_url::PublicUrl;
use crate::request::view::View;
use crate::{Reason, Refusal};

/// Most certificates that a token brings.
const MAX_CHAIN: usize = 3;
/// Longest token.
const MAX_TOKEN: usize = 16 * 1024;

/// Rule by which tokens are checked.
#[derive(Debug)]
pub(crate) struct JwtRule {
    /// None: the body is the token.
    pub(crate) place: Option<Place>,
    /// Paths in the document that lead to the token.
    pub(crate) document: PathSet,
    pub(crate) strip: Box<str>,
    /// Message of a detached signature.
    pub(crate) detached: Option<Template>,
    pub(crate) ts: Option<(Place, Freshness)>,
    pub(crate) algs: Vec<JwtAlg>,
    pub(crate) secrets: Vec<Vec<(JwtAlg, MacKey)>>,
    pub(crate) keys: TokenKeys,
    pub(crate) leeway: i64,
    pub(crate) max_age: Option<i64>,
    pub(crate) require: Vec<(Box<str>, Slot)>,
    pub(crate) claims: Vec<Claim>,
    pub(crate) body: Option<DigestClaim>,
    pub(crate) url: Option<DigestClaim>,
    /// Paths that are read from the claims.
    pub(crate) paths: PathSet,
    pub(crate) times: [Slot; 3],
}

/// Verified token.
#[derive(Debug)]
pub(crate) struct Token {
    /// Its claims, as JSON.
    pub(crate) claims: Vec<u8>,
    /// Digest of the token.
    pub(crate) digest: [u8; 32],
    /// Position of the secret that signed it.
    pub(crate) secret: Option<usize>,
}

impl JwtRule {
    /// Returns the URL of the key set, if it has to be fetched.
    pub(crate) fn jwks_url(&self) -> Option<&str> {
        self.keys.url.as_deref()
    }

    pub(crate) fn templates(&self) -> impl Iterator<Item = &Template> {
        self.claims
            .iter()
            .map(|claim| &claim.expected)
            .chain(&self.detached)
    }

    /// Returns the token of a request, if it is valid.
    pub(crate) fn check(
        &self,
        view: &View<'_>,
        document: &[u8],
        url: Option<&PublicUrl>,
        inputs: CheckInputs<'_>,
    ) -> Result<Token, Unproven> {
        let malformed = || {
            Refusal::new(
                Reason::SignatureMalformed,
                "the body is not JSON, and the token is in it",
            )
        };
        let slots = self.document.walk(document).map_err(|_| malformed())?;
        let cx = Cx {
            view,
            slots: &slots,
            ts: &[],
            url,
            spelling: 0,
            key: None,
        };
        let text = self.token(cx)?;
        if let Some((place, freshness)) = &self.ts {
            let missing =
                || Refusal::new(Reason::TimestampInvalid, "the time of signing is missing");
            freshness.check(&place.value(cx).ok_or_else(missing)?, inputs.now)?;
        }
        if let Some(detached) = &self.detached {
            return self.detached(detached, &text, cx, inputs);
        }
        let parts = TokenParts::of(&text)?;
        let secret = self.signed(&parts.header, parts.signed, &parts.signature, inputs)?;
        let slots = self.paths.walk(&parts.claims).map_err(|_| {
            precondition("the token's claims are not JSON, or a claim occurs twice")
        })?;
        self.fresh(&slots, inputs.now)?;
        self.bound(&slots, view, url)?;
        drop(slots);
        Ok(Token {
            claims: parts.claims,
            digest: Sha256::digest(&*text).into(),
            secret,
        })
    }

    /// Checks a detached signature over the token's header, a dot, and the message of the scheme.
    fn detached(
        &self,
        message: &Template,
        token: &[u8],
        cx: Cx<'_>,
        inputs: CheckInputs<'_>,
    ) -> Result<Token, Unproven> {
        let malformed = || {
            Refusal::new(
                Reason::SignatureMalformed,
                "the token is not a header and a signature with two dots between",
            )
        };
        let at = token
            .iter()
            .position(|b| *b == b'.')
            .filter(|at| token.get(at + 1) == Some(&b'.'))
            .ok_or_else(malformed)?;
        let header = Encoding::Base64Url
            .decode(&token[..at])
            .ok_or_else(malformed)?;
        let signature = Encoding::Base64Url
            .decode(&token[at + 2..])
            .ok_or_else(malformed)?;
        let message = Encoding::Base64Url.encode(&message.fill(cx)?);
        let signed = [&token[..at], b".", message.as_bytes()].concat();
        let secret = self.signed(&header, &signed, &signature, inputs)?;
        Ok(Token {
            claims: Vec::new(),
            digest: Sha256::digest(&signed).into(),
            secret,
        })
    }

    fn token<'v>(&'v self, cx: Cx<'v>) -> Result<Cow<'v, [u8]>, Refusal> {
        let text = match &self.place {
            Some(Place::Header(name)) => cx.view.header(name)?.map(Cow::Borrowed),
            Some(place) => place.value(cx),
            None => Some(Cow::Borrowed(cx.view.body)),
        };
        let text = text.unwrap_or_default();
        if text.is_empty() {
            return Err(Refusal::new(
                Reason::SignatureMissing,
                "the token is missing or empty",
            ));
        }
        match text.strip_prefix(self.strip.as_bytes()) {
            Some(token) if token.len() <= MAX_TOKEN => Ok(Cow::Owned(token.to_vec())),
            _ => Err(Refusal::new(
                Reason::SignatureMalformed,
                format!(
                    "the token does not start with \"{}\", or is too long",
                    self.strip
                ),
            )),
        }
    }

    /// Succeeds if a secret or key of the source made the signature. Returns the position of the
    /// secret.
    fn signed(
        &self,
        header: &[u8],
        message: &[u8],
        signature: &[u8],
        inputs: CheckInputs<'_>,
    ) -> Result<Option<usize>, Unproven> {
        let header = TokenHeader::read(header)?;
        let named = |alg: &&JwtAlg| header.alg.as_deref() == Some(alg.name().as_bytes());
        let Some(alg) = self.algs.iter().find(named) else {
            return Err(Refusal::new(
                Reason::SignatureMalformed,
                "the token's algorithm is not one that the scheme accepts",
            )
            .into());
        };
        if header.is_critical {
            return Err(Refusal::new(
                Reason::SignatureMalformed,
                "the token has critical extensions",
            )
            .into());
        }
        let made = |(of, key): &(JwtAlg, MacKey)| of == alg && key.of([message]).matches(signature);
        let mut secrets = self.secrets.iter();
        if let Some(position) = secrets.position(|keys| keys.iter().any(made)) {
            return Ok(Some(position));
        }
        let kid = header.kid.as_deref().map(String::from_utf8_lossy);
        let chain = || header.certificates();
        if self
            .keys
            .made(*alg, kid.as_deref(), chain, message, signature, inputs)?
        {
            return Ok(None);
        }
        let detail = "the token was not made with an active secret or key of this source";
        Err(Refusal::new(Reason::SignatureMismatch, detail).into())
    }

    fn fresh(&self, slots: &Slots<'_>, now: UnixMillis) -> Result<(), Refusal> {
        for (name, slot) in &self.require {
            if slots.raw(*slot).is_none() {
                return Err(precondition(format!("the token has no claim {name}")));
            }
        }
        let now = now.0.div_euclid(1000);
        let [exp, nbf, iat] = self.times.map(|slot| slots.raw(slot).map(seconds));
        let invalid = || {
            Refusal::new(
                Reason::TimestampInvalid,
                "a time in the token is not a number",
            )
        };
        if let Some(exp) = exp
            && now >= exp.ok_or_else(invalid)?.saturating_add(self.leeway)
        {
            return Err(Refusal::new(
                Reason::TimestampTooOld,
                "the token has expired",
            ));
        }
        if let Some(nbf) = nbf
            && nbf.ok_or_else(invalid)? > now.saturating_add(self.leeway)
        {
            return Err(Refusal::new(
                Reason::TimestampInFuture,
                "the token is not valid yet",
            ));
        }
        if let Some(max_age) = self.max_age {
            let age = now.saturating_sub(iat.flatten().ok_or_else(invalid)?);
            if age > max_age.saturating_add(self.leeway) {
                return Err(Refusal::new(
                    Reason::TimestampTooOld,
                    format!("the token was made {age} s ago; at most {max_age} s are accepted"),
                ));
            }
        }
        Ok(())
    }

    fn bound(
        &self,
        slots: &Slots<'_>,
        view: &View<'_>,
        url: Option<&PublicUrl>,
    ) -> Result<(), Refusal> {
        let nothing = Slots::default();
        let cx = Cx {
            view,
            slots: &nothing,
            ts: &[],
            url,
            spelling: 0,
            key: None,
        };
        for claim in &self.claims {
            let expected = claim.expected.fill(cx)?;
            let equals = |raw: &str| scalar(raw).is_some_and(|value| value.ct_eq(&expected).into());
            if !claim.places.iter().any(|(one, any)| {
                slots.raw(*one).is_some_and(equals) || slots.all(*any).any(equals)
            }) {
                return Err(precondition(format!(
                    "the token's claim {} does not have the value that the scheme requires",
                    claim.name
                )));
            }
        }
        if let Some(claim) = &self.body {
            match view.request.content_in_query() {
                Some(query) => claim.check_query(slots, query)?,
                None => claim.check(slots, view.body)?,
            }
        }
        if let Some(claim) = &self.url {
            let url = url.map(|url| url.full(view.request)).unwrap_or_default();
            claim.check(slots, url.as_bytes())?;
        }
        Ok(())
    }
}

/// Parts of a token, decoded.
struct TokenParts<'t> {
    header: Vec<u8>,
    claims: Vec<u8>,
    signature: Vec<u8>,
    /// Header and claims as sent, with the dot between.
    signed: &'t [u8],
}

impl<'t> TokenParts<'t> {
    fn of(text: &'t [u8]) -> Result<Self, Refusal> {
        let mut parts = text.rsplitn(2, |b| *b == b'.');
        let (signature, signed) = (parts.next(), parts.next().unwrap_or_default());
        let mut parts = signed.splitn(2, |b| *b == b'.');
        let decode = |part: Option<&[u8]>| {
            part.filter(|part| !part.is_empty())
                .and_then(|part| Encoding::Base64Url.decode(part))
                .ok_or_else(|| {
                    Refusal::new(
                        Reason::SignatureMalformed,
                        "the token is not three parts in base64url",
                    )
                })
        };
        Ok(Self {
            header: decode(parts.next())?,
            claims: decode(parts.next())?,
            signature: decode(signature)?,
            signed,
        })
    }
}

/// Members of a token's header that choose its key.
struct TokenHeader<'h> {
    alg: Option<Cow<'h, [u8]>>,
    kid: Option<Cow<'h, [u8]>>,
    /// The header has extensions that a verifier must understand.
    is_critical: bool,
    /// Certificates as JSON strings, one more than are accepted.
    x5c: Vec<&'h str>,
}

impl<'h> TokenHeader<'h> {
    fn read(header: &'h [u8]) -> Result<Self, Refusal> {
        let mut paths = PathSet::default();
        let mut add = |pointer: &JsonPointer| {
            let unread = |_| precondition("the token's header cannot be read");
            paths.add(pointer).map_err(unread)
        };
        let [alg, kid, crit, x5c] = ["alg", "kid", "crit", "x5c"].map(JsonPointer::member);
        let (alg, kid, crit, x5c) = (add(&alg)?, add(&kid)?, add(&crit)?, add(&x5c.each())?);
        let slots = paths.walk(header).map_err(|_| {
            Refusal::new(Reason::SignatureMalformed, "the token's header is not JSON")
        })?;
        Ok(Self {
            alg: slots.raw(alg).and_then(scalar),
            kid: slots.raw(kid).and_then(scalar),
            is_critical: slots.raw(crit).is_some(),
            x5c: slots.all(x5c).take(MAX_CHAIN + 1).collect(),
        })
    }

    /// Returns the certificates; one that does not decode is empty.
    fn certificates(&self) -> Vec<Vec<u8>> {
        let decode = |raw: &&str| {
            scalar(raw)
                .and_then(|text| Encoding::Base64.decode(&text))
                .unwrap_or_default()
        };
        self.x5c.iter().map(decode).collect()
    }
}

/// Whole seconds of a NumericDate.
fn seconds(raw: &str) -> Option<i64> {
    let whole = raw.split('.').next()?;
    (whole.len() <= 12).then(|| whole.parse().ok()).flatten()
}

fn precondition(detail: impl Into<std::borrow::Cow<'static, str>>) -> Refusal {
    Refusal::new(Reason::PreconditionFailed, detail)
}
