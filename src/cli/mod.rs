//! The command line: `hookweir serve` and the tools around it.
//!
//! Results go to standard output, everything else to standard error. Exit codes: 0 done, 1 an answer was not the expected one, 64 wrong
//! usage, 69 something cannot be reached, 70 the service failed, 75 a port, file, disk or folder is not to be had now, 78 mistakes in the
//! configuration and nothing else.

mod args;
mod backup;
mod banner;
mod check;
mod disks;
mod lakehouse;
mod learned;
mod operator;
mod parked;
mod providers;
mod relocation;
mod say;
mod send;
mod serve;
mod service;
mod sinks;
mod verify;
mod who;
mod whole_store;

use std::path::Path;
use std::process::ExitCode;

use clap::{CommandFactory, Parser};
use clap_complete::Shell;

use crate::app;
use crate::config::{Config, ConfigError, Inputs};
use crate::telemetry::logs;
use args::{Args, Command, With};

/// Failure of a command, by the exit code that it leads to.
#[derive(Debug)]
enum Failure {
    /// An answer was not the one to be expected; said before.
    NotAsExpected,
    /// The command line makes no sense.
    Usage(String),
    /// Something cannot be reached or may not be used.
    Unreachable(String),
    /// The service cannot start now; a later start may.
    Unavailable(String),
    /// The service failed.
    Internal(String),
    /// Mistakes in the configuration.
    Config(Vec<ConfigError>),
}

/// Runs the command that the process was started with.
pub fn run() -> ExitCode {
    let args = match Args::try_parse() {
        Ok(args) => args,
        Err(error) => {
            // Help and version are no failure.
            let code = if error.use_stderr() { 64 } else { 0 };
            let _ = error.print();
            return ExitCode::from(code);
        }
    };
    // Once for the process, before anything speaks TLS. That it was installed before is no error.
    let _ = rustls::crypto::ring::default_provider().install_default();
    crate::faults::points::arm();
    let code = match dispatch(args) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => report(failure),
    };
    logs::flush();
    code
}

fn load(inputs: &Inputs) -> Result<Config, Failure> {
    app::load(inputs).map_err(Failure::Config)
}

/// Loads the configuration for tools that run without the service's environment.
fn load_what_is_here(inputs: Inputs) -> Result<Config, Failure> {
    load(&Inputs {
        lenient: true,
        ..inputs
    })
}

fn dispatch(args: Args) -> Result<(), Failure> {
    let before = args.common;
    match args.command.unwrap_or(Command::Serve(With::default())) {
        Command::Serve(With { common, .. }) => {
            logs::start();
            let inputs = before.and(common);
            serve::run(load(&inputs)?, inputs)
        }
        Command::Check(With { common, own }) => {
            let lenient = !own.strict;
            let inputs = before.and(common);
            check::run(&load(&Inputs { lenient, ..inputs })?, &own)
        }
        Command::Lakehouse(With { common, own }) => {
            if own.is_writer() {
                logs::start();
            }
            lakehouse::run(&load(&before.and(common))?, &own)
        }
        Command::Store(command) => {
            command.run(|common| before.clone().and(common), load_what_is_here)
        }
        Command::Learned(With { common, own }) => learned::run(&load(&before.and(common))?, &own),
        Command::Parked(With { common, own }) => parked::run(&load(&before.and(common))?, &own),
        Command::Sinks(With { common, own }) => {
            sinks::run(&load_what_is_here(before.and(common))?, &own)
        }
        Command::Operator(command) => command.run(|common| load_what_is_here(before.and(common))),
        Command::Reload(With { common, own }) => operator::reload::run(before.and(common), &own),
        Command::Migrate(With { common, .. }) => check::migrate(&load(&before.and(common))?),
        Command::Send(with) => {
            let inputs = before.and(with.common);
            send::run(&with.own, || load_what_is_here(inputs.clone()))
        }
        Command::Verify(With { common, own }) => {
            let inputs = before.and(common);
            verify::run(&own, || load_what_is_here(inputs.clone()))
        }
        Command::Providers { name } => providers::run(name.as_deref()),
        Command::Config(With { own, .. }) if own.reference => print_reference(),
        Command::Config(With { common, .. }) => {
            load_what_is_here(before.and(common)).map(|config| print_config(&config))
        }
        Command::Completions { shell } => print_completions(shell),
        Command::Manual { folder } => write_manual(&folder),
    }
}

fn print_reference() -> Result<(), Failure> {
    say::out(crate::config::reference().trim_end());
    Ok(())
}

fn print_config(config: &Config) {
    for why in &config.untried {
        say::note(format_args!("not read: {why}"));
    }
    say::out(config.to_toml().trim_end());
}

fn print_completions(shell: Shell) -> Result<(), Failure> {
    // Standard output itself would panic if its reader went away.
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut Args::command(), "hookweir", &mut script);
    say::out_bytes(&script);
    Ok(())
}

fn write_manual(folder: &Path) -> Result<(), Failure> {
    clap_mangen::generate_to(Args::command(), folder).map_err(|error| {
        Failure::Usage(format!(
            "cannot write manual pages into {}: {error}; name a folder that exists and may be written to",
            folder.display()
        ))
    })
}

fn report(failure: Failure) -> ExitCode {
    let (code, message) = match failure {
        Failure::NotAsExpected => return ExitCode::from(1),
        Failure::Usage(message) => (64, message),
        Failure::Unreachable(message) => (69, message),
        Failure::Internal(message) => (70, message),
        Failure::Unavailable(message) => (75, message),
        Failure::Config(mistakes) => {
            for mistake in &mistakes {
                say::error(mistake);
            }
            let count = if mistakes.len() == 1 {
                "1 mistake".to_owned()
            } else {
                format!("{} mistakes", mistakes.len())
            };
            say::note(format_args!(
                "{count} in the configuration; `hookweir config --reference` explains every option"
            ));
            return ExitCode::from(78);
        }
    };
    say::error(message);
    ExitCode::from(code)
}
