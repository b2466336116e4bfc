//! Reference pages of the presets, in Markdown. `docs/reference/providers` is generated from this
//! module.

use std::fmt::Write as _;

use crate::docs::copies;
pub use crate::docs::copies::comes_out_twice;
use crate::docs::entry::Entry;
pub use crate::docs::page::Page;
use crate::docs::rows::evidence;
use crate::language::presets;
use crate::language::spec::{Evidence, IdKind, JwtAlg, JwtSpec, Kind, Missing, SchemeSpec, Text};
use crate::language::syntax::Token;
use crate::params_of;

/// Returns all pages: `README.md` with a table of all providers, and a page for each provider.
pub fn pages() -> Result<Vec<Page>, String> {
    let entries: Vec<Entry> = presets::names()
        .map(Entry::read)
        .collect::<Result<_, _>>()?;
    let mut pages = vec![Page {
        file: "README.md".into(),
        text: table(&entries),
    }];
    pages.push(copies::page(
        entries.iter().map(|entry| (entry.name, &entry.spec)),
    ));
    pages.extend(entries.iter().map(|entry| Page {
        file: format!("{}.md", entry.name),
        text: entry.page(),
    }));
    Ok(pages)
}

/// Returns the page of one provider.
pub fn page(name: &str) -> Result<String, String> {
    match presets::canonical(name) {
        Some(name) => Entry::read(name).map(|entry| entry.page()),
        None => presets::table(name).map(|_| String::new()),
    }
}

fn table(entries: &[Entry]) -> String {
    let mut text = String::from(
        "# Providers\n\n\
         Made from the presets in `crates/signatures/presets`; `HOOKWEIR_UPDATE_DOCS=1 cargo test --workspace --lib reference` writes it anew. What the columns say:\n\n\
         - **proof**: how a delivery proves where it comes from. `none` proves nothing.\n\
         - **body**: whether a change of the body breaks the proof. Where it does not, a delivery is authentic but not protected.\n\
         - **event id**: *signed* breaks the proof when it is changed; *unsigned* does not;\n\
         \x20 *object*: the id is of an object, or its meaning is not known; *body*: there is no id, and equal bodies are one event; *none*: every\n\
         \x20 delivery is a new event. [message.md](../message.md) says what counts as a duplicate, and what a consumer sees.\n\
         - **several**: several events can come in one POST. *split*: each becomes an event of its own, unless `batch = \"whole\"`; *whole*: the\n\
         \x20 POST is one event, unless `batch = \"split\"`.\n\
         - **retries**: for how long, where it is known.\n\
         - **sure**: *own*: read in the provider's own code or documentation; *third-party*: read in independent code only; *recalled*: from\n\
         \x20 memory. The first word is the proof, the second everything else. A recalled proof is unconfirmed: a source with it warns at start.\n\n",
    );
    let _ = writeln!(text, "{} presets. {}\n", entries.len(), copies::LINK);
    text.push_str("| provider | `provider =` | proof | body | event id | several | handshake | retries | sure |\n|---|---|---|---|---|---|---|---|---|\n");
    for entry in entries {
        let spec = &entry.spec;
        let yes = |is: bool| if is { "yes" } else { "" };
        let _ = writeln!(
            text,
            "| [{}]({}.md) | `{}` | {} | {} | {} | {} | {} | {} | {} |",
            entry.title(),
            entry.name,
            entry.name,
            entry.proof(),
            if entry.covered.body {
                "covered"
            } else {
                "not covered"
            },
            entry.id_in_a_word(),
            spec.event
                .batch
                .as_ref()
                .map_or("", |batch| if batch.split { "split" } else { "whole" }),
            yes(!spec.handshake.is_empty()),
            entry.retries().unwrap_or_default(),
            format_args!(
                "{}, {}",
                evidence(spec.facts.scheme),
                evidence(spec.facts.rest)
            ),
        );
    }
    text
}

impl Entry {
    fn read(name: &'static str) -> Result<Self, String> {
        let spec = SchemeSpec::from_table(presets::table(name)?)
            .map_err(|error| format!("{name}: {error}"))?;
        Ok(Self::new(name, spec))
    }

    fn title(&self) -> &str {
        self.spec.facts.name.as_deref().unwrap_or(self.name)
    }

    fn page(&self) -> String {
        let facts = &self.spec.facts;
        let mut text = format!("# {}\n\n", self.title());
        if facts.scheme == Evidence::Recalled {
            text.push_str(
                "> **Unconfirmed.** This scheme was recalled, not read in the provider's own code or documentation. Try it with a real delivery \
                 before you rely on it; a source that uses it warns at start.\n\n",
            );
        }
        if let Some(note) = &facts.note {
            let _ = writeln!(text, "{note}\n");
        }
        let _ = writeln!(
            text,
            "## At the provider\n\nThe endpoint is `https://YOUR-HOST/ingest/{}`.",
            self.name
        );
        if let Some(console) = &facts.console {
            let _ = writeln!(text, "Where: {console}.");
        }
        let _ = writeln!(
            text,
            "\n## In the configuration\n\n```toml\n{}```\n",
            self.source()
        );
        text.push_str("## What to expect\n\n| | |\n|---|---|\n");
        for (what, says) in self.rows() {
            let _ = writeln!(text, "| {what} | {} |", says.replace('|', "\\|"));
        }
        text
    }

    /// Source as a section of the configuration file.
    fn source(&self) -> String {
        let Self { name, spec, .. } = self;
        let mut text = format!(
            "[[source]]\nname = \"{name}\"\npath = \"{name}\"\nprovider = \"{name}\"\n{}",
            self.keys()
        );
        if spec.texts().into_iter().any(needs_url) {
            let _ = writeln!(
                text,
                "public_url = \"https://YOUR-HOST/ingest/{name}\"  # as entered at the provider, to the letter"
            );
        }
        let params: Vec<_> = params_of(spec)
            .into_iter()
            .map(|(name, value)| format!("{name} = \"{}\"", value.as_deref().unwrap_or("…")))
            .collect();
        if !params.is_empty() {
            let _ = writeln!(text, "params = {{ {} }}", params.join(", "));
        }
        text
    }

    /// Returns the lines of the source that hold its keys.
    fn keys(&self) -> String {
        let Self { name, spec, .. } = self;
        let env = name
            .to_uppercase()
            .replace(|c: char| !c.is_ascii_alphanumeric(), "_");
        let symmetric = |alg: &JwtAlg| alg.hash().is_some();
        match (spec.kind, &spec.jwt) {
            (Kind::None, _) => String::new(),
            (Kind::Basic, _) => format!("secrets = [\"env:{env}_SECRET\"]  # user:password\n"),
            (Kind::Jwt, Some(jwt)) if !jwt.algorithms.iter().any(symmetric) => {
                keys_of_token(jwt, &env)
            }
            (Kind::Hmac | Kind::Hash | Kind::Token | Kind::Jwt, _) => self.secrets(&env),
            (Kind::Rsa, _) if spec.cert_url.is_some() => {
                "# its certificates are fetched from the provider\n".into()
            }
            (Kind::Rsa | Kind::Ed25519 | Kind::EcdsaP256, _) => {
                format!("public_keys = [\"file:/etc/hookweir/{name}.pub\"]\n")
            }
        }
    }

    /// Returns one secret, or as many as have a signature of their own.
    fn secrets(&self, env: &str) -> String {
        let signatures = self.spec.signature.iter();
        let last = signatures.filter_map(|sig| sig.secret_index).max();
        let secrets: Vec<_> = match last.map_or(1, |last| last + 1) {
            1 => vec![format!("\"env:{env}_SECRET\"")],
            several => (1..=several)
                .map(|number| format!("\"env:{env}_SECRET_{number}\""))
                .collect(),
        };
        format!("secrets = [{}]\n", secrets.join(", "))
    }

    fn proof(&self) -> String {
        let hash = self.spec.hash.name().to_uppercase();
        match self.spec.kind {
            Kind::Hmac if self.spec.hash_by.is_some() => "HMAC".into(),
            Kind::Hmac => format!("HMAC-{hash}"),
            Kind::Hash => hash,
            Kind::Token => "token".into(),
            Kind::Basic => "basic".into(),
            Kind::Jwt => "JWT".into(),
            Kind::Ed25519 => "Ed25519".into(),
            Kind::EcdsaP256 => "ECDSA P-256".into(),
            Kind::Rsa if self.spec.hash_by.is_some() => "RSA".into(),
            Kind::Rsa => format!("RSA-{hash}"),
            Kind::None => "none".into(),
        }
    }

    fn id_in_a_word(&self) -> &'static str {
        let event = &self.spec.event;
        match (self.without_id(), event.missing_id) {
            (true, Missing::Body) => "body",
            (true, _) => "none",
            _ if event.id_kind != IdKind::Event => "object",
            _ if self.covered.id => "signed",
            _ => "unsigned",
        }
    }
}

/// Returns the line with the keys of a token that is signed with a private key.
fn keys_of_token(jwt: &JwtSpec, env: &str) -> String {
    let line = match &jwt.key_api {
        _ if jwt.x5c.is_some() => "# its certificates come along; Apple's root is known",
        Some(api) if api.asks_with_secret() => {
            return format!(
                "secrets = [\"env:{env}_SECRET\"]  # of the provider's API, which gives the keys\n"
            );
        }
        Some(_) => "# its keys are fetched from the provider",
        None if jwt.jwks_url.is_some() => "# its keys are known: `jwks` can be left out",
        None => "jwks = \"https://…\"  # or public_keys = [\"file:…\"]",
    };
    format!("{line}\n")
}

/// Returns `true` if a text holds a part of the source's public URL.
fn needs_url(text: Text<'_>) -> bool {
    let url = |token: &&Token| {
        matches!(
            token,
            Token::Url | Token::BaseUrl | Token::Path | Token::Canonical(_)
        )
    };
    matches!(text, Text::Template(text) if text.tokens().iter().any(url))
}

#[cfg(test)]
#[expect(clippy::disallowed_methods, reason = "the pages are files")]
mod tests;
