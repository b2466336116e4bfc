//! Tools that every stage stands on: mailboxes, the shutdown, signals, files and descriptors.

pub(crate) mod backoff;
pub mod certificate;
pub mod descriptors;
pub mod disk;
pub(crate) mod folder;
pub mod listener;
pub mod mailbox;
pub(crate) mod memory;
pub(crate) mod pending_file;
pub mod shutdown;
pub mod signals;
pub(crate) mod tls;
pub(crate) mod unix_socket;
