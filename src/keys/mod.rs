//! Keys that are not in the configuration. [`KeyService`] fetches such keys from providers, keeps
//! them in the store, and swaps them in.
//!
//! Keys are an input of verification. If a key is missing, verification returns a [`KeyRequest`],
//! and the delivery is answered 503. The request goes to a thread: `jwks` has one for each key set,
//! `on_demand` one for each source whose deliveries name keys, and `learned` one for secrets from
//! handshakes. A thread sleeps until a request comes or a key is due. A host that hangs delays no
//! other.

use std::collections::{HashMap, HashSet};
use std::io;
use std::sync::{Arc, Weak};

use arc_swap::ArcSwap;
use crossbeam_channel::{Receiver, Sender, bounded};

use crate::domain::delivery::SourceName;
use crate::domain::outcome::{FailReason, Outcome};
use crate::runtime::shutdown::CriticalTask;
use crate::source::{Source, Sources};
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

/// Stack of a thread that fetches. It can be small, since the HTTP client works on a thread of its
/// own.
const STACK: usize = 512 * 1024;

/// Handle of the threads that get keys. If no source needs such keys, there are no threads. Clones share
/// the threads, which a reload replaces.
#[derive(Clone, Debug, Default)]
pub struct KeyService {
    threads: Arc<ArcSwap<Threads>>,
}

/// Threads for the sources of one configuration.
#[derive(Debug, Default)]
struct Threads {
    routes: HashMap<SourceName, Arc<Routes>>,
    learning: Option<Learning>,
}

/// Threads that get the keys of one source. They end when the last handle of these routes is dropped.
#[derive(Debug, Default)]
struct Routes {
    key_set: Option<Bell>,
    fetches: Option<FetchRequests>,
}

impl KeyService {
    /// Starts the threads that the sources need, and waits up to 1 s for the keys in the store.
    /// Uses up to two connections of the store.
    pub fn start(
        sources: &Sources,
        store: &Arc<dyn Secrets>,
        lifeline: &CriticalTask,
    ) -> io::Result<Self> {
        let this = Self::default();
        this.replace(&Sources::default(), sources, store, lifeline)?;
        Ok(this)
    }

    /// Starts the threads of the sources whose keys are not those of a source `before`, and ends those of
    /// sources that are gone. If a thread cannot be started, those before go on.
    pub fn replace(
        &self,
        before: &Sources,
        sources: &Sources,
        store: &Arc<dyn Secrets>,
        lifeline: &CriticalTask,
    ) -> io::Result<()> {
        let old = self.threads.load_full();
        // A thread swaps keys in where it has found them, so it serves all sources that share them.
        let before_keys: HashSet<_> = before.iter().map(|of| Arc::as_ptr(&of.keys)).collect();
        let is_old = |source: &Arc<Source>| before_keys.contains(&Arc::as_ptr(&source.keys));
        let (kept, new): (Vec<_>, Vec<_>) = sources.iter().cloned().partition(is_old);
        let mut routes: HashMap<SourceName, Routes> = HashMap::new();
        for (source, bell) in jwks::start(&new, lifeline)? {
            routes.entry(source).or_default().key_set = Some(bell);
        }
        for (source, requests) in on_demand::start(&new, store, lifeline)? {
            routes.entry(source).or_default().fetches = Some(requests);
        }
        let route = |source: &Arc<Source>| {
            let routes = old.routes.get(&source.name)?;
            Some((source.name.clone(), routes.clone()))
        };
        let new_routes = routes
            .into_iter()
            .map(|(name, routes)| (name, Arc::new(routes)));
        let routes = kept.iter().filter_map(route).chain(new_routes).collect();
        let learning = match learning(&new) || learning_count(before) != learning_count(sources) {
            true => learned::start(sources, store.clone(), lifeline)?,
            false => old.learning.clone(),
        };
        self.threads.store(Arc::new(Threads { routes, learning }));
        Ok(())
    }

    /// Passes on the keys that a delivery of `source` needs. Never waits: if there are too many
    /// requests, some are dropped, and the redelivery asks again.
    pub fn request(&self, source: &SourceName, needed: Vec<KeyRequest>) {
        let threads = self.threads.load();
        let Some(routes) = threads.routes.get(source) else {
            return;
        };
        for request in needed {
            match (request, &**routes) {
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
                // A learned secret needs no request: the store is read every second.
                _ => {}
            }
        }
    }

    /// Passes on a handshake with a secret. The handshake is answered after the secret is stored.
    pub fn learn(&self, learn: Learn) {
        match &self.threads.load().learning {
            Some(learning) => learning.pass_on(learn),
            None => learn.ticket.resolve(Outcome::Failed(FailReason::Keys)),
        }
    }
}

/// Returns `true` if one of the sources learns its secret.
fn learning(sources: &[Arc<Source>]) -> bool {
    sources.iter().any(|source| source.scheme.learns())
}

fn learning_count(sources: &Sources) -> usize {
    let learning = sources.iter().filter(|source| source.scheme.learns());
    learning.count()
}

/// Bell that wakes a thread. Several rings before the thread wakes are one. With its last clone the thread
/// ends.
#[derive(Clone, Debug)]
struct Bell(Arc<Sender<()>>);

/// Bell of a thread that may end.
#[derive(Clone, Debug)]
struct WeakBell(Weak<Sender<()>>);

impl WeakBell {
    fn ring(&self) {
        if let Some(bell) = self.0.upgrade() {
            Bell(bell).ring();
        }
    }
}

impl Bell {
    fn new() -> (Self, Receiver<()>) {
        let (sender, receiver) = bounded(1);
        (Self(Arc::new(sender)), receiver)
    }

    fn weak(&self) -> WeakBell {
        WeakBell(Arc::downgrade(&self.0))
    }

    fn ring(&self) {
        // Full: the thread wakes anyway. Disconnected: the thread died, which ends the service.
        let _ = self.0.try_send(());
    }
}
