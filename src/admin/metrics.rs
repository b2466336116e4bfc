//! `/metrics`.

use std::fs;

use actix_web::HttpResponse;
use actix_web::http::header::ContentType;

use super::Admin;
use crate::runtime::mailbox::ActorEntry;
use crate::runtime::{disk, memory};

/// Returns all metrics in Prometheus' text format.
pub(super) fn text(admin: &Admin) -> HttpResponse {
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
    /// Sets the gauges that mirror other state.
    fn mirror(&self) {
        let metrics = &self.metrics;
        for ActorEntry {
            actor,
            gauge: mailbox,
            ..
        } in self.actors.entries()
        {
            metrics
                .mailbox_depth
                .with_label_values(&[actor.as_str()])
                .set(gauge(mailbox.depth()));
            metrics
                .mailbox_capacity
                .with_label_values(&[actor.as_str()])
                .set(gauge(mailbox.capacity()));
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
        for (data, path) in &self.disks {
            // A disk that cannot be asked keeps its last value.
            if let Ok(bytes) = disk::free_bytes(path) {
                let free = metrics.disk_free_bytes.with_label_values(&[data]);
                free.set(i64::try_from(bytes).unwrap_or(i64::MAX));
            }
        }
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
