//! Sockets and servers: what is bound, how many connections, and how it stops.

use std::io;
use std::net::{SocketAddr, TcpListener};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use actix_http::error::DispatchError;
use actix_http::{HttpService, KeepAlive, Request};
use actix_server::{Server, ServerHandle};
use actix_service::{ServiceFactoryExt, fn_service};
use socket2::{Domain, Protocol, Socket, Type};
use tokio::net::TcpStream;

use super::connection::{Connection, LINGER, Patience};
use super::crowd::Crowd;
use super::{Desk, Edge, descriptors, ingest};
use crate::config::model;
use crate::runtime::mailbox::Mailbox;
use crate::verify::Received;

/// Connections that may wait in the kernel until a worker takes them.
const BACKLOG: u16 = 2048;

/// How long requests on open connections are still served after a stop began; their answers say `Connection: close`.
const LAME_DUCK: Duration = Duration::from_millis(300);

/// A listening socket at `addr`. Port 0 takes a free one; `local_addr` of the result says which.
pub fn bind(addr: SocketAddr) -> io::Result<TcpListener> {
    let socket = Socket::new(Domain::for_address(addr), Type::STREAM, Some(Protocol::TCP))?;
    // A restart must not wait for the connections of the process before it.
    socket.set_reuse_address(true)?;
    socket.set_nonblocking(true)?;
    socket.bind(&addr.into())?;
    socket.listen(BACKLOG.into())?;
    Ok(socket.into())
}

/// What an operator can do about an address that cannot be bound.
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

/// The sockets that the service manager bound for us, in the order of its unit file: ingest first, then admin. Call it once, at start.
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

/// A server that was started; it runs on its own threads.
pub struct Running {
    server: Server,
    handle: ServerHandle,
    edge: Option<Arc<Edge>>,
}

impl Running {
    pub(super) fn new(server: Server, edge: Option<Arc<Edge>>) -> Self {
        Self {
            handle: server.handle(),
            server,
            edge,
        }
    }

    /// Serves until `stop` resolves, then stops as it says.
    pub async fn until(self, stop: impl Future<Output = Stop>) -> io::Result<()> {
        let Self {
            mut server,
            handle,
            edge,
        } = self;
        let stop = tokio::select! {
            ended = &mut server => return ended,
            stop = stop => stop,
        };
        let stopping = async {
            if let (Some(edge), Stop::InOrder) = (edge, stop) {
                edge.close_connections();
                handle.pause().await;
                tokio::time::sleep(LAME_DUCK).await;
                edge.stop_admitting();
            }
            handle.stop(stop == Stop::InOrder).await;
        };
        let ((), ended) = tokio::join!(stopping, server);
        ended
    }
}

/// How to stop.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stop {
    /// No new connections; for a moment requests on open ones are still served; what is in hand is finished; the rest is closed.
    InOrder,
    /// Everything is closed; for when there is nobody left to answer.
    AtOnce,
}

/// Starts the ingest server on `listener`; each of its threads calls `verifier` for one of its own. Its stop takes at most `drain`, and no
/// longer than a request may take.
pub fn serve(
    listener: TcpListener,
    edge: Arc<Edge>,
    verifier: impl Fn() -> Mailbox<Received> + Clone + Send + 'static,
    config: &model::Server,
    drain: Duration,
) -> io::Result<Running> {
    let workers = workers(config.workers);
    let longest = edge
        .sources
        .iter()
        .map(|source| source.deadline)
        .max()
        .unwrap_or_default()
        + LINGER;
    let drain = drain.min(longest);
    let max_connections = descriptors::connections(config, edge.verifiers.len() + 1, workers);
    edge.metrics
        .connections_max
        .set(i64::try_from(max_connections).unwrap_or(i64::MAX));
    // actix counts connections per worker. With room for one only, whoever comes next could not even be looked at.
    let each = (max_connections / workers).max(2);
    let patience = Patience {
        keep_alive: config.keep_alive,
        head: config.head_timeout,
    };
    let addr = listener.local_addr()?;
    let builder = Server::build();
    let draining = builder.graceful_shutdown_signal();
    let shared = edge.clone();
    // What actix-web's HttpServer does, with two parts of ours: a `Connection` in place of the bare socket, and one handler for every
    // path in place of a router, which would decode the path and allocate for each request.
    let service = move || {
        // Called once on each worker's thread.
        go_first();
        let desk = Rc::new(Desk {
            edge: shared.clone(),
            verifier: verifier(),
        });
        let (draining, expecting, connecting) = (draining.clone(), shared.clone(), shared.clone());
        let crowd = Crowd::new(each, shared.metrics.connections_closed.clone());
        let http = HttpService::build()
            // Both of these are kept by `Connection`, for every request and without a timer for each.
            .keep_alive(KeepAlive::Os)
            .client_request_timeout(Duration::ZERO)
            .client_disconnect_timeout(LINGER)
            .graceful_shutdown_signal(move || {
                let draining = draining.clone();
                async move { draining.notified().await }
            })
            .local_addr(addr)
            .on_connect_ext(|connection: &Connection, data| {
                data.insert(connection.progress().clone());
            })
            .expect(fn_service(move |head: Request| {
                std::future::ready(ingest::before_continue(head, &expecting))
            }))
            .h1(fn_service(move |head: Request| {
                ingest::handle(head, desk.clone())
            }));
        let connect = fn_service(move |socket: TcpStream| {
            // Without it an answer may wait for the client's delayed acknowledgement of the one before.
            let nodelay = socket.set_nodelay(true);
            let peer = socket.peer_addr().ok();
            let connection = Connection::new(socket, connecting.clone(), crowd.clone(), patience);
            async move {
                nodelay
                    .map(|()| (connection, peer))
                    .map_err(DispatchError::Io)
            }
        });
        connect.and_then(http)
    };
    let server = builder
        .workers(workers)
        .max_concurrent_connections(each)
        .disable_signals()
        .shutdown_timeout(drain.as_secs() + 1)
        .listen("ingest", listener, service)?
        .run();
    Ok(Running::new(server, Some(edge)))
}

/// The scheduler's nice value of the threads that serve the ingest listener.
const NICE: i32 = -5;

/// Lets this thread go before those that publish, where the system allows it (root, `LimitNICE=`). When the machine has more to do than it
/// can, requests are then read, and what is too much is refused, at once; else they would wait unread until their deadline is over.
fn go_first() {
    // Whoever started the service at a better value meant it.
    if rustix::process::getpriority_process(None).is_ok_and(|nice| nice > NICE) {
        // Without the right to, it works as well, and is slower at overload.
        let _ = rustix::process::setpriority_process(None, NICE);
    }
}

pub(super) fn workers(configured: usize) -> usize {
    // actix panics above this.
    const MOST: usize = 512;
    match configured {
        0 => std::thread::available_parallelism().map_or(1, usize::from),
        n => n,
    }
    .min(MOST)
}
