//! Configuration: read in layers, checked as a whole, every mistake reported at once with its place.
//!
//! `sections` defines each option once: name, kind, bounds, default and text. The struct, the reader, `config.toml`, the reference
//! page and the completions are made of the definition. Over the defaults are laid the file given with `--config`, the
//! environment (`HOOKWEIR__SERVER__LISTEN`) and `--set server.listen=…`; the last one wins.

pub mod amqp_url;
mod define;
pub mod error;
mod folder;
pub mod kafka_url;
mod layers;
mod libpq;
pub mod model;
mod option;
mod postgres_url;
mod reader;
mod reference;
mod reload;
mod report;
mod rules;
pub mod secret;
mod secret_options;
mod sections;
mod show;
mod sink_kinds;
mod sinks;
mod sources;
mod together;
mod tokens;
mod urls;
mod value;

use std::path::PathBuf;

pub use define::{Description, Section};
pub use error::ConfigError;
use folder::TextFile;
use layers::Layer;
pub use model::Config;
pub use option::TemplateKind;
use reader::Reader;
pub use reference::{page, reference, settings};
pub use reload::ConfigChange;
pub use report::Report;
use secret::Environment;

/// Origins of a configuration, besides its defaults.
#[derive(Debug, Clone, Default)]
pub struct Inputs {
    /// The file given with `--config`.
    pub file: Option<PathBuf>,
    /// All variables; those that begin with `HOOKWEIR__` are options, and secrets may refer to the others.
    pub environment: Environment,
    /// `key=value`, each given with `--set`.
    pub settings: Vec<String>,
    /// True notes a missing secret (a variable that is not set, a file that cannot be read) in
    /// [`Config::untried`]; false makes it a mistake. Tools run without the service's environment.
    pub lenient: bool,
}

impl Inputs {
    /// The environment of this process, with what its command line says.
    pub fn of_process(file: Option<PathBuf>, settings: Vec<String>) -> Self {
        let environment = std::env::vars_os()
            .filter_map(|(name, value)| Some((name.into_string().ok()?, value)))
            .collect();
        Self {
            file,
            environment,
            settings,
            lenient: false,
        }
    }
}

/// A configuration that was read, with the mistakes found so far. Checks that know the stages add theirs before it is finished.
pub struct Draft {
    /// The values; in place of a wrong one stands any.
    pub config: Config,
    /// Mistakes and warnings.
    pub report: Report,
    syntax_errors: usize,
}

impl Draft {
    /// Reads the configuration. Fails if the file cannot be read.
    pub fn read(inputs: &Inputs) -> Result<Self, Vec<ConfigError>> {
        let Some(path) = &inputs.file else {
            return Ok(Self::of(None, inputs));
        };
        let file = TextFile::read(path)?;
        Ok(Self::of_files(Some(&file), &folder::beside(path)?, inputs))
    }

    /// Reads `file`, its name and its text, over the defaults; the file of `inputs` is not read.
    pub fn of(file: Option<(&str, &str)>, inputs: &Inputs) -> Self {
        let file = file.map(|(name, text)| TextFile {
            name: name.to_owned(),
            text: text.to_owned(),
        });
        Self::of_files(file.as_ref(), &[], inputs)
    }

    /// Reads the layers: the defaults, the file with the sources beside it, the environment, the command line.
    fn layers(
        file: Option<&TextFile>,
        beside: &[TextFile],
        inputs: &Inputs,
        report: &mut Report,
    ) -> (Vec<Layer>, usize) {
        let mistakes = &mut report.mistakes;
        let mut layers = vec![Layer::defaults()];
        layers.extend(file.map(|file| Layer::from_toml(&file.name, &file.text, mistakes)));
        layers.extend(beside.iter().map(|file| folder::sources(file, mistakes)));
        let syntax_errors = mistakes.len();
        layers.push(Layer::from_environment(&inputs.environment, mistakes));
        layers.push(Layer::from_command_line(&inputs.settings, mistakes));
        (layers, syntax_errors)
    }

    fn of_files(file: Option<&TextFile>, beside: &[TextFile], inputs: &Inputs) -> Self {
        let mut report = Report {
            lenient: inputs.lenient,
            ..Report::default()
        };
        let (mut layers, syntax_errors) = Self::layers(file, beside, inputs, &mut report);
        let sources = layers.iter_mut().flat_map(|layer| layer.sources.drain(..));
        let tables = layers::merge(sources);
        sources::duplicates(&tables, &mut report);
        let sinks = layers.iter_mut().flat_map(|layer| layer.sinks.drain(..));
        let sinks = layers::merge(sinks);
        let options: Vec<_> = layers.iter().map(|layer| &layer.options).collect();
        let environment = &inputs.environment;
        let mut r = Reader::new(String::new(), options.clone(), environment, &mut report);
        let (mut config, publisher) = Config::sections(&mut r);
        let known = r.finish();
        let origins = sinks::Origins {
            tables: &sinks,
            layers: &options,
            largest_body: config.limits.max_body_bytes,
            environment,
        };
        config.add_sinks(sinks::sinks(publisher, &origins, &mut report));
        report
            .warnings
            .extend(nearly_options(&known, &inputs.environment));
        config.sources = tables
            .iter()
            .filter_map(|table| sources::source(table, &inputs.environment, &mut report))
            .collect();
        config.collect_headers();
        let files = file.into_iter().chain(beside);
        config.files = files.map(|file| file.name.clone()).collect();
        together::check(&config, tables.len(), &mut report);
        Self {
            config,
            report,
            syntax_errors,
        }
    }

    /// Returns the configuration; on failure, all of its mistakes.
    pub fn finish(self) -> Result<Config, Vec<ConfigError>> {
        let Self {
            mut config,
            report,
            syntax_errors,
        } = self;
        if !report.mistakes.is_empty() {
            return Err(without_echoes(report.mistakes, syntax_errors));
        }
        config.warnings = report.warnings;
        config.untried = report.untried;
        config.effective = report.effective;
        config.places = report.places;
        Ok(config)
    }
}

impl Config {
    /// Reads a configuration of `text` over the defaults, with nothing from the environment: for tests. No stage has checked it.
    pub fn from_toml(text: &str) -> Result<Self, Vec<ConfigError>> {
        Draft::of(Some(("config", text)), &Inputs::default()).finish()
    }

    /// Returns a mistake of an option, at its place.
    pub fn option_error(&self, key: &str, message: impl Into<String>) -> ConfigError {
        ConfigError {
            place: self.places.get(key).cloned(),
            key: Some(key.to_owned()),
            problem: error::Problem::Other(message.into()),
        }
    }

    /// Returns a mistake in `key` of a source (`provider`, `secrets[0]`, `scheme.ts`), with the location of
    /// the value. If the value was left out, the location is that of its table or the source's name.
    pub fn source_error(
        &self,
        source: &model::Source,
        key: &str,
        message: impl Into<String>,
    ) -> ConfigError {
        sources::source_error(&self.places, source, key, message.into())
    }
}

/// Variables that look like an option but for the number of underscores, and would be passed over without a word.
fn nearly_options(known: &[&str], environment: &Environment) -> Vec<String> {
    let bare = |name: &str| name.to_ascii_lowercase().replace(['.', '_'], "");
    let stray = environment
        .keys()
        .filter(|name| name.starts_with("HOOKWEIR_") && !name.starts_with("HOOKWEIR__"));
    let meant = stray.filter_map(|name| {
        let option = known
            .iter()
            .find(|option| bare(name).strip_prefix("hookweir") == Some(&bare(option)))?;
        let right = option.replace('.', "__").to_ascii_uppercase();
        Some(format!(
            "the environment variable {name} is not read; did you mean HOOKWEIR__{right}?"
        ))
    });
    meant.collect()
}

/// A line that is not TOML is read as nonsense: of what is said about such a line, only that it is not TOML.
fn without_echoes(mistakes: Vec<ConfigError>, syntax_errors: usize) -> Vec<ConfigError> {
    let line = |error: &ConfigError| match &error.place {
        Some(error::Place::File { file, line, .. }) => Some((file.clone(), *line)),
        _ => None,
    };
    let broken: Vec<_> = mistakes[..syntax_errors].iter().filter_map(line).collect();
    let mut kept: Vec<ConfigError> = Vec::new();
    for (index, mistake) in mistakes.into_iter().enumerate() {
        let echo =
            index >= syntax_errors && line(&mistake).is_some_and(|line| broken.contains(&line));
        if !echo && !kept.contains(&mistake) {
            kept.push(mistake);
        }
    }
    kept.sort_by_key(|mistake| line(mistake).map_or((1, 0), |(_, line)| (0, line)));
    kept
}

#[cfg(test)]
mod tests;
