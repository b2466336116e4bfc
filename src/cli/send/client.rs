//! Sends a plan over HTTP, at its pace.

use std::sync::Arc;
use std::time::{Duration, Instant};

use reqwest::Client;
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use url::Url;

use super::super::service::is_on_loopback;
use super::super::{Failure, say};
use super::plan::{Expect, Plan};
use super::sign::Delivery;
use super::tally::{Answer, Tally};
use crate::domain::delivery::wall_clock;
use crate::runtime::tls;

/// Unexpected answers that are shown. If none of so many events is answered, nothing more is sent.
pub(super) const MAX_LINES: u64 = 20;
/// Largest answer that is read.
const MAX_ANSWER: usize = 64 * 1024;

/// Number of events, their rate, and the progress lines.
pub(super) struct Pace {
    pub(super) count: u64,
    pub(super) rate: Option<f64>,
    pub(super) parallel: usize,
    pub(super) timeout: Duration,
    pub(super) each_line: bool,
    pub(super) progress: bool,
}

/// Sends all of it. Fails only where nothing could be sent at all; any answer goes into the tally.
pub(super) async fn send(plan: Plan, url: &Url, pace: &Pace) -> Result<Tally, Failure> {
    let client = Client::builder()
        .timeout(pace.timeout)
        .redirect(reqwest::redirect::Policy::none())
        .retry(reqwest::retry::never())
        .user_agent(concat!("hookweir-send/", env!("CARGO_PKG_VERSION")));
    // Without TLS no root certificates are needed, and a machine may have none.
    let client = match url.scheme() {
        "https" => client.tls_danger_accept_invalid_certs(is_on_loopback(url)),
        _ => client.tls_certs_only([]),
    };
    let client = client
        .build()
        .map_err(|error| Failure::Internal(format!("no HTTP client: {error}")))?;
    let room = Arc::new(Semaphore::new(pace.parallel));
    let began = Instant::now();
    let (mut tally, mut under_way, mut said) = (Tally::default(), JoinSet::new(), began);
    for n in 0..pace.count {
        if let Some(rate) = pace.rate {
            tokio::time::sleep_until((began + Duration::from_secs_f64(n as f64 / rate)).into())
                .await;
        }
        let Ok(permit) = room.clone().acquire_owned().await else {
            break;
        };
        let deliveries = plan.next(wall_clock()).map_err(Failure::Usage)?;
        let (client, url) = (client.clone(), url.clone());
        under_way.spawn(async move {
            let _permit = permit;
            let mut answers = Vec::with_capacity(deliveries.len());
            for (delivery, expect) in deliveries {
                answers.push(post(&client, &url, delivery, expect).await);
            }
            answers
        });
        while let Some(answers) = under_way.try_join_next() {
            note(&mut tally, answers.unwrap_or_default(), pace);
        }
        if tally.is_silence() && tally.sent() >= MAX_LINES {
            break;
        }
        if pace.progress && said.elapsed() >= Duration::from_secs(1) {
            said = Instant::now();
            say::note(format_args!("{} of {} events sent", n + 1, pace.count));
        }
    }
    while let Some(answers) = under_way.join_next().await {
        note(&mut tally, answers.unwrap_or_default(), pace);
    }
    tally.elapsed = began.elapsed();
    Ok(tally)
}

fn note(tally: &mut Tally, answers: Vec<Answer>, pace: &Pace) {
    for answer in answers {
        // A long run shows only unexpected answers, and the first of those.
        if pace.each_line || (!answer.expected && tally.unexpected() < MAX_LINES) {
            say::out(&answer);
        }
        tally.add(&answer);
    }
}

async fn post(client: &Client, url: &Url, delivery: Delivery, expect: Expect) -> Answer {
    let began = Instant::now();
    let mut url = url.clone();
    if !delivery.query.is_empty() {
        url.set_query(Some(&delivery.query));
    }
    // The same word in another version of the `http` crate.
    let method =
        reqwest::Method::from_bytes(delivery.method.as_str().as_bytes()).unwrap_or_default();
    let mut request = client.request(method, url).body(delivery.body);
    for (name, value) in &delivery.headers {
        request = request.header(name, value.as_slice());
    }
    let (status, body) = match request.send().await {
        Ok(mut response) => {
            let status = response.status().as_u16();
            let mut body = Vec::new();
            while let Ok(Some(chunk)) = response.chunk().await {
                if body.len() + chunk.len() > MAX_ANSWER {
                    break;
                }
                body.extend_from_slice(&chunk);
            }
            (Ok(status), body)
        }
        Err(error) => (Err(root_cause(&error)), Vec::new()),
    };
    let took = began.elapsed();
    let json: serde_json::Value = serde_json::from_slice(&body).unwrap_or_default();
    let field = |name: &str| {
        json.get(name)
            .and_then(serde_json::Value::as_str)
            .map(printable)
    };
    let said = field("status");
    let expected = status
        .as_ref()
        .is_ok_and(|status| expect.is_met_by(*status, said.as_deref()));
    Answer {
        status,
        said,
        id: field("id"),
        took,
        expected,
        refusal: matches!(expect, Expect::Refused(_)),
    }
}

/// The cause that tells most, such as "connection refused"; reqwest's own words repeat the URL.
pub(in crate::cli) fn root_cause(error: &reqwest::Error) -> String {
    let mut cause: &dyn std::error::Error = error;
    while let Some(deeper) = cause.source() {
        cause = deeper;
    }
    if error.is_timeout() {
        return "not within the time limit".to_owned();
    }
    if tls::speaks_no_tls(error) {
        return "this port does not speak TLS: use http://".to_owned();
    }
    cause.to_string()
}

/// A stranger's text, fit for a terminal.
fn printable(text: &str) -> String {
    text.chars()
        .take(200)
        .collect::<String>()
        .escape_debug()
        .to_string()
}
