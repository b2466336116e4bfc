//! The admin listener: `/livez`, `/readyz`, `/metrics`. No login; it belongs on loopback or a private network.

use std::fs;
use std::io;
use std::net::TcpListener;
use std::sync::Arc;
use std::time::{Duration, Instant};

use actix_web::http::StatusCode;
use actix_web::http::header::{self, ContentType};
use actix_web::{App, HttpResponse, HttpServer, web};
use serde_json::{Value, json};

use super::Running;
use crate::in_flight::Budget;
use crate::runtime::mailbox::{Entry, Roster};
use crate::runtime::memory;
use crate::telemetry::health::State;
use crate::telemetry::{Health, Metrics};

/// What the admin listener shows.
pub struct Admin {
    /// All metrics; the gauges among them that mirror other things are set at each scrape.
    pub metrics: Arc<Metrics>,
    /// Who is ready, and who is not and why.
    pub health: Health,
    /// Every actor.
    pub roster: Roster,
    /// The budget of deliveries in flight.
    pub budget: Arc<Budget>,
    /// When the process started.
    pub started: Instant,
}

/// Starts the admin server on `listener`.
pub fn serve_admin(listener: TcpListener, admin: Arc<Admin>) -> io::Result<Running> {
    let server = HttpServer::new(move || {
        App::new()
            .app_data(web::Data::from(admin.clone()))
            .route("/livez", web::get().to(livez))
            .route("/readyz", web::get().to(readyz))
            .route("/metrics", web::get().to(metrics))
            .configure(hooks)
    })
    .workers(1)
    .max_connections(256)
    .client_request_timeout(Duration::from_secs(5))
    .disable_signals()
    .shutdown_timeout(1)
    .listen(listener)?
    .run();
    Ok(Running::new(server, None))
}

/// What tests do by this listener, see [`crate::faults::control`].
#[cfg(feature = "failpoints")]
fn hooks(app: &mut web::ServiceConfig) {
    async fn clock(ms: web::Path<i64>) -> HttpResponse {
        crate::faults::control::shift_clock(*ms);
        HttpResponse::NoContent().finish()
    }
    async fn forget() -> HttpResponse {
        crate::faults::control::forget();
        HttpResponse::NoContent().finish()
    }
    app.route("/control/clock/{ms}", web::post().to(clock))
        .route("/control/forget", web::post().to(forget));
}

#[cfg(not(feature = "failpoints"))]
fn hooks(_: &mut web::ServiceConfig) {}

async fn livez() -> HttpResponse {
    HttpResponse::Ok().json(json!({ "status": "alive" }))
}

async fn readyz(admin: web::Data<Admin>) -> HttpResponse {
    let ready = admin.health.ready().is_ok();
    let components: Value = admin
        .health
        .all()
        .into_iter()
        .map(|(name, state)| (name.to_owned(), component(state)))
        .collect();
    let status = if ready {
        StatusCode::OK
    } else {
        StatusCode::SERVICE_UNAVAILABLE
    };
    HttpResponse::build(status)
        .insert_header((header::CACHE_CONTROL, "no-store"))
        .json(json!({ "status": if ready { "ready" } else { "not ready" }, "components": components }))
}

fn component(state: State) -> Value {
    match state {
        State::Ready => json!({ "status": "ready" }),
        State::Degraded(why) => json!({ "status": "degraded", "reason": why }),
        State::NotReady(why) | State::Unfit(why) => json!({ "status": "not ready", "reason": why }),
    }
}

async fn metrics(admin: web::Data<Admin>) -> HttpResponse {
    admin.mirror();
    match admin.metrics.text() {
        Ok(text) => HttpResponse::Ok()
            .content_type("text/plain; version=0.0.4; charset=utf-8")
            .body(text),
        Err(error) => HttpResponse::InternalServerError()
            .content_type(ContentType::plaintext())
            .body(error.to_string()),
    }
}

impl Admin {
    /// Sets the gauges that mirror what is kept elsewhere.
    fn mirror(&self) {
        let metrics = &self.metrics;
        for Entry { actor, meter, .. } in self.roster.entries() {
            metrics
                .mailbox_depth
                .with_label_values(&[actor.as_str()])
                .set(gauge(meter.depth()));
            metrics
                .mailbox_capacity
                .with_label_values(&[actor.as_str()])
                .set(gauge(meter.capacity()));
        }
        let ((requests, bytes), (free_requests, free_bytes)) =
            (self.budget.used(), self.budget.room());
        metrics.in_flight_requests.set(gauge(requests));
        metrics.in_flight_bytes.set(gauge(bytes));
        metrics
            .in_flight_requests_max
            .set(gauge(requests + free_requests));
        metrics.in_flight_bytes_max.set(gauge(bytes + free_bytes));
        metrics
            .build_info
            .with_label_values(&[env!("CARGO_PKG_VERSION")])
            .set(1);
        metrics.ready.set(self.health.ready().is_ok().into());
        metrics
            .uptime_seconds
            .set(i64::try_from(self.started.elapsed().as_secs()).unwrap_or(i64::MAX));
        // Where there is no /proc, these two stay 0.
        metrics.resident_bytes.set(
            memory::resident_bytes().map_or(0, |bytes| i64::try_from(bytes).unwrap_or(i64::MAX)),
        );
        metrics
            .open_fds
            .set(fs::read_dir("/proc/self/fd").map_or(0, |fds| gauge(fds.count())));
    }
}

fn gauge(n: usize) -> i64 {
    i64::try_from(n).unwrap_or(i64::MAX)
}
