//! Built-in presets: one table for each provider, in `presets/*.toml`. A preset can inherit from
//! another one by `like`.

use std::collections::BTreeMap;
use std::sync::OnceLock;

use include_dir::{Dir, include_dir};

use crate::language::inherit::inherit;
use crate::nearest::nearest;

static FILES: Dir<'_> = include_dir!("$CARGO_MANIFEST_DIR/presets");

/// Maximum depth of `like`.
const MAX_LIKES: usize = 8;

/// Returns every preset as written, by name.
fn written() -> &'static BTreeMap<String, toml::Table> {
    static WRITTEN: OnceLock<BTreeMap<String, toml::Table>> = OnceLock::new();
    WRITTEN.get_or_init(|| {
        let mut presets = BTreeMap::new();
        for file in FILES.files() {
            // A file that does not parse fails `every_file_parses`, not a start.
            let tables = file
                .contents_utf8()
                .and_then(|text| text.parse::<toml::Table>().ok())
                .unwrap_or_default();
            presets.extend(tables.into_iter().filter_map(|(name, value)| match value {
                toml::Value::Table(table) => Some((name, table)),
                _ => None,
            }));
        }
        presets
    })
}

/// Returns a preset as written, with its current name. Old names have underscores in place of
/// hyphens.
fn find(name: &str) -> Option<(&'static str, &'static toml::Table)> {
    let entry = |name: &str| {
        let (name, table) = written().get_key_value(name)?;
        Some((name.as_str(), table))
    };
    entry(name).or_else(|| entry(&name.replace('_', "-")))
}

/// Returns the current name of a preset. `name` may be an old name.
pub fn canonical(name: &str) -> Option<&'static str> {
    find(name).map(|(name, _)| name)
}

/// Returns the names of all presets, sorted.
pub fn names() -> impl Iterator<Item = &'static str> {
    written().keys().map(String::as_str)
}

/// Returns the table of a preset, including what it inherits through `like`.
pub fn table(name: &str) -> Result<toml::Table, String> {
    resolve(name, MAX_LIKES)
}

/// Returns `table` on top of the preset that its `like` names.
pub fn with_like(mut table: toml::Table) -> Result<toml::Table, String> {
    match table.remove("like") {
        None => Ok(table),
        Some(toml::Value::String(base)) => Ok(inherit(&resolve(&base, MAX_LIKES)?, &table)),
        Some(_) => Err("not the name of a provider; write the name in quotes".into()),
    }
}

fn resolve(name: &str, depth: usize) -> Result<toml::Table, String> {
    let (_, table) = find(name).ok_or_else(|| unknown(name))?;
    match table.get("like").and_then(toml::Value::as_str) {
        None => Ok(table.clone()),
        Some(_) if depth == 0 => Err(format!(
            "preset \"{name}\" inherits from itself, or through too many others"
        )),
        Some(base) => {
            // What was learned of one provider says nothing about another with the same scheme.
            let mut base = resolve(base, depth - 1)?;
            base.remove("facts");
            base.remove("sample");
            let mut merged = inherit(&base, table);
            merged.remove("like");
            Ok(merged)
        }
    }
}

fn unknown(name: &str) -> String {
    match nearest(name, names()) {
        Some(known) => format!("no provider \"{name}\"; did you mean \"{known}\"?"),
        None => format!("no provider \"{name}\"; `hookweir providers` lists them"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::language::spec::SchemeSpec;

    #[test]
    fn every_file_parses() {
        let mut seen = std::collections::BTreeSet::new();
        for file in FILES.files() {
            let text = file.contents_utf8().expect("UTF-8");
            let tables: toml::Table = text
                .parse()
                .unwrap_or_else(|error| panic!("{}: {error}", file.path().display()));
            for (name, table) in tables {
                assert!(table.is_table(), "{name} is no table");
                assert!(seen.insert(name.clone()), "{name} is there twice");
            }
        }
    }

    #[test]
    fn every_preset_is_in_the_words() {
        for name in names() {
            let spec = SchemeSpec::from_table(table(name).expect("it resolves"))
                .unwrap_or_else(|error| panic!("{name}: {error}"));
            assert!(spec.facts.name.is_some(), "{name} has no facts.name");
            assert!(spec.facts.source.is_some(), "{name} has no facts.source");
        }
    }

    #[test]
    fn names_have_hyphens_and_those_with_underscores_are_still_known() {
        for name in names() {
            assert!(!name.contains('_'), "{name}");
        }
        for (old, new) in [
            ("adyen_platform", "adyen-platform"),
            ("coinbase_commerce", "coinbase-commerce"),
            ("modern_treasury", "modern-treasury"),
        ] {
            assert_eq!(canonical(old), Some(new));
            assert_eq!(table(old), table(new));
        }
        assert_eq!(canonical("no_such"), None);
    }

    #[test]
    fn the_nearest_name_is_offered() {
        assert_eq!(
            table("strpe").unwrap_err(),
            "no provider \"strpe\"; did you mean \"stripe\"?"
        );
        assert_eq!(
            table("zzz").unwrap_err(),
            "no provider \"zzz\"; `hookweir providers` lists them"
        );
        assert!(
            table("nothing-like-it")
                .unwrap_err()
                .contains("hookweir providers")
        );
    }
}
