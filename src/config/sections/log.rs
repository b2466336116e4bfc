//! `[log]`

use crate::config::define::{section, words};
use crate::config::option::{Text, one_of};
use crate::config::rules;

section! {
    /// Log lines on standard error. Logging never waits: if the reader is slow, lines are dropped and counted
    /// (hookweir_log_lines_dropped_total).
    #[derive(Debug)]
    #[derive(Clone)]
    pub struct Log {
        /// "journal" sends entries with priority and fields to systemd's journal (journalctl -p warning -u
        /// hookweir, journalctl SOURCE=stripe); without its socket, JSON with "<4>" in front. "auto" is
        /// "journal" if standard error goes there, "pretty" on a terminal, and "json" otherwise.
        pub format: LogFormat = "log.format", one_of::<LogFormat>(), "auto";
        /// Levels as in RUST_LOG: "info", "hookweir=debug,info".
        pub filter: String = "log.filter", Text("directives as in `RUST_LOG`", rules::log_filter), "info";
        /// Deliveries that get a line: "all", "problems" (all but accepted, duplicates and challenges) or
        /// "none". "auto" is "all" while the demo source is in use, and "problems" otherwise. "all" lowers
        /// throughput.
        pub deliveries: LogDeliveries = "log.deliveries", one_of::<LogDeliveries>(), "auto";
    }
}

words! {
    /// Form of log lines.
    pub enum LogFormat {
        /// As standard error suggests.
        Auto = "auto",
        /// For a terminal.
        Pretty = "pretty",
        /// One JSON object per line.
        Json = "json",
        /// Entries of systemd's journal.
        Journal = "journal",
    }
}

words! {
    /// Deliveries that get a log line.
    pub enum LogDeliveries {
        /// All with the demo source, otherwise problems.
        Auto = "auto",
        /// All of them.
        All = "all",
        /// All but accepted, duplicates and challenges.
        Problems = "problems",
        /// None of them.
        None = "none",
    }
}
