//! `hookweir page`: a link to the operator's page.

use serde::Deserialize;

use super::client::AdminClient;
use crate::cli::{Failure, say};
use crate::config::Config;

#[derive(Debug, clap::Args)]
pub(in crate::cli) struct Options {}

/// Link that the service has made.
#[derive(Deserialize)]
struct PageLink {
    url: String,
    seconds: u64,
    may: Vec<String>,
}

pub(super) fn run(config: &Config, _: &Options) -> Result<(), Failure> {
    let client = AdminClient::new(config)?;
    let link: PageLink = client.post("page-link", &serde_json::json!({}))?;
    say::out(&link.url);
    say::note(format_args!(
        "open it within {} s: it lets one browser in, once, for 12 hours, with your rights: {}",
        link.seconds,
        link.may.join(", ")
    ));
    Ok(())
}
