//! A scheme in one sentence.

use crate::language::context::Params;
use crate::language::place::Place;
use crate::language::spec::{Kind, SchemeSpec, SigSpec};
use crate::language::template::with_params;

/// `HMAC-SHA256 over {timestamp}.{body}, hex, in v1= of stripe-signature, 300 s`.
pub(crate) fn sentence(spec: &SchemeSpec, params: &Params) -> String {
    let places = spec
        .signature
        .iter()
        .map(|sig| place(sig, params))
        .collect::<Vec<_>>()
        .join(" or ");
    let hash = spec.hash.name().to_uppercase();
    let hash = if spec.hash_by.is_some() {
        "the hash that the request names".to_owned()
    } else {
        hash
    };
    let over = spec
        .message
        .as_deref()
        .map(|message| format!(" over `{}`", message.escape_debug()))
        .unwrap_or_default();
    let encoding = spec
        .signature
        .first()
        .map(|sig| sig.encoding.name())
        .unwrap_or_default();
    let mut parts = match spec.kind {
        Kind::None => return "nothing is verified".into(),
        Kind::Basic => return "user and password of HTTP basic authentication".into(),
        Kind::Token => vec![format!("the secret itself in {places}")],
        Kind::Hmac => vec![
            format!("HMAC-{hash}{over}"),
            encoding.into(),
            format!("in {places}"),
        ],
        Kind::Hash => vec![
            format!("{hash}{over}"),
            encoding.into(),
            format!("in {places}"),
        ],
        Kind::Ed25519 => vec![
            format!("Ed25519{over}"),
            encoding.into(),
            format!("in {places}"),
        ],
        Kind::EcdsaP256 => vec![
            format!("ECDSA P-256 {}{over}", hash.replace("SHA", "SHA-")),
            encoding.into(),
            format!("in {places}"),
        ],
        Kind::Rsa => vec![
            format!("RSA with {}{over}", hash.replace("SHA", "SHA-")),
            encoding.into(),
            format!("in {places}"),
        ],
        Kind::Jwt => {
            let Some(jwt) = &spec.jwt else {
                return "a JSON Web Token".into();
            };
            let algs = jwt
                .algorithms
                .iter()
                .map(|alg| format!("{alg:?}"))
                .collect::<Vec<_>>()
                .join("/");
            let mut parts = vec![format!(
                "JSON Web Token ({algs}) in {}",
                Place::describe(&jwt.from)
            )];
            if let Some(detached) = &jwt.detached {
                parts.push(format!("detached, over `{}`", detached.escape_debug()));
            }
            if jwt.x5c.is_some() {
                parts.push("by a certificate under the provider's root".into());
            }
            if let Some(api) = &jwt.key_api {
                let url = api.url.split("{kid}").next().unwrap_or_default();
                parts.push(format!(
                    "by a key that {} gives",
                    with_params(url, params).unwrap_or_else(|_| url.into())
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
    };
    if let Some(url) = &spec.cert_url {
        let hosts = url
            .hosts
            .iter()
            .map(|host| with_params(host, params).unwrap_or_else(|_| host.clone()))
            .collect::<Vec<_>>()
            .join(" or ");
        parts.push(format!(
            "by a certificate of {hosts} that {} names",
            Place::describe(&url.from)
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

fn place(sig: &SigSpec, params: &Params) -> String {
    let filled = |text: &String| with_params(text, params).unwrap_or_else(|_| text.clone());
    let shown = Place::describe(&filled(&sig.from));
    let labels = sig
        .labels
        .iter()
        .map(filled)
        .map(|label| match &sig.label_separator {
            Some(kv) => format!("`{label}{kv}`"),
            None => format!("entry {label}"),
        });
    let labels: Vec<_> = labels.collect();
    match (labels.is_empty(), sig.prefix.is_empty()) {
        (false, _) => format!("{} of {shown}", labels.join(" or ")),
        (true, false) => format!("{shown} after `{}`", filled(&sig.prefix)),
        (true, true) => shown,
    }
}
