//! Guards of the page: headers of each answer, and requests that another site has made a browser send.

use actix_web::http::header::{self, HeaderName};
use actix_web::{HttpRequest, HttpResponseBuilder};

use crate::admin::access::{Access, is_foreign, only};
use crate::operate::ApiProblem;

/// Content of the page comes from the page. No script and no style stands in the HTML.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self'; \
     form-action 'self'; frame-ancestors 'none'; base-uri 'none'";

/// Headers of every answer. With `no-referrer` a browser would send `Origin: null` with a form, and the
/// check of the origin could not be made; `same-origin` tells other sites as little.
const HEADERS: [(HeaderName, &str); 5] = [
    (header::CONTENT_SECURITY_POLICY, POLICY),
    (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
    (header::REFERRER_POLICY, "same-origin"),
    (header::CACHE_CONTROL, "no-store"),
    (
        HeaderName::from_static("cross-origin-resource-policy"),
        "same-origin",
    ),
];

/// Sets the headers of an answer.
pub(super) fn secure(answer: &mut HttpResponseBuilder) {
    for header in HEADERS {
        answer.insert_header(header);
    }
}

/// Checks that the service is known by the host of the request.
pub(super) fn is_for_us(access: &Access, request: &HttpRequest) -> Result<(), ApiProblem> {
    let host = only(request.headers(), &header::HOST).unwrap_or_default();
    if access.is_own_host(host) {
        return Ok(());
    }
    Err(ApiProblem::misdirected(
        format!("the page is not known as \"{}\"", host.escape_debug()),
        "ask for localhost or a loopback address, or add the name to admin.hosts",
    ))
}

/// Checks that no other site has made the browser send the request. A change needs an `Origin`, and it has
/// to be the page's own.
pub(super) fn is_from_the_page(request: &HttpRequest) -> Result<(), ApiProblem> {
    let headers = request.headers();
    let host = only(headers, &header::HOST).unwrap_or_default();
    let changes = !request.method().is_safe();
    let has_origin = headers.contains_key(header::ORIGIN);
    if is_foreign(headers, host) || (changes && !has_origin) {
        return Err(ApiProblem::forbidden(
            "the request was made by a page of another site",
            "go on from a page of this address",
        ));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use actix_web::test::TestRequest;

    use super::*;

    fn allowed(post: bool, headers: &[(&'static str, &'static str)]) -> bool {
        let mut request = match post {
            true => TestRequest::post(),
            false => TestRequest::get(),
        };
        request = request.append_header(("host", "127.0.0.1:8421"));
        for header in headers {
            request = request.append_header(*header);
        }
        is_from_the_page(&request.to_http_request()).is_ok()
    }

    #[test]
    fn a_change_needs_the_origin_of_the_page() {
        assert!(allowed(true, &[("origin", "http://127.0.0.1:8421")]));
        for foreign in [
            &[][..],
            &[("origin", "null")],
            &[("origin", "http://127.0.0.1:9999")],
            &[("origin", "http://evil.example")],
            &[
                ("origin", "http://127.0.0.1:8421"),
                ("sec-fetch-site", "same-site"),
            ],
        ] {
            assert!(!allowed(true, foreign), "{foreign:?}");
        }
    }

    #[test]
    fn a_look_may_be_typed_and_may_not_come_from_another_site() {
        assert!(allowed(false, &[]));
        assert!(allowed(false, &[("sec-fetch-site", "none")]));
        assert!(!allowed(false, &[("sec-fetch-site", "cross-site")]));
    }
}
