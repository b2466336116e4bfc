//! Entries for journald, with their priority and their fields (systemd.io/JOURNAL_NATIVE_PROTOCOL).
//! tracing-journald would send them on the thread that logs, which waits while journald stands
//! still; here they are made there and sent by the log's own thread.

use std::fmt::{Debug, Write as _};
use std::path::Path;

use tracing::field::{Field, Visit};
use tracing::{Event, Level, Subscriber};
use tracing_log::NormalizeEvent;
use tracing_subscriber::Layer;
use tracing_subscriber::layer::Context;

use super::log_queue::{Line, Queue};
use super::logs::priority;

/// Socket of journald.
pub(super) const SOCKET: &str = "/run/systemd/journal/socket";
/// Longest value of a field, in bytes: a datagram has to fit a socket's buffer.
const LONGEST_VALUE: usize = 32 << 10;
/// Fields that mean something else to journald.
const RESERVED: &[&str] = &[
    "MESSAGE",
    "MESSAGE_ID",
    "PRIORITY",
    "ERRNO",
    "INVOCATION_ID",
    "USER_INVOCATION_ID",
    "DOCUMENTATION",
    "TID",
    "UNIT",
    "USER_UNIT",
];
const RESERVED_GROUPS: &[&str] = &["CODE_", "SYSLOG_", "COREDUMP_", "OBJECT_"];

/// True if standard error goes to a journal: JOURNAL_STREAM names its device and inode.
pub(super) fn reads_stderr(named: Option<&str>, device_and_inode: Option<(u64, u64)>) -> bool {
    let named = named.and_then(|named| {
        let (device, inode) = named.split_once(':')?;
        Some((device.parse().ok()?, inode.parse().ok()?))
    });
    named.is_some() && named == device_and_inode
}

/// True if there is a socket of journald.
pub(super) fn is_there() -> bool {
    Path::new(SOCKET).exists()
}

/// One entry.
#[derive(Debug)]
pub(super) struct Entry {
    datagram: Vec<u8>,
    /// The fields as they stand behind the message, since that is all that `journalctl` shows
    /// unless asked for more.
    shown: String,
}

impl Entry {
    pub(super) fn new(level: Level, target: &str) -> Self {
        let mut entry = Self {
            datagram: Vec::with_capacity(512),
            shown: String::new(),
        };
        put(
            &mut entry.datagram,
            "PRIORITY",
            &priority(level).to_string(),
        );
        put(&mut entry.datagram, "SYSLOG_IDENTIFIER", "hookweir");
        put(&mut entry.datagram, "TARGET", target);
        entry
    }

    /// Adds a field.
    pub(super) fn field(&mut self, name: &str, value: &str) {
        put(&mut self.datagram, &field_name(name), value);
        if !value.is_empty() && self.shown.len() < LONGEST_VALUE {
            let plain = value
                .bytes()
                .all(|byte| byte.is_ascii_graphic() && byte != b'"');
            // Writing to a string cannot fail.
            let _ = if plain {
                write!(self.shown, " {name}={value}")
            } else {
                write!(self.shown, " {name}={value:?}")
            };
        }
    }

    /// The datagram, once its message is known.
    pub(super) fn finish(mut self, message: &str) -> Vec<u8> {
        put(
            &mut self.datagram,
            "MESSAGE",
            &format!("{message}{}", self.shown),
        );
        self.datagram
    }
}

/// A name as journald takes it: upper case, digits and "_", neither of the latter first, 64 bytes
/// at most.
fn field_name(name: &str) -> String {
    let name: String = name
        .chars()
        .map(|c| {
            if c.is_ascii_alphanumeric() {
                c.to_ascii_uppercase()
            } else {
                '_'
            }
        })
        .collect();
    let reserved = RESERVED.contains(&name.as_str())
        || RESERVED_GROUPS.iter().any(|group| name.starts_with(group));
    let first_is_letter = name.starts_with(|c: char| c.is_ascii_uppercase());
    let mut name = if reserved || !first_is_letter {
        format!("HOOKWEIR_{name}")
    } else {
        name
    };
    name.truncate(64);
    name
}

/// Adds a field. A value with a newline has its length in front.
fn put(datagram: &mut Vec<u8>, name: &str, value: &str) {
    let value = &value[..value.floor_char_boundary(LONGEST_VALUE)];
    datagram.extend_from_slice(name.as_bytes());
    if value.contains('\n') {
        datagram.push(b'\n');
        datagram.extend_from_slice(&(value.len() as u64).to_le_bytes());
    } else {
        datagram.push(b'=');
    }
    datagram.extend_from_slice(value.as_bytes());
    datagram.push(b'\n');
}

/// Makes entries of events.
pub(super) struct JournalLayer(pub(super) Queue);

impl<S: Subscriber> Layer<S> for JournalLayer {
    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        // Of what comes by way of the crate `log`, its own target and place.
        let normalized = event.normalized_metadata();
        let metadata = normalized.as_ref().unwrap_or_else(|| event.metadata());
        let mut fields = Fields {
            entry: Entry::new(*metadata.level(), metadata.target()),
            message: String::new(),
        };
        event.record(&mut fields);
        if let (Some(file), Some(line)) = (metadata.file(), metadata.line()) {
            put(&mut fields.entry.datagram, "CODE_FILE", file);
            put(&mut fields.entry.datagram, "CODE_LINE", &line.to_string());
        }
        self.0
            .offer(Line::Entry(fields.entry.finish(&fields.message)));
    }
}

struct Fields {
    entry: Entry,
    message: String,
}

impl Visit for Fields {
    fn record_str(&mut self, field: &Field, value: &str) {
        if field.name() == "message" {
            value.clone_into(&mut self.message);
        } else if !field.name().starts_with("log.") {
            self.entry.field(field.name(), value);
        }
    }

    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        self.record_str(field, &format!("{value:?}"));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_entry_has_its_priority_and_its_fields_and_no_field_of_journalds_own_is_set() {
        let mut entry = Entry::new(Level::WARN, "hookweir::domain::delivery");
        for (name, value) in [
            ("source", "gh"),
            ("message_id", "m"),
            ("_pid", "1"),
            ("code_line", "1"),
            ("error", "a\nb"),
        ] {
            entry.field(name, value);
        }
        let datagram = entry.finish("delivery shed");
        let text = String::from_utf8_lossy(&datagram);
        for part in [
            "PRIORITY=4\n",
            "SOURCE=gh\n",
            "HOOKWEIR_MESSAGE_ID=m\n",
            "HOOKWEIR__PID=1\n",
            "HOOKWEIR_CODE_LINE=1\n",
        ] {
            assert!(text.contains(part), "{text:?} has no {part:?}");
        }
        assert!(
            text.contains("ERROR\n\u{3}\0\0\0\0\0\0\0a\nb\n"),
            "{text:?}"
        );
        assert!(
            text.ends_with(
                "MESSAGE=delivery shed source=gh message_id=m _pid=1 code_line=1 error=\"a\\nb\"\n"
            ),
            "{text:?}"
        );
    }

    #[test]
    fn a_journal_is_known_by_the_file_that_standard_error_is() {
        assert!(reads_stderr(Some("8:17"), Some((8, 17))));
        for (named, is) in [
            (None, Some((8, 17))),
            (Some("8:17"), None),
            (Some("8:18"), Some((8, 17))),
            (Some("x"), None),
        ] {
            assert!(!reads_stderr(named, is), "{named:?} {is:?}");
        }
    }

    #[test]
    fn the_longest_value_fits_a_datagram() {
        let mut entry = Entry::new(Level::INFO, "t");
        entry.field("error", &"é".repeat(LONGEST_VALUE));
        assert!(entry.finish(&"m".repeat(1 << 20)).len() < 128 << 10);
    }
}
