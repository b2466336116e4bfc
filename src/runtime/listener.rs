//! Listening sockets, and servers that run until they are told to stop.

use std::io;
use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::time::Duration;

use actix_server::{Server, ServerHandle};
use socket2::{Domain, Protocol, Socket, Type};

/// Connections that may wait in the kernel until a worker takes them.
const BACKLOG: u16 = 2048;

/// Time in which requests on open connections are still served after a stop began. Their responses
/// say `Connection: close`.
const LAME_DUCK: Duration = Duration::from_millis(300);

/// Time for the handshake of a client that has connected before the stop: two round trips around the world.
const HANDSHAKE: Duration = Duration::from_millis(700);

/// Returns a listening socket at `addr`. Port 0 takes a free one; `local_addr` of the result says
/// which.
pub fn bind(addr: SocketAddr) -> io::Result<TcpListener> {
    let socket = Socket::new(Domain::for_address(addr), Type::STREAM, Some(Protocol::TCP))?;
    // A restart must not wait for the connections of the process before it.
    socket.set_reuse_address(true)?;
    socket.set_nonblocking(true)?;
    socket.bind(&addr.into())?;
    socket.listen(BACKLOG.into())?;
    Ok(socket.into())
}

/// Returns the operator's remedy for an address that cannot be bound.
pub fn bind_advice(error: &io::Error) -> &'static str {
    match error.kind() {
        io::ErrorKind::AddrInUse => {
            "another process listens there, perhaps another instance (`ss -ltnp` tells which); "
        }
        io::ErrorKind::AddrNotAvailable => {
            "no interface of this machine has this address (`ip address` lists them; 0.0.0.0 is all); "
        }
        io::ErrorKind::PermissionDenied => {
            "ports below 1024 need a right: let systemd bind it (hookweir.socket), or run `setcap cap_net_bind_service=+ep` on the program; "
        }
        _ => "",
    }
}

/// Returns the sockets that the service manager bound, in the order of its unit file: ingest, then
/// admin. Call it once, at start.
pub fn inherited() -> io::Result<Vec<TcpListener>> {
    let mut fds = listenfd::ListenFd::from_env();
    let mut listeners = Vec::new();
    for index in 0..fds.len() {
        if let Some(listener) = fds.take_tcp_listener(index)? {
            listener.set_nonblocking(true)?;
            listeners.push(listener);
        }
    }
    Ok(listeners)
}

/// Steps of a graceful stop that the server's own product takes.
pub(crate) trait LameDuck: Send + Sync {
    /// Makes every response from now on say `Connection: close`.
    fn close_connections(&self);

    /// Refuses new work from now on.
    fn stop_admitting(&self);
}

/// A server that was started. It runs on its own threads.
pub struct RunningServer {
    server: Server,
    handle: ServerHandle,
    product: Option<Arc<dyn LameDuck>>,
    lame_duck: Duration,
}

impl RunningServer {
    pub(crate) fn new(server: Server, product: Option<Arc<dyn LameDuck>>) -> Self {
        Self {
            handle: server.handle(),
            server,
            product,
            lame_duck: LAME_DUCK,
        }
    }

    /// Serves for longer after a stop began: a client that has just connected shakes hands before it sends.
    pub(crate) fn with_handshakes(self) -> Self {
        Self {
            lame_duck: LAME_DUCK + HANDSHAKE,
            ..self
        }
    }

    /// Serves until `stop` resolves, then stops as it says.
    pub async fn until(self, stop: impl Future<Output = StopMode>) -> io::Result<()> {
        let Self {
            mut server,
            handle,
            product,
            lame_duck,
        } = self;
        let stop = tokio::select! {
            ended = &mut server => return ended,
            stop = stop => stop,
        };
        let stopping = async {
            if let (Some(product), StopMode::Graceful) = (product, stop) {
                product.close_connections();
                handle.pause().await;
                tokio::time::sleep(lame_duck).await;
                product.stop_admitting();
            }
            handle.stop(stop == StopMode::Graceful).await;
        };
        let ((), ended) = tokio::join!(stopping, server);
        ended
    }
}

/// Order of a stop.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StopMode {
    /// Takes no new connections, serves requests on open ones for a moment, finishes started
    /// requests, and closes the rest.
    Graceful,
    /// Closes all connections immediately. Use it after a critical actor has died.
    Immediate,
}
