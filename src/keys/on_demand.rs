//! Fetches on demand: a certificate by its URL, a key by its id, the URL that confirms a
//! subscription. Each source that needs them has a thread of its own, away from every delivery.
//!
//! Any sender can name any URL or id that the scheme allows. So each source has a small budget of
//! fetches, and a failed fetch is not repeated for a while. Names that were good before have a
//! budget of their own. Of the new names, those that several deliveries repeat go first: a provider
//! repeats its names, an attacker who invents names does not. Some names are drawn at random, so
//! that an attacker who repeats one name does not keep out the others. If a delivery needs a key
//! that is being fetched, it is answered 503, and its redelivery is verified. The store keeps what
//! was fetched.

use std::collections::HashSet;
use std::io;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, RecvTimeoutError};
use reqwest::blocking::Client;
use reqwest::header::CONTENT_TYPE;

use super::STACK;
use super::client::{FetchError, Reach, answer, client_for};
use super::missing_keys::MissingKeys;
use super::stored::StoredKeys;
use crate::domain::delivery::SourceName;
use crate::runtime::shutdown::CriticalTask;
use crate::source::Source;
use crate::store::{FetchedKey, Secrets};
use hookweir_signatures::Fetch;

mod candidates;
mod failures;
mod requests;

use candidates::Candidates;
use failures::Failures;
pub(super) use requests::FetchRequests;

/// Fetches that a source may make at once, and time until it may make another: for new names, and
/// for names that were good before.
const BURST: u32 = 5;
const EVERY: Duration = Duration::from_secs(2);
const EVERY_GOOD: Duration = Duration::from_secs(10);
/// Most certificates, keys and visits that a source keeps. The oldest is dropped first.
const MAX_KEPT: usize = crate::store::FETCHED_KEYS;
/// Most names that were good before.
const MAX_GOOD: usize = 4 * MAX_KEPT;
/// Age at which a kept key is fetched again. If that fails, the key stays until [`STALE`].
const REFRESH: Duration = Duration::from_secs(3600);
const STALE: Duration = Duration::from_secs(24 * 3600);
/// Delay before a failed refresh is tried again.
const RETRY: Duration = Duration::from_secs(30);

/// Shortest time between two looks at the requests. Requests gather meanwhile, so that few forged
/// ones are drawn.
const LOOK: Duration = Duration::from_millis(250);

/// Starts a thread for each source that needs one. Returns the sender of each source's requests.
pub(super) fn start(
    sources: &[Arc<Source>],
    store: &Arc<dyn Secrets>,
    lifeline: &CriticalTask,
) -> io::Result<Vec<(SourceName, FetchRequests)>> {
    let needing: Vec<_> = sources
        .iter()
        .filter(|source| source.scheme.fetches())
        .map(|source| (source, FetchRequests::new()))
        .collect();
    let mut ways = Vec::new();
    if needing.is_empty() {
        return Ok(ways);
    }
    let bells = needing
        .iter()
        .map(|(_, (requests, _))| requests.bell.weak())
        .collect();
    let (client, stored) = (
        client_for(Reach::Public)?,
        StoredKeys::start(store.clone(), bells, lifeline)?,
    );
    for (source, (requests, rung)) in needing {
        ways.push((source.name.clone(), requests.clone()));
        let now = Instant::now();
        let mut fetcher = Fetcher::new(
            source.clone(),
            Some(stored.clone()),
            requests.missing_keys,
            now,
        );
        // Before the first delivery.
        fetcher.take_stored(now);
        let client = client.clone();
        let thread = thread::Builder::new()
            .name("keys-on-demand".into())
            .stack_size(STACK);
        lifeline.spawn("keys-on-demand", thread, move || {
            fetcher.run(&rung, |fetch| send(&client, fetch));
        })?;
    }
    Ok(ways)
}

fn send(client: &Client, fetch: &Fetch) -> Result<Vec<u8>, FetchError> {
    answer(match fetch.body() {
        Some(body) => client
            .post(fetch.url())
            .header(CONTENT_TYPE, "application/json")
            .body(body.to_vec()),
        None => client.get(fetch.url()),
    })
}

/// Budget of fetches, which grows with time.
struct Allowance {
    left: u32,
    since: Instant,
    every: Duration,
}

impl Allowance {
    fn new(every: Duration, now: Instant) -> Self {
        Self {
            left: BURST,
            since: now,
            every,
        }
    }

    fn earn(&mut self, now: Instant) {
        let earned =
            now.saturating_duration_since(self.since).as_millis() / self.every.as_millis().max(1);
        let earned = u32::try_from(earned).unwrap_or(u32::MAX);
        if earned >= BURST {
            (self.left, self.since) = (BURST, now);
        } else {
            self.left = self.left.saturating_add(earned).min(BURST);
            self.since += self.every * earned;
        }
    }

    /// Returns the time of the next fetch in the budget.
    fn next(&self) -> Instant {
        self.since + self.every
    }

    fn spend(&mut self) -> bool {
        let may = self.left > 0;
        self.left = self.left.saturating_sub(1);
        may
    }
}

/// Fetches of one source.
struct Fetcher {
    source: Arc<Source>,
    stored: Option<StoredKeys>,
    missing_keys: Arc<Mutex<MissingKeys>>,
    /// Number of the last reading of the store that was taken.
    reading: u64,
    new: Allowance,
    good: Allowance,
    failures: Failures,
    candidates: Candidates,
    kept: Vec<Kept>,
    /// Names that some instance has fetched, as far as the store remembers.
    good_before: HashSet<String>,
}

struct Kept {
    fetch: Fetch,
    due: Instant,
    /// Time after which the key no longer counts.
    stale: Instant,
}

impl Fetcher {
    fn new(
        source: Arc<Source>,
        stored: Option<StoredKeys>,
        missing_keys: Arc<Mutex<MissingKeys>>,
        now: Instant,
    ) -> Self {
        Self {
            source,
            stored,
            missing_keys,
            reading: 0,
            new: Allowance::new(EVERY, now),
            good: Allowance::new(EVERY_GOOD, now),
            failures: Failures::default(),
            candidates: Candidates::default(),
            kept: Vec::new(),
            good_before: HashSet::new(),
        }
    }

    /// Looks at the requests when the bell is rung or a key is due, until the service ends.
    fn run(&mut self, rung: &Receiver<()>, send: impl Fn(&Fetch) -> Result<Vec<u8>, FetchError>) {
        loop {
            match rung.recv_deadline(self.due(Instant::now())) {
                Ok(()) => thread::sleep(LOOK),
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => return,
            }
            self.look(Instant::now(), &send);
        }
    }

    /// Returns the time of the next look if no request comes: for a name that waits for the budget,
    /// or for a key to be refreshed.
    fn due(&self, now: Instant) -> Instant {
        let refresh = self
            .kept
            .iter()
            .filter(|kept| kept.fetch.expires())
            .map(|kept| kept.due)
            .min();
        let allowance = self.candidates.wait().then(|| self.new.next());
        let due = refresh.into_iter().chain(allowance).min();
        due.unwrap_or(now + REFRESH).max(now + LOOK)
    }

    fn look(&mut self, now: Instant, send: impl Fn(&Fetch) -> Result<Vec<u8>, FetchError>) {
        self.new.earn(now);
        self.good.earn(now);
        self.take_stored(now);
        let mut known = Vec::new();
        let missing_keys = self
            .missing_keys
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take();
        for missing in missing_keys {
            let name = missing.fetch.name();
            if self.failures.forbid(name, now)
                || self.kept.iter().any(|kept| kept.fetch.name() == name)
            {
                continue;
            }
            if self.good_before.contains(name) {
                known.push(missing.fetch);
            } else {
                self.candidates.add(missing, now);
            }
        }
        for fetch in known {
            if self.good.spend() {
                self.bring(fetch, now, &send);
            }
        }
        while self.new.left > 0
            && let Some(fetch) = self.candidates.take(now)
        {
            self.new.spend();
            self.bring(fetch, now, &send);
        }
        self.refresh(now, &send);
    }

    /// Takes keys from the store that are newer than the kept ones.
    fn take_stored(&mut self, now: Instant) {
        let Some((reading, keys)) = self
            .stored
            .as_ref()
            .and_then(|stored| stored.since(self.reading))
        else {
            return;
        };
        self.reading = reading;
        let source = self.source.clone();
        for key in keys.iter().filter(|key| key.source == source.name.as_str()) {
            // The configuration was changed: no delivery can name the key, or its URL is another
            // one.
            let Some(fetch) = source
                .keys
                .load()
                .scheme
                .recall(&key.name)
                .filter(|fetch| fetch.place()[..] == key.place[..])
            else {
                continue;
            };
            if self.good_before.len() < MAX_GOOD {
                self.good_before.insert(key.name.clone());
            }
            let stale = now + STALE.saturating_sub(key.age);
            let newer = self
                .kept
                .iter()
                .find(|kept| kept.fetch.name() == key.name)
                .is_none_or(|kept| kept.stale + LOOK < stale);
            if stale > now && newer && source.keys.insert(&fetch, &key.answer).is_ok() {
                self.remember(Kept {
                    fetch,
                    due: now + REFRESH.saturating_sub(key.age),
                    stale,
                });
            }
        }
    }

    /// Fetches a key that deliveries name.
    fn bring(
        &mut self,
        fetch: Fetch,
        now: Instant,
        send: impl Fn(&Fetch) -> Result<Vec<u8>, FetchError>,
    ) {
        let source = self.source.clone();
        match send(&fetch).and_then(|body| self.keep(&fetch, body)) {
            Ok(()) => {
                tracing::info!(source = %source.name, what = fetch.what(), "key, certificate or URL fetched; deliveries that name it are now verified");
                self.remember(Kept {
                    fetch,
                    due: now + REFRESH,
                    stale: now + STALE,
                });
            }
            Err(error) => {
                let wait = self.failures.note(fetch.name(), &error, now);
                tracing::warn!(
                    source = %source.name, what = fetch.what(), %error, retry_secs = wait.as_secs(),
                    "cannot fetch the key, certificate or URL that a delivery names; such deliveries are answered 503"
                );
            }
        }
    }

    /// Swaps in a fetched key, and stores it for restarts and other instances.
    fn keep(&mut self, fetch: &Fetch, body: Vec<u8>) -> Result<(), FetchError> {
        self.source
            .keys
            .insert(fetch, &body)
            .map_err(FetchError::Refused)?;
        self.failures.forget(fetch.name());
        if let Some(stored) = self.stored.as_ref().filter(|_| fetch.expires()) {
            let (source, name) = (
                self.source.name.as_str().to_owned(),
                fetch.name().to_owned(),
            );
            stored.keep(FetchedKey {
                source,
                name,
                place: fetch.place().to_vec(),
                answer: body,
                age: Duration::ZERO,
            });
        }
        Ok(())
    }

    fn remember(&mut self, kept: Kept) {
        self.kept
            .retain(|known| known.fetch.name() != kept.fetch.name());
        if self.kept.len() == MAX_KEPT {
            let oldest = self.kept.remove(0);
            self.source.keys.remove(oldest.fetch.name());
        }
        if self.good_before.len() < MAX_GOOD && kept.fetch.expires() {
            self.good_before.insert(kept.fetch.name().to_owned());
        }
        self.kept.push(kept);
    }

    /// Fetches a due key again, since a provider can replace or revoke it. One at a time.
    fn refresh(&mut self, now: Instant, send: impl Fn(&Fetch) -> Result<Vec<u8>, FetchError>) {
        let Some(at) = self
            .kept
            .iter()
            .position(|kept| kept.fetch.expires() && kept.due <= now)
        else {
            return;
        };
        let (fetch, stale) = (self.kept[at].fetch.clone(), self.kept[at].stale);
        match send(&fetch).and_then(|body| self.keep(&fetch, body)) {
            Ok(()) => (self.kept[at].due, self.kept[at].stale) = (now + REFRESH, now + STALE),
            Err(error) if now < stale => {
                tracing::warn!(source = %self.source.name, what = fetch.what(), %error, "cannot fetch a key or certificate again; deliveries are verified by the one at hand, next attempt in 30 s");
                self.kept[at].due = now + RETRY;
            }
            Err(error) => {
                tracing::warn!(source = %self.source.name, what = fetch.what(), %error, "a key or certificate could not be fetched again for a day; deliveries that name it are answered 503");
                self.source.keys.remove(fetch.name());
                self.kept.remove(at);
            }
        }
    }
}

#[cfg(test)]
mod tests;
