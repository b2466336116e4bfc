//! Lint for pasted secrets that are probably not the signing secret. They get a warning and are
//! accepted, since a secret can be any text.

use crate::Secret;
use crate::language::spec::{KeyDecode, KeySpec};

/// Beginnings of keys and ids that sign no webhook, at whichever provider, and their meaning.
const NOT_A_SIGNING_SECRET: &[(&str, &str)] = &[
    ("ghp_", "a personal access token of GitHub"),
    ("gho_", "an OAuth token of GitHub"),
    ("ghu_", "a user token of GitHub"),
    ("ghs_", "an installation token of GitHub"),
    ("ghr_", "a refresh token of GitHub"),
    ("github_pat_", "a personal access token of GitHub"),
    ("glpat-", "a personal access token of GitLab"),
    ("gldt-", "a deploy token of GitLab"),
    ("xoxb-", "a bot token of Slack"),
    ("xoxp-", "a user token of Slack"),
    ("xapp-", "an app token of Slack"),
    ("shpat_", "an access token of Shopify"),
    ("shpca_", "an access token of Shopify"),
    ("SG.", "an API key of SendGrid"),
    ("lin_api_", "an API key of Linear"),
    ("pdl_live_apikey_", "an API key of Paddle"),
    ("pdl_sdbx_apikey_", "an API key of Paddle's sandbox"),
    ("polar_oat_", "an access token of Polar"),
    ("AKIA", "the id of an access key of AWS"),
    ("-----BEGIN ", "a key or certificate in PEM"),
    ("http://", "a URL"),
    ("https://", "a URL"),
];

/// Hint about an odd secret, for the operator; never a part of its text but a known beginning.
pub(crate) fn lint(spec: &KeySpec, secret: &Secret) -> Vec<String> {
    let mut odd = Vec::new();
    let text = secret.expose();
    if secret.is_unread() {
        return odd;
    }
    let quote = text
        .first()
        .filter(|quote| matches!(quote, b'"' | b'\'' | b'`'));
    if text.len() > 1 && quote.is_some() && quote == text.last() {
        odd.push("is in quotes, and the quotes count as part of the secret; if an environment file added the quotes, remove them there".to_owned());
    }
    let own = spec.other_keys.iter();
    let known = own
        .map(|(beginning, what)| (beginning.as_str(), what.as_str()))
        .chain(NOT_A_SIGNING_SECRET.iter().copied())
        .find(|(beginning, _)| text.starts_with(beginning.as_bytes()));
    let begins = spec
        .expected_prefix
        .as_deref()
        .filter(|begins| !begins.is_empty() && !text.starts_with(begins.as_bytes()));
    match (known, begins) {
        (Some((beginning, what)), Some(begins)) => {
            odd.push(format!("begins with {beginning}, as {what} does; this provider's signing secrets begin with {begins}"));
        }
        (Some((beginning, what)), None) => odd.push(format!(
            "begins with {beginning}, as {what} does; make sure that it is the signing secret, or every delivery is refused"
        )),
        (None, Some(begins)) => odd.push(format!(
            "does not begin with {begins}, as this provider's signing secrets do"
        )),
        (None, None) => {}
    }
    odd
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
    use crate::language::presets;
    use crate::language::spec::SchemeSpec;

    fn odd(provider: &str, secret: &str) -> String {
        let table = presets::table(provider).expect("a preset");
        let spec = SchemeSpec::from_table(table).expect("a scheme");
        lint(&spec.key, &Secret::new(secret.as_bytes())).join("; ")
    }

    #[test]
    fn what_is_no_signing_secret_is_told_without_its_text() {
        for (provider, secret, said) in [
            (
                "stripe",
                "sk_live_hunter2hunter2",
                "begins with sk_, as an API key of Stripe does; this provider's signing secrets begin with whsec_",
            ),
            (
                "stripe",
                "we_hunter2hunter2",
                "the id of a webhook endpoint",
            ),
            (
                "stripe",
                "hunter2hunter2hunter2",
                "does not begin with whsec_",
            ),
            ("stripe", "\"whsec_hunter2\"", "is in quotes"),
            ("github", "'hunter2hunter2hunter2'", "is in quotes"),
            (
                "github",
                "ghp_hunter2hunter2",
                "personal access token of GitHub",
            ),
            ("hubspot", "pat-hunter2hunter2", "access token of HubSpot"),
            ("instagram", "EAAhunter2hunter2", "access token of Meta"),
            ("slack", "xoxb-hunter2hunter2", "bot token of Slack"),
            ("shopify", "https://hunter2.example", "a URL"),
        ] {
            let odd = odd(provider, secret);
            assert!(
                odd.contains(said) && !odd.contains("hunter2"),
                "{secret}: {odd}"
            );
        }
        for (provider, secret) in [
            ("stripe", "whsec_hunter2hunter2"),
            ("paystack", "sk_live_hunter2hunter2"),
            ("github", "it's \"quoted\""),
            ("hmac", "\""),
        ] {
            assert_eq!(odd(provider, secret), "", "{secret}");
        }
    }
}
