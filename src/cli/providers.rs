//! `hookweir providers`: whose signatures are known.

use super::{Failure, say};
use crate::verify::presets;
use crate::verify::spec::{Evidence, SchemeSpec};

pub(super) fn run(name: Option<&str>) -> Result<(), Failure> {
    match name {
        Some(name) => one(name),
        None => all(),
    }
}

fn all() -> Result<(), Failure> {
    let width = presets::names().map(str::len).max().unwrap_or_default();
    for name in presets::names() {
        let spec = spec(name)?;
        let sure = if spec.facts.scheme == Evidence::Recalled { "  (unconfirmed)" } else { "" };
        say::out(format_args!("{name:<width$}  {}{sure}", spec.facts.name.as_deref().unwrap_or(name)));
    }
    say::note("`hookweir providers NAME` tells all about one of them; [source.scheme] describes any other.");
    Ok(())
}

fn one(name: &str) -> Result<(), Failure> {
    let mut table = presets::table(name).map_err(Failure::Usage)?;
    let facts = spec(name)?.facts;
    say::out(format_args!("{}: provider = \"{name}\"", facts.name.as_deref().unwrap_or(name)));
    let days = facts.retry_hours.map(|hours| match hours {
        0 => "never by itself".to_owned(),
        hours => format!("for {hours} hours"),
    });
    for (what, says) in [("the secret is at", facts.console), ("it retries", days), ("to know", facts.note), ("read in", facts.source)] {
        if let Some(says) = says {
            say::out(format_args!("{what:<18}{says}"));
        }
    }
    table.remove("facts");
    table.remove("sample");
    let written = toml::to_string(&table).map_err(|error| Failure::Internal(error.to_string()))?;
    say::out(format_args!("\nIts scheme, as [source.scheme] would say it:\n\n{}", written.trim_end()));
    Ok(())
}

fn spec(name: &str) -> Result<SchemeSpec, Failure> {
    presets::table(name).and_then(SchemeSpec::from_table).map_err(|error| Failure::Internal(format!("{name}: {error}")))
}
