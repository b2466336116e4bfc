//! `hookweir lakehouse`: the writer of the lakehouse in a process of its own, and operations on the table.

#[cfg(feature = "lakehouse")]
mod compare;
mod duration;
#[cfg(feature = "lakehouse")]
mod tools;
#[cfg(feature = "lakehouse")]
mod writer;

use self::duration::Age;
use super::Failure;
use crate::config::Config;
use crate::domain::delivery::{MessageId, SourceName};

#[derive(Debug, clap::Args)]
pub(super) struct Options {
    /// Action on the table.
    #[arg(value_enum, default_value_t = Verb::Run)]
    verb: Verb,
    /// compare: age of the oldest events to compare, such as 2d, 12h, 30m or 90s.
    #[arg(long, value_name = "AGE", default_value = "2d")]
    since: Age,
    /// compare: age of the newest events to compare. Younger ones may be on their way.
    #[arg(long, value_name = "AGE", default_value = "1m")]
    until: Age,
    /// erase: id of the message; may be repeated.
    #[arg(long, value_name = "MESSAGE_ID", value_parser = message_id)]
    id: Vec<MessageId>,
    /// erase, views: name of the source; may be repeated. views writes all configured ones if it is left out.
    #[arg(long, value_name = "NAME", value_parser = SourceName::parse)]
    source: Vec<SourceName>,
    /// erase: rows whose JSON body has this value at this JSON pointer, such as /data/customer=cus_1; may be
    /// repeated.
    #[arg(long, value_name = "POINTER=VALUE", value_parser = subject)]
    subject: Vec<(String, String)>,
    /// views: engine that runs the statements.
    #[arg(long, value_enum, default_value_t = Dialect::Duckdb)]
    engine: Dialect,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum Verb {
    /// Bring the events of the sink into the table until stopped.
    Run,
    /// Print the state of the table, and the events that wait in the sink.
    Show,
    /// Compare the accepted events of the store with the rows: missing, extra, by source and hour. Exits 1 on a difference.
    Compare,
    /// Put all small files of each day together.
    Compact,
    /// Drop old versions, and days past lakehouse.keep_days; delete files that nothing names.
    Expire,
    /// Erase rows, with all files and earlier versions that held them.
    Erase,
    /// Print SQL that creates a view for each source.
    Views,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum Dialect {
    Duckdb,
    Trino,
    Spark,
}

fn message_id(text: &str) -> Result<MessageId, String> {
    let id = uuid::Uuid::try_parse(text).map_err(|error| error.to_string())?;
    Ok(MessageId::from_bytes(id.into_bytes()))
}

/// An integer that a 64-bit number does not hold: rounded, it would be equal to that of another subject.
fn is_too_long(value: &str) -> bool {
    let digits = value.strip_prefix('-').unwrap_or(value);
    digits.bytes().all(|byte| byte.is_ascii_digit())
        && serde_json::from_str::<serde_json::Number>(value).is_ok_and(|number| number.is_f64())
}

/// Parses a JSON pointer and a value. Neither is shown in an error.
fn subject(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((pointer, value)) if pointer.starts_with('/') && is_too_long(value) => Err(
            "a number of so many digits cannot be told from others: find the rows with SQL, and erase them by --id"
                .to_owned(),
        ),
        Some((pointer, value)) if pointer.starts_with('/') && !value.is_empty() => {
            Ok((pointer.to_owned(), value.to_owned()))
        }
        _ => Err("expected a JSON pointer and a value, such as /data/customer=cus_1".to_owned()),
    }
}

impl Options {
    /// Returns `true` if the process writes until it is stopped.
    pub(super) fn is_writer(&self) -> bool {
        self.verb == Verb::Run
    }
}

/// Runs the action.
#[cfg(feature = "lakehouse")]
pub(super) fn run(config: &Config, options: &Options) -> Result<(), Failure> {
    // Bodies may be secret: files are for nobody else.
    rustix::process::umask(rustix::fs::Mode::RWXG | rustix::fs::Mode::RWXO);
    match options.verb {
        Verb::Run => writer::run(config),
        Verb::Show => tools::show(config),
        Verb::Compare => compare::run(config, options),
        Verb::Compact => tools::compact(config),
        Verb::Expire => tools::expire(config),
        Verb::Erase => tools::erase(config, options),
        Verb::Views => tools::views(config, options),
    }
}

/// Fails: this build has no lakehouse.
#[cfg(not(feature = "lakehouse"))]
pub(super) fn run(_config: &Config, _options: &Options) -> Result<(), Failure> {
    Err(Failure::Usage(crate::lakehouse::MISSING.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::subject;

    #[test]
    fn a_number_that_would_be_rounded_to_another_subject_is_refused() {
        for sound in ["/id=18446744073709551615", "/id=-5", "/id=1.5", "/id=cus_1"] {
            assert!(subject(sound).is_ok(), "{sound}");
        }
        for wrong in ["/id=18446744073709551616", "/id=", "id=5", "/id"] {
            assert!(subject(wrong).is_err(), "{wrong}");
        }
    }
}
