//! How many connections the process has descriptors for.

use rustix::process::{Resource, getrlimit};

use super::listen::workers;
use crate::config::{Config, model};

/// Descriptors that are kept back for the rest of the process: measured, an idle one holds 51 with SQLite and two HTTP threads. Files of the
/// store, the spool, the sink and the log, event loops, and requests to the admin listener are in it.
const RESERVED: usize = 64;
/// Each HTTP thread and each verifier has an event loop.
const PER_THREAD: usize = 4;
/// Connections to the database besides the writers', to the broker, and of what is fetched.
const CLIENTS: usize = 16;
/// So many connections are taken in any case.
const FEWEST: usize = 16;

/// Returns how many connections of the ingest listener fit: `server.max_connections`, or what the limit on descriptors leaves of it.
pub(super) fn connections(config: &model::Server, writers: usize, threads: usize) -> usize {
    // A limit that is none is larger than any bound of ours.
    let limit = getrlimit(Resource::Nofile)
        .current
        .map_or(usize::MAX, |limit| {
            usize::try_from(limit).unwrap_or(usize::MAX)
        });
    let fit = fit(config.max_connections, limit, writers, threads);
    if fit < config.max_connections {
        tracing::warn!(
            limit,
            fit,
            max_connections = config.max_connections,
            "the process may open {limit} files, which is room for {fit} connections and not for server.max_connections = {}; raise the limit \
             (LimitNOFILE= of a systemd unit, ulimit -n), or lower server.max_connections",
            config.max_connections
        );
    }
    fit
}

fn reserved(writers: usize, threads: usize) -> usize {
    RESERVED + CLIENTS + writers + threads * PER_THREAD
}

/// Returns the number of descriptors that all connections of `config` and the rest of the process take.
pub fn descriptors_needed(config: &Config) -> usize {
    config.server.max_connections
        + reserved(
            config.verifier.threads() + 1,
            workers(config.server.workers),
        )
}

fn fit(wanted: usize, limit: usize, writers: usize, threads: usize) -> usize {
    let reserved = reserved(writers, threads).min(limit / 4 * 3);
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
        assert_eq!(fit(4096, 1024, 2, 3), 1024 - 94);
        assert_eq!(
            fit(4096, 128, 2, 3),
            34,
            "a narrow limit leaves a quarter at least"
        );
        assert_eq!(fit(4096, 40, 2, 3), 16);
        assert_eq!(fit(8, 40, 2, 3), 8);
    }
}
