//! Fetches what deliveries name: a certificate by its URL, a key by its id, the URL that confirms a subscription. One thread, away from every
//! delivery.
//!
//! Anybody can name anything that a scheme allows, so each source has few fetches to spend, and what failed is not tried again for a while.
//! A delivery that waits for one is answered 503, and its redelivery is verified.

use std::collections::{HashMap, VecDeque};
use std::io;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use reqwest::blocking::Client;
use reqwest::header::CONTENT_TYPE;

use super::LOOK;
use super::client::{Reach, answer, client};
use crate::shutdown::Lifeline;
use crate::source::{Source, Sources};
use crate::verify::Fetch;

/// Fetches that a source may spend at once, and how often it gets another.
const BURST: u32 = 5;
const EVERY: Duration = Duration::from_secs(10);
/// What failed is not tried again for this long.
const FAILED: Duration = Duration::from_secs(30);
/// Most failures that are remembered.
const MAX_FAILED: usize = 256;
/// Most certificates, keys and visits that a source keeps; the oldest goes.
const MAX_KEPT: usize = 64;
/// What is kept is fetched again after this, and stays as it is where that fails for less than [`STALE`].
const REFRESH: Duration = Duration::from_secs(3600);
const STALE: Duration = Duration::from_secs(24 * 3600);

/// Starts the thread, if any source needs it.
pub fn start(sources: &Sources, lifeline: &Lifeline) -> io::Result<()> {
    let mut shelves: Vec<_> = sources.iter().filter(|source| source.scheme.fetches()).map(|source| Shelf::new(source.clone())).collect();
    if shelves.is_empty() {
        return Ok(());
    }
    let lifeline = lifeline.of("keys-on-demand");
    thread::Builder::new().name("keys-on-demand".into()).spawn(move || {
        let _lifeline = lifeline;
        let client = match client(Reach::Public) {
            Ok(client) => client,
            Err(error) => return tracing::error!(%error, "certificates and keys cannot be fetched: no HTTP client"),
        };
        loop {
            for shelf in &mut shelves {
                shelf.look(Instant::now(), |fetch| send(&client, fetch));
            }
            thread::sleep(LOOK);
        }
    })?;
    Ok(())
}

fn send(client: &Client, fetch: &Fetch) -> Result<Vec<u8>, String> {
    answer(match fetch.body() {
        Some(body) => client.post(fetch.url()).header(CONTENT_TYPE, "application/json").body(body.to_vec()),
        None => client.get(fetch.url()),
    })
}

/// What was fetched for one source.
struct Shelf {
    source: Arc<Source>,
    budget: u32,
    budget_since: Instant,
    failed: HashMap<String, Instant>,
    kept: VecDeque<Kept>,
}

struct Kept {
    fetch: Fetch,
    fetched: Instant,
    due: Instant,
}

impl Shelf {
    fn new(source: Arc<Source>) -> Self {
        Self { source, budget: BURST, budget_since: Instant::now(), failed: HashMap::new(), kept: VecDeque::new() }
    }

    fn look(&mut self, now: Instant, send: impl Fn(&Fetch) -> Result<Vec<u8>, String>) {
        let earned = u32::try_from(now.saturating_duration_since(self.budget_since).as_secs() / EVERY.as_secs()).unwrap_or(BURST);
        self.budget = self.budget.saturating_add(earned).min(BURST);
        self.budget_since += EVERY * earned;
        self.failed.retain(|_, since| now.duration_since(*since) < FAILED);
        for fetch in self.source.scheme.take_wanted() {
            if self.budget == 0 {
                break;
            }
            if !self.failed.contains_key(fetch.name()) {
                self.budget -= 1;
                self.bring(fetch, now, &send);
            }
        }
        self.refresh(now, &send);
    }

    /// Fetches what a delivery waits for.
    fn bring(&mut self, fetch: Fetch, now: Instant, send: impl Fn(&Fetch) -> Result<Vec<u8>, String>) {
        let source = &self.source;
        match send(&fetch).and_then(|body| source.scheme.keep(&fetch, &body)) {
            Ok(()) => {
                tracing::info!(source = %source.name, what = fetch.what(), "fetched what a delivery named");
                if self.kept.len() == MAX_KEPT
                    && let Some(oldest) = self.kept.pop_front()
                {
                    source.scheme.forget(&oldest.fetch);
                }
                self.kept.push_back(Kept { fetch, fetched: now, due: now + REFRESH });
            }
            Err(error) => {
                tracing::warn!(source = %source.name, what = fetch.what(), %error, "what a delivery named is not fetched; it is answered 503");
                if self.failed.len() < MAX_FAILED {
                    self.failed.insert(fetch.name().to_owned(), now);
                }
            }
        }
    }

    /// Fetches again, one at a time, what may have been replaced or taken back.
    fn refresh(&mut self, now: Instant, send: impl Fn(&Fetch) -> Result<Vec<u8>, String>) {
        let Some(at) = self.kept.iter().position(|kept| kept.fetch.expires() && kept.due <= now) else { return };
        let kept = &mut self.kept[at];
        match send(&kept.fetch).and_then(|body| self.source.scheme.keep(&kept.fetch, &body)) {
            Ok(()) => (kept.fetched, kept.due) = (now, now + REFRESH),
            Err(error) if now.duration_since(kept.fetched) < STALE => {
                tracing::warn!(source = %self.source.name, what = kept.fetch.what(), %error, "not fetched again; the one at hand still counts");
                kept.due = now + FAILED;
            }
            Err(error) => {
                tracing::warn!(source = %self.source.name, what = kept.fetch.what(), %error, "not fetched again for a day; no longer counts");
                self.source.scheme.forget(&kept.fetch);
                self.kept.remove(at);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;

    use http::{HeaderValue, Method};

    use super::*;
    use crate::config::Config;
    use crate::delivery::UnixMillis;
    use crate::request::Request;
    use crate::telemetry::Metrics;
    use crate::verify::{Verdict, verify};

    const KEY: &str = "-----BEGIN PUBLIC KEY-----\n\
                       MFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAElv3Vc+1ubENf2/cffHzBRfVdkMTo\n\
                       mOj4leesnwHMvnFOtCVVFncMCPtiAFqPISJNV3LHa+h6Cdovx1gaLJM3ZA==\n\
                       -----END PUBLIC KEY-----\n";

    fn shelf() -> Shelf {
        let config = "[[source]]\nname = \"jira\"\nprovider = \"jira-connect-installed\"\npublic_url = \"https://h.example/installed\"\n\
                      params = { base_url = \"https://h.example\" }";
        let sources = Sources::compile(&Config::from_toml(config).expect("valid"), &Metrics::new().expect("metrics")).expect("sources");
        Shelf::new(sources.at("jira").expect("the source").clone())
    }

    /// Somebody names a key.
    fn name(shelf: &Shelf, kid: &str) -> bool {
        use base64::Engine as _;
        let encode = |text: String| base64::engine::general_purpose::URL_SAFE_NO_PAD.encode(text);
        let header = encode(format!(r#"{{"alg":"RS256","kid":"{kid}"}}"#));
        let token = HeaderValue::from_str(&format!("JWT {header}.{}.AAAA", encode("{}".into()))).expect("a header");
        let request = Request {
            method: Method::POST,
            target: "/".into(),
            headers: [(http::header::AUTHORIZATION, token)].into_iter().collect(),
            body: "{}".into(),
            received_at: UnixMillis(0),
        };
        matches!(verify(&shelf.source.name, &shelf.source.scheme, &request, UnixMillis(0)), Ok(Verdict::KeysMissing))
    }

    #[test]
    fn forged_names_cost_few_fetches_and_failures_are_not_tried_again_at_once() {
        let mut shelf = shelf();
        let start = shelf.budget_since;
        let sent = RefCell::new(Vec::new());
        let none = |fetch: &Fetch| {
            sent.borrow_mut().push(fetch.name().to_owned());
            Err("answered 404".to_owned())
        };
        for round in 0..600_u32 {
            (0..20).for_each(|number| assert!(name(&shelf, &format!("k{round}-{number}"))));
            shelf.look(start + Duration::from_millis(100) * round, none);
        }
        assert_eq!(sent.borrow().len(), 5 + 5, "a minute's, for 12,000 forged requests");

        let now = start + Duration::from_secs(600);
        sent.borrow_mut().clear();
        for seconds in 0..30 {
            name(&shelf, "same");
            shelf.look(now + Duration::from_secs(seconds), none);
        }
        assert_eq!(*sent.borrow(), ["same"]);
        name(&shelf, "same");
        shelf.look(now + FAILED, none);
        assert_eq!(sent.borrow().len(), 2);
    }

    #[test]
    fn what_is_kept_is_fetched_again_and_lasts_a_day_without() {
        let mut shelf = shelf();
        let start = shelf.budget_since;
        let there = |_: &Fetch| Ok(KEY.as_bytes().to_vec());
        let gone = |_: &Fetch| Err("answered 404".to_owned());
        assert!(name(&shelf, "k"));
        shelf.look(start, there);
        assert!(!name(&shelf, "k"), "the key is here, and did not sign this");
        shelf.look(start + REFRESH, gone);
        assert!(!name(&shelf, "k"), "it still counts");
        assert_eq!(shelf.kept[0].due, start + REFRESH + FAILED);
        shelf.look(start + STALE, gone);
        assert!(name(&shelf, "k") && shelf.kept.is_empty());
    }

    #[test]
    fn what_is_kept_is_bounded() {
        let mut shelf = shelf();
        let start = shelf.budget_since;
        for number in 0..MAX_KEPT + 10 {
            name(&shelf, &format!("k{number}"));
            shelf.look(start + EVERY * u32::try_from(number).expect("small"), |_| Ok(KEY.as_bytes().to_vec()));
        }
        assert_eq!(shelf.kept.len(), MAX_KEPT);
        assert!(name(&shelf, "k9") && !name(&shelf, "k10"));
    }
}
