//! `hookweir providers`: whose signatures are known.

use super::{Failure, say};
use hookweir_signatures::spec::{Evidence, SchemeSpec};
use hookweir_signatures::{presets, reference};

/// Lists all; or prints the page of the one called `name`; or lists those whose name has `name` in it.
pub(super) fn run(name: Option<&str>) -> Result<(), Failure> {
    let Some(name) = name else {
        return list(presets::names());
    };
    if presets::canonical(name).is_some() {
        say::out(reference::page(name).map_err(Failure::Internal)?.trim_end());
        return Ok(());
    }
    let mut similar = presets::names()
        .filter(|known| known.contains(&name.to_lowercase()))
        .peekable();
    match (similar.peek(), presets::table(name)) {
        (None, Err(error)) => Err(Failure::Usage(error)),
        _ => list(similar),
    }
}

fn list(names: impl Iterator<Item = &'static str>) -> Result<(), Failure> {
    let names: Vec<&str> = names.collect();
    let width = names
        .iter()
        .map(|name| name.len())
        .max()
        .unwrap_or_default();
    for name in names {
        let spec = presets::table(name).and_then(SchemeSpec::from_table);
        let facts = spec
            .map_err(|error| Failure::Internal(format!("{name}: {error}")))?
            .facts;
        let sure = if facts.scheme == Evidence::Recalled {
            "  (unconfirmed)"
        } else {
            ""
        };
        say::out(format_args!(
            "{name:<width$}  {}{sure}",
            facts.name.as_deref().unwrap_or(name)
        ));
    }
    say::note(
        "`hookweir providers NAME` tells all about one of them; docs/reference/schemes.md says how to describe any other.",
    );
    Ok(())
}
