//! A scheme in one sentence.

use crate::language::context::Params;
use crate::language::spec::{JwtSpec, Kind, SchemeSpec, SigSpec};
use crate::language::syntax::{MessageText, TokenPlace};

/// Returns `HMAC-SHA256 over {timestamp}.{body}, hex, in v1= of stripe-signature, 300 s`.
pub(crate) fn sentence(spec: &SchemeSpec, params: &Params) -> String {
    let mut parts = match (spec.kind, &spec.jwt) {
        (Kind::None, _) => return "nothing is verified".into(),
        (Kind::Basic, _) => return "user and password of HTTP basic authentication".into(),
        (Kind::Jwt, None) => return "a JSON Web Token".into(),
        (Kind::Jwt, Some(jwt)) => token(jwt, params),
        (Kind::Token, _) => vec![format!("the secret itself in {}", places(spec, params))],
        _ => signature(spec, params),
    };
    if let Some(url) = &spec.cert_url {
        let hosts: Vec<_> = url.hosts.iter().map(|host| host.shown(params)).collect();
        parts.push(format!(
            "by a certificate of {} that {} names",
            hosts.join(" or "),
            url.from.shown(params)
        ));
    }
    if let Some(each) = &spec.each {
        parts.push(format!("for each element of {each}"));
    }
    match &spec.timestamp {
        Some(ts) if ts.tolerance_secs > 0 => parts.push(format!("{} s", ts.tolerance_secs)),
        Some(_) => parts.push("any age".into()),
        None => {}
    }
    parts.join(", ")
}

/// Describes a signature over a message.
fn signature(spec: &SchemeSpec, params: &Params) -> Vec<String> {
    let named = "the hash that the request names";
    let (hash, title) = match &spec.hash_by {
        Some(_) => (named.to_owned(), named),
        None => (spec.hash.name().to_uppercase(), spec.hash.title()),
    };
    let proof = match spec.kind {
        Kind::Hmac => format!("HMAC-{hash}"),
        Kind::Ed25519 => "Ed25519".into(),
        Kind::EcdsaP256 => format!("ECDSA P-256 {title}"),
        Kind::Rsa => format!("RSA with {title}"),
        _ => hash,
    };
    let message = spec.message.as_ref();
    let over = message.map(|message| format!(" over {}", quoted(message)));
    let encoding = spec.signature.first().map(|sig| sig.encoding.name());
    vec![
        format!("{proof}{}", over.unwrap_or_default()),
        encoding.unwrap_or_default().into(),
        format!("in {}", places(spec, params)),
    ]
}

/// Describes a JSON Web Token.
fn token(jwt: &JwtSpec, params: &Params) -> Vec<String> {
    let algorithms = jwt.algorithms.iter().map(|alg| alg.name());
    let place = match &jwt.from {
        TokenPlace::Body => "body".to_owned(),
        TokenPlace::Field(field) => field.shown(params),
    };
    let mut parts = vec![format!(
        "JSON Web Token ({}) in {place}",
        algorithms.collect::<Vec<_>>().join("/")
    )];
    if let Some(detached) = &jwt.detached {
        parts.push(format!("detached, over {}", quoted(detached)));
    }
    if jwt.x5c.is_some() {
        parts.push("by a certificate under the provider's root".into());
    }
    if let Some(api) = &jwt.key_api {
        parts.push(format!(
            "by a key that {} gives",
            api.url.start().shown(params)
        ));
    }
    if let Some(body) = &jwt.body_digest {
        parts.push(format!(
            "{} of the body in claim {}",
            body.hash.name().to_uppercase(),
            body.claim
        ));
    }
    parts
}

fn quoted(message: &MessageText) -> String {
    format!("`{}`", message.template().as_str().escape_debug())
}

fn places(spec: &SchemeSpec, params: &Params) -> String {
    let places: Vec<_> = spec
        .signature
        .iter()
        .map(|sig| place(sig, params))
        .collect();
    places.join(" or ")
}

fn place(sig: &SigSpec, params: &Params) -> String {
    let shown = sig.from.shown(params);
    let labels = sig.labels.iter().map(|label| label.shown(params));
    let labels: Vec<_> = labels
        .map(|label| match &sig.label_separator {
            Some(separator) => format!("`{label}{separator}`"),
            None => format!("entry {label}"),
        })
        .collect();
    match (labels.is_empty(), sig.prefix.is_empty()) {
        (false, _) => format!("{} of {shown}", labels.join(" or ")),
        (true, false) => format!("{shown} after `{}`", sig.prefix.shown(params)),
        (true, true) => shown,
    }
}
