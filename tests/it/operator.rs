//! An operator's questions, asked of the real program by its commands and by its admin API.

mod alarms;
mod backup;
mod cursor;
mod cursor_kills;
mod decisions;
mod embedded;
mod erase;
mod import;
mod million;
mod openapi;
mod page;
mod pause;
mod quarantine;
mod quarantine_again;
mod reload;
mod relocation;
mod relocation_races;
mod republish;
mod runbook;
mod tail;
mod top;
mod unrouted;
mod verified_by;
mod with_servers;

use std::io::{Read, Write};
use std::net::TcpStream;
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::process::{Command, Output};
use std::time::{Duration, Instant};

use hookweir_testkit::app::App;
use hookweir_testkit::program;
use hookweir_testkit::provider::Provider;
use serde_json::Value;

/// A broker that is never there, and a folder.
const SINKS: &str = "[publisher]\nurl = \"file://data/events\"\n[[sink]]\nname = \"dead\"\nurl = \"amqp://127.0.0.1:1\"\n";

/// Exit code of a command, and its output.
pub(crate) struct Answer {
    pub(crate) code: Option<i32>,
    pub(crate) out: String,
    pub(crate) err: String,
}

impl Answer {
    /// Its output, of a command that did what it was asked to.
    pub(crate) fn good(self) -> String {
        assert_eq!(self.code, Some(0), "{}\n{}", self.out, self.err);
        self.out
    }

    /// Its error, of a command that ended with this code.
    pub(crate) fn bad(self, code: i32) -> String {
        assert_eq!(self.code, Some(code), "{}\n{}", self.out, self.err);
        self.err
    }
}

/// Runs a command in the service's folder, with its configuration.
fn output(app: &App, args: &[&str]) -> Output {
    Command::new(program())
        .args(args)
        .args(["--config", "config.toml"])
        .args(["--set", &format!("server.listen={}", app.listen)])
        .current_dir(app.folder())
        .output()
        .expect("the program runs")
}

/// The same, with its output as text.
pub(crate) fn hookweir(app: &App, args: &[&str]) -> Answer {
    let output = output(app, args);
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    Answer {
        code: output.status.code(),
        out: text(&output.stdout),
        err: text(&output.stderr),
    }
}

/// Has the program send an event with this id to a source until it is taken.
fn send(app: &App, provider: Provider, id: &str) {
    let args = ["send", "--source", provider.name(), "--id", id];
    let since = Instant::now();
    let mut answer = hookweir(app, &args);
    while answer.code != Some(0) && since.elapsed() < Duration::from_secs(60) {
        std::thread::sleep(Duration::from_millis(100));
        answer = hookweir(app, &args);
    }
    answer.good();
}

/// Lines of JSON that a command prints.
fn json(app: &App, args: &[&str]) -> Vec<Value> {
    let printed = hookweir(app, &[args, &["--json"][..]].concat()).good();
    let lines = printed.lines();
    lines
        .map(|line| serde_json::from_str(line).expect("a line of JSON"))
        .collect()
}

/// Ids of listed events.
fn ids(events: &[Value]) -> Vec<&str> {
    let ids = events.iter().map(|event| event["event_id"].as_str());
    ids.map(|id| id.expect("an id")).collect()
}

/// The socket of the admin API.
fn socket(app: &App) -> PathBuf {
    app.folder().join("data/admin.sock")
}

/// Sends a request to the admin API as it is. Returns its status and its body.
fn raw(app: &App, method: &str, path: &str) -> (u16, String) {
    let stream = UnixStream::connect(socket(app)).expect("the socket answers");
    over(stream, method, path, &["Host: h"])
}

/// Sends a request to the admin address with these headers. Returns its status and its body.
fn at_the_address(app: &App, path: &str, headers: &[&str]) -> (u16, String) {
    let stream = TcpStream::connect(app.admin).expect("the address answers");
    over(stream, "GET", path, headers)
}

/// Sends JSON to the admin API. Returns the status and the answer.
fn told(app: &App, path: &str, body: &Value) -> (u16, Value) {
    let body = body.to_string();
    let length = format!("Content-Length: {}", body.len());
    let mut stream = UnixStream::connect(socket(app)).expect("the socket answers");
    let head =
        format!("POST {path} HTTP/1.1\r\nHost: h\r\n{length}\r\nConnection: close\r\n\r\n{body}");
    stream.write_all(head.as_bytes()).expect("sent");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).expect("answered");
    let status = answer.split(' ').nth(1).expect("a status line");
    let body = answer.split_once("\r\n\r\n").expect("a head").1;
    let body = serde_json::from_str(body).expect("JSON");
    (status.parse().expect("a number"), body)
}

fn over(
    mut stream: impl Read + Write,
    method: &str,
    path: &str,
    headers: &[&str],
) -> (u16, String) {
    let headers = headers.join("\r\n");
    let request = format!("{method} {path} HTTP/1.1\r\n{headers}\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).expect("sent");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).expect("answered");
    let status = answer.split(' ').nth(1).expect("a status line");
    let body = answer.split_once("\r\n\r\n").expect("a head").1;
    (status.parse().expect("a number"), body.to_owned())
}

/// Asks for the trace of an event until it is at the sink in this state.
async fn traced(app: &App, id: &str, sink: &str, state: &str) -> Value {
    let since = Instant::now();
    loop {
        let trace = json(app, &["trace", id]).remove(0);
        let sinks = trace["event"]["sinks"].as_array().expect("sinks");
        if let Some(found) = sinks.iter().find(|found| found["sink"] == sink)
            && found["state"] == state
        {
            let found = found.clone();
            return serde_json::json!({ "trace": trace, "sink": found });
        }
        assert!(
            since.elapsed() < Duration::from_secs(60),
            "{id} is not {state} at {sink}: {trace}\n{}",
            app.log()
        );
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
}
