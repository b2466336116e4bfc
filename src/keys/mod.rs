//! Keys that are not in the configuration. [`KeyService`] gets them from providers, keeps them in the store, and swaps them in.
//!
//! Verifying takes the keys at hand as an input, and answers 503 with a [`KeyRequest`] if one is missing. The request goes to the thread
//! that gets such keys: `jwks` has one for each key set, `on_demand` one for each source whose deliveries name keys, and `learned`
//! one for secrets that providers hand over. A thread sleeps until a request comes or a key is due, and a host that hangs delays no other.

use std::collections::HashMap;
use std::io;
use std::sync::Arc;

use crossbeam_channel::{Receiver, Sender, bounded};

use crate::domain::delivery::SourceName;
use crate::domain::outcome::{FailReason, Outcome};
use crate::runtime::shutdown::CriticalTask;
use crate::source::Sources;
use crate::store::Secrets;
use hookweir_signatures::KeyRequest;

mod client;
mod jwks;
mod learned;
mod missing_keys;
mod on_demand;
mod stored;

pub use self::learned::Learn;
use self::learned::Learning;
use self::on_demand::FetchRequests;

/// Stack of a thread that fetches: the client works on a thread of its own.
const STACK: usize = 512 * 1024;

/// Handle of the threads that get keys. Without sources that need them there are no threads.
#[derive(Clone, Debug, Default)]
pub struct KeyService {
    routes: Arc<HashMap<SourceName, Routes>>,
    learning: Option<Learning>,
}

/// Threads that get the keys of one source.
#[derive(Debug, Default)]
struct Routes {
    key_set: Option<Bell>,
    fetches: Option<FetchRequests>,
}

impl KeyService {
    /// Starts the threads that the sources need, and waits a moment for the keys in the store. Uses up to two connections of the store.
    pub fn start(
        sources: &Sources,
        store: &Arc<dyn Secrets>,
        lifeline: &CriticalTask,
    ) -> io::Result<Self> {
        let mut routes: HashMap<SourceName, Routes> = HashMap::new();
        for (source, bell) in jwks::start(sources, lifeline)? {
            routes.entry(source).or_default().key_set = Some(bell);
        }
        for (source, requests) in on_demand::start(sources, store, lifeline)? {
            routes.entry(source).or_default().fetches = Some(requests);
        }
        Ok(Self {
            routes: Arc::new(routes),
            learning: learned::start(sources, store.clone(), lifeline)?,
        })
    }

    /// Passes on the keys that a delivery of `source` needs. Never waits: of too many requests some are dropped, and the redelivery
    /// asks again.
    pub fn request(&self, source: &SourceName, needed: Vec<KeyRequest>) {
        let Some(routes) = self.routes.get(source) else {
            return;
        };
        for request in needed {
            match (request, routes) {
                (
                    KeyRequest::KeySet,
                    Routes {
                        key_set: Some(bell),
                        ..
                    },
                ) => bell.ring(),
                (
                    KeyRequest::Fetch(fetch),
                    Routes {
                        fetches: Some(requests),
                        ..
                    },
                ) => {
                    requests.add(fetch);
                }
                // The store is read every second for secrets that other instances have learned.
                _ => {}
            }
        }
    }

    /// Passes on a handshake with a secret, to be answered once the secret is in the store.
    pub fn learn(&self, learn: Learn) {
        match &self.learning {
            Some(learning) => learning.pass_on(learn),
            None => learn.ticket.resolve(Outcome::Failed(FailReason::Keys)),
        }
    }
}

/// Wakes a thread. However often it is rung, the thread wakes once.
#[derive(Clone, Debug)]
struct Bell(Sender<()>);

impl Bell {
    fn new() -> (Self, Receiver<()>) {
        let (sender, receiver) = bounded(1);
        (Self(sender), receiver)
    }

    fn ring(&self) {
        // Full: the thread wakes anyway. Disconnected: it is gone, and its lifeline has told so.
        let _ = self.0.try_send(());
    }
}
