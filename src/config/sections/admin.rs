//! `[admin]`

use std::path::PathBuf;
use std::time::Duration;

use crate::config::define::{section, words};
use crate::config::option::{Count, Flag, HostNames, Millis, OrNone, Text, list_of};
use crate::config::rules;
use crate::config::secret::Secret;
use crate::config::tokens::Tokens;

section! {
    /// Admin API: answers `hookweir events`, `show`, `trace` and `sources`. It has connections, threads and
    /// bounds of its own.
    #[derive(Debug)]
    #[derive(Clone)]
    pub struct AdminApi {
        /// Unix socket of the admin API; "" makes none. Its permissions are 0660. Root and the service's
        /// user have all rights there, members of its group those of `group_may`. If the socket cannot be
        /// opened, the log says so, and deliveries are accepted without it.
        pub socket: Option<PathBuf> = "admin.socket", OrNone(Text("path of a socket, up to 107 bytes", rules::socket_path)), "data/admin.sock";
        /// Rights of the socket's group. "look" reads events, traces and sources; "bodies" reads bodies of
        /// events; "operate" changes. No right includes another one.
        pub group_may: Vec<Right> = "admin.group_may", list_of::<Right>(), ["look"];
        /// Tokens for the admin API at server.admin_listen, where nobody gets in without one, on loopback
        /// too. Without tokens the API is on the socket only. Each has a name, which stands in logs and in
        /// the table audit, a secret and rights:
        /// `ann = { secret = "file:/etc/hookweir/ann", may = ["look"] }`.
        pub tokens: Vec<AdminToken> = "admin.tokens", Tokens, {};
        /// Names by which clients may ask the admin API at server.admin_listen, besides localhost,
        /// loopback addresses and the address itself. A request for another name gets 421: a web page
        /// could have made a browser send it (DNS rebinding).
        pub hosts: Vec<String> = "admin.hosts", HostNames, [];
        /// Serves the operator's page at server.admin_listen, under /page. `hookweir page` prints a link that lets
        /// its caller in, with the caller's rights on the socket; a token lets its bearer in. false: no page.
        pub page: bool = "admin.page", Flag, true;
        /// Connections open at once on the socket. When full, new connections wait in the kernel. Callers who
        /// wait for events (wait_ms) take half of them at most.
        pub max_connections: usize = "admin.max_connections", Count(1..=1024), 16;
        /// Questions that are answered at once, each by a database connection of its own; with SQLite they
        /// share one. Lower values leave more of the database to deliveries. reload, top and sources take none.
        pub database_connections: usize = "admin.database_connections", Count(1..=16), 2;
        /// Time to answer a question, and time after which PostgreSQL cancels its statement.
        pub timeout: Duration = "admin.timeout_ms", Millis(100..=60_000), 2000;
    }
}

words! {
    /// Right of a caller of the admin API.
    pub enum Right {
        /// Lists, traces and sources.
        Look = "look",
        /// Bodies of events.
        Bodies = "bodies",
        /// Changes.
        Operate = "operate",
    }
}

impl Right {
    /// All rights.
    pub const ALL: [Self; 3] = [Self::Look, Self::Bodies, Self::Operate];

    /// Returns the word that the configuration has for the right.
    pub fn word(self) -> &'static str {
        match self {
            Self::Look => "look",
            Self::Bodies => "bodies",
            Self::Operate => "operate",
        }
    }
}

/// A token for the admin API.
#[derive(Clone, Debug)]
pub struct AdminToken {
    /// Its name.
    pub name: String,
    /// Its secret.
    pub secret: Secret,
    /// Its rights.
    pub may: Vec<Right>,
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
