//! Secrets: read once, shown never; and the references by which a configuration names them.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fmt;
use std::fs::File;
use std::io::Read;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

pub use hookweir_signatures::Secret;

/// The environment of the process: variables by name. Handed in, so that tests need not change their own.
pub type Environment = BTreeMap<String, OsString>;

/// U+FEFF in UTF-8, as some editors put it in front of a text.
const BYTE_ORDER_MARK: &[u8] = b"\xef\xbb\xbf";

/// Secrets are small; what is larger is the wrong file.
const MAX_FILE_BYTES: u64 = 64 * 1024;

/// Failure to read the secret of a reference. `Display` never shows a secret's text.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(super) enum ResolveError {
    /// It is not here for this process; for another user or environment it may be.
    #[error("{0}")]
    NotHere(String),
    /// The text is no secret.
    #[error("{0}")]
    Wrong(String),
}

/// Reference to a secret: `env:NAME`, `file:PATH`, `credential:NAME`, or the secret itself as
/// `plain:TEXT`.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Reference<'a> {
    Env(&'a str),
    File(&'a str),
    Credential(&'a str),
    Plain(&'a str),
}

impl<'a> Reference<'a> {
    /// For errors: the forms that are understood.
    pub(super) const FORMS: &'static str =
        "\"env:NAME\", \"file:PATH\", \"credential:NAME\" or \"plain:TEXT\"";

    pub(super) fn parse(text: &'a str) -> Option<Self> {
        let (prefix, rest) = text.split_once(':')?;
        match prefix {
            "env" => Some(Self::Env(rest)),
            "file" => Some(Self::File(rest)),
            "credential" => Some(Self::Credential(rest)),
            "plain" => Some(Self::Plain(rest)),
            _ => None,
        }
    }

    /// Reads the secret. Errors and warnings name its place and never its text.
    ///
    /// White space at either end comes from an editor, a shell or a copy, and is cut off. `plain:` is taken as it is written: its quotes say
    /// where the secret ends. A byte order mark in front is no part of any secret.
    pub(super) fn resolve(
        self,
        environment: &Environment,
        warnings: &mut Vec<String>,
    ) -> Result<Secret, ResolveError> {
        let bytes = self.read(environment, warnings)?;
        let text = bytes.strip_prefix(BYTE_ORDER_MARK).unwrap_or(&bytes);
        if text.len() < bytes.len() {
            warnings.push(format!("{self} begins with a byte order mark, which is ignored; save the file as UTF-8 without a byte order mark"));
        }
        let trimmed = text.trim_ascii();
        if trimmed.is_empty() {
            return Err(ResolveError::Wrong(format!(
                "{self} is empty; put the secret there"
            )));
        }
        if trimmed.len() == text.len() {
            return Ok(Secret::new(text));
        }
        if let Self::Plain(_) = self {
            warnings.push(format!(
                "{self} begins or ends with white space, which counts as part of the secret"
            ));
            return Ok(Secret::new(text));
        }
        warnings.push(format!(
            "{self} begins or ends with white space, which is ignored; remove the white space, or write plain:TEXT if it belongs to the secret"
        ));
        Ok(Secret::new(trimmed))
    }

    /// The bytes as they are stored, without a last line's end.
    fn read(
        self,
        environment: &Environment,
        warnings: &mut Vec<String>,
    ) -> Result<Vec<u8>, ResolveError> {
        match self {
            Self::Env(name) => match environment.get(name) {
                Some(value) => Ok(value.as_bytes().to_vec()),
                None => Err(ResolveError::NotHere(format!(
                    "the environment variable {name} is not set"
                ))),
            },
            Self::File(path) => {
                let path = Path::new(path);
                let (bytes, mode) = read_file(path)?;
                if mode & 0o077 != 0 {
                    warnings.push(format!(
                        "{} can be read by others than its owner (mode {:03o}): chmod 600 {0}",
                        path.display(),
                        mode & 0o777
                    ));
                }
                Ok(bytes)
            }
            Self::Credential(name) => Ok(read_file(&credential_path(name, environment)?)?.0),
            Self::Plain(text) => Ok(text.as_bytes().to_vec()),
        }
    }
}

impl fmt::Display for Reference<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Env(name) => write!(f, "env:{name}"),
            Self::File(path) => write!(f, "file:{path}"),
            Self::Credential(name) => write!(f, "credential:{name}"),
            Self::Plain(_) => f.write_str("plain:***"),
        }
    }
}

fn credential_path(name: &str, environment: &Environment) -> Result<PathBuf, ResolveError> {
    if name.is_empty() || name.contains('/') || name == ".." {
        return Err(ResolveError::Wrong(format!(
            "credential:{name} does not name a credential; write the name in front of the colon of LoadCredential="
        )));
    }
    let Some(folder) = environment.get("CREDENTIALS_DIRECTORY") else {
        return Err(ResolveError::NotHere(format!(
            "CREDENTIALS_DIRECTORY is not set, so there is no credential {name}: start under systemd with LoadCredential={name}:/path"
        )));
    };
    Ok(Path::new(folder).join(name))
}

/// The content of a file without its last line's end, and the file's mode.
fn read_file(path: &Path) -> Result<(Vec<u8>, u32), ResolveError> {
    let read = || -> std::io::Result<(Vec<u8>, u32)> {
        let mut bytes = Vec::new();
        let file = File::open(path)?;
        let mode = file.metadata()?.permissions().mode();
        file.take(MAX_FILE_BYTES + 1).read_to_end(&mut bytes)?;
        Ok((bytes, mode))
    };
    let (mut bytes, mode) = read().map_err(|error| {
        ResolveError::NotHere(format!("cannot read {}: {error}", path.display()))
    })?;
    if bytes.len() as u64 > MAX_FILE_BYTES {
        return Err(ResolveError::Wrong(format!(
            "{} is larger than {MAX_FILE_BYTES} bytes, too large for a secret; name the file that holds the secret alone",
            path.display()
        )));
    }
    if bytes.ends_with(b"\n") {
        bytes.pop();
        if bytes.ends_with(b"\r") {
            bytes.pop();
        }
    }
    Ok((bytes, mode))
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    fn resolve(text: &str, environment: &Environment) -> (Result<String, String>, Vec<String>) {
        let mut warnings = Vec::new();
        let secret = Reference::parse(text)
            .expect("a reference")
            .resolve(environment, &mut warnings);
        let text = |secret: Secret| String::from_utf8(secret.expose().to_vec()).expect("text");
        (
            secret.map(text).map_err(|error| error.to_string()),
            warnings,
        )
    }

    #[test]
    fn each_kind_of_reference_is_read() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("secret");
        fs::write(&path, "from a file\r\n").expect("written");
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).expect("private");
        let environment = Environment::from([
            ("KEY".to_owned(), "from the environment".into()),
            ("CREDENTIALS_DIRECTORY".to_owned(), folder.path().into()),
        ]);
        let file = format!("file:{}", path.display());
        assert_eq!(
            resolve("env:KEY", &environment),
            (Ok("from the environment".to_owned()), vec![])
        );
        assert_eq!(
            resolve(&file, &environment),
            (Ok("from a file".to_owned()), vec![])
        );
        assert_eq!(
            resolve("credential:secret", &environment),
            (Ok("from a file".to_owned()), vec![])
        );
        assert_eq!(
            resolve("plain:a:b", &environment),
            (Ok("a:b".to_owned()), vec![])
        );

        fs::set_permissions(&path, fs::Permissions::from_mode(0o640)).expect("shared");
        assert!(resolve(&file, &environment).1[0].contains("mode 640"));
    }

    #[test]
    fn what_is_missing_or_empty_is_refused_and_never_shown() {
        let folder = tempfile::tempdir().expect("a folder");
        fs::write(folder.path().join("empty"), "\n").expect("written");
        fs::write(folder.path().join("large"), vec![b'x'; 70_000]).expect("written");
        let environment = Environment::from([
            ("EMPTY".to_owned(), "".into()),
            ("CREDENTIALS_DIRECTORY".to_owned(), folder.path().into()),
        ]);
        for (reference, said) in [
            ("env:MISSING", "MISSING is not set"),
            ("env:EMPTY", "env:EMPTY is empty"),
            ("credential:empty", "is empty"),
            ("credential:large", "larger"),
            ("credential:absent", "cannot read"),
            ("credential:../etc/passwd", "does not name a credential"),
            (
                "file:/nonexistent/secret",
                "cannot read /nonexistent/secret",
            ),
            ("plain:", "plain:*** is empty"),
        ] {
            let error = resolve(reference, &environment).0.expect_err(reference);
            assert!(error.contains(said), "{reference}: {error}");
        }
        let not_here = |text: &str| {
            Reference::parse(text)
                .expect("a reference")
                .resolve(&environment, &mut Vec::new())
        };
        assert!(matches!(
            not_here("env:MISSING"),
            Err(ResolveError::NotHere(_))
        ));
        assert!(matches!(
            not_here("file:/nonexistent/secret"),
            Err(ResolveError::NotHere(_))
        ));
        assert!(matches!(not_here("env:EMPTY"), Err(ResolveError::Wrong(_))));
        assert!(
            resolve("credential:x", &Environment::new())
                .0
                .expect_err("no folder")
                .contains("LoadCredential=x:")
        );
        let (secret, warnings) = resolve("plain:whsec_1 ", &environment);
        assert!(
            secret.is_ok() && warnings[0].contains("white space") && !warnings[0].contains("whsec"),
            "{warnings:?}"
        );
        assert_eq!(format!("{:?}", Secret::new(*b"whsec")), "Secret(…)");
    }

    /// Field reports: a blank pasted along, and an editor that writes a byte order mark, make every delivery a 401.
    #[test]
    fn what_an_editor_or_a_copy_adds_to_a_secret_is_left_out_and_said() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("secret");
        fs::write(&path, b"\xef\xbb\xbfwhsec_1 \r\n\n").expect("written");
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).expect("private");
        let environment = Environment::from([
            ("KEY".to_owned(), " whsec_2\n".into()),
            ("BLANK".to_owned(), " \n".into()),
        ]);

        let (secret, warnings) = resolve(&format!("file:{}", path.display()), &environment);
        assert_eq!(secret, Ok("whsec_1".to_owned()));
        assert!(
            warnings.len() == 2
                && warnings[0].contains("byte order mark")
                && warnings[1].contains("which is ignored"),
            "{warnings:?}"
        );
        let (secret, warnings) = resolve("env:KEY", &environment);
        assert_eq!(secret, Ok("whsec_2".to_owned()));
        assert!(
            warnings[0].contains("which is ignored") && !warnings[0].contains("whsec"),
            "{warnings:?}"
        );
        let (secret, warnings) = resolve("plain:whsec_3 ", &environment);
        assert_eq!(secret, Ok("whsec_3 ".to_owned()));
        assert!(
            warnings[0].contains("counts as part of the secret"),
            "{warnings:?}"
        );
        assert!(
            resolve("env:BLANK", &environment)
                .0
                .expect_err("blank")
                .contains("is empty")
        );
    }
}
