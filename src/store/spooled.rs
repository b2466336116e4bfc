//! Events in the spool of this instance, as an operator erases them.

use std::sync::Arc;

use super::{NewEvent, Seq, StoreError};

/// Events that the spool of this instance has. The admin API erases them.
pub trait SpooledEvents: Send + Sync + 'static {
    /// Deletes chosen events of a page with their bodies, and other bodies that came under their keys. The
    /// drain moves nothing meanwhile. Free space of the file is overwritten after the last page.
    fn erase(&self, asked: &SpoolErasure<'_>) -> Result<SpoolPage, StoreError>;
}

/// Stores the keys of events that were chosen.
pub type KeepKeys<'a> = dyn Fn(&SpoolPage) -> Result<(), StoreError> + 'a;

/// Order to erase events of a page of the spool.
pub struct SpoolErasure<'a> {
    /// Number of the event before the page.
    pub after: Seq,
    /// Events of the page, at most.
    pub limit: usize,
    /// Decides on an event, or on another body that came under its key.
    pub chooses: &'a dyn Fn(&NewEvent) -> bool,
    /// Keeps the keys of the chosen ones, before they are deleted. None: nothing is deleted.
    pub keep_keys: Option<&'a KeepKeys<'a>>,
}

/// Events of a page that were chosen.
#[derive(Debug, Default)]
pub struct SpoolPage {
    /// Events, waiting or parked, with their numbers.
    pub events: Vec<(Seq, Arc<NewEvent>)>,
    /// Other bodies that came under known keys, on the last page.
    pub others: Vec<Arc<NewEvent>>,
    /// Number of the last event that was looked at. None: there are no more.
    pub next: Option<Seq>,
}
