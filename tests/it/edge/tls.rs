//! TLS of the listeners, with real certificates and real clients.

use std::fs;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use fastrand::Rng;
use hookweir_testkit::app::{App, patient_sources};
use hookweir_testkit::ledger::Answer;
use hookweir_testkit::load::{Load, client_that_trusts, post_to};
use hookweir_testkit::provider::{Provider, now};
use hookweir_testkit::tls::{self, Authority, TlsSession};
use rustls::version::{TLS12, TLS13};
use tempfile::TempDir;

use crate::operator::hookweir;

/// Certificates of a test, each in one file with its key.
struct Pki {
    folder: TempDir,
    authority: Authority,
}

impl Pki {
    /// An authority, and a certificate of it in `server.pem`.
    fn create() -> Self {
        let pki = Self {
            folder: tempfile::tempdir().expect("a folder"),
            authority: Authority::create(),
        };
        pki.write(&pki.authority);
        pki
    }

    fn path(&self) -> String {
        self.folder.path().join("server.pem").display().to_string()
    }

    /// Puts another certificate in the place of the one before.
    fn write(&self, authority: &Authority) {
        self.put(&authority.key_and_certificate(&["127.0.0.1"]));
    }

    fn put(&self, pem: &str) {
        fs::write(self.path(), pem).expect("written");
    }

    /// The sources, and TLS on the ingest listener.
    fn config(&self) -> String {
        let path = self.path();
        format!(
            "[tls]\ncertificate = \"file:{path}\"\nkey = \"file:{path}\"\n{}",
            patient_sources()
        )
    }
}

/// Sends one event over TLS.
async fn deliver(app: &App, authorities: &str, seed: u64) -> Answer {
    let event = Provider::Github.event(&mut Rng::with_seed(seed));
    let headers = event.signed(Provider::Github.secret(), now());
    let url = format!("https://{}/ingest/github", app.listen);
    post_to(&client_that_trusts(authorities), url, headers, event.body).await
}

fn is_taken(answer: &Answer) -> bool {
    matches!(answer, Answer::Taken { new: true, .. })
}

fn session(app: &App, authorities: &str) -> std::io::Result<TlsSession> {
    tls::connect(app.listen, authorities, &[&TLS13, &TLS12], &[])
}

/// The certificate that a server has shown.
fn shown(session: &TlsSession) -> Vec<u8> {
    let certificates = session.conn.peer_certificates().expect("certificates");
    certificates[0].to_vec()
}

/// Asks for the source's greeting on an open connection.
fn greeted(session: &mut TlsSession) -> bool {
    session
        .write_all(b"GET /ingest/github HTTP/1.1\r\nhost: a\r\n\r\n")
        .expect("sent");
    let mut answer = Vec::new();
    while !String::from_utf8_lossy(&answer).contains("\r\n\r\n") {
        let mut part = [0; 1024];
        let read = session.read(&mut part).expect("an answer");
        if read == 0 {
            return false;
        }
        answer.extend_from_slice(&part[..read]);
    }
    answer.starts_with(b"HTTP/1.1 200")
}

/// Waits until a counter of failed handshakes has this value at least.
async fn failures(app: &App, reason: &str, at_least: f64) {
    let name =
        format!("hookweir_tls_handshake_failures_total{{listener=\"ingest\",reason=\"{reason}\"}}");
    let since = Instant::now();
    loop {
        let counted = app.metrics().await.get(&name);
        if counted >= at_least {
            return;
        }
        assert!(
            since.elapsed() < Duration::from_secs(120),
            "{name} is {counted}"
        );
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn events_over_tls_are_stored_and_published() {
    let pki = Pki::create();
    let app = App::start(&pki.config()).await;
    let load = Load {
        authorities: Some(pki.authority.pem().to_owned()),
        ..Load::on(&[app.listen])
    };
    load.send(200).await.check_faultless();
    app.drained().await;
    let metrics = app.metrics().await;
    let accepted = metrics.sum("hookweir_outcomes_total", &["outcome=\"accepted\""]);
    let confirmed = metrics.sum("hookweir_published_total", &["result=\"confirmed\""]);
    assert!(
        accepted > 0 && confirmed == accepted,
        "{confirmed} of {accepted}"
    );
    let expiry =
        metrics.get("hookweir_tls_certificate_expiry_timestamp_seconds{listener=\"ingest\"}");
    assert!(
        expiry > metrics.get("process_start_time_seconds"),
        "{expiry}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn both_versions_of_tls_are_spoken_and_http_2_is_not_agreed_on() {
    let pki = Pki::create();
    let app = App::start(&pki.config()).await;
    for version in [&TLS12, &TLS13] {
        let offered = ["h2", "http/1.1"];
        let mut session =
            tls::connect(app.listen, pki.authority.pem(), &[version], &offered).expect("a session");
        assert_eq!(session.conn.protocol_version(), Some(version.version));
        assert_eq!(session.conn.alpn_protocol(), Some(&b"http/1.1"[..]));
        assert!(greeted(&mut session));
    }
    let stranger = Authority::create();
    session(&app, stranger.pem()).expect_err("nobody vouches for it");
    failures(&app, "refused", 1.0).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn reloads_of_the_certificate_under_load_drop_no_connection() {
    let pki = Pki::create();
    let (first, second) = (&pki.authority, Authority::create());
    let both = format!("{}{}", first.pem(), second.pem());
    let app = App::start(&pki.config()).await;
    let mut open = session(&app, first.pem()).expect("a session");
    // A client that has sent nothing is closed after the time for a head.
    assert!(greeted(&mut open));
    let load = Load {
        authorities: Some(both.clone()),
        connections: 8,
        ..Load::on(&[app.listen])
    };
    let load = load.start();
    for round in 0..20 {
        pki.write(if round % 2 == 0 { &second } else { first });
        let said = hookweir(&app, &["reload"]).good();
        assert!(said.contains("tls.certificate"), "{said}");
        load.until_taken(1).await;
    }
    let ledger = load.finish().await;
    let answers = ledger.answers(false);
    assert!(!answers.contains_key("broken"), "{answers:?}");
    ledger.check_faultless();

    pki.write(&second);
    hookweir(&app, &["reload"]).good();
    assert!(greeted(&mut open), "an open connection stays");
    let new = session(&app, second.pem()).expect("the new certificate");
    assert_ne!(shown(&new), shown(&open));
    session(&app, first.pem()).expect_err("the one before is gone");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bad_certificate_is_refused_with_file_and_cause_and_the_old_one_stays() {
    let pki = Pki::create();
    let app = App::start(&pki.config()).await;
    let before = shown(&session(&app, pki.authority.pem()).expect("a session"));
    let names = ["127.0.0.1"];
    let of_another = || {
        let (one, other) = (
            pki.authority.key_and_certificate(&names),
            pki.authority.key_and_certificate(&names),
        );
        let key = one
            .split("-----BEGIN CERTIFICATE")
            .next()
            .expect("a key")
            .to_owned();
        let certificate = other
            .split_once("-----BEGIN CERTIFICATE")
            .expect("a certificate")
            .1;
        format!("{key}-----BEGIN CERTIFICATE{certificate}")
    };
    let path = pki.path();
    for (pem, cause) in [
        (of_another(), "the key of another certificate"),
        (
            pki.authority.expired_key_and_certificate(&names),
            "has expired; senders refuse",
        ),
        ("no PEM".to_owned(), "holds no certificate"),
        (pki.authority.pem().to_owned(), "no private key in PEM"),
    ] {
        pki.put(&pem);
        let error = hookweir(&app, &["reload"]).bad(78);
        assert!(error.contains(&path) && error.contains(cause), "{error}");
        assert!(
            error.contains("config.toml:2:") || error.contains("config.toml:3:"),
            "{error}"
        );
        let now = shown(&session(&app, pki.authority.pem()).expect("a session"));
        assert_eq!(now, before, "{cause}");
    }
    fs::remove_file(&path).expect("removed");
    let error = hookweir(&app, &["reload"]).bad(78);
    assert!(error.contains(&format!("cannot read {path}")), "{error}");
    assert_eq!(
        app.metrics()
            .await
            .get("hookweir_config_last_reload_successful"),
        0.0
    );
    assert!(is_taken(&deliver(&app, pki.authority.pem(), 1).await));

    pki.write(&pki.authority);
    hookweir(&app, &["reload"]).good();
    let after = shown(&session(&app, pki.authority.pem()).expect("a session"));
    assert_ne!(after, before);
}

#[tokio::test(flavor = "multi_thread")]
async fn tls_is_turned_off_by_a_restart_only() {
    let pki = Pki::create();
    let app = App::start(&pki.config()).await;
    fs::write(app.folder().join("config.toml"), patient_sources()).expect("written");
    let said = hookweir(&app, &["reload"]).good();
    assert!(
        said.contains("tls.certificate") && said.contains("restart"),
        "{said}"
    );
    assert!(is_taken(&deliver(&app, pki.authority.pem(), 1).await));
}

#[tokio::test(flavor = "multi_thread")]
async fn half_open_handshakes_are_closed_and_keep_nobody_out() {
    let pki = Pki::create();
    let server = "[server]\nmax_connections = 64\nhead_timeout_ms = 2000\nworkers = 1\n";
    let app = App::start(&format!("{server}{}", pki.config())).await;
    let open = |first: &[u8]| {
        let mut socket = TcpStream::connect(app.listen).expect("connected");
        socket.write_all(first).expect("sent");
        socket
    };
    // The head of a record of a handshake, and nothing after it.
    let half = [0x16, 3, 1, 2, 0, 1, 0];
    let mut silent: Vec<_> = (0..60)
        .map(|n| open(if n % 2 == 0 { &half } else { &[] }))
        .collect();
    let more: Vec<_> = (0..60).map(|_| open(&half)).collect();
    for seed in 0..5 {
        let answer = deliver(&app, pki.authority.pem(), seed).await;
        assert!(is_taken(&answer), "{answer:?}");
    }
    silent.extend(more);
    for mut socket in silent {
        socket
            .set_read_timeout(Some(Duration::from_secs(30)))
            .expect("a timeout");
        let mut rest = Vec::new();
        // Closed, or reset.
        if let Err(error) = socket.read_to_end(&mut rest) {
            assert_eq!(error.kind(), std::io::ErrorKind::ConnectionReset, "{error}");
        }
    }
    failures(&app, "timeout", 1.0).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn plain_http_at_a_port_with_tls_is_closed_and_counted() {
    let pki = Pki::create();
    let app = App::start(&pki.config()).await;
    let mut socket = TcpStream::connect(app.listen).expect("connected");
    socket
        .write_all(b"POST /ingest/github HTTP/1.1\r\nhost: a\r\ncontent-length: 2\r\n\r\n{}")
        .expect("sent");
    let mut answer = Vec::new();
    let _ = socket.read_to_end(&mut answer);
    assert!(!answer.starts_with(b"HTTP"), "{answer:?}");
    failures(&app, "not_tls", 1.0).await;
    assert!(!app.log().contains("panic"), "{}", app.log());
    assert!(is_taken(&deliver(&app, pki.authority.pem(), 1).await));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_socket_of_the_service_manager_speaks_tls_too() {
    let pki = Pki::create();
    let mut app = App::launch_activated(&pki.config()).await;
    app.ready().await;
    assert!(is_taken(&deliver(&app, pki.authority.pem(), 1).await));
    assert!(app.stop().await.success());
}

/// The body of a page of the admin listener.
async fn admin_page(admin: SocketAddr, authorities: &str, path: &str) -> String {
    let client = client_that_trusts(authorities);
    let answer = client.get(format!("https://{admin}{path}")).send().await;
    answer.expect("an answer").text().await.expect("text")
}

#[tokio::test(flavor = "multi_thread")]
async fn the_admin_listener_speaks_tls_and_a_reload_replaces_its_certificate() {
    let pki = Pki::create();
    let path = pki.path();
    let tls = format!("[tls]\nadmin_certificate = \"file:{path}\"\nadmin_key = \"file:{path}\"\n");
    let app = App::launch(&format!("{tls}{}", patient_sources())).await;
    let health = admin_page(app.admin, pki.authority.pem(), "/readyz").await;
    assert!(health.contains("\"store\""), "{health}");
    let link = hookweir(&app, &["page"]);
    assert!(
        link.out.contains("https://127.0.0.1"),
        "{}{}",
        link.out,
        link.err
    );

    let other = Authority::create();
    pki.write(&other);
    hookweir(&app, &["reload"]).good();
    let metrics = admin_page(app.admin, other.pem(), "/metrics").await;
    let expiry = "hookweir_tls_certificate_expiry_timestamp_seconds{listener=\"admin\"}";
    assert!(metrics.contains(expiry), "{metrics}");
    let plain = TcpStream::connect(app.admin).and_then(|mut socket| {
        socket.write_all(b"GET /livez HTTP/1.1\r\nhost: a\r\n\r\n")?;
        let mut answer = Vec::new();
        socket.read_to_end(&mut answer)?;
        Ok(answer)
    });
    assert!(plain.is_err() || plain.is_ok_and(|answer| !answer.starts_with(b"HTTP")));
    let metrics = admin_page(app.admin, other.pem(), "/metrics").await;
    let counted = "hookweir_tls_handshake_failures_total{listener=\"admin\",reason=\"not_tls\"} 1";
    assert!(metrics.contains(counted), "{metrics}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_that_lost_its_line_breaks_is_shown_nowhere() {
    let pki = Pki::create();
    let whole = fs::read_to_string(pki.path()).expect("PEM");
    let key = &whole[..whole.find("-----BEGIN CERTIFICATE").expect("a certificate")];
    let body: String = key.lines().filter(|line| !line.starts_with('-')).collect();
    let app = App::start(&pki.config()).await;
    for wrong in [whole.replace('\n', " "), whole.replace('\n', "\\n")] {
        pki.put(&wrong);
        for args in [&["reload"][..], &["check"]] {
            let said = hookweir(&app, args);
            assert_eq!(said.code, Some(78), "{}{}", said.out, said.err);
            let said = format!("{}{}{}", said.out, said.err, app.log());
            let bytes = format!("{:?}", &body.as_bytes()[8..24]);
            assert!(!said.contains(&body[8..24]), "{said}");
            assert!(!said.contains(bytes.trim_matches(['[', ']'])), "{said}");
        }
    }
}
