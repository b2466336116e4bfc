//! `hookweir reload`: has the running service read its configuration again.

use super::client::AdminClient;
use super::trace::json;
use crate::cli::{Failure, say};
use crate::config::{Draft, Inputs};
use crate::operate::{ChangeView, ReloadOrder, ReloadView};

#[derive(Debug, clap::Args)]
pub(in crate::cli) struct Options {
    /// Say what would change, and change nothing.
    #[arg(long)]
    dry_run: bool,
    /// Print the answer as JSON.
    #[arg(long)]
    json: bool,
}

pub(in crate::cli) fn run(inputs: Inputs, options: &Options) -> Result<(), Failure> {
    // The service finds the mistakes, and logs them: here only admin.socket is needed.
    let inputs = Inputs {
        lenient: true,
        ..inputs
    };
    let draft = Draft::read(&inputs).map_err(Failure::Config)?;
    let order = ReloadOrder {
        dry_run: options.dry_run,
    };
    let client = match AdminClient::new(&draft.config) {
        Ok(client) => client,
        Err(failure) => {
            // Perhaps admin.socket is what cannot be read.
            draft.finish().map_err(Failure::Config)?;
            return Err(failure);
        }
    };
    let view: ReloadView = client.post("reload", &order)?;
    if options.json {
        say::out(json(&view)?);
        return Ok(());
    }
    for warning in &view.warnings {
        say::note(format_args!("warning: {warning}"));
    }
    say::out(text(&view));
    Ok(())
}

/// Returns the answer for a person.
fn text(view: &ReloadView) -> String {
    let files = match &*view.files.join(", ") {
        "" => "no file".to_owned(),
        files => files.to_owned(),
    };
    let (done, waits) = match view.dry_run {
        true => ("would be in force", "would need a restart"),
        false => (
            "in force for every delivery that begins from now on",
            "not in force: needs a restart",
        ),
    };
    let mut lines = Vec::new();
    if view.changed.is_empty() && view.needs_restart.is_empty() {
        lines.push(format!("nothing changed; read {files}"));
    } else {
        lines.push(format!("read {files}"));
    }
    for (title, changes) in [(done, &view.changed), (waits, &view.needs_restart)] {
        if !changes.is_empty() {
            lines.push(format!("{title}:"));
            lines.extend(changes.iter().map(line));
        }
    }
    lines.join("\n")
}

fn line(change: &ChangeView) -> String {
    let ChangeView {
        option,
        change,
        place,
    } = change;
    match place {
        Some(place) => format!("  {option}: {change}  ({place})"),
        None => format!("  {option}: {change}"),
    }
}
