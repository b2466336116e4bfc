//! Arguments of the command line, and their help.

use std::ffi::OsStr;
use std::path::PathBuf;

use clap::builder::{PossibleValue, StringValueParser, TypedValueParser};
use clap::{Parser, Subcommand};
use clap_complete::Shell;

use super::operator::OperatorCommand;
use super::whole_store::WholeStoreCommand;
use super::{check, lakehouse, learned, operator, parked, send, sinks, verify};
use crate::config::{Inputs, settings};

const EXAMPLES: &str = "\
Examples:
  hookweir                      serve on loopback, with SQLite and files under ./data
  hookweir send --wait          send a signed test event there, and see it arrive
  hookweir check --config /etc/hookweir/config.toml
  hookweir serve --config /etc/hookweir/config.toml --set server.listen=0.0.0.0:8420

Options are set, the last one wins, by: the defaults, the file given with --config, the environment
(HOOKWEIR__SERVER__LISTEN=...), --set. `hookweir config --reference` explains every one of them.

Exit codes: 0 done, 1 an answer was not the expected one, 64 wrong usage, 69 something cannot be
reached, 70 the service failed, 75 it cannot start now (a port in use, a missing disk or folder):
starting again may work, 78 mistakes in the configuration, and nothing else.";

/// Receives webhooks, proves who sent each event, stores it once, answers in milliseconds, and passes it on to a queue.
#[derive(Debug, Parser)]
#[command(name = "hookweir", version, after_help = EXAMPLES, max_term_width = 100)]
pub(super) struct Args {
    #[command(flatten)]
    pub(super) common: Common,
    #[command(subcommand)]
    pub(super) command: Option<Command>,
}

/// Place of the configuration. Part of each command: clap forgets a `--set` before a command if
/// another follows.
#[derive(Clone, Debug, Default, clap::Args)]
pub(super) struct Common {
    /// File with the options that differ from the defaults.
    #[arg(long, value_name = "FILE")]
    pub(super) config: Option<PathBuf>,
    /// Sets one option, such as server.listen=0.0.0.0:8420 or source.NAME.path=x; may be repeated.
    #[arg(long, value_name = "KEY=VALUE", value_parser = Setting, hide_possible_values = true)]
    pub(super) set: Vec<String>,
}

/// A value of `--set`: any text, with the options of the configuration offered to the shell.
#[derive(Clone)]
struct Setting;

impl TypedValueParser for Setting {
    type Value = String;

    fn parse_ref(
        &self,
        command: &clap::Command,
        argument: Option<&clap::Arg>,
        value: &OsStr,
    ) -> Result<String, clap::Error> {
        StringValueParser::new().parse_ref(command, argument, value)
    }

    fn possible_values(&self) -> Option<Box<dyn Iterator<Item = PossibleValue> + '_>> {
        let settings = settings().into_iter();
        Some(Box::new(settings.map(|(setting, help)| {
            PossibleValue::new(setting).help(help)
        })))
    }
}

#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// Receives webhooks until stopped; what `hookweir` alone does.
    ///
    /// Stops on SIGTERM or Ctrl-C: finishes the requests in flight within shutdown.drain_secs. A second
    /// signal changes nothing. SIGHUP reads the configuration again, as `hookweir reload` does. SIGUSR1 and
    /// SIGUSR2 are logged, and end nothing.
    Serve(With<Nothing>),
    /// Checks the configuration, then whether the database and the queue can be reached and used.
    ///
    /// Changes nothing. Exits 78 when the configuration is wrong, with all of its mistakes, and 69 when something cannot be reached.
    Check(With<check::Options>),
    /// Have the running service read its configuration again: sources, secrets, limits, filters of sinks, log filter.
    ///
    /// Asks the running service by its admin API (admin.socket), with the right "operate". The new configuration is checked first: with a mistake
    /// anywhere, the one before goes on, and this exits 78 with file, line and column. Says what has changed, and what needs a restart.
    Reload(With<operator::reload::Options>),
    /// Brings the database's schema up to date.
    ///
    /// `serve` does so itself unless store.migrate = "check". Safe while instances are running.
    Migrate(With<Nothing>),
    #[command(flatten)]
    Store(WholeStoreCommand),
    /// Bring the events of the sink into the table of the lakehouse, each message id once, until stopped; show, compare, compact, erase.
    ///
    /// For a process beside `serve`, with the same configuration. Any number of them may run: each event becomes
    /// one row.
    Lakehouse(With<lakehouse::Options>),
    /// Lists the secrets that providers have handed over to sources with learn_secret = true; shows one, or forgets it.
    Learned(With<learned::Options>),
    /// List, show, retry or discard parked events (dead letters): those that can never be published, or that the database refuses.
    ///
    /// Safe while instances are running. Looks into the store, and into the spool of this machine.
    Parked(With<parked::Options>),
    /// List sinks with what waits for each; move or discard what waits for a sink that is not configured any more.
    ///
    /// Safe while instances are running.
    Sinks(With<sinks::Options>),
    #[command(flatten)]
    Operator(OperatorCommand),
    /// Sends test events, signed as the source's provider would sign them.
    Send(Box<With<send::Options>>),
    /// Says which step of the verification of a captured request fails.
    Verify(With<verify::Options>),
    /// Lists the providers whose signatures are known, or tells all about one of them.
    Providers {
        /// A provider's name, or a part of it.
        name: Option<String>,
    },
    /// Prints the configuration in force, and where each option comes from. Secrets are not shown.
    Config(With<ConfigOptions>),
    /// Prints the completions for a shell.
    ///
    /// For example: hookweir completions bash > /etc/bash_completion.d/hookweir
    Completions {
        /// Which shell.
        shell: Shell,
    },
    /// Writes a manual page for each command into a folder.
    #[command(hide = true)]
    Manual {
        /// An existing folder.
        folder: PathBuf,
    },
}

/// A command's own options, and where the configuration is.
#[derive(Debug, Default, clap::Args)]
pub(super) struct With<T: clap::Args> {
    #[command(flatten)]
    pub(super) common: Common,
    #[command(flatten)]
    pub(super) own: T,
}

/// No options of its own.
#[derive(Debug, Default, clap::Args)]
pub(super) struct Nothing {}

#[derive(Debug, clap::Args)]
pub(super) struct ConfigOptions {
    /// Prints the annotated reference instead: every option, its default, and what it trades.
    #[arg(long)]
    pub(super) reference: bool,
}

impl Common {
    /// The inputs of the configuration: what stands before the command counts as well as what stands behind it.
    pub(super) fn and(mut self, behind: Common) -> Inputs {
        self.set.extend(behind.set);
        Inputs::of_process(behind.config.or(self.config), self.set)
    }
}

#[cfg(test)]
mod tests {
    use std::fmt::Write;

    use clap::CommandFactory;

    use super::*;

    /// The help of all commands as a page.
    fn page() -> String {
        let mut page = "# Command line\n\nThe help of `hookweir` and of each command. Made from `src/cli/args.rs`; after a change there run\n\
             `HOOKWEIR_UPDATE_DOCS=1 cargo test --lib reference`.\n"
            .to_owned();
        let mut command = Args::command().term_width(100);
        command.build();
        let mut add = |name: &str, command: &mut clap::Command| {
            let help = command.render_long_help().to_string();
            let lines: Vec<&str> = help.lines().map(str::trim_end).collect();
            let _ = write!(
                page,
                "\n## `{name}`\n\n```text\n{}\n```\n",
                lines.join("\n")
            );
        };
        add("hookweir", &mut command);
        for command in command.get_subcommands_mut() {
            if command.get_name() != "help" && !command.is_hide_set() {
                add(&format!("hookweir {}", command.get_name()), command);
            }
        }
        page
    }

    #[test]
    fn the_reference_of_the_command_line_is_what_help_says() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/reference/cli.md");
        if std::env::var_os("HOOKWEIR_UPDATE_DOCS").is_some() {
            std::fs::write(path, page()).expect("written");
        }
        assert!(
            std::fs::read_to_string(path).is_ok_and(|found| found == page()),
            "docs/reference/cli.md is not current: HOOKWEIR_UPDATE_DOCS=1 cargo test --lib reference"
        );
    }

    #[test]
    fn options_count_before_and_behind_the_command() {
        let args = Args::try_parse_from([
            "hookweir", "--set", "a=1", "--config", "c", "serve", "--set", "b=2",
        ])
        .expect("valid");
        let Some(Command::Serve(with)) = args.command else {
            panic!("not serve")
        };
        let inputs = args.common.and(with.common);
        assert_eq!(
            (inputs.settings, inputs.file),
            (vec!["a=1".to_owned(), "b=2".to_owned()], Some("c".into()))
        );
        Args::command().debug_assert();
    }

    #[test]
    fn options_that_contradict_each_other_are_refused() {
        for line in [
            "send --tamper --duplicate",
            "send --provider x --source y",
            "send --secret plain:x",
            "send --count 0",
            "send --rate 0",
            "check --colour",
        ] {
            let args = ["hookweir"].into_iter().chain(line.split(' '));
            assert!(Args::try_parse_from(args).is_err(), "{line}");
        }
    }
}
