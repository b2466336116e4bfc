//! The PROXY protocol in front of plain HTTP and of TLS.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use hookweir_testkit::app::App;
use hookweir_testkit::tls::{self, Authority};
use rustls::version::TLS13;

use super::{event, raw, request, source, status};
use crate::signals::logs;

const ON: &str =
    "[server]\nproxy_protocol = true\ntrusted_proxies = [\"127.0.0.1\"]\nhead_timeout_ms = 5000\n";
const LINE: &[u8] = b"PROXY TCP4 140.82.115.7 127.0.0.1 4711 443\r\n";
const OTHER: &[u8] = b"PROXY TCP4 198.51.100.1 127.0.0.1 4711 443\r\n";

/// A header of version 2, of the client 140.82.115.7.
fn binary() -> Vec<u8> {
    let fixed = b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0c";
    [
        &fixed[..],
        &[140, 82, 115, 7, 127, 0, 0, 1, 0x12, 0x67, 1, 187],
    ]
    .concat()
}

fn failures(reason: &str) -> String {
    format!("hookweir_proxy_protocol_failures_total{{reason=\"{reason}\"}}")
}

#[tokio::test(flavor = "multi_thread")]
async fn both_versions_tell_the_client_and_what_is_no_header_is_closed() {
    let app = App::start(&format!("{ON}{}", source("allow_from = [\"github\"]"))).await;
    let after = |header: &[u8], n| raw(&app, &[header, &request(&event(n), "")].concat());
    assert_eq!(status(&after(LINE, 1)), "200");
    assert_eq!(status(&after(&binary(), 2)), "200");
    assert_eq!(status(&after(OTHER, 3)), "403");
    let unknown = after(b"PROXY UNKNOWN\r\n", 4);
    assert_eq!(
        status(&unknown),
        "403",
        "a client that the proxy does not tell"
    );
    let own = request(&event(8), "x-forwarded-for: 140.82.115.7\r\n");
    for untold in [&b"PROXY UNKNOWN\r\n"[..], b"\r\n\r\n\0\r\nQUIT\n\x21\0\0\0"] {
        let answer = raw(&app, &[untold, &own].concat());
        assert_eq!(
            status(&answer),
            "403",
            "nobody but the client has written the header"
        );
    }
    assert_eq!(status(&after(b"", 5)), "none", "no header");
    assert_eq!(status(&after(b"PROXY TCP4 nobody\r\n", 6)), "none");
    assert_eq!(
        raw(&app, &LINE[..20]),
        "",
        "half a header, until the time is over"
    );
    let metrics = app.metrics().await;
    assert_eq!(metrics.get(&failures("malformed")), 2.0);
    assert_eq!(metrics.get(&failures("timeout")), 1.0);
    assert_eq!(status(&after(LINE, 7)), "200");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_header_that_comes_byte_by_byte_is_read_to_its_end() {
    let app = App::start(&format!("{ON}{}", source("allow_from = [\"github\"]"))).await;
    for header in [LINE, &binary()] {
        let mut socket = TcpStream::connect(app.listen).expect("connected");
        socket.set_nodelay(true).expect("at once");
        for byte in header {
            socket.write_all(&[*byte]).expect("sent");
            std::thread::sleep(Duration::from_millis(2));
        }
        socket.write_all(&request(&event(1), "")).expect("sent");
        let mut answer = String::new();
        socket.read_to_string(&mut answer).expect("an answer");
        assert_eq!(status(&answer), "200", "{answer}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_connection_from_elsewhere_is_closed_and_named_in_the_log() {
    let elsewhere = ON.replace("127.0.0.1", "203.0.113.9");
    let app = App::start(&format!("{elsewhere}{}", source(""))).await;
    let answer = raw(&app, &[LINE, &request(&event(1), "")].concat());
    assert_eq!(answer, "");
    logs(&app, "closed a connection from 127.0.0.1").await;
    assert_eq!(app.metrics().await.get(&failures("untrusted")), 1.0);
}

#[tokio::test(flavor = "multi_thread")]
async fn tls_begins_after_the_header() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("server.pem");
    let authority = Authority::create();
    std::fs::write(&path, authority.key_and_certificate(&["127.0.0.1"])).expect("written");
    let path = path.display();
    let with_tls = format!(
        "[tls]\ncertificate = \"file:{path}\"\nkey = \"file:{path}\"\n{}",
        source("allow_from = [\"github\"]")
    );
    let app = App::start(&format!("{ON}{with_tls}")).await;
    for (header, answer) in [(LINE, "200"), (OTHER, "403")] {
        let mut session = tls::connect_after(app.listen, header, authority.pem(), &[&TLS13], &[])
            .expect("a session");
        session.write_all(&request(&event(1), "")).expect("sent");
        let mut text = String::new();
        session.read_to_string(&mut text).expect("an answer");
        assert_eq!(status(&text), answer, "{text}");
    }
}
