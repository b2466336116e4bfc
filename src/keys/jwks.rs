//! Key sets that providers publish (Google, Kinde). A thread for each URL fetches the set, and
//! keeps it fresh.

use std::collections::BTreeMap;
use std::io;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, RecvTimeoutError};
use reqwest::blocking::Client;

use super::client::{Reach, answer, client_for};
use super::{Bell, STACK};
use crate::domain::delivery::SourceName;
use crate::runtime::shutdown::CriticalTask;
use crate::source::Source;
use hookweir_signatures::JwkSet;

/// Age at which a key set is fetched again.
const REFRESH: Duration = Duration::from_secs(3600);
/// Shortest time between two fetches of a key set because a token names an unknown key. Anybody can
/// invent the name of a key.
const MIN_INTERVAL: Duration = Duration::from_secs(30);
/// First wait after a fetch that failed, doubled up to [`MIN_INTERVAL`].
const RETRY: Duration = Duration::from_secs(1);

/// Starts a thread for each key set that a source needs. Returns the bell of each source's thread,
/// to be rung if a key is unknown.
pub(super) fn start(
    sources: &[Arc<Source>],
    lifeline: &CriticalTask,
) -> io::Result<Vec<(SourceName, Bell)>> {
    let mut by_url: BTreeMap<String, Vec<Arc<Source>>> = BTreeMap::new();
    for source in sources {
        if let Some(url) = source.scheme.jwks_url() {
            by_url
                .entry(url.to_owned())
                .or_default()
                .push(source.clone());
        }
    }
    let mut bells = Vec::new();
    if by_url.is_empty() {
        return Ok(bells);
    }
    let client = client_for(Reach::Configured)?;
    for (url, sources) in by_url {
        let (bell, rung) = Bell::new();
        bells.extend(
            sources
                .iter()
                .map(|source| (source.name.clone(), bell.clone())),
        );
        let mut set = KeySet {
            url,
            sources,
            due: Instant::now(),
            fetched: None,
            retry: RETRY,
        };
        let client = client.clone();
        let thread = thread::Builder::new()
            .name("key-set".into())
            .stack_size(STACK);
        lifeline.spawn("key-sets", thread, move || {
            while set.wait(&rung) {
                set.renew(&client);
            }
        })?;
    }
    Ok(bells)
}

/// Key set, with the sources that it verifies.
struct KeySet {
    url: String,
    sources: Vec<Arc<Source>>,
    due: Instant,
    /// Time of the last fetch that succeeded.
    fetched: Option<Instant>,
    retry: Duration,
}

impl KeySet {
    /// Waits until the set is due, which is soon once a token names a key that the set lacks. Returns
    /// `false` as soon as the service ends, or a reload has made the thread needless.
    fn wait(&mut self, rung: &Receiver<()>) -> bool {
        loop {
            match rung.recv_deadline(self.due) {
                Ok(()) => self.due = self.due_for_an_unknown_key(),
                Err(RecvTimeoutError::Disconnected) => return false,
                Err(RecvTimeoutError::Timeout) => break,
            }
        }
        // Tokens that came before this fetch need no other one.
        while rung.try_recv().is_ok() {}
        true
    }

    fn due_for_an_unknown_key(&self) -> Instant {
        match self.fetched {
            // After a failure, the next attempt is due soon anyway.
            Some(fetched) if self.retry == RETRY => self.due.min(fetched + MIN_INTERVAL),
            _ => self.due,
        }
    }

    fn renew(&mut self, client: &Client) {
        let now = Instant::now();
        match fetch(client, &self.url) {
            Ok(set) => {
                let set = Arc::new(set);
                for source in &self.sources {
                    source.keys.set_key_set(set.clone());
                }
                tracing::info!(url = %self.url, "key set fetched and in use");
                (self.due, self.fetched, self.retry) = (now + REFRESH, Some(now), RETRY);
            }
            Err(error) => {
                tracing::warn!(
                    url = %self.url, %error, retry_secs = self.retry.as_secs(),
                    "cannot fetch the key set; deliveries signed with a key that is not at hand are answered 503"
                );
                self.due = now + self.retry;
                self.retry = (self.retry * 2).min(MIN_INTERVAL);
            }
        }
    }
}

fn fetch(client: &Client, url: &str) -> Result<JwkSet, String> {
    let document = answer(client.get(url)).map_err(|error| error.to_string())?;
    JwkSet::parse(&String::from_utf8_lossy(&document))
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};
    use std::net::TcpListener;

    use super::*;

    #[test]
    fn a_thread_that_waits_to_fetch_again_ends_with_its_bell() {
        let (bell, rung) = Bell::new();
        let now = Instant::now();
        let mut set = KeySet {
            url: String::new(),
            sources: Vec::new(),
            due: now + REFRESH,
            fetched: Some(now),
            retry: RETRY,
        };
        bell.ring();
        drop(bell);
        assert!(!set.wait(&rung));
        assert!(set.due <= now + MIN_INTERVAL, "the ring was heard");
        assert!(
            now.elapsed() < MIN_INTERVAL,
            "and the end was not slept over"
        );
    }

    /// A server for one request.
    fn serve(answer: String) -> String {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let url = format!("http://{}/keys", listener.local_addr().expect("an address"));
        thread::spawn(move || {
            let (mut stream, _) = listener.accept().expect("a connection");
            let mut head = Vec::new();
            let mut byte = [0];
            while !head.ends_with(b"\r\n\r\n") && stream.read(&mut byte).expect("a request") == 1 {
                head.push(byte[0]);
            }
            // The client may hang up in the middle of what is too large.
            let _ = stream.write_all(answer.as_bytes());
        });
        url
    }

    fn response(status: &str, body: &str) -> String {
        format!(
            "HTTP/1.1 {status}\r\ncontent-length: {}\r\nlocation: http://127.0.0.1:1/\r\nconnection: close\r\n\r\n{body}",
            body.len()
        )
    }

    #[test]
    fn an_unknown_key_has_the_set_fetched_again_but_seldom_and_no_sooner_after_a_failure() {
        let now = Instant::now();
        let set = |fetched: Option<Instant>, due: Instant, retry: Duration| KeySet {
            url: String::new(),
            sources: Vec::new(),
            due,
            fetched,
            retry,
        };
        let fresh = set(Some(now), now + REFRESH, RETRY);
        assert_eq!(fresh.due_for_an_unknown_key(), now + MIN_INTERVAL);
        let failing = set(Some(now), now + RETRY, 2 * RETRY);
        assert_eq!(failing.due_for_an_unknown_key(), now + RETRY);
        let first = set(None, now + RETRY, RETRY);
        assert_eq!(first.due_for_an_unknown_key(), now + RETRY);
    }

    #[test]
    fn a_key_set_is_fetched_or_the_reason_is_told() {
        let keys = r#"{"keys":[{"kty":"OKP","crv":"Ed25519","x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}]}"#;
        // Asked for even by a client that speaks no TLS. An error says that another test was here
        // first.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let client = client_for(Reach::Configured).expect("a client");
        assert!(fetch(&client, &serve(response("200 OK", keys))).is_ok());
        assert_eq!(
            fetch(&client, &serve(response("500 Oops", keys))).map(|_| ()),
            Err("answered 500 Internal Server Error".into())
        );
        assert!(fetch(&client, &serve(response("302 Found", keys))).is_err());
        assert!(
            fetch(&client, &serve(response("200 OK", "<html>")))
                .is_err_and(|error| error.contains("not a JSON Web Key Set"))
        );
        assert!(
            fetch(
                &client,
                &serve(response("200 OK", &" ".repeat(1024 * 1024 + 1)))
            )
            .is_err()
        );
        assert!(fetch(&client, "http://127.0.0.1:1/").is_err());
    }
}
