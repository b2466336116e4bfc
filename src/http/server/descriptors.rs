//! Number of connections that the limit on file descriptors allows.

use rustix::process::{Resource, getrlimit};

use super::listen::workers;
use crate::config::Config;

/// Descriptors for the rest of the process: files of the store, the spool, the sinks and the log,
/// event loops, and requests to the admin listener. Measured: an idle process holds 51 with SQLite
/// and two HTTP threads.
const RESERVED: usize = 64;
/// Descriptors of the admin API: its socket, event loops and database connections, and the default of
/// `admin.max_connections`. An estimate.
const ADMIN_API: usize = 10 + 16;
/// Descriptors of the event loop of an HTTP thread or a verifier.
const PER_THREAD: usize = 4;
/// Connections to the database besides the writers', to the broker, and to key servers.
const CLIENTS: usize = 16;
/// Least number of connections.
const FEWEST: usize = 16;

/// Returns the number of ingest connections that fit: `max_connections`, or fewer if the limit on
/// descriptors is too low.
pub(super) fn connections(max_connections: usize, verifiers: usize, threads: usize) -> usize {
    // No limit counts as the largest one.
    let limit = getrlimit(Resource::Nofile)
        .current
        .map_or(usize::MAX, |limit| {
            usize::try_from(limit).unwrap_or(usize::MAX)
        });
    let fit = fit(max_connections, limit, verifiers, threads);
    if fit < max_connections {
        tracing::warn!(
            limit,
            fit,
            max_connections,
            "the process may open {limit} files, which is room for {fit} connections and not for server.max_connections = {max_connections}; \
             raise the limit (LimitNOFILE= of a systemd unit, ulimit -n), or lower server.max_connections"
        );
    }
    fit
}

fn reserved(verifiers: usize, threads: usize) -> usize {
    RESERVED + ADMIN_API + CLIENTS + verifiers + threads * PER_THREAD
}

/// Returns the number of descriptors that all connections of `config` and the rest of the process
/// take.
fn descriptors_needed(config: &Config) -> usize {
    config.server.max_connections
        + reserved(
            config.verifier.threads() + 1,
            workers(config.server.workers),
        )
}

/// Returns a sentence for `hookweir check`, and what is wrong if the hard limit is less than the
/// configuration asks for.
pub fn check(config: &Config) -> (String, Option<String>) {
    let needed = descriptors_needed(config) as u64;
    let Some(limit) = getrlimit(Resource::Nofile).maximum else {
        return (
            format!("any number may be open, {needed} are needed at most"),
            None,
        );
    };
    let too_few = (limit < needed).then(|| {
        format!(
            "{limit} file descriptors may be open, and server.max_connections = {} asks for {needed}; raise the hard limit \
             (LimitNOFILE= of a systemd unit, ulimit -Hn), or lower server.max_connections",
            config.server.max_connections
        )
    });
    (
        format!("{limit} may be open, {needed} are needed at most"),
        too_few,
    )
}

fn fit(wanted: usize, limit: usize, verifiers: usize, threads: usize) -> usize {
    let reserved = reserved(verifiers, threads).min(limit / 4 * 3);
    wanted
        .min(limit.saturating_sub(reserved))
        .max(FEWEST.min(wanted))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn some_descriptors_are_kept_back() {
        assert_eq!(fit(4096, 1_048_576, 2, 3), 4096);
        assert_eq!(fit(4096, 1024, 2, 3), 1024 - 120);
        assert_eq!(
            fit(4096, 128, 2, 3),
            32,
            "a narrow limit leaves a quarter at least"
        );
        assert_eq!(fit(4096, 40, 2, 3), 16);
        assert_eq!(fit(8, 40, 2, 3), 8);
    }
}
