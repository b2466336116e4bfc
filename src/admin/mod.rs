//! The admin stage: a listener of its own for `/livez`, `/readyz` and `/metrics`, and the [admin
//! API](Api) on a Unix socket and, with tokens, on that listener.
//!
//! `ROUTES` has the routes without a login. They belong on loopback or a private network.

mod access;
mod api;
mod body;
mod caller;
mod health;
mod metrics;
#[cfg(test)]
mod openapi;
mod page;
mod question;
mod routes;
mod tls;

pub use api::{Api, serve_api};

use std::io;
use std::net::TcpListener;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use actix_web::http::Method;
use actix_web::{App, HttpRequest, HttpResponse, HttpServer, web};

use crate::in_flight::Budget;
use crate::runtime::certificate::CertificateInForce;
use crate::runtime::listener::RunningServer;
use crate::runtime::mailbox::ActorRegistry;
use crate::telemetry::{Health, Metrics};

/// Open connections, at most.
pub const CONNECTIONS: usize = 256;

/// Time for a request's head.
const HEAD_TIMEOUT: Duration = Duration::from_secs(5);

/// State that the admin listener shows.
pub struct Admin {
    /// All metrics. Gauges that mirror other state are set at each scrape.
    pub metrics: Arc<Metrics>,
    /// State of each component.
    pub health: Health,
    /// Every actor.
    pub actors: ActorRegistry,
    /// Budget of deliveries in flight.
    pub budget: Arc<Budget>,
    /// Start of the process.
    pub started: Instant,
    /// Local data, by the label of its gauge, and a path on its disk.
    pub disks: Vec<(&'static str, PathBuf)>,
}

/// A route: method, path, and the function that answers. `{x}` in the path is the last argument.
struct Route {
    method: Method,
    path: &'static str,
    answer: fn(&Admin, &HttpRequest) -> HttpResponse,
}

/// All routes.
const ROUTES: &[Route] = &[
    Route {
        method: Method::GET,
        path: "/livez",
        answer: |_, _| health::live(),
    },
    Route {
        method: Method::GET,
        path: "/readyz",
        answer: |admin, _| health::ready(&admin.health, &admin.metrics),
    },
    Route {
        method: Method::GET,
        path: "/metrics",
        answer: |admin, _| metrics::text(admin),
    },
    #[cfg(feature = "failpoints")]
    Route {
        method: Method::POST,
        path: "/control/clock/{ms}",
        answer: |_, request| faults::shift_clock(request),
    },
    #[cfg(feature = "failpoints")]
    Route {
        method: Method::POST,
        path: "/control/forget",
        answer: |_, _| faults::lose_cache(),
    },
];

/// Starts the admin server on a listener, under TLS if it has a certificate: with an API, with the
/// operator's page, and with JSON if somebody has a token.
pub fn serve(
    (listener, certificate): (TcpListener, Option<Arc<CertificateInForce>>),
    admin: Arc<Admin>,
    api: Option<Api>,
) -> io::Result<RunningServer> {
    if let Some(api) = &api {
        page::take_samples(api);
    }
    let failures = admin.metrics.handshake_failures.clone();
    let app = move || {
        let app = App::new()
            .app_data(web::Data::from(admin.clone()))
            .configure(routes);
        let Some(api) = &api else { return app };
        let app = app.configure(|app| page::routes(app, api));
        match api.has_tokens() {
            true => app.configure(|app| api::routes(app, api)),
            false => app,
        }
    };
    let server = match certificate {
        Some(certificate) => tls::serve(listener, certificate, failures, app)?,
        None => HttpServer::new(app)
            .workers(1)
            .max_connections(CONNECTIONS)
            .client_request_timeout(HEAD_TIMEOUT)
            .disable_signals()
            .shutdown_timeout(1)
            .listen(listener)?
            .run(),
    };
    Ok(RunningServer::new(server, None))
}

/// Registers `ROUTES`.
fn routes(app: &mut web::ServiceConfig) {
    for route in ROUTES {
        let handler = move |request: HttpRequest, admin: web::Data<Admin>| {
            std::future::ready(respond(route, &request, &admin))
        };
        app.route(route.path, web::method(route.method.clone()).to(handler));
    }
}

/// Answers one request.
fn respond(route: &Route, request: &HttpRequest, admin: &Admin) -> HttpResponse {
    (route.answer)(admin, request)
}

/// Faults that tests switch on through this listener, see [`crate::faults`].
#[cfg(feature = "failpoints")]
mod faults {
    use actix_web::{HttpRequest, HttpResponse};

    use crate::faults::{cache, clock};

    pub(super) fn shift_clock(request: &HttpRequest) -> HttpResponse {
        let Ok(ms) = request.match_info().query("ms").parse() else {
            return HttpResponse::NotFound().finish();
        };
        clock::shift(ms);
        HttpResponse::NoContent().finish()
    }

    pub(super) fn lose_cache() -> HttpResponse {
        cache::lose();
        HttpResponse::NoContent().finish()
    }
}

#[cfg(test)]
mod tests {
    use actix_web::http::StatusCode;
    use actix_web::test;

    use super::*;
    use crate::telemetry::health::State;

    fn admin() -> (Health, web::Data<Admin>) {
        let health = Health::default();
        let admin = Admin {
            metrics: Metrics::new().expect("metrics"),
            health: health.clone(),
            actors: ActorRegistry::default(),
            budget: Budget::new(4, 1000),
            started: Instant::now(),
            disks: Vec::new(),
        };
        (health, web::Data::new(admin))
    }

    #[tokio::test]
    async fn each_route_answers_its_own_method_and_no_other() {
        let (_, admin) = admin();
        let app = test::init_service(App::new().app_data(admin).configure(routes)).await;
        for route in ROUTES.iter().filter(|route| route.method == Method::GET) {
            let get = test::TestRequest::get().uri(route.path).to_request();
            let response = test::call_service(&app, get).await;
            assert_eq!(response.status(), StatusCode::OK, "{}", route.path);
            let post = test::TestRequest::post().uri(route.path).to_request();
            let response = test::call_service(&app, post).await;
            assert_eq!(response.status(), StatusCode::NOT_FOUND, "{}", route.path);
        }
        let other = test::TestRequest::get().uri("/admin").to_request();
        let response = test::call_service(&app, other).await;
        assert_eq!(response.status(), StatusCode::NOT_FOUND);
    }

    #[tokio::test]
    async fn readiness_names_the_component_and_its_reason() {
        let (health, admin) = admin();
        health
            .component("store")
            .set(State::NotReady("login refused".into()));
        let app = test::init_service(App::new().app_data(admin).configure(routes)).await;
        let get = test::TestRequest::get().uri("/readyz").to_request();
        let response = test::call_service(&app, get).await;
        assert_eq!(response.status(), StatusCode::SERVICE_UNAVAILABLE);
        let body: serde_json::Value = test::read_body_json(response).await;
        assert_eq!(body["components"]["store"]["reason"], "login refused");
    }
}
