//! `hookweir check` and `hookweir migrate`.

use super::{Failure, disks, say, sinks};
use crate::app::MemoryBound;
use crate::config::Config;
use crate::config::model::Source;
use crate::http;
use crate::{publish, store};
use hookweir_signatures::Scheme;

#[derive(Debug, clap::Args)]
pub(super) struct Options {
    /// Checks the configuration only, and shows what its bound on memory is made of.
    #[arg(long)]
    offline: bool,
    /// Takes a secret that cannot be read here for a mistake, as `serve` does; otherwise it is not tried.
    #[arg(long)]
    pub(super) strict: bool,
}

/// Findings of a check in sentences, or the reason for which the part cannot be used.
type Found = Result<Vec<String>, String>;

pub(super) fn run(config: &Config, options: &Options) -> Result<(), Failure> {
    for warning in &config.warnings {
        say::warning(warning);
    }
    let sources = match config.sources.len() {
        0 => "no source: on loopback, `serve` adds one to try".to_owned(),
        1 => "1 source".to_owned(),
        count => format!("{count} sources"),
    };
    say::out(format_args!("configuration  sound, {sources}"));
    for untried in &config.untried {
        say::out(format_args!(
            "not tried      {untried}; `serve` does not start without it"
        ));
    }
    for source in &config.sources {
        // Loading has compiled the scheme before, so this succeeds.
        if let Ok(scheme) = Scheme::compile(&source.spec(), config.limits.max_events_per_request) {
            describe(source, &scheme);
        }
    }
    let (limit, too_few) = http::check_descriptors(config);
    say::out(format_args!("descriptors    {limit}"));
    too_few.iter().for_each(say::warning);
    if let Some(disks) = disks::describe(config) {
        say::out(format_args!("disks          {disks}"));
    }
    let refusals = disks::refusals(config);
    if !refusals.is_empty() {
        return Err(Failure::Config(refusals));
    }
    if options.offline {
        say::out(format_args!(
            "memory, at most:\n{}",
            MemoryBound::of(config)
        ));
        return Ok(());
    }
    reach(config)
}

/// Prints the scheme of a source, and the deliveries that count as duplicates.
fn describe(source: &Source, scheme: &Scheme) {
    say::out(format_args!(
        "source         {}: {}",
        source.name,
        scheme.describe()
    ));
    say::out(format_args!(
        "               a duplicate there: {}",
        scheme.facts().duplicates
    ));
    if let Some(window) = source.window {
        let hours = window.as_secs() / 3600;
        say::out(format_args!(
            "               window_days holds for it: {hours} h in place of any time named above"
        ));
    }
    if let Some(span) = source.drop_same_bytes() {
        say::out(format_args!(
            "               same_bytes = \"drop\": what has the bytes of another event of the last {} s is answered as a duplicate and never \
             published, also if it is an event of its own (a member added, removed, added again)",
            span.as_secs()
        ));
    }
}

/// Tries the database, the queue and the spool, all of them, so that one run tells all.
fn reach(config: &Config) -> Result<(), Failure> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build();
    let runtime = runtime.map_err(|error| Failure::Internal(format!("no runtime: {error}")))?;
    let tried = try_all(config, &runtime);
    let store_is_fit = tried
        .iter()
        .any(|(key, _, found)| key == "store.url" && found.is_ok());
    for warning in disks::warnings(config) {
        say::warning(&warning);
    }
    let mut out_of_reach = Vec::new();
    for (key, place, result) in tried {
        let option = key.rsplit_once('.').map_or("", |(option, _)| option);
        match result {
            Ok(found) => found
                .iter()
                .for_each(|sentence| say::out(format_args!("{option:<14} {sentence}"))),
            Err(error) => {
                say::out(format_args!("{option:<14} FAILED, {place}: {error}"));
                out_of_reach.push(key);
            }
        }
    }
    if store_is_fit {
        for (sink, line) in sinks::waiting(config) {
            say::out(format_args!("{:<14} {line}", format!("sink {sink}")));
        }
    }
    if out_of_reach.is_empty() {
        return Ok(());
    }
    let options = out_of_reach.join(" and ");
    Err(Failure::Unreachable(format!(
        "what {options} names cannot be used; mend it there, or set another and check again"
    )))
}

/// Returns the option, the place and the findings of each part that can be tried here.
fn try_all(config: &Config, runtime: &tokio::runtime::Runtime) -> Vec<(String, String, Found)> {
    let is_here = |key: &str| {
        let mut untried = config.untried.iter();
        !untried.any(|untried| untried.key.as_deref() == Some(key))
    };
    let mut tried: Vec<(String, String, Found)> = Vec::new();
    if is_here("store.url") {
        let found = store::check(&config.store).map_err(|error| error.to_string());
        tried.push(("store.url".to_owned(), config.store.url.to_string(), found));
    }
    for sink in &config.sinks {
        let key = sink.key("url");
        if is_here(&key) {
            let found = runtime
                .block_on(publish::check(sink, &config.sources))
                .map_err(|error| error.to_string());
            tried.push((key, sink.url.to_string(), found));
        }
    }
    if let Some(path) = &config.spool.path {
        tried.push((
            "spool.path".to_owned(),
            path.display().to_string(),
            disks::spool(config, path).map(|found| vec![found]),
        ));
    }
    tried
}

/// Applies the migrations that are missing.
pub(super) fn migrate(config: &Config) -> Result<(), Failure> {
    let applied = store::migrate(&config.store)
        .map_err(|error| Failure::Unreachable(format!("{}: {error}", config.store.url)))?;
    if applied.is_empty() {
        say::out(format_args!(
            "{}: the schema is up to date",
            config.store.url
        ));
    }
    for name in applied {
        say::out(format_args!("{}: applied {name}", config.store.url));
    }
    Ok(())
}
