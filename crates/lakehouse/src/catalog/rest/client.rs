//! Requests to a REST catalog: session, tokens, bounds.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use iceberg::{Error, ErrorKind, Result};
use reqwest::{Method, RequestBuilder, StatusCode};
use serde::Deserialize;
use tokio::sync::Mutex;

use super::RestPlace;

/// Longest wait for an answer.
const PATIENCE: Duration = Duration::from_secs(30);
/// Largest answer: the metadata of a table, with its versions.
const LARGEST: usize = 64 << 20;
/// Longest text of an error that is repeated.
const SHOWN: usize = 300;
/// Longest time for which a token is used, in seconds.
const LONGEST_LIFE: f64 = 86_400.0;
/// Status of an expired token, beside 401.
const TOKEN_EXPIRED: u16 = 419;

/// Client of one catalog.
pub(super) struct Client {
    http: reqwest::Client,
    place: RestPlace,
    session: Mutex<Option<Session>>,
}

/// State that the catalog has handed out.
#[derive(Clone)]
struct Session {
    token: Option<String>,
    /// Time from which a new token is asked for.
    renew: Option<Instant>,
    /// URL of the catalog with its prefix.
    base: String,
    properties: HashMap<String, String>,
}

/// Status and body of an answer.
pub(super) struct Answer {
    pub(super) status: StatusCode,
    pub(super) body: Vec<u8>,
}

#[derive(Deserialize)]
struct Granted {
    access_token: String,
    /// Seconds. Some servers send text, or a number that means never.
    expires_in: Option<serde_json::Value>,
}

#[derive(Default, Deserialize)]
struct Configuration {
    #[serde(default)]
    defaults: HashMap<String, String>,
    #[serde(default)]
    overrides: HashMap<String, String>,
}

/// Refusal: of a catalog, or of a server of tokens (RFC 6749, section 5.2).
#[derive(Deserialize)]
#[serde(untagged)]
enum Refused {
    Catalog {
        error: Reason,
    },
    Tokens {
        error: String,
        #[serde(default)]
        error_description: String,
    },
}

#[derive(Deserialize)]
struct Reason {
    message: String,
}

impl Refused {
    fn reason(self) -> String {
        match self {
            Self::Catalog { error } => error.message,
            Self::Tokens {
                error,
                error_description,
            } => format!("{error} {error_description}"),
        }
    }
}

impl std::fmt::Debug for Client {
    /// Leaves out tokens.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Client({})", self.place.url)
    }
}

impl Client {
    /// Returns a client of the catalog at `place`. Nothing is asked yet.
    pub(super) fn new(place: RestPlace) -> Result<Self> {
        let http = reqwest::Client::builder()
            .timeout(PATIENCE)
            // Tokens are for this host.
            .redirect(reqwest::redirect::Policy::none())
            .build();
        Ok(Self {
            http: http.map_err(|error| failed("make a client", &error))?,
            place,
            session: Mutex::new(None),
        })
    }

    /// Sends a request to `path` below the catalog's prefix. If its token was refused, it gets another one, once.
    pub(super) async fn send(
        &self,
        method: Method,
        path: &str,
        body: Option<Vec<u8>>,
    ) -> Result<Answer> {
        let mut answer = self.attempt(method.clone(), path, body.clone()).await?;
        if answer.is_without_right() && self.place.properties.contains_key("credential") {
            *self.session.lock().await = None;
            answer = self.attempt(method, path, body).await?;
        }
        Ok(answer)
    }

    async fn attempt(&self, method: Method, path: &str, body: Option<Vec<u8>>) -> Result<Answer> {
        let session = self.session().await?;
        let url = format!("{}/{path}", session.base);
        let mut request = self.http.request(method, url);
        request = request.header("x-iceberg-access-delegation", "vended-credentials");
        if let Some(body) = body {
            request = request
                .header("content-type", "application/json")
                .body(body);
        }
        answer(with_token(request, session.token.as_deref())).await
    }

    /// Returns the properties for the files: those of the configuration, with what the catalog sets.
    pub(super) async fn properties(&self) -> Result<HashMap<String, String>> {
        Ok(self.session().await?.properties)
    }

    async fn session(&self) -> Result<Session> {
        let mut held = self.session.lock().await;
        let is_good = |session: &&Session| session.renew.is_none_or(|at| Instant::now() < at);
        if let Some(session) = held.as_ref().filter(is_good) {
            return Ok(session.clone());
        }
        let session = self.begin().await?;
        Ok(held.insert(session).clone())
    }

    /// Asks for a token, and for the configuration.
    async fn begin(&self) -> Result<Session> {
        let (token, renew) = self.token().await?;
        let mut url = format!("{}/v1/config", self.place.url);
        if let Some(warehouse) = self.place.properties.get("warehouse") {
            url += &format!("?warehouse={}", encoded(warehouse));
        }
        let answer = answer(with_token(self.http.get(url), token.as_deref())).await?;
        let found: Configuration = answer.parsed("read its configuration")?;
        let mut properties = found.defaults;
        properties.extend(self.place.properties.clone());
        properties.extend(found.overrides);
        let base = properties.get("uri").unwrap_or(&self.place.url);
        let mut base = format!("{}/v1", base.trim_end_matches('/'));
        if let Some(prefix) = properties.get("prefix") {
            base += &format!("/{prefix}");
        }
        Ok(Session {
            token,
            renew,
            base,
            properties,
        })
    }

    /// Returns the token of the configuration, or one for its credential.
    async fn token(&self) -> Result<(Option<String>, Option<Instant>)> {
        let property = |name: &str| self.place.properties.get(name).map(String::as_str);
        let Some(credential) = property("credential") else {
            return Ok((property("token").map(str::to_owned), None));
        };
        let own = format!("{}/v1/oauth/tokens", self.place.url);
        let mut form = vec![
            ("grant_type", "client_credentials"),
            ("scope", property("scope").unwrap_or("catalog")),
        ];
        match credential.split_once(':') {
            Some((id, secret)) => form.extend([("client_id", id), ("client_secret", secret)]),
            None => form.push(("client_secret", credential)),
        }
        let form: Vec<String> = form
            .iter()
            .map(|(name, value)| format!("{name}={}", encoded(value)))
            .collect();
        let request = self
            .http
            .post(property("oauth2-server-uri").unwrap_or(&own))
            .header("content-type", "application/x-www-form-urlencoded")
            .body(form.join("&"));
        let granted: Granted = answer(request).await?.parsed("get a token")?;
        // A request that is on its way must not outlive it.
        let renew = granted.expires_in.as_ref().and_then(lifetime);
        let renew = renew.map(|life| Instant::now() + life * 4 / 5);
        Ok((Some(granted.access_token), renew))
    }
}

impl Answer {
    fn is_without_right(&self) -> bool {
        self.status == StatusCode::UNAUTHORIZED || self.status.as_u16() == TOKEN_EXPIRED
    }

    /// Returns the body of a success, parsed; otherwise an error that says what could not be done.
    pub(super) fn parsed<T: for<'a> Deserialize<'a>>(&self, what: &str) -> Result<T> {
        if !self.status.is_success() {
            return Err(self.error(ErrorKind::Unexpected, what));
        }
        serde_json::from_slice(&self.body).map_err(|error| failed(what, &error))
    }

    /// Returns an error with the catalog's reason.
    pub(super) fn error(&self, kind: ErrorKind, what: &str) -> Error {
        let refused = serde_json::from_slice::<Refused>(&self.body);
        let reason = refused.map(Refused::reason).unwrap_or_default();
        let reason: String = reason.trim_end().chars().take(SHOWN).collect();
        let status = self.status.as_u16();
        Error::new(
            kind,
            format!("the catalog cannot {what}: status {status} {reason}"),
        )
    }
}

/// Returns the time for which a token holds. None if the server does not say it.
fn lifetime(told: &serde_json::Value) -> Option<Duration> {
    let seconds = match told {
        serde_json::Value::String(text) => text.trim().parse().ok(),
        told => told.as_f64(),
    };
    let seconds = seconds.filter(|seconds| *seconds > 0.0)?;
    Some(Duration::from_secs_f64(seconds.clamp(1.0, LONGEST_LIFE)))
}

fn with_token(request: RequestBuilder, token: Option<&str>) -> RequestBuilder {
    match token {
        Some(token) => request.bearer_auth(token),
        None => request,
    }
}

async fn answer(request: RequestBuilder) -> Result<Answer> {
    let lost = |error: reqwest::Error| failed("be reached", &error.without_url());
    let mut response = request.send().await.map_err(lost)?;
    let status = response.status();
    let mut body = Vec::new();
    while let Some(part) = response.chunk().await.map_err(lost)? {
        if body.len() + part.len() > LARGEST {
            return Err(failed(
                "be read",
                &format!("it sends more than {LARGEST} bytes"),
            ));
        }
        body.extend_from_slice(&part);
    }
    Ok(Answer { status, body })
}

fn failed(what: &str, error: &dyn std::fmt::Display) -> Error {
    Error::new(
        ErrorKind::Unexpected,
        format!("the catalog cannot {what}: {error}"),
    )
}

/// Returns a text as a part of a form or of a query.
fn encoded(text: &str) -> String {
    use std::fmt::Write as _;
    let mut all = String::new();
    for byte in text.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'~' => {
                all.push(char::from(byte));
            }
            // Writing to a string cannot fail.
            _ => _ = write!(all, "%{byte:02X}"),
        }
    }
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_is_shown_with_its_reason_whoever_refuses() {
        let refused = |body: &str| {
            let answer = Answer {
                status: StatusCode::UNAUTHORIZED,
                body: body.as_bytes().to_vec(),
            };
            answer
                .error(ErrorKind::Unexpected, "get a token")
                .to_string()
        };
        let catalog =
            r#"{"error": {"message": "no such key", "type": "NotAuthorized", "code": 401}}"#;
        assert!(refused(catalog).ends_with("status 401 no such key"));
        let tokens = r#"{"error": "invalid_client", "error_description": "it has expired"}"#;
        assert!(refused(tokens).ends_with("status 401 invalid_client it has expired"));
        assert!(refused("<html>").ends_with("status 401 "));
    }

    #[test]
    fn a_tokens_lifetime_is_read_from_whatever_servers_send() {
        let life = |json: &str| lifetime(&serde_json::from_str(json).expect("JSON"));
        let hour = Some(Duration::from_secs(3600));
        for told in ["3600", "3600.0", "\"3600\""] {
            assert_eq!(life(told), hour, "{told}");
        }
        let day = Some(Duration::from_secs(86_400));
        assert_eq!(life("9223372036854775807"), day);
        for none in ["0", "-1", "null", "\"soon\"", "[]"] {
            assert_eq!(life(none), None, "{none}");
        }
    }
}
