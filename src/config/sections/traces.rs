//! `[traces]`

use url::Url;

use crate::config::define::section;
use crate::config::option::{OrNone, Ratio, Text};

section! {
    /// Traces of deliveries over OpenTelemetry's protocol OTLP (protobuf over HTTP): from the POST to the confirm
    /// of the sink, and to the commit of the lakehouse. No delivery waits for the collector.
    #[derive(Debug)]
    #[derive(Clone)]
    pub struct Traces {
        /// URL of the collector, such as "http://127.0.0.1:4318"; "/v1/traces" is added to it. "" exports
        /// nothing. Headers for the collector come from the environment, as OpenTelemetry names it:
        /// OTEL_EXPORTER_OTLP_HEADERS.
        pub endpoint: Option<String> = "traces.endpoint", OrNone(Text("URL of a collector", collector)), "";
        /// Part of the deliveries that is sampled. A delivery with a header traceparent is sampled as that
        /// says, and its trace goes on.
        pub sample_ratio: f64 = "traces.sample_ratio", Ratio, 0.01;
    }
}

/// The URL of a collector of spans, or nothing.
fn collector(text: &str) -> Result<(), String> {
    let expected = "expected \"\", or a URL such as \"http://127.0.0.1:4318\"";
    if text.is_empty() {
        return Ok(());
    }
    // The error shows no part of the URL: it may hold a password.
    let url = Url::parse(text).map_err(|error| format!("{expected}: {error}"))?;
    let plain = url.username().is_empty() && url.password().is_none();
    match url.scheme() {
        "http" | "https" if !plain => Err(format!(
            "{expected}, without user and password: headers for the collector come from OTEL_EXPORTER_OTLP_HEADERS"
        )),
        "http" | "https" if url.query().is_some() || url.fragment().is_some() => {
            Err(format!("{expected}, without \"?\" and \"#\""))
        }
        "http" | "https" => Ok(()),
        _ => Err(expected.to_owned()),
    }
}
