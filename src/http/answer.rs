//! Responses: the one place that turns an outcome into HTTP.
//!
//! An error tells the sender only what it may know. The operator finds the rest in the log, by the
//! request id.

use std::convert::Infallible;
use std::fmt::Write;
use std::pin::Pin;
use std::task::{Context, Poll};

use actix_http::body::{BodySize, MessageBody};
use actix_http::header::{self, HeaderName, HeaderValue};
use actix_http::{ConnectionType, Method, Payload, Response, StatusCode};
use bytes::Bytes;
use prometheus::IntCounter;

use super::server::HeadFault;
use super::service::IngestService;
use crate::domain::delivery::MessageId;
use crate::domain::outcome::{Answer, FailReason, Outcome, RejectReason, ShedReason};
use crate::domain::request_id::RequestId;
use crate::source::Source;
use crate::telemetry::Metrics;

const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
const JSON: HeaderValue = HeaderValue::from_static("application/json");
const PROBLEM: HeaderValue = HeaderValue::from_static("application/problem+json");
const TEXT: HeaderValue = HeaderValue::from_static("text/plain; charset=utf-8");

/// Error for the sender: a status and a sentence that is the same for all senders.
#[derive(Clone, Copy, Debug)]
pub(super) struct Problem {
    status: StatusCode,
    /// `None` if any word would help an attacker.
    detail: Option<&'static str>,
}

impl Problem {
    const fn new(status: StatusCode, detail: &'static str) -> Self {
        Self {
            status,
            detail: Some(detail),
        }
    }

    pub(super) const BAD_REQUEST: Self = Self::new(
        StatusCode::BAD_REQUEST,
        "the request is not one that this source can take",
    );
    pub(super) const NOT_FOUND: Self =
        Self::new(StatusCode::NOT_FOUND, "there is no source at this path");
    const UNAUTHORIZED: Self = Self {
        status: StatusCode::UNAUTHORIZED,
        detail: None,
    };
    const METHOD_NOT_ALLOWED: Self =
        Self::new(StatusCode::METHOD_NOT_ALLOWED, "events are sent with POST");
    const TOO_SLOW: Self = Self::new(StatusCode::REQUEST_TIMEOUT, "the body did not come in time");
    const TOO_LARGE: Self = Self::new(
        StatusCode::PAYLOAD_TOO_LARGE,
        "the body is larger than this source takes",
    );
    const HEAD_TOO_SLOW: Self = Self::new(
        StatusCode::REQUEST_TIMEOUT,
        "the request's head did not come in time",
    );
    const HEADERS_TOO_LARGE: Self = Self::new(
        StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE,
        "the header fields are too large",
    );
    const UNAVAILABLE: Self = Self::new(
        StatusCode::SERVICE_UNAVAILABLE,
        "the event was not stored; send it again",
    );

    const FORBIDDEN: Self = Self::new(
        StatusCode::FORBIDDEN,
        "this source takes no events from this address",
    );
    const TOO_MANY: Self = Self::new(
        StatusCode::TOO_MANY_REQUESTS,
        "too many events a second; the event was not stored, send it again later",
    );

    const PAUSED: Self = Self::new(
        StatusCode::SERVICE_UNAVAILABLE,
        "this source is paused by its operator; the event was not stored, send it again later",
    );

    /// Returns the same with a status that a provider requires.
    fn with_status(self, status: Option<u16>) -> Self {
        let status = status
            .and_then(|status| StatusCode::from_u16(status).ok())
            .unwrap_or(self.status);
        Self { status, ..self }
    }

    fn of(reason: RejectReason) -> Self {
        match reason {
            RejectReason::SignatureMissing
            | RejectReason::SignatureMalformed
            | RejectReason::SignatureMismatch
            | RejectReason::TimestampInvalid
            | RejectReason::TimestampTooOld
            | RejectReason::TimestampInFuture
            | RejectReason::PreconditionFailed => Self::UNAUTHORIZED,
            RejectReason::BodyMalformed
            | RejectReason::IdMissing
            | RejectReason::IdAmbiguous
            | RejectReason::Disconnected => Self::BAD_REQUEST,
            RejectReason::BodyTooLarge => Self::TOO_LARGE,
            RejectReason::BodyTooSlow => Self::TOO_SLOW,
            RejectReason::HeadersTooLarge => Self::HEADERS_TOO_LARGE,
            RejectReason::AddressNotAllowed => Self::FORBIDDEN,
        }
    }
}

/// Response without its request id.
#[derive(Debug)]
pub(super) struct Reply {
    pub(super) status: StatusCode,
    content_type: Option<HeaderValue>,
    headers: Vec<(HeaderName, HeaderValue)>,
    body: Body,
    /// Outcome and reason of the delivery, if it is known.
    pub(super) outcome: Option<(&'static str, &'static str)>,
    /// The delivery's sender may be nobody that we know.
    pub(super) is_unproven: bool,
}

#[derive(Debug)]
enum Body {
    Bytes(Bytes),
    /// Written when the request id is known.
    Problem(Problem),
}

impl Reply {
    fn new(status: StatusCode, content_type: Option<HeaderValue>, body: impl Into<Bytes>) -> Self {
        Self {
            status,
            content_type,
            headers: Vec::new(),
            body: Body::Bytes(body.into()),
            outcome: None,
            is_unproven: false,
        }
    }

    pub(super) fn problem(problem: Problem) -> Self {
        Self {
            status: problem.status,
            content_type: Some(PROBLEM),
            headers: Vec::new(),
            body: Body::Problem(problem),
            outcome: None,
            is_unproven: false,
        }
    }

    fn with_header(mut self, name: HeaderName, value: HeaderValue) -> Self {
        self.headers.push((name, value));
        self
    }

    /// Adds `Allow`: the methods that every source answers, and those of this source's scheme.
    fn with_allow(self, source: &Source) -> Self {
        const ALWAYS: [Method; 3] = [Method::GET, Method::HEAD, Method::OPTIONS];
        let scheme = [Method::POST, Method::PUT, Method::PATCH, Method::DELETE];
        let scheme = scheme
            .into_iter()
            .filter(|method| source.scheme.answers_method(method));
        let allow: Vec<String> = ALWAYS
            .into_iter()
            .chain(scheme)
            .map(|method| method.to_string())
            .collect();
        match HeaderValue::try_from(allow.join(", ")) {
            Ok(allow) => self.with_header(header::ALLOW, allow),
            Err(_) => self,
        }
    }

    /// Returns the response and counts it. `unread` is the request's body, if it was not read to
    /// its end.
    pub(super) fn into_response(
        self,
        service: &IngestService,
        id: RequestId,
        unread: Option<Payload>,
    ) -> Response<Content> {
        service.answers.count(self.status);
        let mut text = [0; 32];
        let id = &*id.0.simple().encode_lower(&mut text);
        let bytes = match self.body {
            Body::Bytes(bytes) => bytes,
            Body::Problem(problem) => problem_json(problem, id).into(),
        };
        let mut response = Response::with_body(
            self.status,
            Content {
                bytes,
                _unread: unread,
            },
        );
        let headers = response.headers_mut();
        if let Some(content_type) = self.content_type {
            headers.insert(header::CONTENT_TYPE, content_type);
        }
        if let Ok(id) = HeaderValue::from_str(id) {
            headers.insert(REQUEST_ID, id);
        }
        for (name, value) in self.headers {
            headers.append(name, value);
        }
        if service.is_closing() {
            response
                .head_mut()
                .set_connection_type(ConnectionType::Close);
        }
        response
    }
}

fn problem_json(problem: Problem, id: &str) -> String {
    // No part of it comes from the sender, so nothing needs escaping.
    let title = problem.status.canonical_reason().unwrap_or("Error");
    let detail = problem
        .detail
        .map(|detail| format!(r#","detail":"{detail}""#))
        .unwrap_or_default();
    format!(
        r#"{{"type":"about:blank","title":"{title}","status":{}{detail},"request_id":"{id}"}}"#,
        problem.status.as_u16()
    )
}

/// Returns a whole response for a connection on which no request could be read.
pub(super) fn refuse_head(fault: HeadFault, service: &IngestService) -> Vec<u8> {
    let problem = match fault {
        HeadFault::TooSlow => Problem::HEAD_TOO_SLOW,
        HeadFault::TooLarge => Problem::HEADERS_TOO_LARGE,
    };
    service.answers.count(problem.status);
    let id = RequestId::next().to_string();
    let body = problem_json(problem, &id);
    format!(
        "HTTP/1.1 {}\r\nconnection: close\r\ncontent-type: application/problem+json\r\nx-request-id: {id}\r\ncontent-length: {}\r\n\r\n{body}",
        problem.status,
        body.len()
    )
    .into_bytes()
}

/// Body of a response. If the request's body is unread, it is kept here: this makes actix close the
/// connection after the response. Otherwise actix would read a chunked body to an end that may
/// never come.
pub(super) struct Content {
    bytes: Bytes,
    _unread: Option<Payload>,
}

impl MessageBody for Content {
    type Error = Infallible;

    fn size(&self) -> BodySize {
        self.bytes.size()
    }

    fn poll_next(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Bytes, Self::Error>>> {
        let bytes = std::mem::take(&mut self.bytes);
        Poll::Ready((!bytes.is_empty()).then_some(Ok(bytes)))
    }
}

/// Returns the response to an outcome, in the form that the source's provider requires.
pub(super) fn of(outcome: &Outcome, source: &Source, id: RequestId) -> Reply {
    Reply {
        outcome: Some((outcome.label(), outcome.reason())),
        is_unproven: !outcome.is_proven(),
        ..response(outcome, source, id)
    }
}

fn response(outcome: &Outcome, source: &Source, id: RequestId) -> Reply {
    let answers = source.scheme.answers();
    match (outcome, &answers.accepted) {
        (Outcome::Accepted { .. } | Outcome::Duplicate { .. }, Some(answer)) => prescribed(answer),
        (Outcome::Accepted { id }, None) => stored(*id, "accepted"),
        (Outcome::Duplicate { id }, None) => stored(*id, "duplicate"),
        (Outcome::Challenge(answer), _) => prescribed(answer),
        (Outcome::Rejected(rejection), _) => match Problem::of(rejection.reason) {
            problem if problem.status == StatusCode::UNAUTHORIZED => {
                Reply::problem(problem.with_status(answers.rejected))
            }
            // A provider that gives up after any 4xx has a status of its own for what it shall send again.
            problem
                if rejection.reason == RejectReason::AddressNotAllowed
                    && answers.overloaded.is_some() =>
            {
                later(problem, source, id)
            }
            problem => Reply::problem(problem),
        },
        (Outcome::Failed(FailReason::Paused), _) => later(Problem::PAUSED, source, id),
        (Outcome::Shed(ShedReason::SourceRate | ShedReason::ClientRate), _) => {
            later(Problem::TOO_MANY, source, id)
        }
        (Outcome::Shed(_) | Outcome::Failed(_), _) => unavailable(source, id),
    }
}

fn stored(id: MessageId, status: &str) -> Reply {
    // Its exact length, so that it is allocated once.
    let mut body =
        String::with_capacity(r#"{"id":"","status":""}"#.len() + MessageId::LEN + status.len());
    // Writing to a string does not fail.
    let _ = write!(body, r#"{{"id":"{id}","status":"{status}"}}"#);
    Reply::new(StatusCode::OK, Some(JSON), body)
}

/// Returns 503 for an event that is not durable. `Retry-After` differs from sender to sender.
pub(super) fn unavailable(source: &Source, id: RequestId) -> Reply {
    later(Problem::UNAVAILABLE, source, id)
}

fn later(problem: Problem, source: &Source, id: RequestId) -> Reply {
    let seconds = 1 + id.spread(source.retry_after_max_secs);
    let problem = problem.with_status(source.scheme.answers().overloaded);
    Reply::problem(problem).with_header(header::RETRY_AFTER, HeaderValue::from(seconds))
}

/// Returns a response that the provider's scheme prescribes. A part that HTTP cannot carry is left
/// out; presets have none.
fn prescribed(answer: &Answer) -> Reply {
    let status = StatusCode::from_u16(answer.status).unwrap_or(StatusCode::OK);
    let content_type = answer
        .content_type
        .as_deref()
        .and_then(|text| HeaderValue::from_str(text).ok());
    let mut reply = Reply::new(status, content_type, answer.body.clone());
    for (name, value) in &answer.headers {
        if let (Ok(name), Ok(value)) = (name.parse::<HeaderName>(), HeaderValue::from_str(value)) {
            reply.headers.push((name, value));
        }
    }
    reply
}

/// Returns the response to a provider's "test" button, or to a browser.
pub(super) fn greeting() -> Reply {
    Reply::new(
        StatusCode::OK,
        Some(TEXT),
        Bytes::from_static(b"Webhooks are taken here, with POST.\n"),
    )
}

pub(super) fn options(source: &Source) -> Reply {
    Reply::new(StatusCode::NO_CONTENT, None, Bytes::new()).with_allow(source)
}

pub(super) fn method_not_allowed(source: &Source) -> Reply {
    Reply::problem(Problem::METHOD_NOT_ALLOWED).with_allow(source)
}

/// Counters of responses; those of the usual status codes are looked up once.
#[derive(Debug)]
pub(super) struct Counters {
    usual: Vec<(StatusCode, IntCounter)>,
    all: prometheus::IntCounterVec,
}

impl Counters {
    pub(super) fn new(metrics: &Metrics) -> Self {
        let usual = [200, 503, 401, 400, 403, 404, 405, 408, 413, 429, 431, 204];
        let counter = |code: u16| {
            let status = StatusCode::from_u16(code).unwrap_or_default();
            (
                status,
                metrics.http_answers.with_label_values(&[status.as_str()]),
            )
        };
        Self {
            usual: usual.into_iter().map(counter).collect(),
            all: metrics.http_answers.clone(),
        }
    }

    fn count(&self, status: StatusCode) {
        match self.usual.iter().find(|(usual, _)| *usual == status) {
            Some((_, counter)) => counter.inc(),
            None => self.all.with_label_values(&[status.as_str()]).inc(),
        }
    }
}
