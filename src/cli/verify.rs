//! `hookweir verify`: verification of a captured request, and the step that fails.

use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

use clap::Args;
use http::{HeaderName, HeaderValue, Method};

use super::who::Who;
use super::{Failure, say};
use crate::config::Config;
use crate::config::model::Source;
use crate::doctor::{Case, Cause, DoctorSource, examine};
use crate::domain::delivery::{UnixMillis, wall_clock};
use crate::domain::outcome::{RejectReason, Rejection};
use crate::domain::request::{Headers, Request};
use crate::source::max_body_bytes;
use crate::verify::EventKeys;
use hookweir_signatures::{KeyRing, Scheme, SourceSpec, Verdict, VerifiedEvents, verify};

/// Largest file that is read.
const MAX_FILE: u64 = 64 * 1024 * 1024;

const EXAMPLES: &str = "\
Examples:
  hookweir verify --source stripe --headers headers.txt --body body.json
  hookweir verify --provider github --secret env:SECRET --headers h.txt --body b.json
  hookweir verify --headers h.txt --body b.json --at 2026-11-23T15:04:05Z

headers.txt has a header in each line, as in \"Stripe-Signature: t=1,v1=ab\"; the request line
(\"POST /ingest/stripe HTTP/1.1\") may come first, and what GitHub's Recent deliveries or curl -v
show is read, too. body.json has the very bytes of the body: a
newline at its end that was not sent, or JSON printed anew, is another body.";

#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct Options {
    #[command(flatten)]
    who: Who,
    /// File with the request's headers.
    #[arg(long, value_name = "FILE")]
    headers: PathBuf,
    /// File with the body's bytes; an empty body if left out.
    #[arg(long, value_name = "FILE")]
    body: Option<PathBuf>,
    /// Time of receipt, as in 2026-11-23T15:04:05Z or in seconds since 1970; now if left out.
    #[arg(long, value_name = "TIME", value_parser = time)]
    at: Option<UnixMillis>,
}

pub(super) fn run(
    options: &Options,
    load: impl Fn() -> Result<Config, Failure>,
) -> Result<(), Failure> {
    let (config, source) = options.who.find(load)?;
    let request = request(options, &source)?;
    let received_at = request.received_at;
    let scheme = Scheme::compile(&source.spec(), config.limits.max_events_per_request).map_err(
        |errors| {
            Failure::Config(
                errors
                    .into_iter()
                    .map(|error| config.source_error(&source, &error.key.to_string(), error.text))
                    .collect(),
            )
        },
    )?;
    match verify(&scheme, &KeyRing::EMPTY, &request, received_at) {
        Ok(Verdict::Events(verified)) => {
            show(&source, &scheme, verified);
            Ok(())
        }
        Ok(Verdict::Challenge(answer)) => {
            say::out(format_args!(
                "verified: a handshake, answered {}; it is no event",
                answer.status
            ));
            Ok(())
        }
        Ok(Verdict::Learn { answer, .. }) => {
            say::out(format_args!(
                "a handshake that hands over the source's secret, answered {} if it is the first",
                answer.status
            ));
            Ok(())
        }
        Ok(Verdict::NeedsKeys(_)) => {
            say::out(
                "not decided: the key that signed is the provider's to give, and was fetched or learned by the running service only; \
                 public_keys or secrets decide here",
            );
            Err(Failure::NotAsExpected)
        }
        Err(refusal) => {
            explain(&Rejection::from(refusal), &config, &source, &request);
            Err(Failure::NotAsExpected)
        }
    }
}

/// Returns the captured request.
fn request(options: &Options, source: &Source) -> Result<Request, Failure> {
    let head = String::from_utf8(read(&options.headers)?)
        .map_err(|_| Failure::Usage(format!("{} is not text", options.headers.display())))?;
    let body = options.body.as_deref().map(read).transpose()?;
    let (method, target, headers) = parse_head(&head)
        .map_err(|why| Failure::Usage(format!("{}: {why}", options.headers.display())))?;
    Ok(Request {
        method,
        target: target.unwrap_or_else(|| format!("/ingest/{}", source.path)),
        headers,
        body: body.unwrap_or_default().into(),
        received_at: options.at.unwrap_or_else(wall_clock),
    })
}

/// Prints the verified events.
fn show(source: &Source, scheme: &Scheme, verified: VerifiedEvents) {
    say::out(format_args!(
        "verified by the scheme of {}: {}",
        source.provider.as_deref().unwrap_or(source.name.as_str()),
        scheme.describe()
    ));
    for event in verified.into_events() {
        let keys = EventKeys::new(&source.name, source.drop_same_bytes(), &event);
        let event_type = event.event_type.as_deref().unwrap_or("without a type");
        say::out(format_args!(
            "verified: event {} ({event_type}), {} bytes, message {}",
            keys.id,
            event.body.len(),
            keys.message.message_id()
        ));
    }
}

/// Prints the reason of a rejection, and its cause or the first thing to look at.
fn explain(rejection: &Rejection, config: &Config, source: &Source, request: &Request) {
    say::out(format_args!(
        "refused, {}: {}",
        rejection.reason.label(),
        rejection.detail
    ));
    let others = config
        .sources
        .iter()
        .filter(|other| other.name != source.name);
    let others: Vec<DoctorSource> = others.map(|other| doctor_source(config, other)).collect();
    let found = examine(&Case {
        request,
        source: &doctor_source(config, source),
        others: &others,
        keys: &KeyRing::EMPTY,
    });
    let is_late = matches!(found.cause, Some(Cause::Clock { .. }));
    if found.cause.is_none() || is_late {
        say::out(advice(rejection));
    }
    say::out(found);
}

fn doctor_source(config: &Config, source: &Source) -> DoctorSource {
    DoctorSource {
        name: source.name.to_string(),
        spec: SourceSpec {
            max_body_bytes: Some(max_body_bytes(config, source)),
            ..source.spec()
        },
        references: source.secret_names.clone(),
        former: Vec::new(),
    }
}

/// Returns the first thing to look at after a rejection.
fn advice(rejection: &Rejection) -> &'static str {
    match rejection.reason {
        RejectReason::SignatureMissing => {
            "Is the secret set in the provider's console, and does a proxy in front pass this header on?"
        }
        RejectReason::SignatureMalformed => {
            "Is it this provider's scheme? `hookweir providers NAME` says what is expected where."
        }
        RejectReason::SignatureMismatch => {
            "Either the secret is not the one in the provider's console, or the body is not what was sent, byte for byte, or the provider \
             signs a URL and public_url is not the one entered there."
        }
        RejectReason::TimestampInvalid => {
            "Is it this provider's scheme? `hookweir providers NAME` says how the time is written."
        }
        RejectReason::TimestampTooOld => {
            "Say with --at when the request was received; if that was just now, a clock is wrong or it was held up."
        }
        RejectReason::TimestampInFuture => {
            "The clock of this machine or of the sender is wrong; say with --at when the request was received."
        }
        RejectReason::PreconditionFailed => {
            "The provider always sends what is missing here: it may be another product's webhook, or a forgery."
        }
        RejectReason::BodyMalformed => {
            "The signature needs parts of the body that are not there: is it the whole body?"
        }
        RejectReason::IdMissing | RejectReason::IdAmbiguous => {
            "The sender is proven; it is the event's id that cannot be told."
        }
        RejectReason::BodyTooLarge
        | RejectReason::BodyTooSlow
        | RejectReason::HeadersTooLarge
        | RejectReason::AddressNotAllowed
        | RejectReason::Disconnected => {
            "A bound of [limits] refuses it before its signature is looked at."
        }
    }
}

/// Request that the lines of a file describe.
#[derive(Default)]
struct Head {
    method: Option<Method>,
    target: Option<String>,
    headers: Vec<(HeaderName, HeaderValue)>,
}

/// Reads header lines, with or without a request line before them; also as `curl -v` shows them, with the pseudo-headers of HTTP/2, and as
/// GitHub's "Recent deliveries" lists them.
fn parse_head(text: &str) -> Result<(Method, Option<String>, Headers), String> {
    let mut head = Head::default();
    for (number, line) in text.trim_start_matches('\u{feff}').lines().enumerate() {
        let line = line.strip_prefix("> ").unwrap_or(line).trim();
        // The line is not repeated: it may be a secret token.
        head.add(line)
            .map_err(|why| format!("line {}: {why}", number + 1))?;
    }
    Ok((
        head.method.unwrap_or(Method::POST),
        head.target,
        head.headers.into_iter().collect(),
    ))
}

impl Head {
    fn add(&mut self, line: &str) -> Result<(), String> {
        // `curl -v` tells of the connection behind "*", and of the answer behind "<".
        let heading = ["headers", "request headers", "request", ">"]
            .iter()
            .any(|heading| line.eq_ignore_ascii_case(heading));
        if line.is_empty() || heading || line.starts_with("* ") || line.starts_with("< ") {
            return Ok(());
        }
        let words: Vec<&str> = line.split(' ').collect();
        if let ([method, target, version], true) = (words.as_slice(), self.headers.is_empty())
            && version.starts_with("HTTP/")
        {
            return self.set_target(Some(method), target);
        }
        let no_header =
            || "expected a header such as \"Content-Type: application/json\"".to_owned();
        let (name, value) = match line.strip_prefix(':') {
            Some(pseudo) => pseudo
                .split_once(':')
                .map(|(name, value)| (format!(":{name}"), value)),
            None => line
                .split_once(':')
                .map(|(name, value)| (name.trim().to_lowercase(), value)),
        }
        .ok_or_else(no_header)?;
        let value = value.trim();
        match name.as_str() {
            ":method" | "request method" => self.set_method(value),
            ":path" | "request url" => self.set_target(None, value),
            ":authority" => self.set_header("host", value).ok_or_else(no_header),
            ":scheme" | "status code" | "remote address" | "referrer policy" => Ok(()),
            name => self.set_header(name, value).ok_or_else(no_header),
        }
    }

    fn set_method(&mut self, method: &str) -> Result<(), String> {
        self.method = Some(method.parse().map_err(|_| "not a method".to_owned())?);
        Ok(())
    }

    /// Of a whole URL, path and query.
    fn set_target(&mut self, method: Option<&str>, target: &str) -> Result<(), String> {
        let path = target.split_once("://").map_or(target, |(_, rest)| {
            rest.find('/').map_or("/", |at| &rest[at..])
        });
        self.target = Some(path.to_owned());
        method.map_or(Ok(()), |method| self.set_method(method))
    }

    fn set_header(&mut self, name: &str, value: &str) -> Option<()> {
        self.headers.push((name.parse().ok()?, value.parse().ok()?));
        Some(())
    }
}

fn read(path: impl AsRef<Path>) -> Result<Vec<u8>, Failure> {
    let path = path.as_ref();
    let mut bytes = Vec::new();
    File::open(path)
        .and_then(|file| file.take(MAX_FILE + 1).read_to_end(&mut bytes))
        .map_err(|error| Failure::Usage(format!("cannot read {}: {error}", path.display())))?;
    if bytes.len() as u64 > MAX_FILE {
        return Err(Failure::Usage(format!(
            "{} is larger than {MAX_FILE} bytes",
            path.display()
        )));
    }
    Ok(bytes)
}

fn time(text: &str) -> Result<UnixMillis, String> {
    if let Ok(seconds) = text.parse::<i64>() {
        return Ok(UnixMillis(seconds.saturating_mul(1000)));
    }
    let time: Result<jiff::Timestamp, _> = text.parse();
    time.map(|time| UnixMillis(time.as_millisecond()))
        .map_err(|_| {
            "expected a time such as 2026-11-23T15:04:05Z, or seconds since 1970".to_owned()
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn heads_are_read_with_and_without_a_request_line() {
        let (method, target, headers) =
            parse_head("> PUT /ingest/x?a=%41 HTTP/1.1\r\n> Host: h\r\n> X-A:  1 \r\n>\r\n")
                .expect("a head");
        assert_eq!(
            (method, target.as_deref()),
            (Method::PUT, Some("/ingest/x?a=%41"))
        );
        assert_eq!(
            headers.get(&HeaderName::from_static("x-a")).expect("there"),
            "1"
        );
        let (method, target, headers) =
            parse_head("stripe-signature: t=1,v1=ab\n").expect("a head");
        assert_eq!(
            (method, target, headers.iter().count()),
            (Method::POST, None, 1)
        );
        let error = parse_head("a: b\nBearer hunter2\n").expect_err("no header");
        assert!(
            error.starts_with("line 2:") && !error.contains("hunter2"),
            "{error}"
        );
    }

    #[test]
    fn heads_are_read_as_people_copy_them() {
        let github = "Request URL: https://hooks.example.com/ingest/gh?x=1\nRequest method: POST\nAccept: */*\n\
                      X-GitHub-Event: push\nX-Hub-Signature-256: sha256=ab\n";
        let (method, target, headers) = parse_head(github).expect("GitHub's list");
        assert_eq!(
            (method, target.as_deref(), headers.iter().count()),
            (Method::POST, Some("/ingest/gh?x=1"), 3)
        );
        let http2 = ":method: PUT\n:scheme: https\n:authority: hooks.example.com\n:path: /ingest/x\nx-a: 1\n";
        let (method, target, headers) = parse_head(http2).expect("HTTP/2");
        assert_eq!(
            (method, target.as_deref()),
            (Method::PUT, Some("/ingest/x"))
        );
        assert_eq!(
            headers.get(&http::header::HOST).expect("a host"),
            "hooks.example.com"
        );
        let curl = "* Connected to h\n> POST /ingest/x HTTP/2\n> Host: h\n> x-a: 1\n> \n< HTTP/2 401\n< x-b: 1\n";
        let (_, target, headers) = parse_head(curl).expect("curl");
        assert_eq!(
            (target.as_deref(), headers.iter().count()),
            (Some("/ingest/x"), 2)
        );
    }

    #[test]
    fn times_are_read() {
        assert_eq!(time("1700000000"), Ok(UnixMillis(1_700_000_000_000)));
        assert_eq!(
            time("2026-01-01T00:00:00Z"),
            Ok(UnixMillis(1_767_225_600_000))
        );
        assert!(time("yesterday").is_err());
    }
}
