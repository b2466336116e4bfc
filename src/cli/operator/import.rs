//! `hookweir import`: events that were fetched by hand.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::fs::File;
use std::io::{BufRead, BufReader, Read};
use std::path::PathBuf;

use serde::Deserialize;
use serde_json::value::RawValue;

use super::client::AdminClient;
use crate::cli::{Failure, say};
use crate::config::Config;
use crate::operate::{ImportOrder, ImportView, ImportedEvent, ImportedHeader, ImportedKey};

/// Events of one request, and bytes of their bodies.
const PAGE_EVENTS: usize = 100;
const PAGE_BYTES: usize = 256 * 1024;
/// Bytes of an event in a request, at most.
const LARGEST_EVENT: usize = 1_000_000;
/// New events of a dry run that are remembered over requests, at most: some 100 MB.
const REMEMBERED: usize = 500_000;
/// Bytes of a line, and of a dump, at most.
const LONGEST_LINE: u64 = 64 << 20;

#[derive(Debug, clap::Args)]
pub(in crate::cli) struct Options {
    /// File with the events; "-" for standard input.
    #[arg(value_name = "FILE")]
    file: PathBuf,
    /// Source of events that name none.
    #[arg(long, value_name = "NAME")]
    source: Option<String>,
    /// Form of the file.
    #[arg(long, value_enum, default_value_t = Form::Lines)]
    form: Form,
    /// Say what would become of each, and store nothing.
    #[arg(long)]
    dry_run: bool,
    /// Reason, for the record.
    #[arg(long, value_name = "TEXT")]
    reason: Option<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum Form {
    /// Lines of JSON: {"source", "body" or "body_base64", "headers", "id", "type", "received_at"}; only the body is needed.
    Lines,
    /// Lines of JSON, each the body of an event. Needs --source.
    Bodies,
    /// A list as a provider's API prints it: {"data": [...]}, or [...], each entry the body of an event. Needs --source.
    Dump,
}

/// A line of the file.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Line {
    source: Option<String>,
    body: Option<String>,
    body_base64: Option<String>,
    #[serde(default)]
    headers: BTreeMap<String, String>,
    id: Option<String>,
    #[serde(rename = "type")]
    event_type: Option<String>,
    received_at: Option<String>,
}

/// Answer of a provider's API.
#[derive(Deserialize)]
struct Dump {
    data: Vec<Box<RawValue>>,
}

/// Events that wait for the next request, and what became of those before.
struct Import<'a> {
    client: AdminClient,
    options: &'a Options,
    source: String,
    page: Vec<ImportedEvent>,
    bytes: usize,
    sum: ImportView,
    refused: u64,
    /// In a dry run: events that would be new, each by the key and the digest of its body.
    would_be_new: HashSet<(String, String)>,
    /// Their keys, each with a line.
    lines_by_key: HashMap<String, u64>,
}

pub(super) fn run(config: &Config, options: &Options) -> Result<(), Failure> {
    if options.form != Form::Lines && options.source.is_none() {
        return Err(Failure::Usage(
            "name the source of the events with --source".into(),
        ));
    }
    let mut import = Import {
        client: AdminClient::new(config)?,
        options,
        source: String::new(),
        page: Vec::new(),
        bytes: 0,
        sum: ImportView::default(),
        refused: 0,
        would_be_new: HashSet::new(),
        lines_by_key: HashMap::new(),
    };
    let done = import.read().and_then(|()| import.send());
    let verb = if options.dry_run {
        "would be new"
    } else {
        "new"
    };
    say::out(format_args!(
        "{} {verb}, {} known, {} known with another body (not imported), {} refused",
        import.sum.new,
        import.sum.known,
        import.sum.other_body.len(),
        import.refused
    ));
    done?;
    match import.refused {
        0 => Ok(()),
        _ => Err(Failure::NotAsExpected),
    }
}

impl Import<'_> {
    fn read(&mut self) -> Result<(), Failure> {
        let file: Box<dyn Read> = if self.options.file.as_os_str() == "-" {
            Box::new(std::io::stdin())
        } else {
            let opened = File::open(&self.options.file);
            Box::new(opened.map_err(|error| self.unreadable(&error))?)
        };
        let mut file = BufReader::new(file);
        if self.options.form == Form::Dump {
            return self.read_dump(&mut file);
        }
        let mut number = 0;
        let mut line = Vec::new();
        loop {
            line.clear();
            let read = (&mut file).take(LONGEST_LINE).read_until(b'\n', &mut line);
            if read.map_err(|error| self.unreadable(&error))? == 0 {
                return Ok(());
            }
            number += 1;
            if line.len() as u64 == LONGEST_LINE && !line.ends_with(b"\n") {
                let rest = file.skip_until(b'\n');
                rest.map_err(|error| self.unreadable(&error))?;
                self.refuse(number, &format!("longer than {LONGEST_LINE} bytes"));
                continue;
            }
            if line.trim_ascii().is_empty() {
                continue;
            }
            match self.event(number, line.trim_ascii()) {
                Ok((source, event)) => self.add(source, event)?,
                Err(why) => self.refuse(number, &why),
            }
        }
    }

    fn read_dump(&mut self, file: &mut impl Read) -> Result<(), Failure> {
        let mut whole = Vec::new();
        let read = file.take(LONGEST_LINE).read_to_end(&mut whole);
        read.map_err(|error| self.unreadable(&error))?;
        let entries = serde_json::from_slice::<Dump>(&whole)
            .map(|dump| dump.data)
            .or_else(|_| serde_json::from_slice::<Vec<Box<RawValue>>>(&whole));
        let entries = entries.map_err(|error| {
            Failure::Usage(format!(
                "{} is no list of events of at most {LONGEST_LINE} bytes ({error}): give {{\"data\": [...]}} or [...], or lines with --form bodies",
                self.options.file.display()
            ))
        })?;
        for (at, entry) in entries.into_iter().enumerate() {
            let event = ImportedEvent {
                line: at as u64 + 1,
                body: Some(entry.get().to_owned()),
                ..ImportedEvent::default()
            };
            self.add(self.options.source.clone().unwrap_or_default(), event)?;
        }
        Ok(())
    }

    /// Returns the event of a line, and its source.
    fn event(&self, number: u64, line: &[u8]) -> Result<(String, ImportedEvent), String> {
        let text = std::str::from_utf8(line).map_err(|error| error.to_string())?;
        let given = self.options.source.clone();
        if self.options.form == Form::Bodies {
            let event = ImportedEvent {
                line: number,
                body: Some(text.to_owned()),
                ..ImportedEvent::default()
            };
            return Ok((given.unwrap_or_default(), event));
        }
        let line: Line = serde_json::from_str(text).map_err(|error| error.to_string())?;
        let source = line.source.or(given);
        let source = source.ok_or("no source: name it in the line, or with --source")?;
        let event = ImportedEvent {
            line: number,
            body: line.body,
            body_base64: line.body_base64,
            headers: line
                .headers
                .into_iter()
                .map(|(name, value)| ImportedHeader { name, value })
                .collect(),
            id: line.id,
            event_type: line.event_type,
            received_at: line.received_at,
        };
        Ok((source, event))
    }

    /// Takes an event into the page. A page has events of one source.
    fn add(&mut self, source: String, event: ImportedEvent) -> Result<(), Failure> {
        let bytes = serde_json::to_string(&event).map_or(0, |text| text.len());
        if bytes > LARGEST_EVENT {
            let why = "more than 1,000,000 bytes as JSON: have its provider send it";
            self.refuse(event.line, why);
            return Ok(());
        }
        let is_full = self.page.len() == PAGE_EVENTS || self.bytes + bytes > PAGE_BYTES;
        if is_full || source != self.source {
            self.send()?;
        }
        self.source = source;
        self.bytes += bytes;
        self.page.push(event);
        Ok(())
    }

    /// Sends the page, until nothing of it is left.
    fn send(&mut self) -> Result<(), Failure> {
        let mut events = std::mem::take(&mut self.page);
        self.bytes = 0;
        while !events.is_empty() {
            let order = ImportOrder {
                source: self.source.clone(),
                events: events.clone(),
                dry_run: self.options.dry_run,
                reason: self.options.reason.clone(),
            };
            let answer: ImportView = self.client.post("import", &order)?;
            self.sum.new += answer.new;
            self.sum.known += answer.known;
            for key in answer.keys {
                self.compare(key);
            }
            for line in answer.other_body {
                say::note(format_args!(
                    "line {line}: known with another body, not imported"
                ));
                self.sum.other_body.push(line);
            }
            for refusal in answer.refused {
                self.refuse(refusal.line, &refusal.why);
            }
            let done = events.len().saturating_sub(answer.left).max(1);
            events.drain(..done.min(events.len()));
        }
        Ok(())
    }

    /// Counts an event of a dry run that is known by an earlier request as what it would be.
    fn compare(&mut self, of: ImportedKey) {
        let body = (of.key, of.digest);
        if self.would_be_new.contains(&body) {
            self.sum.new -= 1;
            self.sum.known += 1;
            return;
        }
        match self.lines_by_key.get(&body.0) {
            Some(first) if !of.takes_other_bodies => {
                let line = of.line;
                say::note(format_args!(
                    "line {line}: the id of line {first} with another body, would not be imported"
                ));
                self.sum.new -= 1;
                self.sum.other_body.push(line);
            }
            _ if self.would_be_new.len() == REMEMBERED => {
                say::warning(format_args!(
                    "more than {REMEMBERED} events would be new: what comes twice after line {} is counted as new",
                    of.line
                ));
                // Once is enough.
                self.would_be_new.insert(body);
            }
            _ if self.would_be_new.len() > REMEMBERED => {}
            _ => {
                self.lines_by_key.entry(body.0.clone()).or_insert(of.line);
                self.would_be_new.insert(body);
            }
        }
    }

    fn refuse(&mut self, line: u64, why: &str) {
        self.refused += 1;
        say::note(format_args!("line {line}: refused: {why}"));
    }

    fn unreadable(&self, error: &std::io::Error) -> Failure {
        Failure::Unreachable(format!("{}: {error}", self.options.file.display()))
    }
}
