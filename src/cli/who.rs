//! Source of a command: a configured one, or a provider and a secret given on the command line.

use clap::Args;

use super::Failure;
use crate::app::{self, demo};
use crate::config::model::{Config, Source};
use crate::config::{ConfigError, Inputs};

#[derive(Debug, Args)]
pub(super) struct Who {
    /// Configured source; may be left out where there is only one.
    #[arg(long, value_name = "NAME", conflicts_with = "provider")]
    source: Option<String>,
    /// A provider, without a configured source.
    #[arg(long, value_name = "NAME")]
    pub(super) provider: Option<String>,
    /// Its secret: env:NAME, file:PATH, credential:NAME or plain:TEXT.
    #[arg(long, value_name = "REFERENCE", requires = "provider")]
    secret: Option<String>,
}

impl Who {
    /// Returns the source and its configuration.
    pub(super) fn find(
        &self,
        load: impl Fn() -> Result<Config, Failure>,
    ) -> Result<(Config, Source), Failure> {
        let mut config = match &self.provider {
            Some(provider) => self.without_configuration(provider)?,
            None => load()?,
        };
        if let (Some(name), []) = (&self.source, config.sources.as_slice())
            && name != "demo"
        {
            let next = "configure it in the file given with --config, or name a --provider and its --secret";
            return Err(Failure::Usage(format!(
                "no source \"{}\" is configured, nor any other: {next}",
                name.escape_debug()
            )));
        }
        demo::add(&mut config, true).map_err(Failure::Usage)?;
        let source = self.choose(&config.sources)?.clone();
        let own = format!("source.{}.", source.name);
        let untried = config
            .untried
            .iter()
            .filter(|why| why.key.as_ref().is_some_and(|key| key.starts_with(&own)));
        let untried: Vec<ConfigError> = untried.cloned().collect();
        if untried.is_empty() {
            Ok((config, source))
        } else {
            Err(Failure::Config(untried))
        }
    }

    /// Returns the named source, or the only one.
    fn choose<'a>(&self, sources: &'a [Source]) -> Result<&'a Source, Failure> {
        let names = || {
            let names: Vec<_> = sources.iter().map(|source| source.name.as_str()).collect();
            names.join(", ")
        };
        match (&self.source, sources) {
            (Some(name), sources) => sources
                .iter()
                .find(|source| source.name.as_str() == name)
                .ok_or_else(|| {
                    Failure::Usage(format!(
                        "no source \"{}\" is configured; there is {}",
                        name.escape_debug(),
                        names()
                    ))
                }),
            (None, [only]) => Ok(only),
            (None, _) => Err(Failure::Usage(format!(
                "several sources are configured: choose one of {} with --source",
                names()
            ))),
        }
    }

    fn without_configuration(&self, provider: &str) -> Result<Config, Failure> {
        let mut settings = vec![format!("source.command-line.provider={provider}")];
        settings.extend(
            self.secret
                .iter()
                .map(|secret| format!("source.command-line.secrets={secret}")),
        );
        let mut inputs = Inputs::of_process(None, settings);
        // What is set for a service on this machine has no say here; secrets may still refer to any variable.
        inputs
            .environment
            .retain(|name, _| !name.starts_with("HOOKWEIR__"));
        app::load(&inputs).map_err(|mistakes: Vec<ConfigError>| {
            let mistakes: Vec<String> = mistakes
                .iter()
                .map(|mistake| mistake.problem.to_string())
                .collect();
            Failure::Usage(format!("--provider, --secret: {}", mistakes.join("; ")))
        })
    }
}
