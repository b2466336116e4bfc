//! The thread that exports spans. A collector that is away costs spans, and nothing else.

use std::thread;
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, RecvTimeoutError};
use futures_util::FutureExt;
use opentelemetry::{InstrumentationScope, KeyValue};
use opentelemetry_otlp::{SpanExporter, WithExportConfig, WithHttpConfig};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::trace::{SpanData, SpanExporter as _};
use prometheus::IntCounter;
use reqwest::redirect::Policy;

use super::Item;
use super::convert::span_data;
use crate::domain::delivery::InstanceId;
use crate::domain::text::one_line;
use crate::telemetry::Metrics;

/// Most spans in one request to the collector.
const BATCH_SPANS: usize = 512;
/// Longest wait of a span for its batch.
const BATCH_AGE: Duration = Duration::from_secs(1);
/// Longest time of a request to the collector.
const TIMEOUT: Duration = Duration::from_secs(10);
/// Shortest time between two log lines about a collector that is away.
const LOG_EVERY: Duration = Duration::from_secs(60);

/// Starts the thread that exports to the collector at `endpoint`.
pub(super) fn start(
    endpoint: &str,
    metrics: &Metrics,
    instance: InstanceId,
    items: Receiver<Item>,
) -> Result<(), String> {
    let count = |result| metrics.trace_spans.with_label_values(&[result]);
    let (exported, failed) = (count("exported"), count("failed"));
    // Shown before the first one.
    count("dropped");
    let (made, ready) = crossbeam_channel::bounded(1);
    let endpoint = traces_url(endpoint);
    let run = move || match exporter(&endpoint, instance) {
        Err(why) => drop(made.send(Err(why))),
        Ok(exporter) => {
            // Without a receiver the start has ended.
            let _ = made.send(Ok(()));
            let scope = InstrumentationScope::builder("hookweir")
                .with_version(env!("CARGO_PKG_VERSION"))
                .build();
            let log = FailureLog::default();
            ExportThread {
                exporter,
                scope,
                exported,
                failed,
                log,
            }
            .run(&items);
        }
    };
    thread::Builder::new()
        .name("traces".into())
        .spawn(run)
        .map_err(|error| format!("cannot start the thread traces: {error}"))?;
    let made = ready
        .recv()
        .unwrap_or_else(|_| Err("its thread has died".to_owned()));
    made.map_err(|why| format!("cannot make the exporter of traces: {why}"))
}

/// Returns the URL for spans: that of the collector, with OTLP's path unless it has one.
fn traces_url(endpoint: &str) -> String {
    const PATH: &str = "/v1/traces";
    match endpoint.trim_end_matches('/') {
        whole if whole.ends_with(PATH) => whole.to_owned(),
        base => format!("{base}{PATH}"),
    }
}

/// Returns the exporter. A blocking client is made on the thread that uses it, outside of any runtime.
fn exporter(endpoint: &str, instance: InstanceId) -> Result<SpanExporter, String> {
    let client = reqwest::blocking::Client::builder()
        .timeout(TIMEOUT)
        .redirect(Policy::none())
        .no_proxy();
    // Without TLS, a machine without certificate authorities is one like others.
    let client = match endpoint.starts_with("https:") {
        true => client,
        false => client.tls_certs_only([]),
    };
    let client = client.build().map_err(|error| error.to_string())?;
    let mut exporter = SpanExporter::builder()
        .with_http()
        .with_http_client(client)
        .with_endpoint(endpoint)
        .with_timeout(TIMEOUT)
        .build()
        .map_err(|error| error.to_string())?;
    let resource = Resource::builder()
        .with_service_name("hookweir")
        .with_attribute(KeyValue::new("service.version", env!("CARGO_PKG_VERSION")))
        .with_attribute(KeyValue::new("service.instance.id", instance.to_string()));
    exporter.set_resource(&resource.build());
    Ok(exporter)
}

/// State of the thread.
struct ExportThread {
    exporter: SpanExporter,
    scope: InstrumentationScope,
    exported: IntCounter,
    failed: IntCounter,
    log: FailureLog,
}

impl ExportThread {
    /// Exports until the process ends.
    fn run(mut self, items: &Receiver<Item>) {
        while let Ok(first) = items.recv() {
            let (mut batch, mut flush) = (Vec::new(), None);
            let until = Instant::now() + BATCH_AGE;
            let mut next = Ok(first);
            loop {
                match next {
                    Ok(Item::Span(span)) => batch.push(span_data(*span, &self.scope)),
                    Ok(Item::Flush(done)) => {
                        flush = Some(done);
                        break;
                    }
                    Err(RecvTimeoutError::Timeout | RecvTimeoutError::Disconnected) => break,
                }
                if batch.len() >= BATCH_SPANS {
                    break;
                }
                next = items.recv_deadline(until);
            }
            self.export(batch);
            if let Some(done) = flush {
                // The other side waits for a limited time.
                let _ = done.try_send(());
            }
        }
    }

    fn export(&mut self, batch: Vec<SpanData>) {
        let count = batch.len() as u64;
        if count == 0 {
            return;
        }
        // The client blocks, and so does the pause before an attempt: the future is ready at once.
        let done = match self.exporter.export(batch).now_or_never() {
            Some(done) => done.map_err(|error| error.to_string()),
            None => Err("the exporter is not ready".to_owned()),
        };
        match &done {
            Ok(()) => self.exported.inc_by(count),
            Err(_) => self.failed.inc_by(count),
        }
        self.log.note(count, done);
    }
}

/// Log of failed exports: at most a warning a minute, and a line when they work again after it.
#[derive(Default)]
struct FailureLog {
    lost: u64,
    last: Option<Instant>,
    /// The last line was a warning.
    warned: bool,
}

impl FailureLog {
    fn note(&mut self, spans: u64, done: Result<(), String>) {
        let Err(why) = done else {
            if std::mem::take(&mut self.warned) {
                tracing::info!("the collector takes spans again");
            }
            return;
        };
        self.lost += spans;
        if self.last.is_none_or(|last| last.elapsed() >= LOG_EVERY) {
            tracing::warn!(
                spans = self.lost,
                "cannot export spans to traces.endpoint: {}; {} spans are lost, deliveries go on, later spans are tried",
                one_line(&why),
                self.lost
            );
            (self.lost, self.last, self.warned) = (0, Some(Instant::now()), true);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_path_of_otlp_is_added_once() {
        for endpoint in ["http://c:4318", "http://c:4318/", "http://c:4318/v1/traces"] {
            assert_eq!(traces_url(endpoint), "http://c:4318/v1/traces");
        }
        assert_eq!(traces_url("https://c/otlp/"), "https://c/otlp/v1/traces");
    }
}
