//! `hookweir sources`: where providers send to, and what came last.

use super::client::AdminClient;
use super::table::Table;
use super::trace::json;
use crate::cli::{Failure, say};
use crate::config::Config;
use crate::operate::{SourceList, SourceRefusal, SourceView};

#[derive(Debug, clap::Args)]
pub(in crate::cli) struct Options {
    /// One source; all of them if left out.
    #[arg(value_name = "NAME")]
    name: Option<String>,
    /// Print the answer as JSON.
    #[arg(long)]
    json: bool,
}

pub(super) fn run(config: &Config, options: &Options) -> Result<(), Failure> {
    let mut list: SourceList = AdminClient::new(config)?.get("sources", &[])?;
    if let Some(name) = &options.name {
        let known: Vec<String> = list.sources.iter().map(|s| s.source.clone()).collect();
        list.sources.retain(|source| source.source == *name);
        if list.sources.is_empty() {
            return Err(Failure::Usage(format!(
                "the service has no source \"{}\"; it has {}",
                name.escape_debug(),
                known.join(", ")
            )));
        }
    }
    if options.json {
        say::out(json(&list)?);
        return Ok(());
    }
    let mut table = Table::new(&[
        "SOURCE",
        "PROVIDER",
        "LAST ACCEPTED",
        "LAST REFUSED",
        "URL TO ENTER",
    ]);
    list.sources
        .iter()
        .for_each(|source| table.row(cells(source)));
    table.print();
    if options.name.is_some() {
        list.sources.iter().for_each(print_secrets);
    }
    for source in &list.sources {
        if let Some(paused) = &source.paused {
            say::warning(format_args!(
                "{} is paused since {} by {}: its deliveries are answered 503; `hookweir resume source {0}` ends it",
                source.source, paused.at, paused.by
            ));
        }
    }
    list.sources.iter().for_each(warn);
    say::note(format_args!(
        "deliveries to instance {} since its start at {}",
        list.instance, list.started_at
    ));
    Ok(())
}

/// Prints things that an operator should look at.
fn warn(source: &SourceView) {
    for alarm in &source.alarms {
        say::warning(format_args!("{} {alarm}", source.source));
    }
    source.warning.iter().for_each(say::warning);
}

/// Prints the secrets of a source, with the last use of each.
fn print_secrets(source: &SourceView) {
    if source.secrets.is_empty() {
        return;
    }
    let mut table = Table::new(&["SECRET", "STATE", "LAST VERIFIED", "ADVICE"]);
    for of in &source.secrets {
        let state = if of.retiring { "retiring" } else { "current" };
        let last = match &of.last_verified {
            Some(at) => at.clone(),
            None => format!("none since {}", of.known_since),
        };
        let advice = of.advice.clone().unwrap_or_else(|| "-".to_owned());
        table.row([of.secret.clone(), state.to_owned(), last, advice]);
    }
    table.print();
}

fn cells(source: &SourceView) -> [String; 5] {
    let url = match source.url_is_public {
        true => source.url.clone(),
        false => format!("{} (on this machine)", source.url),
    };
    let accepted = source
        .last_accepted
        .as_ref()
        .max(source.last_duplicate.as_ref());
    [
        source.source.clone(),
        source.provider.clone().unwrap_or_else(|| "-".to_owned()),
        accepted.cloned().unwrap_or_else(|| "-".to_owned()),
        refused(source).map_or_else(|| "-".to_owned(), shown),
        url,
    ]
}

/// Returns the last delivery that was not accepted, with 4xx or 503.
fn refused(source: &SourceView) -> Option<&SourceRefusal> {
    let both = [&source.last_refused, &source.last_unavailable];
    let both = both.into_iter().flatten();
    both.max_by(|a, b| a.at.cmp(&b.at))
}

fn shown(refusal: &SourceRefusal) -> String {
    match refusal.detail.as_str() {
        "" => format!("{} {}", refusal.at, refusal.reason),
        detail => format!("{} {}: {detail}", refusal.at, refusal.reason),
    }
}
