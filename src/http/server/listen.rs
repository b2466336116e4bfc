//! The ingest listener: threads, number of connections, and the stop.

use std::io;
use std::net::{SocketAddr, TcpListener};
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use actix_http::error::DispatchError;
use actix_http::{HttpService, KeepAlive, Request};
use actix_server::Server;
use actix_service::{ServiceFactoryExt, fn_service};
use prometheus::{IntCounter, IntGauge};
use tokio::net::TcpStream;

use super::connection::{Connection, LINGER, REQUEST_LINE};
use super::connections::Connections;
use super::progress::{HeadTimeouts, Progress};
use super::transport::{ProxyGate, TlsTransport, Transport};
use super::{Handler, descriptors};
use crate::runtime::listener::{LameDuck, RunningServer};

/// Bounds of the transport, and its metrics.
#[derive(Clone)]
pub(in crate::http) struct Bounds {
    /// `server.workers`; 0 stands for one per core.
    pub(in crate::http) workers: usize,
    /// `server.max_connections`.
    pub(in crate::http) max_connections: usize,
    /// Verifiers on threads of their own, which hold descriptors too.
    pub(in crate::http) verifiers: usize,
    /// `limits.max_header_bytes`.
    pub(in crate::http) max_header_bytes: usize,
    /// Timeouts of a head.
    pub(in crate::http) timeouts: HeadTimeouts,
    /// TLS, if the listener has a certificate.
    pub(in crate::http) tls: Option<TlsTransport>,
    /// Proxies that open each connection with the PROXY protocol, if they have to.
    pub(in crate::http) proxies: Option<ProxyGate>,
    /// Time that a stop waits for open requests.
    pub(in crate::http) drain: Duration,
    /// Open connections.
    pub(in crate::http) connections: IntGauge,
    /// Bound on open connections.
    pub(in crate::http) connections_max: IntGauge,
    /// Idle connections that were closed to make room.
    pub(in crate::http) connections_closed: IntCounter,
}

/// Starts the server on `listener`. Each of its threads calls `handler` once; a graceful stop tells
/// `product`.
pub(in crate::http) fn serve<H: Handler>(
    listener: TcpListener,
    bounds: Bounds,
    product: Arc<dyn LameDuck>,
    handler: impl Fn() -> Rc<H> + Clone + Send + 'static,
) -> io::Result<RunningServer> {
    let workers = workers(bounds.workers);
    let max_connections =
        descriptors::connections(bounds.max_connections, bounds.verifiers, workers);
    bounds
        .connections_max
        .set(i64::try_from(max_connections).unwrap_or(i64::MAX));
    // actix counts connections per worker. With room for one only, a new client could not even be
    // looked at.
    let each = (max_connections / workers).max(2);
    let (addr, drain) = (listener.local_addr()?, bounds.drain);
    let builder = Server::build();
    let draining = builder.graceful_shutdown_signal();
    // Same as actix-web's HttpServer, with two parts of ours: a `Connection` in place of the bare
    // socket, and one handler for every path in place of a router, which would decode the path and
    // allocate for each request.
    let service = move || {
        // Called once on each worker's thread.
        raise_priority();
        let (handler, draining) = (handler(), draining.clone());
        let (expecting, refusing) = (handler.clone(), handler.clone());
        let connect = connector(refusing, bounds.clone(), each);
        let http = HttpService::build()
            // Both of these are kept by `Connection`, for every request and without a timer for
            // each.
            .keep_alive(KeepAlive::Os)
            .client_request_timeout(Duration::ZERO)
            .client_disconnect_timeout(LINGER)
            .graceful_shutdown_signal(move || {
                let draining = draining.clone();
                async move { draining.notified().await }
            })
            .local_addr(addr)
            .on_connect_ext(|connection: &Connection<H>, data| {
                data.insert(connection.progress().clone());
            })
            .expect(fn_service(move |head: Request| {
                std::future::ready(expecting.before_continue(head))
            }))
            .h1(fn_service(move |request: Request| {
                handler.clone().handle(request)
            }));
        let connect = fn_service(move |socket: TcpStream| std::future::ready(connect(socket)));
        connect.and_then(http)
    };
    let server = builder
        .workers(workers)
        .max_concurrent_connections(each)
        .disable_signals()
        .shutdown_timeout(drain.as_secs() + 1)
        .listen("ingest", listener, service)?
        .run();
    Ok(RunningServer::new(server, Some(product)))
}

/// Returns the function that puts each new socket of a thread under its bounds.
fn connector<H: Handler>(
    handler: Rc<H>,
    bounds: Bounds,
    max_connections: usize,
) -> impl Fn(TcpStream) -> Result<(Connection<H>, Option<SocketAddr>), DispatchError> + Clone {
    let connections = Connections::new(max_connections, bounds.connections_closed);
    let max_head = bounds.max_header_bytes + REQUEST_LINE;
    move |socket| {
        // Without it a response may wait for the client's delayed acknowledgement of the one
        // before.
        socket.set_nodelay(true).map_err(DispatchError::Io)?;
        let peer = socket.peer_addr().ok();
        let progress = Progress::new(max_head, bounds.timeouts, Instant::now());
        connections.add(&progress);
        let gauge = bounds.connections.clone();
        let connection = Connection::new(
            Transport::new(socket, peer, (bounds.proxies.as_ref(), bounds.tls.as_ref())),
            progress,
            connections.clone(),
            gauge,
            handler.clone(),
        );
        Ok((connection, peer))
    }
}

/// The scheduler's nice value of the threads that serve the ingest listener.
const NICE: i32 = -5;

/// Raises this thread's priority over those that publish, where the system allows it (root,
/// `LimitNICE=`). On an overloaded machine, requests are then read and excess ones refused at once.
/// Without it, requests would wait unread until their deadline.
fn raise_priority() {
    // A better value was set on purpose by the operator.
    if rustix::process::getpriority_process(None).is_ok_and(|nice| nice > NICE) {
        // Without the right, the service works too, and is slower under overload.
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
