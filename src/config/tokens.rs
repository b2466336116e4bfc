//! Reading of `[admin.tokens.NAME]`.

use std::collections::BTreeMap;

use super::error::{Place, Problem, nearest};
use super::model::{AdminToken, Right};
use super::option::{Describe, Read, Words};
use super::reader::Reader;
use super::rules;
use super::secret::{Reference, Secret};
use super::value::{Item, Kind, Raw};

/// Shortest secret of a token, in bytes.
const SHORTEST: usize = 16;

/// A table of tokens by name.
pub(super) struct Tokens;

impl Describe for Tokens {
    fn takes(&self) -> String {
        format!(
            "table of tokens: `[admin.tokens.NAME]` with `secret`, a reference to {SHORTEST} bytes or more, and `may`, a list of rights"
        )
    }
}

impl Read<Vec<AdminToken>> for Tokens {
    fn read(&self, r: &mut Reader<'_>, key: &'static str) -> Vec<AdminToken> {
        let expected = "a table of tokens such as [admin.tokens.ann]";
        let Some((table, _)) = r.read_hidden(key, Kind::Table, expected, Raw::table, shown) else {
            return Vec::new();
        };
        let mut tokens: Vec<AdminToken> = Vec::new();
        for (name, item) in table {
            let key = format!("{key}.{name}");
            let Some(token) = token(r, &key, name, &item) else {
                continue;
            };
            let same = |other: &&AdminToken| other.secret == token.secret;
            match tokens.iter().find(same) {
                Some(other) if !token.secret.is_unread() => {
                    let objection = format!("the same secret as admin.tokens.{}", other.name);
                    r.mistake(&item.place, &key, Problem::Other(objection));
                }
                _ => tokens.push(token),
            }
        }
        tokens
    }
}

/// Reads one token. None, with the mistake noted, if it cannot be used.
fn token(r: &mut Reader<'_>, key: &str, name: String, item: &Item) -> Option<AdminToken> {
    let mut wrong = |place: &Place, key: &str, objection: String| {
        r.mistake(place, key, Problem::Other(objection));
    };
    if let Err(objection) = rules::token_name(&name) {
        wrong(&item.place, key, objection);
        return None;
    }
    let Some(mut entries) = item.raw.table() else {
        let objection = format!("expected a table, found {}", item.raw.kind());
        wrong(&item.place, key, objection);
        return None;
    };
    let (secret, may) = (entries.remove("secret"), entries.remove("may"));
    for (unknown, item) in &entries {
        let nearest = nearest(unknown, ["secret", "may"]).map(str::to_owned);
        r.mistake(
            &item.place,
            &format!("{key}.{unknown}"),
            Problem::Unknown { nearest },
        );
    }
    let missing = |r: &mut Reader<'_>, part: &str, example: &str| {
        let objection = format!("every token needs its {part}, such as {part} = {example}");
        r.mistake(&item.place, key, Problem::Other(objection));
    };
    if secret.is_none() {
        missing(r, "secret", "\"file:/etc/hookweir/ann\"");
    }
    if may.is_none() {
        missing(r, "may", "[\"look\"]");
    }
    let secret = secret_of(r, &format!("{key}.secret"), &secret?);
    let may = rights_of(r, &format!("{key}.may"), &may?);
    Some(AdminToken {
        name,
        secret: secret?,
        may: may?,
    })
}

fn secret_of(r: &mut Reader<'_>, key: &str, item: &Item) -> Option<Secret> {
    let reference = item.raw.text();
    let Some(reference) = reference.filter(|text| Reference::parse(text).is_some()) else {
        let objection = format!("expected {}", Reference::FORMS);
        r.mistake(&item.place, key, Problem::Other(objection));
        return None;
    };
    let secret = r.resolve(&reference, &item.place, key)?;
    let bytes = secret.expose().len();
    if !secret.is_unread() && bytes < SHORTEST {
        let objection = format!(
            "a secret of {bytes} bytes can be guessed: use {SHORTEST} or more, such as `openssl rand -hex 32` prints"
        );
        r.mistake(&item.place, key, Problem::Other(objection));
        return None;
    }
    Some(secret)
}

fn rights_of(r: &mut Reader<'_>, key: &str, item: &Item) -> Option<Vec<Right>> {
    let items = item.raw.list().unwrap_or_default();
    let right = |item: &Item| {
        let word = item.raw.text()?;
        let mut words = Right::WORDS.iter();
        words.find(|(own, _)| *own == word).map(|(_, right)| *right)
    };
    let rights: Option<Vec<Right>> = items.iter().map(right).collect();
    let rights = rights.filter(|rights| !rights.is_empty());
    if rights.is_none() {
        let objection = "expected a list of \"look\", \"bodies\" and \"operate\"".to_owned();
        r.mistake(&item.place, key, Problem::Other(objection));
    }
    rights
}

/// Returns the tokens without their secrets.
fn shown(table: &BTreeMap<String, Item>) -> String {
    let entry = |(name, item): (&String, &Item)| {
        let entries = item.raw.table().unwrap_or_default();
        let parts = entries.iter().map(|(part, item)| {
            let reference = item.raw.text();
            let reference = reference.as_deref().and_then(Reference::parse);
            let value = match (part.as_str(), reference) {
                ("may", _) => item.raw.to_toml().to_string(),
                (_, Some(reference)) => toml::Value::String(reference.to_string()).to_string(),
                (_, None) => "\"***\"".to_owned(),
            };
            format!("{part} = {value}")
        });
        format!("{name} = {{ {} }}", parts.collect::<Vec<_>>().join(", "))
    };
    let entries: Vec<String> = table.iter().map(entry).collect();
    match entries.is_empty() {
        true => "{}".to_owned(),
        false => format!("{{ {} }}", entries.join(", ")),
    }
}

#[cfg(test)]
mod tests {
    use crate::config::Config;
    use crate::config::model::Right;

    const CANARY: &str = "canary-0123456789abcdef";

    #[test]
    fn a_token_has_a_name_a_secret_and_rights_and_its_secret_is_never_shown() {
        let text = format!(
            "[admin.tokens.ann]\nsecret = \"plain:{CANARY}\"\nmay = [\"look\", \"bodies\"]\n"
        );
        let config = Config::from_toml(&text).expect("valid");
        let [ann] = &config.admin.tokens[..] else {
            panic!("one token")
        };
        assert_eq!(ann.name, "ann");
        assert_eq!(ann.may, [Right::Look, Right::Bodies]);
        assert_eq!(ann.secret.expose(), CANARY.as_bytes());
        let shown = config.to_toml();
        assert!(shown.contains("ann = { may = "), "{shown}");
        assert!(!shown.contains(CANARY) && !format!("{config:?}").contains(CANARY));
    }

    #[test]
    fn a_mistake_in_a_token_is_named_and_shows_no_secret() {
        for (lines, said) in [
            ("may = [\"look\"]", "every token needs its secret"),
            (
                "secret = \"plain:canary-0123456789abcdef\"",
                "every token needs its may",
            ),
            (
                "secret = \"canary-0123456789abcdef\"\nmay = [\"look\"]",
                "expected \"env:NAME\"",
            ),
            (
                "secret = \"plain:canary\"\nmay = [\"look\"]",
                "a secret of 6 bytes can be guessed",
            ),
            (
                "secret = \"plain:canary-0123456789abcdef\"\nmay = [\"all\"]",
                "\"operate\"",
            ),
            (
                "secret = \"plain:canary-0123456789abcdef\"\nmay = [\"look\"]\nsecrets = 1",
                "did you mean secret?",
            ),
        ] {
            let text = format!("[admin.tokens.ann]\n{lines}\n");
            let mistakes = Config::from_toml(&text).expect_err(lines);
            let told: Vec<String> = mistakes.iter().map(ToString::to_string).collect();
            let told = told.join("\n");
            assert!(
                told.contains(said) && told.contains("admin.tokens.ann"),
                "{told}"
            );
            assert!(!told.contains("canary"), "{told}");
        }
        let twice =
            "[admin.tokens.a]\nsecret = \"plain:canary-0123456789abcdef\"\nmay = [\"look\"]\n";
        let text = format!("{twice}{}", twice.replace("tokens.a", "tokens.b"));
        let mistakes = Config::from_toml(&text).expect_err("the same secret");
        let told = mistakes[0].to_string();
        assert!(told.contains("the same secret as admin.tokens.a"), "{told}");
    }
}
