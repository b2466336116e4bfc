//! The limit of file descriptors. `http` keeps some of it back from connections, and says so if it is too little.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use crate::config::Config;
use crate::http;

/// Raises the soft limit to the hard one. Where that is refused, what there was stays.
pub fn raise() {
    let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
    if current == maximum {
        return;
    }
    if let Err(error) = setrlimit(
        Resource::Nofile,
        Rlimit {
            current: maximum,
            maximum,
        },
    ) {
        let stays = current.unwrap_or(u64::MAX);
        tracing::warn!(%error, stays, "the soft limit of file descriptors cannot be raised to the hard one; it stays at {stays}");
    }
}

/// Returns a sentence for `hookweir check`, and what is wrong if the hard limit is less than the configuration asks for.
pub fn check(config: &Config) -> (String, Option<String>) {
    let needed = http::descriptors_needed(config) as u64;
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
