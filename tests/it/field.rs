//! Raw requests as senders and proxies were seen to write them, replayed on the real program over plain sockets. `tests/data/field` holds
//! the bytes, the answer that each must get and the number of events that must come out.

use std::collections::BTreeMap;
use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use serde::Deserialize;
use serde_json::Value;

use hookweir_testkit::app::App;

/// One report of a sender's behaviour.
#[derive(Deserialize)]
struct Case {
    name: String,
    steps: Vec<Step>,
    /// New events that must come out, by source.
    events: BTreeMap<String, usize>,
    out_has: Option<OutHas>,
}

/// One request, sent once or more.
#[derive(Deserialize)]
struct Step {
    send: String,
    status: Option<Statuses>,
    any_of: Option<Vec<u16>>,
    /// All of the answer's body, or a word in it.
    body: Option<String>,
    word: Option<String>,
    #[serde(default = "one")]
    times: usize,
    #[serde(default = "one")]
    answers: usize,
    #[serde(default)]
    how: How,
}

fn one() -> usize {
    1
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Statuses {
    One(u16),
    Each(Vec<u16>),
}

#[derive(Clone, Copy, Default, Deserialize)]
#[serde(rename_all = "lowercase")]
enum How {
    #[default]
    Plain,
    /// In pieces of 37 bytes.
    Bytes,
    /// The body only after "100 Continue".
    Expect,
}

/// Text that the last event of a source must have outside of its body.
#[derive(Deserialize)]
struct OutHas {
    source: String,
    text: String,
}

fn data() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/field")
}

#[tokio::test(flavor = "multi_thread")]
async fn what_senders_in_the_field_do_is_taken_as_it_should_be() {
    let config = std::fs::read_to_string(data().join("field.toml")).expect("the sources");
    let cases: Vec<Case> =
        serde_json::from_slice(&std::fs::read(data().join("cases.json")).expect("the cases"))
            .expect("JSON");
    // No case is about the deadline.
    let config = config.replace("\nprovider", "\ndeadline_ms = 60000\nprovider");
    let mut app = App::start(&config).await;
    let mut wrong = Vec::new();
    for case in &cases {
        wrong.extend(
            case.play(&app)
                .into_iter()
                .map(|what| format!("{}: {what}", case.name)),
        );
    }
    assert!(
        wrong.is_empty(),
        "{} of {} cases:\n{}\n{}",
        wrong.len(),
        cases.len(),
        wrong.join("\n"),
        app.log()
    );
    assert!(cases.len() >= 60, "a case is missing");
    assert!(app.stop().await.success());
}

impl Case {
    fn play(&self, app: &App) -> Vec<String> {
        let before: BTreeMap<&String, usize> = self
            .events
            .keys()
            .map(|source| (source, out(app, source).len()))
            .collect();
        let mut wrong: Vec<String> = self
            .steps
            .iter()
            .flat_map(|step| step.play(app.listen))
            .collect();
        for (source, more) in &self.events {
            let came = || out(app, source).len() - before[source];
            let began = Instant::now();
            while came() < *more && began.elapsed() < Duration::from_secs(60) {
                std::thread::sleep(Duration::from_millis(20));
            }
            // One too many would come right behind.
            std::thread::sleep(Duration::from_millis(50));
            if came() != *more {
                wrong.push(format!(
                    "{source}: {more} events must come out, {} did",
                    came()
                ));
            }
        }
        if let Some(OutHas { source, text }) = &self.out_has {
            let mut last = out(app, source).pop().unwrap_or_default();
            if let Some(event) = last.as_object_mut() {
                event.retain(|name, _| !name.starts_with("body"));
            }
            if !last.to_string().contains(text) {
                wrong.push(format!(
                    "the last event of {source} does not say {text}: {last}"
                ));
            }
        }
        wrong
    }
}

impl Step {
    fn play(&self, server: SocketAddr) -> Vec<String> {
        let raw = std::fs::read(data().join("requests").join(&self.send)).expect("the request");
        (0..self.times)
            .filter_map(|_| self.judge(&talk(server, &raw, self.how, self.answers)))
            .collect()
    }

    fn judge(&self, answers: &[Answer]) -> Option<String> {
        let got: Vec<u16> = answers.iter().map(|answer| answer.status).collect();
        let expected = match &self.status {
            Some(Statuses::One(status)) => vec![*status; self.answers],
            Some(Statuses::Each(statuses)) => statuses.clone(),
            None => Vec::new(),
        };
        let any = self
            .any_of
            .as_ref()
            .is_some_and(|any| got.first().is_some_and(|first| any.contains(first)));
        let body = answers
            .last()
            .map(|answer| String::from_utf8_lossy(&answer.body))
            .unwrap_or_default();
        let right = (got == expected || any)
            && self.body.as_ref().is_none_or(|expected| *expected == body)
            && self.word.as_ref().is_none_or(|word| body.contains(word));
        (!right).then(|| format!("{} was answered {got:?} {body}", self.send))
    }
}

/// The events of a source that came out of the file sink.
fn out(app: &App, source: &str) -> Vec<Value> {
    let mut files: Vec<PathBuf> = std::fs::read_dir(app.events())
        .into_iter()
        .flatten()
        .flatten()
        .map(|file| file.path())
        .collect();
    files.sort();
    let lines = files
        .iter()
        .filter_map(|file| std::fs::read_to_string(file).ok());
    let events = lines.flat_map(|text| {
        text.lines()
            .filter_map(|line| serde_json::from_str::<Value>(line).ok())
            .collect::<Vec<_>>()
    });
    events
        .filter(|event| event["headers"]["x-hookweir-source"] == source)
        .collect()
}

struct Answer {
    status: u16,
    body: Vec<u8>,
}

/// Sends the bytes and returns the answers that came within a minute.
fn talk(server: SocketAddr, raw: &[u8], how: How, answers: usize) -> Vec<Answer> {
    let mut socket = TcpStream::connect(server).expect("a connection");
    socket.set_nodelay(true).expect("a socket option");
    let mut got = Vec::new();
    match how {
        How::Plain => _ = socket.write_all(raw),
        How::Bytes => {
            for piece in raw.chunks(37) {
                socket.write_all(piece).expect("it is read");
                std::thread::sleep(Duration::from_millis(1));
            }
        }
        How::Expect => {
            let head = raw
                .windows(4)
                .position(|end| end == b"\r\n\r\n")
                .expect("the head's end")
                + 4;
            socket.write_all(&raw[..head]).expect("it is read");
            receive(&mut socket, &mut got, Duration::from_secs(10), |got| {
                got.ends_with(b"\r\n\r\n")
            });
            if got.starts_with(b"HTTP/1.1 100") || got.is_empty() {
                got.clear();
                socket.write_all(&raw[head..]).expect("it is read");
            }
        }
    }
    receive(&mut socket, &mut got, Duration::from_secs(60), |got| {
        parse(got).len() >= answers
    });
    parse(&got)
}

fn receive(
    socket: &mut TcpStream,
    got: &mut Vec<u8>,
    patience: Duration,
    enough: impl Fn(&[u8]) -> bool,
) {
    let end = Instant::now() + patience;
    let mut buffer = [0; 65536];
    while !enough(got) {
        let left = end.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return;
        }
        socket
            .set_read_timeout(Some(left))
            .expect("a socket option");
        match socket.read(&mut buffer) {
            Ok(0) => return,
            Ok(length) => got.extend_from_slice(&buffer[..length]),
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(_) => return,
        }
    }
}

/// The whole answers at the beginning of `data`.
fn parse(mut data: &[u8]) -> Vec<Answer> {
    let mut answers = Vec::new();
    while let Some(head_end) = data.windows(4).position(|end| end == b"\r\n\r\n") {
        let head = String::from_utf8_lossy(&data[..head_end]).to_lowercase();
        let status = head
            .split(' ')
            .nth(1)
            .and_then(|status| status.parse().ok())
            .expect("a status");
        let length = head
            .lines()
            .find_map(|line| line.strip_prefix("content-length:")?.trim().parse().ok())
            .unwrap_or(0);
        let Some(body) = data[head_end + 4..].get(..length) else {
            break;
        };
        answers.push(Answer {
            status,
            body: body.to_vec(),
        });
        data = &data[head_end + 4 + length..];
    }
    answers
}
