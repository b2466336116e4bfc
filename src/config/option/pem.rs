//! Options that name a PEM file by reference.

use super::{Describe, Read};
use crate::config::error::Problem;
use crate::config::reader::Reader;
use crate::config::secret::Reference;
use crate::config::sections::PemFile;
use crate::config::value::{Kind, Raw};

/// PEM by reference, or `""` for none.
pub(in crate::config) struct Pem {
    /// False if anybody may read the file: a certificate.
    pub(in crate::config) secret: bool,
}

impl Read<Option<PemFile>> for Pem {
    fn read(&self, r: &mut Reader<'_>, key: &'static str) -> Option<PemFile> {
        let show = |text: &String| match Reference::parse(text) {
            Some(reference) => reference.to_string(),
            None if text.is_empty() => String::new(),
            None => "***".to_owned(),
        };
        let (text, place) = r.read_hidden(key, Kind::Text, "a reference", Raw::text, show)?;
        if text.is_empty() {
            return None;
        }
        let Some(reference) = Reference::parse(&text) else {
            let forms = Reference::FORMS;
            let objection = format!("expected {forms}: name the PEM file as \"file:PATH\"");
            r.mistake(&place, key, Problem::Other(objection));
            return None;
        };
        let warned = r.report.warnings.len();
        let pem = r.resolve(&text, &place, key);
        if !self.secret {
            // A certificate is public.
            r.report.warnings.truncate(warned);
        }
        Some(PemFile {
            reference: reference.to_string(),
            pem: pem?,
        })
    }
}

impl Describe for Pem {
    fn takes(&self) -> String {
        "reference to PEM: `\"file:PATH\"`, `\"credential:NAME\"`, `\"env:NAME\"`, or `\"\"`"
            .to_owned()
    }
}
