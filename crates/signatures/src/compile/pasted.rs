//! Lint for pasted secrets that are probably not the signing secret. They get a warning and are
//! accepted, since a secret can be any text.

use crate::Secret;
use crate::language::spec::{KeyDecode, KeySpec};

/// Beginnings of keys and ids that sign no webhook, what they are, and at which providers' sources;
/// everywhere if none is named.
const NOT_A_SIGNING_SECRET: &[(&str, &str, &[&str])] = &[
    ("sk_", "an API key of Stripe", &["stripe"]),
    ("rk_", "a restricted API key of Stripe", &["stripe"]),
    ("pk_", "a publishable key of Stripe", &["stripe"]),
    ("we_", "the id of a webhook endpoint at Stripe", &["stripe"]),
    ("acct_", "the id of an account at Stripe", &["stripe"]),
    ("ghp_", "a personal access token of GitHub", &[]),
    ("gho_", "an OAuth token of GitHub", &[]),
    ("ghu_", "a user token of GitHub", &[]),
    ("ghs_", "an installation token of GitHub", &[]),
    ("ghr_", "a refresh token of GitHub", &[]),
    ("github_pat_", "a personal access token of GitHub", &[]),
    ("glpat-", "a personal access token of GitLab", &[]),
    ("gldt-", "a deploy token of GitLab", &[]),
    ("xoxb-", "a bot token of Slack", &[]),
    ("xoxp-", "a user token of Slack", &[]),
    ("xapp-", "an app token of Slack", &[]),
    ("shpat_", "an access token of Shopify", &[]),
    ("shpca_", "an access token of Shopify", &[]),
    ("SG.", "an API key of SendGrid", &[]),
    ("re_", "an API key of Resend", &["resend"]),
    ("key-", "an API key of Mailgun", &["mailgun"]),
    ("sk-", "an API key", &["openai", "anthropic"]),
    ("lin_api_", "an API key of Linear", &[]),
    ("pat-", "an access token of HubSpot", &["hubspot"]),
    (
        "EAA",
        "an access token of Meta",
        &["meta", "whatsapp", "facebook", "instagram"],
    ),
    ("pdl_live_apikey_", "an API key of Paddle", &[]),
    ("pdl_sdbx_apikey_", "an API key of Paddle's sandbox", &[]),
    ("polar_oat_", "an access token of Polar", &[]),
    ("AKIA", "the id of an access key of AWS", &[]),
    ("sk_", "an API key of Clerk", &["clerk"]),
    ("pk_", "a publishable key of Clerk", &["clerk"]),
    ("-----BEGIN ", "a key or certificate in PEM", &[]),
    ("http://", "a URL", &[]),
    ("https://", "a URL", &[]),
];

/// Hint about an odd secret, for the operator; never a part of its text but a known beginning.
pub(crate) fn lint(spec: &KeySpec, provider: Option<&str>, secret: &Secret) -> Vec<String> {
    let mut odd = Vec::new();
    let text = secret.expose();
    if secret.is_unread() {
        return odd;
    }
    let quote = text
        .first()
        .filter(|quote| matches!(quote, b'"' | b'\'' | b'`'));
    if text.len() > 1 && quote.is_some() && quote == text.last() {
        odd.push("is in quotes, which are taken as part of it: if they come from an environment file, remove them there".to_owned());
    }
    let concerns = |names: &[&str]| {
        names.is_empty()
            || provider.is_some_and(|provider| names.iter().any(|name| is_of(provider, name)))
    };
    let known = NOT_A_SIGNING_SECRET
        .iter()
        .find(|(beginning, _, names)| text.starts_with(beginning.as_bytes()) && concerns(names));
    let begins = spec
        .expected_prefix
        .as_deref()
        .filter(|begins| !begins.is_empty() && !text.starts_with(begins.as_bytes()));
    match (known, begins) {
        (Some((beginning, what, _)), Some(begins)) => {
            odd.push(format!("begins with {beginning}, as {what} does; this provider's signing secrets begin with {begins}"));
        }
        (Some((beginning, what, _)), None) => odd.push(format!(
            "begins with {beginning}, as {what} does: is it the signing secret?"
        )),
        (None, Some(begins)) => odd.push(format!(
            "does not begin with {begins}, as this provider's signing secrets do"
        )),
        (None, None) => {}
    }
    odd
}

/// `stripe-connect` is of `stripe`.
fn is_of(provider: &str, name: &str) -> bool {
    provider
        .strip_prefix(name)
        .is_some_and(|rest| rest.is_empty() || rest.starts_with('-'))
}

/// Hint about the prefix of a secret that could not be decoded.
pub(crate) fn hint(spec: &KeySpec, text: &[u8]) -> &'static str {
    match text {
        [b'v', b'1', b',', ..] if spec.decode == KeyDecode::Base64 => {
            "; leave out the \"v1,\" in front"
        }
        [b'"' | b'\'' | b'`', ..] => "; leave out the quotes",
        _ => "",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn odd(provider: &str, begins: Option<&str>, secret: &str) -> String {
        let spec = KeySpec {
            expected_prefix: begins.map(str::to_owned),
            ..KeySpec::default()
        };
        lint(&spec, Some(provider), &Secret::new(secret.as_bytes())).join("; ")
    }

    #[test]
    fn what_is_no_signing_secret_is_told_without_its_text() {
        let whsec = Some("whsec_");
        for (provider, begins, secret, said) in [
            (
                "stripe",
                whsec,
                "sk_live_hunter2hunter2",
                "begins with sk_, as an API key of Stripe does; this provider's signing secrets begin with whsec_",
            ),
            (
                "stripe-connect",
                whsec,
                "we_hunter2hunter2",
                "the id of a webhook endpoint",
            ),
            (
                "stripe",
                whsec,
                "hunter2hunter2hunter2",
                "does not begin with whsec_",
            ),
            ("stripe", whsec, "\"whsec_hunter2\"", "is in quotes"),
            ("github", None, "'hunter2hunter2hunter2'", "is in quotes"),
            (
                "github",
                None,
                "ghp_hunter2hunter2",
                "personal access token of GitHub",
            ),
            ("slack", None, "xoxb-hunter2hunter2", "bot token of Slack"),
            ("shopify", None, "https://hunter2.example", "a URL"),
        ] {
            let odd = odd(provider, begins, secret);
            assert!(
                odd.contains(said) && !odd.contains("hunter2"),
                "{secret}: {odd}"
            );
        }
        for (provider, begins, secret) in [
            ("stripe", whsec, "whsec_hunter2hunter2"),
            ("paystack", None, "sk_live_hunter2hunter2"),
            ("github", None, "it's \"quoted\""),
            ("hmac", None, "\""),
        ] {
            assert_eq!(odd(provider, begins, secret), "", "{secret}");
        }
    }
}
