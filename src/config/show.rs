//! `hookweir config`: what is in force and where it was written, as TOML that holds no secret.

use std::fmt::Write;

use super::REFERENCE_NAME;
use super::error::Place;
use super::model::Config;

impl Config {
    /// The configuration in force as TOML, each option with the place it comes from. Secrets are shown as their references.
    pub fn to_toml(&self) -> String {
        let mut text = String::new();
        let mut section = String::new();
        for option in &self.effective {
            let Some((of, key)) = option.key.rsplit_once('.') else { continue };
            if of != section {
                of.clone_into(&mut section);
                let header = if of.starts_with("source.") { "[[source]]".to_owned() } else { format!("[{of}]") };
                // Writing to a string cannot fail.
                let _ = writeln!(text, "{}{header}", if text.is_empty() { "" } else { "\n" });
            }
            let _ = match &option.place {
                Place::File { file, .. } if **file == *REFERENCE_NAME => writeln!(text, "{key} = {}  # default", option.shown),
                place => writeln!(text, "{key} = {}  # {place}", option.shown),
            };
        }
        text
    }
}
