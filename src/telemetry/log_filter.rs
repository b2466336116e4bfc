//! Filter of log lines: that of the configuration, or another one for some minutes, which goes back by itself.

use std::sync::{Condvar, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use tracing_subscriber::EnvFilter;
use tracing_subscriber::filter::{LevelFilter, Targets};

/// Appended to every filter. lapin logs a returned message with its whole payload; actix-http logs
/// an error for each malformed request, so anybody could fill the disk.
const NEVER: &str = "lapin::returned_messages=off,actix_http::h1=off";

/// Put before every filter, so that it can be overridden: actix-server tells about each of its
/// threads, and lapin logs each failed attempt several times. The publisher says once what lapin's
/// lines say.
const UNLESS_ASKED: &str = "actix_server=warn,lapin=off";

/// Puts a filter in force, once logging has begun.
type Apply = Box<dyn Fn(EnvFilter) -> Result<(), String> + Send + Sync>;

static APPLY: OnceLock<Apply> = OnceLock::new();
static FILTERS: Mutex<Filters> = Mutex::new(Filters {
    configured: String::new(),
    for_now: None,
    orders: 0,
});
/// Wakes the thread that ends the filter for some minutes.
static ENDED: Condvar = Condvar::new();

struct Filters {
    configured: String,
    for_now: Option<FilterForNow>,
    /// Number of orders, by which the thread of an order knows that its own was ended.
    orders: u64,
}

/// Filter that holds for some minutes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FilterForNow {
    /// Its directives.
    pub filter: String,
    /// Its end.
    pub until: Instant,
}

/// Parses directives as in `RUST_LOG`.
pub(super) fn parsed(directives: &str) -> Result<EnvFilter, String> {
    EnvFilter::builder()
        .parse(format!("{UNLESS_ASKED},{directives},{NEVER}"))
        .map_err(|error| {
            format!("log.filter \"{directives}\": {error}; write it as in \"hookweir=debug,info\"")
        })
}

/// Takes the filter of the configuration at the start, and the way to put another one in force.
pub(super) fn begin(configured: &str, apply: Apply) {
    configured.clone_into(&mut filters().configured);
    let _ = APPLY.set(apply);
}

/// Takes the filter of a configuration that was read again. A filter for some minutes stays until its end.
pub(super) fn configure(directives: &str) -> Result<(), String> {
    let mut filters = filters();
    let next = parsed(directives)?;
    if filters.for_now.is_none() {
        apply(next)?;
    }
    directives.clone_into(&mut filters.configured);
    Ok(())
}

/// Returns the configured filter, and the one that holds for some minutes in its place.
pub fn in_force() -> (String, Option<FilterForNow>) {
    let filters = filters();
    (filters.configured.clone(), filters.for_now.clone())
}

/// Fails if a filter would log more of other crates than `info`: their lines may hold bodies, which not everybody
/// who may order a filter may read.
fn refuse_other_crates(directives: &str) -> Result<(), String> {
    let targets: Targets = directives.parse().map_err(|error| {
        format!("filter \"{directives}\": {error}; write it as in \"hookweir=debug,info\"")
    })?;
    let ours = |target: &str| target == "hookweir" || target.starts_with("hookweir::");
    let everywhere = targets.default_level().map(|level| (String::new(), level));
    let named = targets
        .iter()
        .map(|(target, level)| (target.to_owned(), level));
    let refused = named
        .chain(everywhere)
        .find(|(target, level)| !ours(target) && *level > LevelFilter::INFO);
    match refused {
        None => Ok(()),
        Some((target, level)) => Err(format!(
            "filter \"{directives}\": {}{level} would log bodies of events; give {level} to hookweir or its modules only, or set log.filter and reload",
            if target.is_empty() {
                target
            } else {
                target + "="
            }
        )),
    }
}

/// Puts a filter in force for a time, in place of one that holds for some minutes already. A thread brings
/// back the configured one.
pub fn filter_for(directives: &str, time: Duration) -> Result<(), String> {
    refuse_other_crates(directives)?;
    let next = parsed(directives)?;
    let until = Instant::now() + time;
    let mut filters = filters();
    let order = filters.orders + 1;
    // Without the thread, the filter would stay. It waits for the lock.
    let thread = std::thread::Builder::new().name("log-filter".into());
    thread
        .spawn(move || end_at(order, until))
        .map_err(|error| format!("cannot start the thread that brings the filter back: {error}"))?;
    apply(next)?;
    filters.orders = order;
    filters.for_now = Some(FilterForNow {
        filter: directives.to_owned(),
        until,
    });
    ENDED.notify_all();
    Ok(())
}

/// Brings back the configured filter. Returns `false` if it is in force.
pub fn end_now() -> Result<bool, String> {
    let mut filters = filters();
    let was = filters.for_now.take().is_some();
    ENDED.notify_all();
    if was {
        apply(parsed(&filters.configured)?)?;
    }
    Ok(was)
}

/// Waits for the end of an order, and brings back the configured filter.
fn end_at(order: u64, until: Instant) {
    let mut filters = filters();
    loop {
        if filters.orders != order || filters.for_now.is_none() {
            return;
        }
        let left = until.saturating_duration_since(Instant::now());
        if left.is_zero() {
            break;
        }
        let waited = ENDED.wait_timeout(filters, left);
        filters = waited.unwrap_or_else(PoisonError::into_inner).0;
    }
    filters.for_now = None;
    let back = parsed(&filters.configured).and_then(apply);
    drop(filters);
    match back {
        Ok(()) => tracing::info!("the log filter is that of the configuration again"),
        Err(error) => tracing::warn!(
            "the log filter of the configuration is not in force again: {error}; deliveries go on. Reload the configuration"
        ),
    }
}

fn filters() -> MutexGuard<'static, Filters> {
    FILTERS.lock().unwrap_or_else(PoisonError::into_inner)
}

fn apply(filter: EnvFilter) -> Result<(), String> {
    APPLY.get().map_or(Ok(()), |apply| apply(filter))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_filter_for_some_time_goes_back_by_itself_and_outlives_a_reload() {
        let shown = || in_force().1.map(|now| now.filter);
        configure("info").expect("a filter");
        filter_for("hookweir=debug,info", Duration::from_secs(600)).expect("a filter");
        configure("warn").expect("a filter");
        assert_eq!(shown().as_deref(), Some("hookweir=debug,info"));
        // Another order takes its place, and its own thread ends it.
        filter_for("hookweir=trace", Duration::from_millis(20)).expect("a filter");
        while shown().is_some() {
            assert_eq!(shown().unwrap_or("hookweir=trace".into()), "hookweir=trace");
            std::thread::yield_now();
        }
        assert_eq!(in_force().0, "warn");
        filter_for("hookweir=[", Duration::from_secs(600)).expect_err("no filter");
        assert_eq!(shown(), None, "a mistake changes nothing");
        for bodies in [
            "debug",
            "hookweir=debug,lapin=trace",
            "hookweirs=debug",
            "lapin",
        ] {
            filter_for(bodies, Duration::from_secs(600)).expect_err(bodies);
            assert_eq!(shown(), None, "{bodies}");
        }
        filter_for("hookweir::publish=debug,warn", Duration::from_secs(600)).expect("a filter");
        assert_eq!(end_now(), Ok(true));
        assert_eq!((shown(), end_now()), (None, Ok(false)));
    }
}
