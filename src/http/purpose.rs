//! Purpose of a request, before anything of it is verified.

use actix_http::{Method, RequestHead, Uri};

use crate::source::Source;

/// Purpose of a request to a source, by its head.
pub(super) enum Purpose {
    /// A delivery or a handshake, for the verifier.
    Delivery,
    /// A browser, or a provider's "test" button.
    Visit,
    Options,
    NotAllowed,
}

/// Returns the purpose of a request. One with the scheme's signature is never a visit: 200 would
/// tell its sender that the event was accepted.
pub(super) fn purpose(source: &Source, head: &RequestHead, uri: &Uri) -> Purpose {
    let visits = matches!(head.method, Method::GET | Method::HEAD);
    let target = uri.path_and_query().map_or("/", |target| target.as_str());
    let proof = || {
        source
            .scheme
            .carries_proof(|name| head.headers().contains_key(name), target)
    };
    if source.scheme.has_handshake(&head.method)
        || source.scheme.answers_method(&head.method) && (!visits || proof())
    {
        return Purpose::Delivery;
    }
    match head.method {
        Method::OPTIONS => Purpose::Options,
        _ if visits && !proof() => Purpose::Visit,
        _ => Purpose::NotAllowed,
    }
}
