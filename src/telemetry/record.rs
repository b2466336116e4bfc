//! Lines that do not come by way of `tracing`: a panic's, the number of lost lines, what `say`
//! notes. Making them takes no lock and cannot panic.

use std::time::SystemTime;

use tracing::Level;

use super::journal;
use super::log_queue::Line;
use super::logs::priority;

/// Format of log lines.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Shape {
    /// Text for a terminal.
    Pretty,
    /// One JSON object per line.
    Json,
    /// Entries of journald, by its own socket.
    Journal,
}

/// One line's content.
#[derive(Debug)]
pub(super) struct Record<'a> {
    level: Level,
    target: &'a str,
    message: &'a str,
    fields: Vec<(&'static str, String)>,
}

impl<'a> Record<'a> {
    pub(super) fn new(level: Level, target: &'a str, message: &'a str) -> Self {
        Self {
            level,
            target,
            message,
            fields: Vec::new(),
        }
    }

    /// With one field more, unless it is empty.
    pub(super) fn with(mut self, name: &'static str, value: &str) -> Self {
        if !value.is_empty() {
            self.fields.push((name, value.to_owned()));
        }
        self
    }
}

impl Shape {
    /// The line of a record.
    pub(super) fn line(self, record: &Record<'_>) -> Line {
        // A clock beyond the year 9999 is no reason to panic.
        let now = jiff::Timestamp::try_from(SystemTime::now()).unwrap_or_default();
        match self {
            Self::Pretty => {
                let mut text = format!(
                    "{}{now:.6} {:>5} {}: {}",
                    prefix(record.level),
                    record.level,
                    record.target,
                    record.message
                );
                record
                    .fields
                    .iter()
                    .for_each(|(name, value)| text.push_str(&format!(" {name}={value:?}")));
                text.push('\n');
                Line::Text(text.into_bytes())
            }
            Self::Json => {
                let mut object = serde_json::Map::new();
                object.insert("timestamp".into(), format!("{now:.6}").into());
                object.insert("level".into(), record.level.as_str().into());
                object.insert("message".into(), record.message.into());
                record.fields.iter().for_each(|(name, value)| {
                    object.insert((*name).into(), value.as_str().into());
                });
                object.insert("target".into(), record.target.into());
                Line::Text(
                    format!(
                        "{}{}\n",
                        prefix(record.level),
                        serde_json::Value::Object(object)
                    )
                    .into_bytes(),
                )
            }
            Self::Journal => {
                let mut entry = journal::Entry::new(record.level, record.target);
                record
                    .fields
                    .iter()
                    .for_each(|(name, value)| entry.field(name, value));
                Line::Entry(entry.finish(record.message))
            }
        }
    }

    /// Returns a line with this text as it is.
    pub(super) fn note(self, text: &str) -> Line {
        match self {
            Self::Pretty | Self::Json => Line::Text(format!("{text}\n").into_bytes()),
            Self::Journal => Line::Entry(journal::Entry::new(Level::INFO, "hookweir").finish(text)),
        }
    }
}

/// The priority before a line, if a journal reads standard error.
fn prefix(level: Level) -> String {
    if super::logs::has_prefix() {
        format!("<{}>", priority(level))
    } else {
        String::new()
    }
}
