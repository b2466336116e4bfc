//! Screens of the page, each a function of the answers of [`crate::operate`].

pub(super) mod actors;
pub(super) mod conflicts;
mod decide;
pub(super) mod event;
pub(super) mod events;
pub(super) mod jobs;
pub(super) mod lakehouse;
pub(super) mod live;
pub(super) mod overview;
pub(super) mod parked;
pub(super) mod quarantine;
pub(super) mod republish;
pub(super) mod search;
pub(super) mod sources;
pub(super) mod system;
pub(super) mod unrouted;
