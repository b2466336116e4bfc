//! Load as providers make it: many connections, redeliveries at once and later, forgeries, and retries with back-off until a 2xx.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use bytes::Bytes;
use fastrand::Rng;
use futures_util::future::join_all;
use tokio::task::JoinSet;

use super::ledger::{Answer, Attempt, Entry, Ledger, digest};
use super::provider::{Event, Headers, Provider, now, small};

/// Parameters of a load.
#[derive(Clone, Debug)]
pub struct Load {
    /// Addresses of the instances. Several are used in turn, as by a load balancer.
    pub targets: Vec<SocketAddr>,
    /// Sends each delivery to every target at the same time instead.
    pub everywhere: bool,
    /// Providers to draw from.
    pub providers: Vec<Provider>,
    /// Deliveries under way at once.
    pub connections: usize,
    /// Events a second in all; none is as fast as it goes.
    pub rate: Option<f64>,
    /// Per cent of the events that are sent twice at the same time.
    pub at_once: u8,
    /// Per cent of the events that are sent again later.
    pub later: u8,
    /// Events that are set aside for later, at most.
    pub set_aside: usize,
    /// Per cent of the events that are forged.
    pub forged: u8,
    /// Per cent of the events that are sent again with another body.
    pub other_body: u8,
    /// Draws the size of a body.
    pub sizes: fn(&mut Rng) -> usize,
    /// Time after which an event that is not taken is given up.
    pub patience: Duration,
    /// Seed of everything that is drawn.
    pub seed: u64,
    /// Authorities in PEM that vouch for the targets, which speak TLS; none is plain HTTP.
    pub authorities: Option<String>,
}

impl Load {
    /// The mix that the main job has to bear.
    pub fn on(targets: &[SocketAddr]) -> Self {
        Self {
            targets: targets.to_vec(),
            everywhere: false,
            providers: Provider::ALL.to_vec(),
            connections: 32,
            rate: None,
            at_once: 10,
            later: 10,
            set_aside: 100,
            forged: 5,
            other_body: 1,
            sizes: small,
            patience: Duration::from_secs(120),
            seed: 1,
            authorities: None,
        }
    }

    /// Sends `count` deliveries, and what follows from them.
    pub async fn send(self, count: usize) -> Ledger {
        self.begin(Some(count)).finish().await
    }

    /// Sends until it is told to finish.
    pub fn start(self) -> Running {
        let running = self.begin(None);
        running.shared.endless.store(true, Ordering::Relaxed);
        running
    }

    fn begin(self, count: Option<usize>) -> Running {
        let shared = Arc::new(Shared {
            left: AtomicUsize::new(count.unwrap_or(usize::MAX)),
            endless: AtomicBool::new(false),
            begun: AtomicUsize::new(0),
            sent: AtomicUsize::new(0),
            taken: AtomicUsize::new(0),
            due_later: Mutex::default(),
            ledger: Mutex::default(),
            client: match &self.authorities {
                Some(authorities) => client_that_trusts(authorities),
                None => client(),
            },
            load: self,
        });
        let mut tasks = JoinSet::new();
        for number in 0..shared.load.connections {
            tasks.spawn(shared.clone().run(number));
        }
        Running { shared, tasks }
    }
}

/// A client that does what it is told: no proxy, no redirect, no retry of its own.
pub fn client() -> reqwest::Client {
    built(reqwest::Client::builder())
}

/// The same, which trusts these authorities in PEM and no others.
pub fn client_that_trusts(authorities: &str) -> reqwest::Client {
    let certificates = reqwest::Certificate::from_pem_bundle(authorities.as_bytes());
    built(reqwest::Client::builder().tls_certs_only(certificates.expect("certificates")))
}

fn built(builder: reqwest::ClientBuilder) -> reqwest::Client {
    // Asked for even by a client that speaks no TLS. An error says that another test was here first.
    let _ = rustls::crypto::ring::default_provider().install_default();
    builder
        .no_proxy()
        .redirect(reqwest::redirect::Policy::none())
        .retry(reqwest::retry::never())
        .timeout(Duration::from_secs(20))
        .build()
        .expect("an HTTP client")
}

/// A load under way.
pub struct Running {
    shared: Arc<Shared>,
    tasks: JoinSet<()>,
}

impl Running {
    /// Returns a handle that reads the counters.
    pub fn counts(&self) -> Counts {
        Counts(self.shared.clone())
    }

    /// Events answered 2xx until now.
    pub fn taken(&self) -> usize {
        self.counts().taken()
    }

    /// Returns the time of each answer to a genuine delivery that began at `from` or later. Only
    /// events whose account is closed count.
    pub fn took_since(&self, from: Instant) -> Vec<Duration> {
        let ledger = self.shared.ledger.lock().expect("ledger");
        ledger
            .genuine()
            .flat_map(|entry| &entry.attempts)
            .filter(|attempt| attempt.began >= from)
            .map(|attempt| attempt.took)
            .collect()
    }

    /// Waits until `more` further events were answered 2xx.
    pub async fn until_taken(&self, more: usize) {
        let (goal, since) = (self.taken() + more, Instant::now());
        while self.taken() < goal {
            assert!(
                since.elapsed() < Duration::from_secs(120),
                "no {more} further events were taken within two minutes"
            );
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// Begins no further event, sends what was not taken yet again until it is, and closes the account.
    pub async fn finish(mut self) -> Ledger {
        if self.shared.endless.load(Ordering::Relaxed) {
            self.shared.left.store(0, Ordering::Relaxed);
        }
        while let Some(task) = self.tasks.join_next().await {
            task.expect("a sender does not panic");
        }
        std::mem::take(&mut *self.shared.ledger.lock().expect("ledger"))
    }
}

/// Progress of a load.
pub struct Counts(Arc<Shared>);

impl Counts {
    /// Events begun until now.
    pub fn begun(&self) -> usize {
        self.0.begun.load(Ordering::Relaxed)
    }

    /// POSTs made until now.
    pub fn sent(&self) -> usize {
        self.0.sent.load(Ordering::Relaxed)
    }

    /// Events answered 2xx until now.
    pub fn taken(&self) -> usize {
        self.0.taken.load(Ordering::Relaxed)
    }
}

struct Shared {
    load: Load,
    left: AtomicUsize,
    endless: AtomicBool,
    begun: AtomicUsize,
    sent: AtomicUsize,
    taken: AtomicUsize,
    due_later: Mutex<VecDeque<(Event, Entry)>>,
    ledger: Mutex<Ledger>,
    client: reqwest::Client,
}

impl Shared {
    async fn run(self: Arc<Self>, number: usize) {
        let mut rng = Rng::with_seed(
            self.load
                .seed
                .wrapping_mul(1_000_003)
                .wrapping_add(number as u64),
        );
        let interval = self
            .load
            .rate
            .map(|rate| Duration::from_secs_f64(self.load.connections as f64 / rate));
        let mut next = Instant::now() + interval.unwrap_or_default().mul_f64(rng.f64());
        while self
            .left
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| {
                left.checked_sub(1)
            })
            .is_ok()
        {
            if let Some(interval) = interval {
                tokio::time::sleep_until(next.into()).await;
                next = Instant::now().max(next + interval);
            }
            self.one(&mut rng).await;
            self.redeliver(&mut rng, self.load.set_aside).await;
        }
        self.redeliver(&mut rng, 0).await;
    }

    /// One event from its first attempt until it is taken.
    async fn one(&self, rng: &mut Rng) {
        let provider = self.load.providers[rng.usize(..self.load.providers.len())];
        let size = (self.load.sizes)(rng);
        let event = provider.event_of(rng, size);
        self.begun.fetch_add(1, Ordering::Relaxed);
        let mut chance = |percent| rng.u8(..100) < percent;
        let (forged, twice, later) = (
            chance(self.load.forged),
            chance(self.load.at_once),
            chance(self.load.later),
        );
        let mut entry = Entry {
            forged,
            ..Entry::new(&event, Vec::new())
        };
        if forged {
            let (headers, body) = event.forged(rng, now());
            entry
                .attempts
                .push(self.post(self.target(rng), provider, headers, body).await);
            return self.close(entry);
        }
        let first = rng.usize(..self.load.targets.len());
        let targets = if self.load.everywhere {
            self.load.targets.len()
        } else {
            1
        };
        let tries = (0..targets * if twice { 2 } else { 1 })
            .map(|copy| self.until_taken(&event, first + copy, rng.fork()));
        entry
            .attempts
            .extend(join_all(tries).await.into_iter().flatten());
        if entry.is_taken() {
            self.taken.fetch_add(1, Ordering::Relaxed);
        }
        if later {
            self.due_later
                .lock()
                .expect("due later")
                .push_back((event, entry));
        } else {
            self.other_body(&event, entry, rng).await;
        }
    }

    /// Redelivers what was set aside, as long as more than `keep` wait.
    async fn redeliver(&self, rng: &mut Rng, keep: usize) {
        loop {
            let (event, mut entry) = {
                let mut due = self.due_later.lock().expect("due later");
                if due.len() <= keep {
                    return;
                }
                let Some(late) = due.pop_front() else { return };
                late
            };
            entry.attempts.extend(
                self.until_taken(&event, rng.usize(..self.load.targets.len()), rng.fork())
                    .await,
            );
            self.other_body(&event, entry, rng).await;
        }
    }

    /// Some events come again with another body once they were taken. Where the id is signed, that must change nothing; elsewhere it is one
    /// more event.
    async fn other_body(&self, event: &Event, mut entry: Entry, rng: &mut Rng) {
        if entry.is_taken() && rng.u8(..100) < self.load.other_body {
            let other = event.with_another_body(rng);
            let attempts = self
                .until_taken(&other, rng.usize(..self.load.targets.len()), rng.fork())
                .await;
            let attempts = attempts.into_iter().map(|attempt| Attempt {
                other_body: true,
                ..attempt
            });
            if event.provider.signs_ids() {
                entry.attempts.extend(attempts);
                entry.other = Some(digest(&other.body));
            } else {
                self.close(Entry {
                    second: true,
                    ..Entry::new(&other, attempts.collect())
                });
            }
        }
        self.close(entry);
    }

    fn close(&self, entry: Entry) {
        self.ledger.lock().expect("ledger").entries.push(entry);
    }

    fn target(&self, rng: &mut Rng) -> SocketAddr {
        self.load.targets[rng.usize(..self.load.targets.len())]
    }

    /// Attempts with back-off, each signed anew, until one is answered 2xx or 4xx. A provider that is refused does not try for ever.
    async fn until_taken(&self, event: &Event, first: usize, mut rng: Rng) -> Vec<Attempt> {
        let (mut attempts, since, mut pause) =
            (Vec::new(), Instant::now(), Duration::from_millis(100));
        loop {
            let target = self.load.targets[(first + attempts.len()) % self.load.targets.len()];
            let headers = event.signed(event.provider.secret(), now());
            let attempt = self
                .post(target, event.provider, headers, event.body.clone())
                .await;
            let done = match &attempt.answer {
                Answer::Taken { .. } => true,
                Answer::Status(code) => (400..500).contains(code),
                Answer::Broken(_) => false,
            };
            attempts.push(attempt);
            if done || since.elapsed() > self.load.patience {
                return attempts;
            }
            tokio::time::sleep(pause.mul_f64(0.5 + rng.f64())).await;
            pause = (pause * 2).min(Duration::from_secs(1));
        }
    }

    async fn post(
        &self,
        target: SocketAddr,
        provider: Provider,
        headers: Headers,
        body: Bytes,
    ) -> Attempt {
        self.sent.fetch_add(1, Ordering::Relaxed);
        let began = Instant::now();
        let scheme = match self.load.authorities {
            Some(_) => "https",
            None => "http",
        };
        let url = format!("{scheme}://{target}/ingest/{}", provider.name());
        Attempt::since(began, post_to(&self.client, url, headers, body).await)
    }
}

/// One POST to a source.
pub async fn post(
    client: &reqwest::Client,
    target: SocketAddr,
    path: &str,
    headers: Headers,
    body: Bytes,
) -> Answer {
    let url = format!("http://{target}/ingest/{path}");
    post_to(client, url, headers, body).await
}

/// One POST to a URL.
pub async fn post_to(
    client: &reqwest::Client,
    url: String,
    headers: Headers,
    body: Bytes,
) -> Answer {
    let mut request = client.post(url).body(body);
    for (name, value) in headers {
        request = request.header(name, value);
    }
    let response = match request.send().await {
        Ok(response) => response,
        Err(error) if error.is_connect() => return Answer::refused(),
        Err(error) => return Answer::Broken(error.to_string()),
    };
    let status = response.status();
    if status == 503 && response.headers().get("retry-after").is_none() {
        return Answer::Broken("503 without Retry-After".into());
    }
    if status != 200 {
        return Answer::Status(status.as_u16());
    }
    match response.bytes().await {
        Ok(body) => taken(&body),
        Err(error) => Answer::Broken(error.to_string()),
    }
}

/// Reads the body of a 200.
fn taken(body: &[u8]) -> Answer {
    let answer: serde_json::Value = serde_json::from_slice(body).unwrap_or_default();
    match (answer["id"].as_str(), answer["status"].as_str()) {
        (Some(id), Some(status @ ("accepted" | "duplicate"))) => Answer::Taken {
            id: id.into(),
            new: status == "accepted",
        },
        _ => Answer::Broken(format!("200 with {}", String::from_utf8_lossy(body))),
    }
}
