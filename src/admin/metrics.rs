//! `/metrics`.

use std::fs;
use std::time::Duration;

use actix_web::HttpResponse;
use actix_web::http::header::ContentType;
use rustix::process::{Resource, getrlimit};
use rustix::time::{ClockId, clock_gettime};

use super::Admin;
use crate::domain::delivery::wall_clock;
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
                .mailbox_high
                .with_label_values(&[actor.as_str()])
                .set(gauge(mailbox.take_high()));
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
        self.mirror_process();
    }

    /// Sets the metrics that every process has. Where there is no `/proc`, memory and open files stay 0.
    fn mirror_process(&self) {
        let metrics = &self.metrics;
        let number = |n: u64| i64::try_from(n).unwrap_or(i64::MAX);
        let resident = memory::resident_bytes().map_or(0, number);
        metrics.resident_bytes.set(resident);
        metrics.process_resident_bytes.set(resident);
        let open = fs::read_dir("/proc/self/fd").map_or(0, |fds| gauge(fds.count()));
        metrics.open_fds.set(open);
        metrics.process_open_fds.set(open);
        let most = getrlimit(Resource::Nofile).current;
        metrics.process_max_fds.set(most.map_or(i64::MAX, number));
        let used = clock_gettime(ClockId::ProcessCPUTime);
        let used = Duration::try_from(used).unwrap_or_default().as_secs_f64();
        // Two scrapes at once: the later reading wins.
        let more = used - metrics.process_cpu_seconds.get();
        metrics.process_cpu_seconds.inc_by(more.max(0.0));
        let started = wall_clock().0 / 1000 - number(self.started.elapsed().as_secs());
        metrics.process_start_time.set(started);
    }
}

fn gauge(n: usize) -> i64 {
    i64::try_from(n).unwrap_or(i64::MAX)
}
