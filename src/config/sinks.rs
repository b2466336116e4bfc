//! Reading of `[[sink]]`: the options of `[publisher]`, by their own names.

use std::collections::BTreeMap;

use super::error::{ConfigError, Place, Problem};
use super::layers::NamedTable;
use super::model::{FileSinkOptions, KafkaOptions, Publisher, RabbitmqOptions};
use super::reader::Reader;
use super::report::Report;
use super::secret::Environment;
use super::value::Item;
use crate::domain::sink::{SinkName, Sinks};

/// Start of the keys of a sink's options.
const SECTION: &str = "publisher.";
/// Option that makes `[publisher]` a sink.
const URL: &str = "publisher.url";
/// Filters of `[publisher]`. They are those of its own sink only: a filter that is taken over
/// unseen would keep events from a sink.
const FILTERS: [&str; 2] = ["publisher.event_types", "publisher.except_event_types"];

/// Words on a filter of `[publisher]` that filters nothing.
const NO_SINK: &str = "[publisher] has no url, so it is no sink, and no [[sink]] takes its filters: move them to the [[sink]]";

/// Tables and layers of options from which the sinks are read.
pub(super) struct Origins<'a> {
    /// `[[sink]]` tables.
    pub(super) tables: &'a [NamedTable],
    /// Layers of the other options, the weakest first.
    pub(super) layers: &'a [&'a BTreeMap<String, Item>],
    /// Largest body of a source that names none of its own.
    pub(super) largest_body: usize,
    pub(super) environment: &'a Environment,
}

/// Reads a sink with the options of `[publisher]` that `r` has.
pub(super) fn publisher(
    r: &mut Reader<'_>,
    (name, section): (SinkName, String),
    largest_body: usize,
) -> Publisher {
    let publisher = Publisher::read(r);
    let rabbitmq = RabbitmqOptions::read(r)();
    let kafka = KafkaOptions::read(r)(largest_body);
    publisher(name, section, rabbitmq, kafka, FileSinkOptions::read(r)())
}

/// Returns all sinks: `[publisher]` if it has a URL or is alone, and each `[[sink]]`.
pub(super) fn sinks(
    publisher: Publisher,
    origins: &Origins<'_>,
    report: &mut Report,
) -> Vec<Publisher> {
    let is_written = |report: &Report, key: &str| {
        let place = report.places.get(key);
        place.is_some_and(|place| *place != Place::Default)
    };
    let mut sinks = Vec::new();
    if is_written(report, URL) || origins.tables.is_empty() {
        sinks.push(publisher);
    } else {
        let is_of_a_sink = |key: &str| key == URL || FILTERS.contains(&key);
        report.effective.retain(|option| !is_of_a_sink(&option.key));
        for filter in FILTERS {
            if is_written(report, filter) {
                report.blame(filter, NO_SINK);
            }
        }
    }
    for table in origins.tables {
        sinks.extend(sink(table, origins, report));
    }
    names(&sinks, report);
    sinks
}

/// Notes names that two sinks have, and too many sinks.
fn names(sinks: &[Publisher], report: &mut Report) {
    for (at, sink) in sinks.iter().enumerate() {
        let Some(other) = sinks[..at].iter().find(|other| other.name == sink.name) else {
            continue;
        };
        let problem = format!(
            "[{}] is the sink \"{}\" too; names are unique, since rows of the outbox have them",
            other.section, sink.name
        );
        report.blame(&sink.key("name"), problem);
    }
    if let Some(first) = sinks.get(Sinks::MOST) {
        let problem = format!("there are more than {} sinks", Sinks::MOST);
        report.blame(&first.key("name"), problem);
    }
}

/// Reads one sink. None if it has no usable name.
fn sink(table: &NamedTable, origins: &Origins<'_>, report: &mut Report) -> Option<Publisher> {
    let name = name(table, origins, report)?;
    let section = format!("sink.{name}");
    let mut layers: Vec<BTreeMap<String, Item>> = origins.layers.iter().map(inherited).collect();
    let own = table.entries.iter().filter(|(key, _)| *key != "name");
    let own = own.map(|(key, item)| (format!("{SECTION}{key}"), item.clone()));
    layers.push(own.collect());
    // What [publisher] has is reported there.
    let mut found = Report {
        lenient: report.lenient,
        ..Report::default()
    };
    let layers: Vec<_> = layers.iter().collect();
    let prefix = format!("{section}.");
    let mut r =
        Reader::new(prefix, layers.clone(), origins.environment, &mut found).in_place_of(SECTION);
    let sink = publisher(&mut r, (name, section), origins.largest_body);
    r.finish();
    let own = layers.last().into_iter().flat_map(|own| own.values());
    let own: Vec<&Place> = own.map(|item| &item.place).collect();
    merge(found, report, |place| own.contains(&place));
    Some(sink)
}

/// Returns the options of `[publisher]` that a sink takes.
fn inherited(layer: &&BTreeMap<String, Item>) -> BTreeMap<String, Item> {
    let options = layer.iter();
    options
        .filter(|(key, _)| key.starts_with(SECTION) && *key != URL && !FILTERS.contains(&&***key))
        .map(|(key, item)| (key.clone(), item.clone()))
        .collect()
}

/// Reads the name of a sink, and notes what every sink needs.
fn name(table: &NamedTable, origins: &Origins<'_>, report: &mut Report) -> Option<SinkName> {
    let named = table.entries.iter().filter(|(key, _)| *key == "name");
    let named: BTreeMap<String, Item> = named
        .map(|(key, item)| (key.clone(), item.clone()))
        .collect();
    let prefix = format!("sink.{}.", table.named.as_deref().unwrap_or("?"));
    let mut r = Reader::new(prefix, vec![&named], origins.environment, report);
    let name = r.text("name", |name| SinkName::parse(name).map(drop));
    for (key, example) in [("name", "kafka"), ("url", "kafka://localhost:9092")] {
        if !table.entries.contains_key(key) {
            let message = format!("every [[sink]] needs a {key}, such as {key} = \"{example}\"");
            r.mistake(&table.place, key, Problem::Other(message));
        }
    }
    SinkName::parse(&name?).ok()
}

/// Adds what reading a sink has found to the report, without what was written outside of its table.
fn merge(found: Report, report: &mut Report, is_own: impl Fn(&Place) -> bool) {
    let known = |mistake: &ConfigError, report: &Report| {
        report.mistakes.iter().any(|other| {
            other.place.is_some()
                && other.place == mistake.place
                && other.problem == mistake.problem
        })
    };
    for mistake in found.mistakes {
        if !known(&mistake, report) {
            report.mistakes.push(mistake);
        }
    }
    for warning in found.warnings {
        if !report.warnings.contains(&warning) {
            report.warnings.push(warning);
        }
    }
    report.untried.extend(found.untried);
    let effective = found.effective.into_iter();
    report
        .effective
        .extend(effective.filter(|option| is_own(&option.place)));
    let templates = found.templates.into_iter();
    report
        .templates
        .extend(templates.filter(|(_, place, ..)| is_own(place)));
    report.places.extend(found.places);
}
