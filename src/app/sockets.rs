//! Sockets of the listeners.

use std::net::{SocketAddr, TcpListener};

use super::{Listening, ServeError};
use crate::config::model;
use crate::runtime::listener;

/// Bound sockets of both listeners.
pub(super) struct Sockets {
    /// Listener of the providers.
    pub(super) ingest: TcpListener,
    /// Health and metrics.
    pub(super) admin: TcpListener,
}

impl Sockets {
    /// Returns the sockets of the service manager (ingest first, then admin), if it passed any on,
    /// otherwise those of the configuration.
    pub(super) fn bind(config: &model::Server) -> Result<Self, ServeError> {
        let inherited = listener::inherited().map_err(|error| {
            ServeError::Unavailable(format!(
                "cannot take the service manager's sockets: {error}"
            ))
        })?;
        let mut inherited = inherited.into_iter();
        let mut next = |key: &str, addr: SocketAddr| match inherited.next() {
            Some(socket) => Ok(socket),
            None => listener::bind(addr).map_err(|error| {
                ServeError::Unavailable(format!(
                    "cannot listen on {addr}: {error}; {}server.{key} sets another address",
                    listener::bind_advice(&error)
                ))
            }),
        };
        Ok(Self {
            ingest: next("listen", config.listen)?,
            admin: next("admin_listen", config.admin_listen)?,
        })
    }

    /// Returns the addresses that were bound.
    pub(super) fn addresses(&self) -> Result<Listening, ServeError> {
        let of = |socket: &TcpListener| {
            socket.local_addr().map_err(|error| {
                ServeError::Unavailable(format!("cannot read a socket's address: {error}"))
            })
        };
        Ok(Listening {
            ingest: of(&self.ingest)?,
            admin: of(&self.admin)?,
        })
    }
}
