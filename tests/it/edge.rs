//! The edge: what stands between a provider's connection and its request.

mod addresses;
mod proxy;
mod rates;
mod tls;
mod with_servers;

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use fastrand::Rng;
use hookweir_testkit::app::App;
use hookweir_testkit::provider::{Event, Provider, now};

/// GitHub's source with these options.
fn source(options: &str) -> String {
    format!("{}{options}\n", Provider::Github.config())
}

fn event(seed: u64) -> Event {
    Provider::Github.event(&mut Rng::with_seed(seed))
}

/// A signed request, with these headers besides, that closes its connection.
fn request(event: &Event, headers: &str) -> Vec<u8> {
    let signed = event.signed(Provider::Github.secret(), now());
    let signed: String = signed
        .iter()
        .map(|(name, value)| format!("{name}: {value}\r\n"))
        .collect();
    let head = format!(
        "POST /ingest/github HTTP/1.1\r\nhost: a\r\nconnection: close\r\n{headers}{signed}content-length: {}\r\n\r\n",
        event.body.len()
    );
    [head.as_bytes(), &event.body].concat()
}

/// Sends bytes on a connection of their own. Returns all that comes back until the end.
fn raw(app: &App, bytes: &[u8]) -> String {
    let mut socket = TcpStream::connect(app.listen).expect("connected");
    socket
        .set_read_timeout(Some(Duration::from_secs(120)))
        .expect("a timeout");
    socket.write_all(bytes).expect("sent");
    let mut answer = Vec::new();
    // A reset ends it, too.
    let _ = socket.read_to_end(&mut answer);
    String::from_utf8_lossy(&answer).into_owned()
}

/// The status of an answer.
fn status(answer: &str) -> &str {
    answer.split(' ').nth(1).unwrap_or("none")
}
