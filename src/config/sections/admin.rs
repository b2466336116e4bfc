//! `[admin]`

use std::path::PathBuf;
use std::time::Duration;

use crate::config::define::section;
use crate::config::option::{Count, Millis, OrNone, Text};
use crate::config::rules;

section! {
    /// Admin API: answers `hookweir events`, `show`, `trace` and `sources`. It has connections, threads and
    /// bounds of its own.
    #[derive(Debug)]
    #[derive(Clone)]
    pub struct AdminApi {
        /// Unix socket of the admin API; "" turns the API off. Its permissions are 0660: root, the service's
        /// user and the members of its group may look. If the socket cannot be opened, the log says so, and
        /// deliveries are accepted without it.
        pub socket: Option<PathBuf> = "admin.socket", OrNone(Text("path of a socket, up to 107 bytes", rules::socket_path)), "data/admin.sock";
        /// Connections open at once on the socket. When full, new connections wait in the kernel.
        pub max_connections: usize = "admin.max_connections", Count(1..=1024), 16;
        /// Questions that are answered at once, each by a database connection of its own; with SQLite they
        /// share one. Lower values leave more of the database to deliveries.
        pub database_connections: usize = "admin.database_connections", Count(1..=16), 2;
        /// Time to answer a question, and time after which PostgreSQL cancels its statement.
        pub timeout: Duration = "admin.timeout_ms", Millis(100..=60_000), 2000;
    }
}

#[cfg(test)]
mod tests {
    use crate::config::Config;

    #[test]
    fn a_path_that_the_kernel_does_not_take_is_a_mistake_and_none_turns_the_socket_off() {
        let socket = |path: &str| Config::from_toml(&format!("[admin]\nsocket = \"{path}\""));
        let long = format!("/{}", "x".repeat(107));
        let mistakes = socket(&long).expect_err("108 bytes");
        let text = mistakes[0].to_string();
        assert!(text.contains("at most 107 bytes, found 108"), "{text}");
        assert!(socket(&long[1..]).is_ok());
        assert_eq!(socket("").expect("off").admin.socket, None);
    }
}
