use super::*;

#[derive(Deserialize)]
struct Vector {
    provider: String,
    secret: Option<String>,
    public_key: Option<String>,
    jwks: Option<serde_json::Value>,
    method: String,
    url: Option<String>,
    headers: BTreeMap<String, String>,
    body_utf8: String,
    valid: bool,
    at: Option<i64>,
    note: String,
}

/// Returns the scheme of a provider's documented example. Some examples use shorter secrets than
/// any source should.
fn scheme_of(vector: &Vector) -> Scheme {
    let provider = match vector.provider.as_str() {
        "hubspot" if vector.headers.contains_key("X-HubSpot-Signature-v3") => "hubspot-v3",
        "hubspot" if vector.headers["X-HubSpot-Signature-Version"] == "v1" => "hubspot-v1",
        "hubspot" => "hubspot-v2",
        other => other,
    };
    let secrets: Vec<&str> = vector.secret.as_deref().into_iter().collect();
    let mut source = with_scheme(
        source(provider, &secrets),
        "methods = [\"POST\", \"GET\", \"PUT\", \"PATCH\", \"DELETE\"]\nkey = { min_bytes = 4 }",
    );
    source.public_keys = vector
        .public_key
        .iter()
        .map(|key| Secret::new(key.as_bytes()))
        .collect();
    source.jwks = vector.jwks.as_ref().map(ToString::to_string);
    source.public_url = vector
        .url
        .as_deref()
        .map(|url| url.split('?').next().unwrap_or_default().to_owned());
    compiled(&source)
}

#[test]
fn every_documented_vector() {
    let vectors: Vec<Vector> =
        serde_json::from_str(include_str!("../../tests/data/vectors.json")).expect("vectors");
    let mut checked = 0;
    for vector in &vectors {
        let scheme = scheme_of(vector);
        let target = match vector.url.as_deref().and_then(|url| url.split_once('?')) {
            Some((_, query)) => format!("/ingest/test?{query}"),
            None => "/ingest/test".into(),
        };
        let headers: Vec<_> = vector
            .headers
            .iter()
            .map(|(name, value)| (name.as_str(), value.as_str()))
            .collect();
        let request = request(
            &vector.method,
            &target,
            &headers,
            vector.body_utf8.as_bytes(),
        );
        let verdict = verify(&scheme, &request, UnixMillis(vector.at.unwrap_or(0) * 1000));
        assert_eq!(
            verdict.is_ok(),
            vector.valid,
            "{} {}: {verdict:?}",
            vector.provider,
            vector.note
        );
        checked += 1;
    }
    assert_eq!(checked, 137);
}
