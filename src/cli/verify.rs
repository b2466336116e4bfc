//! `hookweir verify`: which step of the verification of a captured request fails.

use clap::Args;

use super::Failure;
use crate::config::Config;

#[derive(Debug, Args)]
pub(super) struct Options {}

pub(super) fn run(_options: &Options, _load: impl Fn() -> Result<Config, Failure>) -> Result<(), Failure> {
    Ok(())
}
