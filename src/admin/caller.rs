//! Caller of the admin API, and the process behind a Unix socket as the kernel knows it.

use std::any::Any;
use std::fmt;
use std::io;
use std::sync::Arc;

use actix_web::dev::Extensions;
use tokio::net::UnixStream;

use crate::config::model::Right;

/// Caller of the admin API.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Caller {
    /// Name, as logs and the table `audit` show it.
    pub(super) name: Arc<str>,
    /// Rights.
    pub(super) may: Vec<Right>,
}

/// Process at the other end of a Unix socket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Process {
    /// Number of its user.
    pub(super) uid: u32,
    /// Its number, if the kernel tells.
    pub(super) pid: Option<i32>,
}

impl Process {
    /// Returns the process that has connected, by SO_PEERCRED.
    fn of(stream: &UnixStream) -> io::Result<Self> {
        let credentials = stream.peer_cred()?;
        Ok(Self {
            uid: credentials.uid(),
            pid: credentials.pid(),
        })
    }
}

impl fmt::Display for Process {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "user {}", self.uid)?;
        match self.pid {
            Some(pid) => write!(f, ", process {pid}"),
            None => Ok(()),
        }
    }
}

/// Stores the process with its connection. A connection without one needs a token.
pub(super) fn remember(connection: &dyn Any, data: &mut Extensions) {
    if let Some(stream) = connection.downcast_ref::<UnixStream>()
        && let Ok(process) = Process::of(stream)
    {
        data.insert(process);
    }
}

#[cfg(test)]
mod tests {
    use tokio::net::UnixListener;

    use super::*;

    #[tokio::test]
    async fn the_kernel_names_the_user_and_the_process_that_connect() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("s");
        let listener = UnixListener::bind(&path).expect("bound");
        let (ours, accepted) = tokio::join!(UnixStream::connect(&path), listener.accept());
        let (ours, (accepted, _)) = (ours.expect("connected"), accepted.expect("accepted"));
        let mut data = Extensions::new();
        remember(&accepted, &mut data);
        let own = Process {
            uid: rustix::process::geteuid().as_raw(),
            pid: i32::try_from(std::process::id()).ok(),
        };
        assert_eq!(data.get::<Process>(), Some(&own));
        drop(ours);
    }

    #[test]
    fn a_connection_of_another_kind_has_no_process() {
        let mut data = Extensions::new();
        remember(&"a TCP connection", &mut data);
        assert_eq!(data.get::<Process>(), None);
    }
}
