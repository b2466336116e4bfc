//! `[publisher]`: options of the file sink.

use std::time::Duration;

use crate::config::define::section;
use crate::config::option::{Bytes, DAY_SECS, FileMode, GIB, OrNone, Secs, Text};
use crate::config::rules;

section! {
    /// File sink only.
    #[derive(Debug)]
    #[derive(Clone)]
    pub struct FileSinkOptions {
        /// Size at which a new file is begun.
        pub max_bytes: u64 = "publisher.file_max_bytes", Bytes(1024..=1024 * GIB), 134217728;
        /// Age at which a new file is begun.
        pub max_age: Duration = "publisher.file_max_age_secs", Secs(1..=366 * DAY_SECS), 3600;
        /// Permissions of the files, in octal. Bodies may hold secrets: "0600" lets only the service's user
        /// read, "0640" the members of file_group, "0644" everybody. The folder must let readers in, too.
        pub mode: u32 = "publisher.file_mode", FileMode, "0600";
        /// Group of the files, as a name or a number; "" is the group of the process. The service's user must
        /// be a member.
        pub group: Option<String> = "publisher.file_group", OrNone(Text("name or number of a group", rules::anything)), "";
    }
}
