//! The running service of the configuration on this machine, as its admin listener shows it.

use std::collections::BTreeMap;
use std::time::Duration;

use reqwest::blocking::Client;
use serde::Deserialize;
use url::{Host, Url};

use super::send::root_cause;
use crate::config::Config;
use crate::domain::sink::SinkName;
use crate::telemetry::SinkFigures;

/// Longest wait for an answer of the admin listener.
const PATIENCE: Duration = Duration::from_secs(2);

/// Returns `true` if a URL leads to this machine by a loopback address. No authority vouches for one:
/// any certificate is taken there.
pub(super) fn is_on_loopback(url: &Url) -> bool {
    match url.host() {
        Some(Host::Ipv4(ip)) => ip.is_loopback(),
        Some(Host::Ipv6(ip)) => ip.is_loopback(),
        Some(Host::Domain(_)) | None => false,
    }
}

/// State of each sink in a running service.
#[derive(Debug, Default, Deserialize)]
pub(super) struct RunningSinks {
    components: BTreeMap<String, ComponentState>,
    sinks: BTreeMap<String, SinkFigures>,
}

/// State of a component in `/readyz`.
#[derive(Debug, Deserialize)]
struct ComponentState {
    reason: Option<String>,
}

impl RunningSinks {
    /// Asks the service at the admin listener of the configuration. Fails with the reason if none
    /// answers there.
    pub(super) fn ask(config: &Config) -> Result<Self, String> {
        let url = config.local_health_url();
        let no_answer = |why: String| format!("no service answers at {url}: {why}");
        let client = Client::builder()
            .timeout(PATIENCE)
            .no_proxy()
            .redirect(reqwest::redirect::Policy::none());
        // Without TLS no root certificates are needed, and a machine may have none.
        let client = match Url::parse(&url) {
            Ok(url) if url.scheme() == "https" => {
                client.tls_danger_accept_invalid_certs(is_on_loopback(&url))
            }
            _ => client.tls_certs_only([]),
        };
        let client = client
            .build()
            .map_err(|error| no_answer(root_cause(&error)))?;
        let answer = client.get(&url).send().and_then(|answer| answer.bytes());
        let answer = answer.map_err(|error| no_answer(root_cause(&error)))?;
        let not_ours = |_| no_answer("another program has this port".to_owned());
        serde_json::from_slice(&answer).map_err(not_ours)
    }

    /// Returns `true` if the service publishes to the sink.
    pub(super) fn publish_to(&self, sink: &SinkName) -> bool {
        let figures = self.sinks.get(sink.as_str());
        figures.is_some_and(|figures| figures.up.is_some())
    }

    /// Returns health, delay before the next attempt to connect, and published events of a sink.
    /// None if the service does not publish to it.
    pub(super) fn words(&self, sink: &SinkName) -> Option<String> {
        let figures = self.sinks.get(sink.as_str())?;
        let component = self.components.get(&sink.name_part("publisher"));
        let reason = component.and_then(|component| component.reason.as_deref());
        let mut words = match (figures.up?, reason) {
            (true, None) => "up".to_owned(),
            (true, Some(reason)) => format!("up, degraded: {reason}"),
            (false, reason) => {
                let mut words = format!("DOWN: {}", reason.unwrap_or("not connected yet"));
                if figures.backoff_seconds > 0 {
                    let next = format!("; next attempt within {} s", figures.backoff_seconds);
                    words.push_str(&next);
                }
                words
            }
        };
        if figures.paused {
            words.push_str(&format!("; PAUSED, `hookweir resume sink {sink}` ends it"));
        }
        words.push_str(&format!(
            "; {} published since the start",
            figures.confirmed
        ));
        Some(words)
    }
}
