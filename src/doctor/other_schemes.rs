//! Headers of other providers in a delivery that lacks its own signature.

use hookweir_signatures::{Reason, SourceSpec, presets, spec_of};

use super::Case;
use super::cause::Cause;
use super::trials::Trials;

/// Providers that are named, at most.
const NAMED: usize = 4;
/// Providers that are tried with the source's secrets, at most.
const TRIED: usize = 12;

/// Returns the providers whose signature header the delivery has.
pub(super) fn find(case: &Case<'_>, trials: &mut Trials<'_>, refused: Reason) -> Option<Cause> {
    let is_strange = matches!(
        refused,
        Reason::SignatureMissing
            | Reason::SignatureMalformed
            | Reason::TimestampInvalid
            | Reason::PreconditionFailed
            | Reason::BodyMalformed
    );
    if !is_strange {
        return None;
    }
    trials.checked("signature headers of all other providers");
    let (header, mut providers) = senders(case)?;
    let proven = providers.iter().take(TRIED).position(|name| {
        let spec = SourceSpec {
            provider: Some(name.clone()),
            scheme: None,
            ..case.source.spec.clone()
        };
        trials.prove(&spec, case.request).is_given()
    });
    if let Some(at) = proven {
        providers.swap(0, at);
    }
    providers.truncate(NAMED);
    Some(Cause::OtherScheme {
        providers,
        header,
        proven: proven.is_some(),
    })
}

/// Returns a signature header of other providers that the delivery has, and those providers: first those whose
/// name is in a header, such as x-github-event.
fn senders(case: &Case<'_>) -> Option<(String, Vec<String>)> {
    let sent = |name: &str| {
        let mut headers = case.request.headers.iter();
        headers.any(|(header, _)| header.as_str() == name)
    };
    let own = headers_of(&case.source.spec);
    let mut header: Option<String> = None;
    let mut providers = Vec::new();
    for provider in presets::names() {
        let headers = headers_of(&SourceSpec::of(provider)).into_iter();
        let mut found = headers.filter(|name| !own.contains(name) && sent(name));
        if let Some(found) = found.next()
            && *header.get_or_insert_with(|| found.clone()) == found
        {
            providers.push(provider.to_owned());
        }
    }
    providers.sort_by_key(|provider| {
        let mut headers = case.request.headers.iter();
        !headers.any(|(header, _)| header.as_str().contains(provider.as_str()))
    });
    Some((header?, providers))
}

/// Returns the names of the headers that carry a scheme's signature, in lower case.
fn headers_of(spec: &SourceSpec) -> Vec<String> {
    let Ok(spec) = spec_of(spec) else {
        return Vec::new();
    };
    let signatures = spec.signature.iter();
    let headers = signatures.filter_map(|signature| signature.from.header_name());
    headers.map(str::to_ascii_lowercase).collect()
}
