//! Fetches the key sets of providers that publish theirs (Google, Kinde), and keeps them fresh: a thread for each, away from every delivery,
//! so that a host that hangs delays no other. [`on_demand`] fetches what single deliveries name, and `client` goes and gets it.

use std::collections::BTreeMap;
use std::io;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use reqwest::blocking::Client;

use self::client::{Reach, answer, client_for};
use crate::runtime::shutdown::Lifeline;
use crate::source::{Source, Sources};
use hookweir_signatures::JwkSet;

/// A key set that is there is fetched again after this.
const REFRESH: Duration = Duration::from_secs(3600);
/// A key that is not in the set has it fetched again, but not more often than this: anybody can name a key that nobody has.
const MIN_INTERVAL: Duration = Duration::from_secs(30);
/// A fetch that failed is tried again after this, doubled up to [`MIN_INTERVAL`].
const RETRY: Duration = Duration::from_secs(1);
/// How often deliveries are asked whether they lack a key.
const LOOK: Duration = Duration::from_millis(250);

/// Stack of a thread that fetches: the client works on a thread of its own.
pub const STACK: usize = 512 * 1024;

mod client;
pub mod on_demand;
mod stored;

/// Starts a thread for each key set that a source needs.
pub fn start(sources: Arc<Sources>, lifeline: &Lifeline) -> io::Result<()> {
    let mut by_url: BTreeMap<String, Vec<Arc<Source>>> = BTreeMap::new();
    for source in sources.iter() {
        if let Some(url) = source.scheme.jwks_url() {
            by_url
                .entry(url.to_owned())
                .or_default()
                .push(source.clone());
        }
    }
    if by_url.is_empty() {
        return Ok(());
    }
    let client = client_for(Reach::Configured)?;
    for (url, sources) in by_url {
        let mut set = KeySet {
            url,
            sources,
            due: Instant::now(),
            fetched: None,
            retry: RETRY,
        };
        let (client, lifeline) = (client.clone(), lifeline.of("key-sets"));
        thread::Builder::new()
            .name("key-set".into())
            .stack_size(STACK)
            .spawn(move || {
                let _lifeline = lifeline;
                loop {
                    set.look(&client);
                    thread::sleep(LOOK);
                }
            })?;
    }
    Ok(())
}

/// A key set, and the sources that are verified by it.
struct KeySet {
    url: String,
    sources: Vec<Arc<Source>>,
    due: Instant,
    fetched: Option<Instant>,
    retry: Duration,
}

impl KeySet {
    fn look(&mut self, client: &Client) {
        // Each is asked, since asking takes the wish back.
        let wanted = self
            .sources
            .iter()
            .filter(|source| source.scheme.jwks_wanted())
            .count()
            > 0;
        let now = Instant::now();
        if wanted && let Some(fetched) = self.fetched {
            self.due = self.due.min(fetched + MIN_INTERVAL);
        }
        if now < self.due {
            return;
        }
        match fetch(client, &self.url) {
            Ok(set) => {
                for source in &self.sources {
                    source.scheme.set_jwks(set.clone());
                }
                tracing::info!(url = %self.url, "key set fetched");
                (self.due, self.fetched, self.retry) = (now + REFRESH, Some(now), RETRY);
            }
            Err(error) => {
                tracing::warn!(url = %self.url, %error, "key set not fetched; what it alone can verify is answered 503, or by the set at hand");
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
    fn a_key_set_is_fetched_or_the_reason_is_told() {
        let keys = r#"{"keys":[{"kty":"OKP","crv":"Ed25519","x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}]}"#;
        // Asked for even by a client that speaks no TLS. An error says that another test was here first.
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
