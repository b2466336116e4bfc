//! Commands of an operator and a data engineer on the table: show, compact, expire, erase, views.

use hookweir_lakehouse::views::Engine;

use super::{Dialect, Options};
use crate::app::demo;
use crate::cli::{Failure, say};
use crate::config::Config;
use crate::lakehouse::tools::{Chosen, Subject, Tools, Unread, backlog, sql};

/// Opens the lakehouse, which must have a table.
pub(super) fn open(config: &Config) -> Result<Tools, Failure> {
    let tools = Tools::open(config).map_err(Failure::Unreachable)?;
    tools.ok_or_else(|| {
        Failure::Unreachable(format!(
            "there is no table in {}: the writer makes it when it starts",
            config.lakehouse.table()
        ))
    })
}

/// Prints the state of the table, and what waits in the sink.
pub(super) fn show(config: &Config) -> Result<(), Failure> {
    let status = open(config)?.status().map_err(Failure::Unreachable)?;
    let time = |millis: Option<i64>| millis.map_or("never".to_owned(), time);
    say::out(format_args!("table        {}", status.location));
    say::out(format_args!("rows         {}", status.rows));
    if let Some((first, last)) = status.days {
        say::out(format_args!("days         {} to {}", day(first), day(last)));
    }
    say::out(format_args!(
        "files        {} ({} below lakehouse.compact_below_bytes), {} bytes",
        status.files, status.small_files, status.bytes
    ));
    say::out(format_args!(
        "versions     {}, {} bytes of metadata",
        status.versions, status.metadata_bytes
    ));
    say::out(format_args!(
        "last commit  {}",
        time(status.last_commit.map(|at| at.0))
    ));
    say::out(format_args!(
        "newest event {}",
        time(status.newest.map(|at| at.0))
    ));
    if status.has_deletes {
        say::warning("another engine deleted rows by delete files: rows are counted without them");
    }
    match backlog(config) {
        Ok(Unread::Bytes(bytes)) => say::out(format_args!(
            "waiting      {bytes} bytes of the file sink's folder"
        )),
        Ok(Unread::Messages(messages)) => say::out(format_args!(
            "waiting      {messages} messages in the queue {}",
            config.lakehouse.queue
        )),
        Ok(Unread::Records(records)) => say::out(format_args!(
            "waiting      {records} records of Kafka for the group {}",
            config.lakehouse.group
        )),
        Err(error) => return Err(Failure::Unreachable(error)),
    }
    Ok(())
}

/// Puts small files together.
pub(super) fn compact(config: &Config) -> Result<(), Failure> {
    let files = open(config)?.compact().map_err(Failure::Unreachable)?;
    say::out(format_args!("{files} small files were put together"));
    Ok(())
}

/// Drops old versions and days.
pub(super) fn expire(config: &Config) -> Result<(), Failure> {
    let done = open(config)?.expire().map_err(Failure::Unreachable)?;
    say::out(format_args!(
        "{} versions dropped, {} files past lakehouse.keep_days dropped, {} files deleted",
        done.expired, done.dropped, done.deleted
    ));
    Ok(())
}

/// Erases rows, and names what remains readable.
pub(super) fn erase(config: &Config, options: &Options) -> Result<(), Failure> {
    let by_name = !options.id.is_empty() || !options.source.is_empty();
    if !by_name && options.subject.is_empty() {
        return Err(Failure::Usage(
            "name the rows to erase: --id MESSAGE_ID, --source NAME, or --subject POINTER=VALUE"
                .to_owned(),
        ));
    }
    if by_name && !options.subject.is_empty() {
        return Err(Failure::Usage(
            "--subject goes with neither --id nor --source: those would erase more rows, and not fewer"
                .to_owned(),
        ));
    }
    let subject = |(pointer, value): &(String, String)| Subject {
        pointer: pointer.clone(),
        value: value.clone(),
    };
    let chosen = Chosen {
        ids: options.id.clone(),
        sources: options.source.clone(),
        subjects: options.subject.iter().map(subject).collect(),
    };
    let erased = open(config)?.erase(&chosen).map_err(Failure::Unreachable)?;
    say::out(format_args!(
        "{} rows erased; {} files that held them are gone, and so are all earlier versions",
        erased.rows, erased.files
    ));
    say::note(format_args!(
        "still readable elsewhere: the store ({}, for store.keep_events_days after publishing), the sink, and \
         backups; a copy that the sink hands out again becomes a row again",
        config.store.url
    ));
    if erased.unsearched > 0 {
        say::warning(format_args!(
            "{} rows have a body that is no JSON, and were not searched: find them with SQL, and erase them by --id",
            erased.unsearched
        ));
    }
    if erased.kept > 0 {
        say::error(format_args!(
            "{} of the files are still on disk: a branch or a tag of another program names them; drop it, and \
             erase again",
            erased.kept
        ));
        return Err(Failure::NotAsExpected);
    }
    Ok(())
}

/// Prints views as SQL.
pub(super) fn views(config: &Config, options: &Options) -> Result<(), Failure> {
    let sources: Vec<&str> = match options.source.as_slice() {
        [] if config.sources.is_empty() => vec![demo::NAME],
        [] => config.sources.iter().map(|s| s.name.as_str()).collect(),
        some => some.iter().map(|name| name.as_str()).collect(),
    };
    let engine = match options.engine {
        Dialect::Duckdb => Engine::DuckDb,
        Dialect::Trino => Engine::Trino,
        Dialect::Spark => Engine::Spark,
    };
    say::out(sql(config, engine, &sources).trim_end());
    Ok(())
}

/// Returns a time as text.
pub(super) fn time(millis: i64) -> String {
    let time = jiff::Timestamp::from_millisecond(millis).unwrap_or_default();
    format!("{time:.3}")
}

fn day(day: i32) -> String {
    time(i64::from(day).saturating_mul(86_400_000))
        .chars()
        .take(10)
        .collect()
}
