//! Caller of the admin API, as the kernel knows it.

use std::any::Any;
use std::io;

use actix_web::dev::Extensions;
use tokio::net::UnixStream;

/// Process at the other end of a Unix socket. Its permissions let it connect, so it may look.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Caller {
    /// Number of its user.
    pub(super) uid: u32,
    /// Its process, if the kernel tells.
    pub(super) pid: Option<i32>,
}

impl Caller {
    /// Returns the process that has connected, by SO_PEERCRED.
    fn of(stream: &UnixStream) -> io::Result<Self> {
        let credentials = stream.peer_cred()?;
        Ok(Self {
            uid: credentials.uid(),
            pid: credentials.pid(),
        })
    }
}

/// Stores the caller with its connection. A connection without one is answered 403.
pub(super) fn remember(connection: &dyn Any, data: &mut Extensions) {
    if let Some(stream) = connection.downcast_ref::<UnixStream>()
        && let Ok(caller) = Caller::of(stream)
    {
        data.insert(caller);
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
        let own = Caller {
            uid: rustix::process::geteuid().as_raw(),
            pid: i32::try_from(std::process::id()).ok(),
        };
        assert_eq!(data.get::<Caller>(), Some(&own));
        drop(ours);
    }

    #[test]
    fn a_connection_of_another_kind_has_no_caller() {
        let mut data = Extensions::new();
        remember(&"a TCP connection", &mut data);
        assert_eq!(data.get::<Caller>(), None);
    }
}
