//! Verification of a request. Only this module makes events, of a request that is verified or that an operator vouches for.

use std::borrow::Cow;

use crate::check::by::By;
use crate::check::handshake::Shake;
use crate::check::message::Proven;
use crate::check::{basic, handshake::Handshake};
use crate::crypto::mac::{MacKey, Tag};
use crate::identity::{VerifiedEvent, VerifiedEvents};
use crate::json_pointers::Slots;
use crate::keys::learning::another_secret;
use crate::keys::ring::{CheckInputs, KeyRequest, KeyRing, Unproven};
use crate::language::context::Cx;
use crate::refusal::{Answer, Reason, Refusal};
use crate::request::Request;
use crate::request::gunzip;
use crate::request::view::View;
use crate::scheme::{Check, Document, Scheme};
use crate::secret::Secret;
use crate::time::UnixMillis;

/// Result of a request that is not refused.
#[derive(Debug)]
pub enum Verdict {
    /// Events to be stored.
    Events(VerifiedEvents),
    /// Handshake to answer. Store nothing.
    Challenge(Answer),
    /// Keys that are missing in the ring. Answer "not now", fetch them, and verify the redelivery.
    NeedsKeys(Vec<KeyRequest>),
    /// Handshake that hands over the source's secret. Answer it after the secret is stored as the
    /// first of the source.
    Learn {
        /// Secret to store.
        secret: Secret,
        /// Answer to the handshake.
        answer: Answer,
    },
}

/// Verifies a request by its source's scheme and keys. `now` is the time of its arrival.
pub fn verify(
    scheme: &Scheme,
    keys: &KeyRing,
    request: &Request,
    now: UnixMillis,
) -> Result<Verdict, Refusal> {
    match decide(scheme, CheckInputs { keys, now }, request) {
        Ok(verdict) => Ok(verdict),
        Err(Unproven::Refused(refusal)) => Err(refusal),
        Err(Unproven::Needs(request)) => Ok(Verdict::NeedsKeys(vec![*request])),
    }
}

/// Returns the events of a request that its caller vouches for. Ids and types are found by the rules of
/// the source's scheme, and nothing is verified.
pub fn vouched_for(scheme: &Scheme, request: &Request) -> Result<Vec<VerifiedEvent>, Refusal> {
    let body = match scheme.gunzip {
        Some(limit) => gunzip::gunzip(&request.body, limit)?,
        None => Cow::Borrowed(&*request.body),
    };
    let view = View::new(request, &body, scheme.needs)?;
    let document = scheme.document.of(&view);
    match events(scheme, &view, document, Proven::default()) {
        Ok(Verdict::Events(found)) => Ok(found.into_events()),
        Err(Unproven::Refused(refusal)) => Err(refusal),
        Ok(_) | Err(Unproven::Needs(_)) => Err(Refusal::new(
            Reason::PreconditionFailed,
            "no event is in it",
        )),
    }
}

fn decide(
    scheme: &Scheme,
    inputs: CheckInputs<'_>,
    request: &Request,
) -> Result<Verdict, Unproven> {
    let body = match scheme.gunzip {
        Some(limit) => gunzip::gunzip(&request.body, limit)?,
        None => Cow::Borrowed(&*request.body),
    };
    let view = View::new(request, &body, scheme.needs)?;
    let document = scheme.document.of(&view);
    let key = signing_key(&scheme.check);
    match shake(scheme, &scheme.unsigned, &view, &document, key, inputs)? {
        Some(Shake::Learn(secret, answer)) => return hear(scheme, secret, answer, inputs),
        Some(Shake::Answer(answer)) => return Ok(Verdict::Challenge(answer)),
        None => {}
    }
    let signed_handshake = scheme
        .signed
        .iter()
        .any(|handshake| handshake.method.as_ref() == Some(&request.method));
    if !scheme.methods.contains(&request.method) && !signed_handshake {
        return Err(Refusal::new(
            Reason::PreconditionFailed,
            "neither an event nor a handshake has this method",
        )
        .into());
    }
    let proven = prove(scheme, &view, &document, inputs)
        .map_err(|unproven| by_an_old_secret(scheme, unproven, inputs))?;
    let key = proven.key.or(key);
    if let Some(shake) = shake(scheme, &scheme.signed, &view, &document, key, inputs)? {
        let (Shake::Answer(answer) | Shake::Learn(_, answer)) = shake;
        return Ok(Verdict::Challenge(answer));
    }
    events(scheme, &view, document, proven)
}

/// Returns the first of `handshakes` that the request is, with its answer.
fn shake(
    scheme: &Scheme,
    handshakes: &[Handshake],
    view: &View<'_>,
    document: &[u8],
    key: Option<&MacKey>,
    inputs: CheckInputs<'_>,
) -> Result<Option<Shake>, Unproven> {
    for handshake in handshakes {
        let shake = handshake.answer(view, document, scheme.url.as_ref(), key, inputs.keys)?;
        if shake.is_some() {
            return Ok(shake);
        }
    }
    Ok(None)
}

/// Decides about a handshake that hands over `secret`: answered if it is the known one, refused if
/// it is another.
fn hear(
    scheme: &Scheme,
    secret: Secret,
    answer: Answer,
    inputs: CheckInputs<'_>,
) -> Result<Verdict, Unproven> {
    let Some(learning) = &scheme.learning else {
        // If nothing is learned, it is a handshake like any other.
        return Ok(Verdict::Challenge(answer));
    };
    if learning.is_known(&secret) {
        return Ok(Verdict::Challenge(answer));
    }
    if learning.known.is_some() && inputs.keys.knows_secret_at(inputs.now) {
        return Err(another_secret().into());
    }
    match scheme.with_learned(&secret) {
        Ok(_) => Ok(Verdict::Learn { secret, answer }),
        Err(why) => Err(Refusal::new(
            Reason::PreconditionFailed,
            format!("handshake: the secret handed over {why}"),
        )
        .into()),
    }
}

/// Turns a refusal into a request for the learned secret, if another instance may have learned one
/// since the snapshot.
fn by_an_old_secret(scheme: &Scheme, unproven: Unproven, inputs: CheckInputs<'_>) -> Unproven {
    match (&scheme.learning, unproven) {
        (Some(learning), Unproven::Refused(_))
            if learning.known.is_none() || !inputs.keys.knows_secret_at(inputs.now) =>
        {
            Unproven::needs(KeyRequest::LearnedSecret)
        }
        (_, unproven) => unproven,
    }
}

fn prove<'v>(
    scheme: &'v Scheme,
    view: &'v View<'v>,
    document: &[u8],
    inputs: CheckInputs<'_>,
) -> Result<Proven<'v>, Unproven> {
    let (url, replays) = (scheme.url.as_ref(), scheme.event.replays);
    match &scheme.check {
        Check::Unverified => Ok(Proven::default()),
        Check::Basic(secrets) => Ok(Proven {
            secret: Some(basic::check(secrets, view)?),
            ..Proven::default()
        }),
        Check::Proof(proof) => proof.check(view, document, url, inputs, replays),
        Check::Jwt(rule) => {
            let token = rule.check(view, document, url, inputs)?;
            Ok(Proven {
                key: None,
                signed: replays.then(|| Tag::new(&token.digest)),
                claims: Some(token.claims),
                secret: token.secret,
                signed_at: None,
            })
        }
    }
}

fn events(
    scheme: &Scheme,
    view: &View<'_>,
    document: Cow<'_, [u8]>,
    proven: Proven<'_>,
) -> Result<Verdict, Unproven> {
    // If the body is a token, the event is in its claims.
    let document = match (&scheme.document, proven.claims) {
        (Document::Claims, Some(claims)) => Cow::Owned(claims),
        _ => document,
    };
    // A proven body is taken also if it is no gzip, or too large a one: then it has no id where the
    // scheme looks for one.
    let unpacked = match scheme.gunzip {
        None if scheme.reads_gzip() => gunzip::gunzip(&view.request.body, scheme.unpack_limit).ok(),
        _ => None,
    };
    let document = unpacked.unwrap_or(document);
    let nothing = Slots::default();
    let by_query = view.by_query()?;
    let view = by_query.as_ref().unwrap_or(view);
    let cx = Cx {
        view,
        slots: &nothing,
        ts: &[],
        url: scheme.url.as_ref(),
        spelling: 0,
        key: None,
    };
    match scheme.event.events(cx, &document, proven.signed)? {
        Some(events) => Ok(Verdict::Events(VerifiedEvents {
            secret: proven.secret,
            signed_at: proven.signed_at,
            events,
        })),
        None => Ok(Verdict::Challenge(
            scheme.answers.accepted.clone().unwrap_or(Answer {
                status: 200,
                content_type: None,
                headers: Vec::new(),
                body: Vec::new(),
            }),
        )),
    }
}

/// Returns the key of signed answers, which is the first secret.
fn signing_key(check: &Check) -> Option<&MacKey> {
    match check {
        Check::Proof(proof) => match &proof.by {
            By::Mac { keys, .. } => keys.first().and_then(|key| key.first()).map(|(_, key)| key),
            _ => None,
        },
        _ => None,
    }
}
