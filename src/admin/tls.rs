//! The admin listener with TLS. actix-web's own TLS would bring a crate for it, and a second way to reload a certificate.

use std::io;
use std::net::TcpListener;
use std::sync::Arc;
use std::time::Duration;

use actix_http::error::DispatchError;
use actix_http::{HttpService, KeepAlive};
use actix_server::Server;
use actix_service::{
    IntoServiceFactory, ServiceFactory, ServiceFactoryExt, fn_service, map_config,
};
use actix_web::body::MessageBody;
use actix_web::dev::{AppConfig, ServiceRequest, ServiceResponse};
use actix_web::{App, Error};
use prometheus::IntCounterVec;
use tokio::net::TcpStream;
use tokio_rustls::server::TlsStream;

use super::{CONNECTIONS, HEAD_TIMEOUT};
use crate::config::model::TlsListener;
use crate::runtime::certificate::CertificateInForce;
use crate::runtime::tls::HandshakeFault;
use crate::telemetry::logs;

/// Time for which a closing connection is still read: its client would see a reset in place of its answer.
const LINGER: Duration = Duration::from_secs(1);

/// Starts `app` on `listener` under TLS.
pub(super) fn serve<S, B>(
    listener: TcpListener,
    certificate: Arc<CertificateInForce>,
    failures: IntCounterVec,
    app: impl Fn() -> App<S> + Clone + Send + 'static,
) -> io::Result<Server>
where
    S: ServiceFactory<
            ServiceRequest,
            Config = (),
            Response = ServiceResponse<B>,
            Error = Error,
            InitError = (),
        > + 'static,
    S::Future: 'static,
    B: MessageBody + 'static,
{
    let addr = listener.local_addr()?;
    let builder = Server::build();
    let draining = builder.graceful_shutdown_signal();
    let service = move || {
        let (certificate, failures) = (certificate.clone(), failures.clone());
        let draining = draining.clone();
        let handshake = fn_service(move |socket: TcpStream| {
            let (certificate, failures) = (certificate.clone(), failures.clone());
            async move {
                let peer = socket.peer_addr().ok();
                match shake_hands(socket, &certificate).await {
                    Ok(session) => Ok((session, peer)),
                    Err((fault, cause)) => {
                        let listener = TlsListener::Admin.label();
                        failures.with_label_values(&[listener, fault.label()]).inc();
                        if fault == HandshakeFault::Refused {
                            logs::handshake_refused(listener, peer, &cause);
                        }
                        Err(DispatchError::DisconnectTimeout)
                    }
                }
            }
        });
        let app = app().into_factory().map_err(|error| error.error_response());
        let http = HttpService::build()
            .keep_alive(KeepAlive::default())
            .client_request_timeout(HEAD_TIMEOUT)
            .client_disconnect_timeout(LINGER)
            .graceful_shutdown_signal(move || {
                let draining = draining.clone();
                async move { draining.notified().await }
            })
            .secure()
            .local_addr(addr)
            .h1(map_config(app, |()| AppConfig::default()));
        handshake.and_then(http)
    };
    let server = builder
        .workers(1)
        .max_concurrent_connections(CONNECTIONS)
        .disable_signals()
        .shutdown_timeout(1)
        .listen("admin", listener, service)?;
    Ok(server.run())
}

/// Returns the session of a client whose handshake is over in time, or the fault and its cause.
async fn shake_hands(
    socket: TcpStream,
    certificate: &CertificateInForce,
) -> Result<TlsStream<TcpStream>, (HandshakeFault, String)> {
    match tokio::time::timeout(HEAD_TIMEOUT, certificate.accept(socket)).await {
        Ok(Ok(session)) => Ok(session),
        Ok(Err(error)) => Err((HandshakeFault::of(&error), error.to_string())),
        Err(_) => Err((HandshakeFault::Timeout, String::new())),
    }
}
