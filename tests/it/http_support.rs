//! A real server with a stand-in for the verifier, and a client that can misbehave.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::{Arc, Mutex, mpsc};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use actix::{Actor, Context, Handler, System};
use hookweir::admin::{self, Admin};
use hookweir::config::model::{Config, Limits, RespondAfter, Server as ServerConfig};
use hookweir::domain::delivery::{DedupKey, MessageKey};
use hookweir::domain::outcome::{Answer, FailReason, Outcome, RejectReason, Rejection};
use hookweir::domain::request::Request;
use hookweir::http::{IngestService, serve};
use hookweir::in_flight::{Budget, Share, Ticket};
use hookweir::runtime::listener::{StopMode, bind};
use hookweir::runtime::mailbox::{ActorRegistry, Mail, Mailbox, Ping};
use hookweir::source::{AddressRule, CurrentKeys, RateLimits, SecretUses, Source, Sources};
use hookweir::telemetry::health::State;
use hookweir::telemetry::{Health, Metrics};
use hookweir::verify::Received;
use hookweir_signatures::Scheme;
use tokio::sync::oneshot;

/// The stand-in verifies nothing; the schemes say which methods are answered, and how.
const SOURCES: &str = r#"
[[source]]
name = "demo"
provider = "none"
[[source]]
name = "nested"
path = "a/b"
provider = "none"
[[source]]
name = "signed"
provider = "github"
secrets = ["plain:0123456789abcdef"]
[[source]]
name = "token-in-url"
provider = "token"
secrets = ["plain:0123456789abcdef"]
scheme = { token = "query:secret" }
[[source]]
name = "fussy"
provider = "none"
[source.scheme]
methods = ["POST", "PUT"]
respond = { status = 202, body = "[accepted]", content_type = "text/plain", reject_status = 406, overload_status = 429 }
handshake = [{ when = { method = "GET" }, respond = { body = "hello" } }]
"#;

/// Requests that the stand-ins saw, and tickets that they keep.
#[derive(Default)]
pub(crate) struct Seen {
    pub(crate) requests: Vec<Request>,
    /// For each of the requests, whose it was: an HTTP thread's own verifier, or one on a thread of its own.
    pub(crate) by: Vec<&'static str>,
    pub(crate) held: Vec<Ticket>,
}

/// Does what the header `x-do` says, and accepts without it.
struct StandIn(&'static str, Arc<Mutex<Seen>>);

impl Actor for StandIn {
    type Context = Context<Self>;
}

impl Handler<Mail<Received>> for StandIn {
    type Result = ();

    fn handle(&mut self, mail: Mail<Received>, _: &mut Self::Context) {
        let Received {
            source,
            request,
            ticket,
            ..
        } = mail.open();
        let wish = request
            .headers
            .get(&"x-do".parse().expect("a name"))
            .map(|v| v.to_str().expect("ascii").to_owned());
        let id =
            MessageKey::of(&DedupKey::new(&source.name, "body", &[&request.body])).message_id();
        let mut seen = self.1.lock().expect("no panic");
        seen.requests.push(request);
        seen.by.push(self.0);
        match wish.as_deref() {
            None => ticket.resolve(Outcome::Accepted { id }),
            Some("duplicate") => ticket.resolve(Outcome::Duplicate { id }),
            Some("reject") => ticket.resolve(Outcome::Rejected(Rejection::new(
                RejectReason::SignatureMismatch,
                "secret reason",
            ))),
            Some("fail") => ticket.resolve(Outcome::Failed(FailReason::Store)),
            Some("challenge") => ticket.resolve(Outcome::Challenge(Answer {
                status: 202,
                content_type: Some("text/x-challenge".into()),
                headers: vec![("x-hook".into(), "yes".into())],
                body: b"echo".to_vec(),
            })),
            Some("drop") => drop(ticket),
            Some("hold") => seen.held.push(ticket),
            Some(other) => panic!("x-do: {other}?"),
        }
    }
}

impl Handler<Ping> for StandIn {
    type Result = ();

    fn handle(&mut self, ping: Ping, _: &mut Self::Context) {
        // Nobody here asks.
        let _ = ping.0.send(());
    }
}

pub(crate) struct Options {
    pub(crate) limits: Limits,
    pub(crate) server: ServerConfig,
    pub(crate) deadline: Duration,
    pub(crate) max_body_bytes: usize,
}

impl Default for Options {
    fn default() -> Self {
        let any = "127.0.0.1:0".parse().expect("an address");
        Self {
            limits: Limits {
                in_flight_requests: 64,
                in_flight_bytes: 4 << 20,
                max_body_bytes: 1 << 20,
                max_header_bytes: 16384,
                max_events_per_request: 10,
                deadline: Duration::from_secs(20),
                body_timeout: Duration::from_secs(20),
                min_body_bytes_per_sec: 1024,
                retry_after_max_secs: 5,
            },
            server: ServerConfig {
                listen: any,
                admin_listen: any,
                trusted_proxies: Vec::new(),
                proxy_protocol: false,
                workers: 2,
                max_connections: 4096,
                keep_alive: Duration::from_secs(60),
                head_timeout: Duration::from_secs(30),
                respond_after: RespondAfter::Stored,
            },
            deadline: Duration::from_secs(20),
            max_body_bytes: 1 << 20,
        }
    }
}

/// A running server; stopped on drop.
pub(crate) struct Server {
    pub(crate) addr: SocketAddr,
    pub(crate) admin: SocketAddr,
    pub(crate) seen: Arc<Mutex<Seen>>,
    pub(crate) budget: Arc<Budget>,
    pub(crate) health: Health,
    stop: Option<oneshot::Sender<StopMode>>,
    thread: Option<JoinHandle<()>>,
}

impl Server {
    pub(crate) fn start(options: Options) -> Self {
        let (tell, started) = mpsc::channel();
        let thread = thread::spawn(move || System::new().block_on(run(options, tell)));
        let mut server = started
            .recv_timeout(Duration::from_secs(30))
            .expect("the server starts");
        server.thread = Some(thread);
        server
    }

    pub(crate) fn client(&self) -> Client {
        Client::connect(self.addr)
    }

    /// Sends one request on a connection of its own and reads all of the answer.
    pub(crate) fn once(&self, request: &str) -> Response {
        let mut client = self.client();
        client.send(request.as_bytes());
        client.response()
    }

    pub(crate) fn scrape(&self) -> String {
        let mut client = Client::connect(self.admin);
        client.send(b"GET /metrics HTTP/1.1\r\nhost: a\r\n\r\n");
        client.response().body
    }

    pub(crate) fn metric(&self, line: &str) -> u64 {
        let text = self.scrape();
        let value = text
            .lines()
            .find_map(|l| l.strip_prefix(line))
            .unwrap_or_else(|| panic!("no {line} in\n{text}"));
        value.trim().parse().expect("a number")
    }

    /// Waits until nothing is in flight, then checks that what was received is the sum of all outcomes.
    pub(crate) fn settled(&self) {
        eventually("all room is given back", || self.budget.used() == (0, 0));
        let text = self.scrape();
        let sum = |name: &str| -> u64 {
            text.lines()
                .filter(|l| l.starts_with(name))
                .filter_map(|l| l.rsplit(' ').next()?.parse::<u64>().ok())
                .sum()
        };
        assert_eq!(
            sum("hookweir_received_total{"),
            sum("hookweir_outcomes_total{"),
            "{text}"
        );
    }

    pub(crate) fn begin_stop(&mut self, how: StopMode) {
        if let Some(stop) = self.stop.take() {
            let _ = stop.send(how);
        }
    }

    pub(crate) fn join(&mut self) {
        self.begin_stop(StopMode::Graceful);
        if let Some(thread) = self.thread.take() {
            thread.join().expect("the server ends in order");
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if !thread::panicking() {
            self.seen.lock().expect("no panic").held.clear();
            self.join();
        }
    }
}

async fn run(options: Options, tell: mpsc::Sender<Server>) {
    let Options {
        limits,
        server,
        deadline,
        max_body_bytes,
    } = options;
    let metrics = Metrics::new().expect("metrics");
    let seen = Arc::new(Mutex::new(Seen::default()));
    let roster = ActorRegistry::default();
    let stand_in = |name| -> Mailbox<Received> {
        roster.mailbox(name, &StandIn(name, seen.clone()).start(), 1024)
    };
    let (verifier, of_http) = (stand_in("verifier"), stand_in("verifier-http"));
    let configured = Config::from_toml(SOURCES).expect("a configuration");
    let configured_sinks = configured.routes().expect("sinks");
    let sources = configured.sources.len();
    let scheme = |configured: &hookweir::config::model::Source| {
        Arc::new(Scheme::compile(&configured.spec(), 10).expect("a scheme"))
    };
    let source = |configured: &hookweir::config::model::Source| Source {
        drop_same_bytes: None,
        metrics: metrics.source(&configured.name),
        name: configured.name.clone(),
        path: configured.path.clone(),
        scheme: scheme(configured),
        keys: Arc::new(CurrentKeys::new(scheme(configured))),
        secrets: SecretUses::default(),
        dedup_window: Duration::from_secs(60),
        retry_span: Duration::from_secs(60),
        forward_headers: Vec::new(),
        sinks: configured_sinks.clone(),
        min_body_bytes_per_sec: limits.min_body_bytes_per_sec,
        retry_after_max_secs: limits.retry_after_max_secs,
        max_body_bytes,
        usual_body_bytes: max_body_bytes,
        upload: limits.body_timeout,
        deadline,
        addresses: AddressRule::new(configured),
        rates: Arc::new(RateLimits::new(configured, Instant::now())),
        share: Arc::new(Share::of_source(
            limits.in_flight_bytes,
            sources,
            max_body_bytes,
        )),
    };
    let sources = Sources::new(configured.sources.iter().map(source));
    let budget = Budget::for_bodies(
        limits.in_flight_requests,
        limits.in_flight_bytes,
        max_body_bytes,
    );
    let edge = IngestService::new(
        sources,
        vec![verifier],
        None,
        budget.clone(),
        (limits.max_header_bytes, Vec::new()),
        (metrics.clone(), Arc::default()),
        hookweir::quarantine::QuarantineQueue::default(),
    );
    let health = Health::default();
    health.component("stand-in").set(State::Ready);
    let admin = Arc::new(Admin {
        metrics: metrics.clone(),
        health: health.clone(),
        actors: roster,
        budget: budget.clone(),
        started: Instant::now(),
        disks: Vec::new(),
    });
    let (listener, admin_listener) = (
        bind(server.listen).expect("bound"),
        bind(server.admin_listen).expect("bound"),
    );
    let (addr, admin_addr) = (
        listener.local_addr().expect("an address"),
        admin_listener.local_addr().expect("an address"),
    );
    let running = serve(
        listener,
        edge,
        move || of_http.clone(),
        &server,
        None,
        Duration::from_secs(20),
    )
    .expect("serves");
    let admin_running = admin::serve((admin_listener, None), admin, None).expect("serves");
    let (stop, stopped) = oneshot::channel();
    let handle = Server {
        addr,
        admin: admin_addr,
        seen,
        budget,
        health,
        stop: Some(stop),
        thread: None,
    };
    assert!(tell.send(handle).is_ok(), "the test waits");
    let (admin_stop, admin_stopped) = oneshot::channel::<()>();
    let admin_task = actix::spawn(admin_running.until(async {
        let _ = admin_stopped.await;
        StopMode::Graceful
    }));
    running
        .until(async { stopped.await.unwrap_or(StopMode::Immediate) })
        .await
        .expect("a clean end");
    drop(admin_stop);
    admin_task.await.expect("no panic").expect("a clean end");
}

pub(crate) fn eventually(what: &str, mut condition: impl FnMut() -> bool) {
    let give_up = Instant::now() + Duration::from_secs(120);
    while !condition() {
        assert!(
            Instant::now() < give_up,
            "did not happen within 120 s: {what}"
        );
        thread::sleep(Duration::from_millis(5));
    }
}

#[derive(Debug)]
pub(crate) struct Response {
    pub(crate) status: u16,
    pub(crate) head: String,
    pub(crate) body: String,
}

impl Response {
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.head.lines().find_map(|line| {
            let (n, value) = line.split_once(':')?;
            n.eq_ignore_ascii_case(name).then(|| value.trim())
        })
    }
}

pub(crate) struct Client {
    pub(crate) stream: TcpStream,
    read: Vec<u8>,
}

impl Client {
    pub(crate) fn connect(addr: SocketAddr) -> Self {
        let stream = TcpStream::connect(addr).expect("connects");
        stream
            .set_read_timeout(Some(Duration::from_secs(120)))
            .expect("a timeout");
        stream.set_nodelay(true).expect("nodelay");
        Self {
            stream,
            read: Vec::new(),
        }
    }

    pub(crate) fn send(&mut self, bytes: &[u8]) {
        self.stream.write_all(bytes).expect("sent");
    }

    fn fill(&mut self) -> usize {
        let mut chunk = [0; 4096];
        let n = self
            .stream
            .read(&mut chunk)
            .expect("an answer within 120 s");
        self.read.extend_from_slice(&chunk[..n]);
        n
    }

    /// The next answer, of any length that Content-Length gives.
    pub(crate) fn response(&mut self) -> Response {
        self.response_to("POST")
    }

    pub(crate) fn response_to(&mut self, method: &str) -> Response {
        let end = loop {
            if let Some(at) = self.read.windows(4).position(|w| w == b"\r\n\r\n") {
                break at + 4;
            }
            assert!(
                self.fill() > 0,
                "closed before a whole head: {:?}",
                String::from_utf8_lossy(&self.read)
            );
        };
        let head = String::from_utf8(self.read.drain(..end).collect()).expect("ascii");
        let status = head
            .split(' ')
            .nth(1)
            .and_then(|s| s.parse().ok())
            .expect("a status");
        let mut response = Response {
            status,
            head,
            body: String::new(),
        };
        let length: usize = response
            .header("content-length")
            .map_or(0, |v| v.parse().expect("a number"));
        let length = if method == "HEAD" || status == 100 {
            0
        } else {
            length
        };
        while self.read.len() < length {
            assert!(self.fill() > 0, "closed before a whole body");
        }
        response.body = String::from_utf8(self.read.drain(..length).collect()).expect("utf-8");
        response
    }

    /// True when the server closes without a further byte.
    pub(crate) fn is_closed(&mut self) -> bool {
        let mut byte = [0; 1];
        self.read.is_empty() && !matches!(self.stream.read(&mut byte), Ok(1))
    }
}

/// A POST with a body.
pub(crate) fn post(path: &str, headers: &str, body: &str) -> String {
    format!(
        "POST /ingest/{path} HTTP/1.1\r\nhost: a\r\ncontent-length: {}\r\n{headers}\r\n{body}",
        body.len()
    )
}
