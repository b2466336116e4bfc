//! Fate of a case's events in a real store.

use std::cell::RefCell;
use std::collections::HashSet;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use super::Event;
use crate::config::model;
use crate::domain::delivery::{InstanceId, Marks, MessageId, SourceName, UnixMillis};
use crate::domain::sink::Sinks;
use crate::store::{self, Inserted, Mark, NewEvent, Store};

/// Result of storing an event.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fate {
    Published,
    /// Published, and its message names the first that it may be a copy of.
    Marked,
    Duplicate,
}

/// A SQLite database.
pub(crate) struct Database {
    store: Arc<dyn Store>,
    owner: InstanceId,
    /// Messages that were published.
    messages: RefCell<HashSet<MessageId>>,
    _folder: tempfile::TempDir,
}

impl Database {
    pub(crate) fn new() -> Self {
        let folder = tempfile::tempdir_in(Path::new(env!("CARGO_MANIFEST_DIR")).join("target"))
            .expect("a folder");
        let config = model::Store {
            url: model::StoreUrl::Sqlite(folder.path().join("cases.db")),
            migrate: model::Migrate::Auto,
            schema: "unused".into(),
            connect_timeout: Duration::from_secs(5),
            statement_timeout: Duration::from_secs(20),
            allow_unsafe_durability: true,
            keep_events: Duration::from_secs(3600),
            keep_events_below: 0,
            keep_conflicts_below: 0,
            keep_conflicts: Duration::from_secs(3600),
            keep_refused: Duration::from_secs(3600),
            prune_interval: Duration::from_secs(60),
            prune_rows: 1000,
            lease: Duration::from_secs(60),
            longest_retry: Duration::from_secs(60),
        };
        let (store, owner) = (
            store::open(&config, 1).expect("a store"),
            InstanceId::random(),
        );
        store.prepare().expect("prepared");
        store
            .renew_lease(owner, Duration::from_secs(60))
            .expect("a lease");
        Self {
            store,
            owner,
            messages: RefCell::default(),
            _folder: folder,
        }
    }

    /// Stores an event as the service does: what the store doubts is stored again with a mark.
    pub(crate) fn insert(&self, source: &SourceName, event: &Event) -> Fate {
        let mut event = Arc::new(new_event(source, event));
        loop {
            let inserted = self
                .store
                .insert(self.owner, &Sinks::default(), std::slice::from_ref(&event))
                .expect("it is stored");
            match &inserted[..] {
                [Inserted::Accepted(_)] => {
                    assert!(
                        self.messages.borrow_mut().insert(event.message_id()),
                        "two messages have one id: {event:?}"
                    );
                    return if event.marks == Marks::default() {
                        Fate::Published
                    } else {
                        Fate::Marked
                    };
                }
                [
                    Inserted::Duplicate(first)
                    | Inserted::Unpublished(first)
                    | Inserted::Conflict(first),
                ] => {
                    assert!(
                        self.messages.borrow().contains(&first.message_id()),
                        "the first was never published: {event:?}"
                    );
                    return Fate::Duplicate;
                }
                [Inserted::Doubtful(mark)] => {
                    let (Mark::ConflictOf(first) | Mark::SameBytesAs(first)) = mark;
                    assert!(
                        self.messages.borrow().contains(first),
                        "the mark names no message: {event:?}"
                    );
                    event = Arc::new(event.marked(*mark));
                }
                other => panic!("{other:?} for {event:?}"),
            }
        }
    }
}

fn new_event(source: &SourceName, event: &Event) -> NewEvent {
    NewEvent {
        key: event.keys.key,
        message: event.keys.message,
        class: event.class,
        bytes_key: event.keys.bytes_key,
        drop_same_bytes: None,
        replay: event.keys.replay,
        digest: event.keys.digest,
        marks: Marks::default(),
        source: source.clone(),
        event_id: event.keys.id.clone(),
        event_type: event.event.event_type.clone(),
        content_type: None,
        headers: Vec::new(),
        body: event.body.clone(),
        received_at: UnixMillis(1_750_000_000_000),
        verified_by: None,
        window: Duration::from_secs(3600),
        sinks: None,
    }
}
