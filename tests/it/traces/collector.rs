//! A collector of spans: takes OTLP over HTTP, and decodes its protobuf.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::common::v1::{AnyValue, KeyValue};
use prost::Message as _;

/// A span as it was received.
#[derive(Clone, Debug)]
pub struct Span {
    pub service: String,
    pub name: String,
    pub trace: String,
    pub id: String,
    /// Empty if it is the first one.
    pub parent: String,
    pub kind: i32,
    pub start: u64,
    pub end: u64,
    pub attributes: BTreeMap<String, String>,
    /// Traces and ids of spans.
    pub links: Vec<(String, String)>,
    pub is_error: bool,
    pub error: String,
}

impl Span {
    /// Returns an attribute as text.
    pub fn get(&self, name: &str) -> &str {
        let value = self.attributes.get(name);
        value.unwrap_or_else(|| panic!("no attribute {name}: {self:?}"))
    }
}

/// A running collector.
pub struct Collector {
    pub address: SocketAddr,
    spans: Arc<Mutex<Vec<Span>>>,
    heads: Arc<Mutex<Vec<String>>>,
}

impl Collector {
    /// Starts a collector on a free port.
    pub fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let collector = Self {
            address: listener.local_addr().expect("an address"),
            spans: Arc::default(),
            heads: Arc::default(),
        };
        let (spans, heads) = (collector.spans.clone(), collector.heads.clone());
        std::thread::spawn(move || {
            for connection in listener.incoming() {
                let (spans, heads) = (spans.clone(), heads.clone());
                let connection = connection.expect("a connection");
                std::thread::spawn(move || serve(connection, &spans, &heads));
            }
        });
        collector
    }

    /// Returns the section of a configuration that exports here.
    pub fn config(&self, ratio: &str) -> String {
        config(self.address, ratio)
    }

    /// Returns the spans so far.
    pub fn spans(&self) -> Vec<Span> {
        self.spans.lock().expect("no panic").clone()
    }

    /// Returns the heads of the requests so far.
    pub fn heads(&self) -> Vec<String> {
        self.heads.lock().expect("no panic").clone()
    }

    /// Waits until the spans of `trace` have all of these names. Returns them in the order of their begin.
    pub async fn trace(&self, trace: &str, names: &[&str]) -> Vec<Span> {
        let since = Instant::now();
        loop {
            let mut found = self.spans();
            found.retain(|span| span.trace == trace);
            found.sort_by_key(|span| span.start);
            let has = |name: &&str| found.iter().any(|span| span.name == **name);
            if names.iter().all(has) {
                return found;
            }
            assert!(
                since.elapsed() < Duration::from_secs(60),
                "{names:?} are not all in {trace}: {:#?}",
                self.spans()
            );
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }
}

/// Returns the section of a configuration that exports to a collector.
pub fn config(address: SocketAddr, ratio: &str) -> String {
    format!("[traces]\nendpoint = \"http://{address}\"\nsample_ratio = {ratio}\n")
}

/// Answers the requests of one connection.
fn serve(connection: TcpStream, spans: &Mutex<Vec<Span>>, heads: &Mutex<Vec<String>>) {
    let mut writer = connection.try_clone().expect("a second handle");
    let mut reader = BufReader::new(connection);
    loop {
        let mut head = String::new();
        while !head.ends_with("\r\n\r\n") {
            if reader.read_line(&mut head).unwrap_or(0) == 0 {
                return;
            }
        }
        let head = head.to_lowercase();
        let length = head
            .lines()
            .find_map(|line| line.strip_prefix("content-length: "))
            .expect("a length");
        let mut body = vec![0; length.parse().expect("a number")];
        reader.read_exact(&mut body).expect("a whole body");
        assert!(head.starts_with("post /v1/traces "), "{head}");
        assert!(
            head.contains("content-type: application/x-protobuf"),
            "{head}"
        );
        let request = ExportTraceServiceRequest::decode(&*body).expect("protobuf of OTLP");
        spans.lock().expect("no panic").extend(received(request));
        heads.lock().expect("no panic").push(head);
        let answer =
            b"HTTP/1.1 200 OK\r\ncontent-type: application/x-protobuf\r\ncontent-length: 0\r\n\r\n";
        if writer.write_all(answer).is_err() {
            return;
        }
    }
}

fn received(request: ExportTraceServiceRequest) -> Vec<Span> {
    let mut found = Vec::new();
    for of_resource in request.resource_spans {
        let resource = of_resource.resource.expect("a resource");
        let resource = texts(&resource.attributes);
        let service = resource.get("service.name").expect("a name").clone();
        assert!(resource.contains_key("service.instance.id"), "{resource:?}");
        for span in of_resource
            .scope_spans
            .into_iter()
            .flat_map(|scope| scope.spans)
        {
            let status = span.status.unwrap_or_default();
            let link = |(trace, id): (&[u8], &[u8])| (hex::encode(trace), hex::encode(id));
            let links = span.links.iter();
            let links = links.map(|one| link((&one.trace_id, &one.span_id)));
            found.push(Span {
                service: service.clone(),
                name: span.name,
                trace: hex::encode(&span.trace_id),
                id: hex::encode(&span.span_id),
                parent: hex::encode(&span.parent_span_id),
                kind: span.kind,
                start: span.start_time_unix_nano,
                end: span.end_time_unix_nano,
                attributes: texts(&span.attributes),
                links: links.collect(),
                is_error: status.code == 2,
                error: status.message,
            });
        }
    }
    found
}

fn texts(attributes: &[KeyValue]) -> BTreeMap<String, String> {
    let text = |value: &Option<AnyValue>| match value.as_ref().and_then(|any| any.value.as_ref()) {
        Some(Value::StringValue(text)) => text.clone(),
        Some(Value::IntValue(number)) => number.to_string(),
        other => panic!("an attribute of another kind: {other:?}"),
    };
    let pairs = attributes.iter();
    pairs
        .map(|pair| (pair.key.clone(), text(&pair.value)))
        .collect()
}
