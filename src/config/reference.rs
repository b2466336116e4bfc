//! `config.toml` and `docs/reference/configuration.md`, made of the definitions in `sections`.

use std::fmt::Write;

use super::define::{Description, Section};
use super::sections::{SECTIONS, SINK, Source};

/// Head of `config.toml`.
const HEAD: &str = "\
# Hookweir's configuration: every option with its default. This file runs as it is.
#
# The last one wins: the default, the file given with --config, the environment
# (HOOKWEIR__SERVER__LISTEN=...), the command line (--set server.listen=...). `hookweir config` prints
# the values in force, `hookweir check` tests them.
#
# Units are in the names: _ms, _secs, _days, _bytes. Counts and sizes of 0 are refused, unless the text
# gives 0 a meaning.
";

/// Head of the reference page.
const PAGE_HEAD: &str = "\
# Configuration

Every option, its default, and what it trades. The last one wins: the default, the file given with
`--config`, the environment, `--set` on the command line. `hookweir config` prints the values in force and
where each was written; `hookweir check` tests them; `hookweir config --reference` prints this page as a
configuration file.

Made from `src/config/sections`; after a change there run
`HOOKWEIR_UPDATE_DOCS=1 cargo test --lib reference`.
";

/// Returns `config.toml`: every option with its documentation and its default, and a source as a comment.
pub fn reference() -> String {
    let mut text = HEAD.to_owned();
    let mut open = "";
    for section in SECTIONS {
        let name = name(section);
        text.push('\n');
        comment(&mut text, "# ", section.about());
        // Writing to a string cannot fail.
        if name != open {
            let _ = writeln!(text, "[{name}]");
            open = name;
        } else {
            text.push('\n');
        }
        for option in section.options {
            comment(&mut text, "# ", option.help());
            let _ = writeln!(text, "{} = {}", option.parts().1, option.shown);
        }
    }
    for (kind, section) in TABLES {
        text.push('\n');
        comment(&mut text, "# ", section.about());
        let _ = writeln!(text, "#\n# [[{kind}]]");
        for option in section.options {
            comment(&mut text, "# # ", option.help());
            let _ = writeln!(text, "# {} = {}", option.key, option.shown);
        }
    }
    text
}

/// Sections that may be there several times.
const TABLES: [(&str, Section); 2] = [("sink", SINK), ("source", Source::SECTION)];

/// Returns `docs/reference/configuration.md`.
pub fn page() -> String {
    let mut page = PAGE_HEAD.to_owned();
    let mut open = "";
    for section in SECTIONS {
        let name = name(section);
        if name != open {
            let _ = write!(page, "\n## `[{name}]`\n");
            open = name;
        }
        page.push('\n');
        comment(&mut page, "", section.about());
        for option in section.options {
            let variable = option.key.replace('.', "__").to_ascii_uppercase();
            entry(&mut page, option, option.key, "default");
            let _ = writeln!(page, "- environment: `HOOKWEIR__{variable}`");
        }
    }
    for (kind, section) in TABLES {
        let _ = write!(page, "\n## `[[{kind}]]`\n\n");
        comment(&mut page, "", section.about());
        let (name, key) = match kind {
            "sink" => ("kafka", "url"),
            _ => ("stripe", "path"),
        };
        let variable = format!("{kind}__{name}__{key}").to_ascii_uppercase();
        let _ = writeln!(
            page,
            "From the environment and the command line: `HOOKWEIR__{variable}`, `--set {kind}.{name}.{key}=x`."
        );
        for option in section.options {
            let heading = format!("{kind}: {}", option.key);
            entry(&mut page, option, &heading, "example");
        }
    }
    page
}

/// Returns what can be written after `--set`: `KEY=`, or `KEY=WORD` where an option takes few words; each with its first line of help.
pub fn settings() -> Vec<(String, &'static str)> {
    let options = SECTIONS.iter().flat_map(|section| section.options);
    let written = options.flat_map(|option| {
        let help = option.help().next().unwrap_or_default();
        let mut words = option.words();
        if words.is_empty() {
            words.push("");
        }
        words
            .into_iter()
            .map(move |word| (format!("{}={word}", option.key), help))
    });
    written.collect()
}

fn name(section: &Section) -> &'static str {
    section
        .options
        .first()
        .map_or("", |option| option.parts().0)
}

fn comment(text: &mut String, before: &str, lines: impl Iterator<Item = &'static str>) {
    for line in lines {
        let _ = writeln!(text, "{before}{line}");
    }
}

fn entry(page: &mut String, option: &Description, heading: &str, shown_as: &str) {
    let _ = write!(page, "\n### `{heading}`\n\n");
    comment(page, "", option.help());
    let _ = write!(
        page,
        "\n- takes: {}\n- {shown_as}: `{}`\n",
        option.takes(),
        option.shown
    );
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::path::Path;

    fn is_current(path: &str, text: &str) {
        let file = Path::new(env!("CARGO_MANIFEST_DIR")).join(path);
        if std::env::var_os("HOOKWEIR_UPDATE_DOCS").is_some() {
            let folder = file.parent().expect("a folder");
            std::fs::create_dir_all(folder).expect("a folder");
            std::fs::write(&file, text).expect("written");
        }
        assert!(
            std::fs::read_to_string(&file).is_ok_and(|found| found == text),
            "{path} is not current: HOOKWEIR_UPDATE_DOCS=1 cargo test --lib reference"
        );
    }

    #[test]
    fn the_annotated_configuration_and_its_page_are_made_of_the_definitions() {
        is_current("config.toml", &reference());
        is_current("docs/reference/configuration.md", &page());
    }

    #[test]
    fn an_option_that_takes_few_words_offers_each_of_them_after_set() {
        let settings: Vec<String> = settings().into_iter().map(|(setting, _)| setting).collect();
        for setting in [
            "server.listen=",
            "store.migrate=auto",
            "store.migrate=check",
            "publisher.declare=true",
        ] {
            assert!(settings.iter().any(|known| known == setting), "{setting}");
        }
    }

    #[test]
    fn the_unit_of_an_option_is_in_its_name() {
        let options = SECTIONS
            .iter()
            .chain([&Source::SECTION])
            .flat_map(|section| section.options);
        for option in options {
            let ending = option.kind.ending().unwrap_or_default();
            assert!(option.key.ends_with(ending), "{} in {ending}", option.key);
        }
    }
}
