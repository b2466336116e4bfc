//! Client of the admin API, over its Unix socket.

use std::io;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

use bytes::Bytes;
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use reqwest::blocking::{Client, RequestBuilder};
use reqwest::header::CONTENT_TYPE;
use serde::Serialize;
use serde::de::DeserializeOwned;
use url::form_urlencoded::Serializer;

use crate::cli::send::root_cause;
use crate::cli::{Failure, say};
use crate::config::{Config, ConfigError};
use crate::operate::ApiProblem;

/// Time in which the service's own error arrives, on top of `admin.timeout_ms`.
const SPARE: Duration = Duration::from_secs(3);

/// Client of the service that has this configuration, on this machine.
pub(super) struct AdminClient {
    client: Client,
    socket: String,
}

impl AdminClient {
    /// Connects to the socket of `admin.socket`, to find out if a service listens there.
    pub(super) fn new(config: &Config) -> Result<Self, Failure> {
        let Some(path) = &config.admin.socket else {
            return Err(Failure::Usage(
                "admin.socket is \"\", so the service has no admin API: set a path, and restart the service".into(),
            ));
        };
        UnixStream::connect(path).map_err(|error| no_service(path, &error))?;
        let client = Client::builder()
            .unix_socket(path.as_path())
            .timeout(config.admin.timeout + SPARE)
            .no_proxy()
            .redirect(reqwest::redirect::Policy::none())
            .tls_certs_only([])
            .build();
        let client = client.map_err(|error| {
            Failure::Internal(format!("no HTTP client: {}", root_cause(&error)))
        })?;
        Ok(Self {
            client,
            socket: path.display().to_string(),
        })
    }

    /// Returns the answer of a path below `/api/v1/`.
    pub(super) fn get<T: DeserializeOwned>(
        &self,
        path: &str,
        parameters: &[(&'static str, String)],
    ) -> Result<T, Failure> {
        let body = self.get_bytes(path, parameters)?;
        serde_json::from_slice(&body).map_err(|error| self.foreign(&error))
    }

    /// Returns the answer of a path below `/api/v1/`, as it came.
    pub(super) fn get_bytes(
        &self,
        path: &str,
        parameters: &[(&'static str, String)],
    ) -> Result<Bytes, Failure> {
        let mut query = Serializer::new(String::new());
        query.extend_pairs(parameters);
        let path = format!("{path}?{}", query.finish());
        self.send(self.client.get(url(&path)))
    }

    /// Sends JSON to a path below `/api/v1/`, and returns the answer.
    pub(super) fn post<T: DeserializeOwned>(
        &self,
        path: &str,
        body: &impl Serialize,
    ) -> Result<T, Failure> {
        let body = serde_json::to_vec(body).map_err(|error| {
            Failure::Internal(format!("the question cannot be written: {error}"))
        })?;
        let request = self.client.post(url(path)).body(body);
        let body = self.send(request.header(CONTENT_TYPE, "application/json"))?;
        serde_json::from_slice(&body).map_err(|error| self.foreign(&error))
    }

    /// Sends a request. Returns the body of its answer, or the error that it tells.
    fn send(&self, request: RequestBuilder) -> Result<Bytes, Failure> {
        let failed = |error: reqwest::Error| {
            Failure::Unreachable(format!(
                "no answer at {}: {}; is the service stopping?",
                self.socket,
                root_cause(&error)
            ))
        };
        let answer = request.send().map_err(failed)?;
        let is_answer = answer.status().is_success();
        let body = answer.bytes().map_err(failed)?;
        if is_answer {
            return Ok(body);
        }
        let problem = serde_json::from_slice(&body);
        let problem: ApiProblem = problem.map_err(|error| self.foreign(&error))?;
        Err(match problem.status {
            400 | 409 => Failure::Usage(problem.to_string()),
            422 => {
                let lines = problem.detail.lines();
                Failure::Config(lines.map(ConfigError::nowhere).collect())
            }
            404 => {
                say::error(&problem);
                Failure::NotAsExpected
            }
            _ => Failure::Unreachable(problem.to_string()),
        })
    }

    fn foreign(&self, error: &serde_json::Error) -> Failure {
        Failure::Unreachable(format!(
            "the answer at {} is none of this release ({error}): use the program that serves",
            self.socket
        ))
    }
}

/// Returns the URL of a path below `/api/v1/`.
fn url(path: &str) -> String {
    format!("http://hookweir/api/v1/{path}")
}

/// Returns one part of a path.
pub(super) fn part(text: &str) -> String {
    utf8_percent_encode(text, NON_ALPHANUMERIC).to_string()
}

/// Returns the failure of a socket that nobody answers at, with the next step.
fn no_service(path: &Path, error: &io::Error) -> Failure {
    let next = match error.kind() {
        io::ErrorKind::NotFound => {
            "start the service, or run this command in its working directory and with its --config"
        }
        io::ErrorKind::ConnectionRefused => {
            "the service that made this socket has ended: start it again"
        }
        io::ErrorKind::PermissionDenied => {
            "run this command as root, as the service's user, or as a member of the socket's group"
        }
        _ => "admin.socket names the socket of the service",
    };
    Failure::Unreachable(format!(
        "no service answers at {}: {error}; {next}",
        path.display()
    ))
}
