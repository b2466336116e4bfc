//! Causes of a refusal, in words. None of them holds a secret.

use std::fmt;

/// Verdict of the doctor.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Diagnosis {
    /// The cause. None: nothing that was tried fits.
    pub cause: Option<Cause>,
    /// Error of the clock, besides the cause.
    pub clock: Option<Cause>,
    /// Checks that were made, in order.
    pub checks: Vec<String>,
}

/// Cause of a refusal.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Cause {
    /// The present configuration proves it.
    VerifiesNow,
    /// The key that signed is not there yet.
    KeyNotThere,
    /// It is a handshake by the present configuration, and no event.
    Handshake,
    /// The sender is proven, and the event's id cannot be told.
    Id,
    /// The body is larger than the source takes.
    Size,
    /// The signature is right, and its time is off.
    Clock {
        /// Seconds between signing and receipt; negative if it was signed in the future.
        age_secs: i64,
        /// Seconds that are accepted, if the scheme says so.
        tolerance_secs: Option<u64>,
    },
    /// It is proven as a delivery to this source.
    OtherSource(String),
    /// It was signed with a secret of this other source.
    SecretOfOther {
        /// The source.
        source: String,
        /// Reference of the secret.
        reference: String,
    },
    /// It was signed with a secret that the source had before a reload.
    FormerSecret,
    /// It was signed with a value of `params`.
    Param(String),
    /// It was signed with another form of a secret.
    Key {
        /// Reference of the secret.
        reference: String,
        /// The form.
        form: KeyForm,
    },
    /// The body is not what was signed.
    Body(BodyChange),
    /// Headers of other providers are there, and the source's own is not.
    OtherScheme {
        /// Providers that use such a header.
        providers: Vec<String>,
        /// The header.
        header: String,
        /// True if the source's secret proves it by the first provider's scheme.
        proven: bool,
    },
    /// Another URL was signed.
    Url(String),
}

/// Form of a secret that has signed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KeyForm {
    /// Without the white space around it, or with some.
    WhiteSpace,
    /// Without its quotes.
    Quotes,
    /// The text as it stands.
    Text,
    /// Its bytes, decoded from base64.
    FromBase64,
    /// Its bytes, decoded from hexadecimal digits.
    FromHex,
    /// Its text, in base64.
    ToBase64,
    /// Its text, in hexadecimal digits.
    ToHex,
    /// Without its prefix.
    WithoutPrefix,
    /// With the provider's prefix.
    WithPrefix,
}

/// Change of a body between signing and receipt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BodyChange {
    /// A newline at its end was added.
    NewlineMore,
    /// The newline at its end was lost.
    NewlineLess,
    /// Ends of lines were changed.
    LineEnds,
    /// A byte order mark was added.
    ByteOrderMark,
    /// JSON was parsed and printed again.
    Reserialised,
}

impl Cause {
    /// Returns the word for the cause.
    pub fn word(&self) -> &'static str {
        match self {
            Self::VerifiesNow => "verifies_now",
            Self::KeyNotThere => "key_not_there",
            Self::Handshake => "handshake",
            Self::Id => "id",
            Self::Size => "size",
            Self::Clock { .. } => "clock",
            Self::OtherSource(_) => "other_source",
            Self::SecretOfOther { .. } => "secret_of_other_source",
            Self::FormerSecret => "former_secret",
            Self::Param(_) => "param",
            Self::Key { form, .. } => match form {
                KeyForm::WhiteSpace => "white_space",
                KeyForm::Quotes => "quotes",
                KeyForm::Text | KeyForm::FromBase64 | KeyForm::FromHex => "encoding",
                KeyForm::ToBase64 | KeyForm::ToHex => "encoding",
                KeyForm::WithoutPrefix | KeyForm::WithPrefix => "prefix",
            },
            Self::Body(BodyChange::Reserialised) => "reserialised",
            Self::Body(_) => "newline",
            Self::OtherScheme { .. } => "other_scheme",
            Self::Url(_) => "url",
        }
    }
}

impl KeyForm {
    fn says(self) -> &'static str {
        match self {
            Self::WhiteSpace => "with other white space around it",
            Self::Quotes => "without its quotes",
            Self::Text => "as plain text, without decoding it",
            Self::FromBase64 => "decoded from base64",
            Self::FromHex => "decoded from hexadecimal digits",
            Self::ToBase64 => "encoded in base64",
            Self::ToHex => "encoded in hexadecimal digits",
            Self::WithoutPrefix => "without its prefix",
            Self::WithPrefix => "with the provider's prefix in front",
        }
    }
}

impl BodyChange {
    fn says(self) -> &'static str {
        match self {
            Self::NewlineMore => {
                "it does verify without the newline at the end: the body was sent without it, and a proxy or an editor has added it"
            }
            Self::NewlineLess => {
                "it does verify with a newline at the end: the body was sent with it, and a proxy or an editor has removed it"
            }
            Self::LineEnds => {
                "it does verify with other ends of lines: something on the way has changed them; pass the body on as bytes"
            }
            Self::ByteOrderMark => {
                "it does verify without the byte order mark at its beginning: something on the way has added it"
            }
            Self::Reserialised => {
                "it does verify if its JSON is printed in another way: something on the way has parsed the body and printed it again; pass the \
                 body on as bytes"
            }
        }
    }
}

impl Cause {
    /// Returns a cause that needs no figures and no names, in words.
    fn fixed(&self) -> Option<&'static str> {
        match self {
            Self::VerifiesNow => Some(
                "it does verify with the present configuration: `hookweir quarantine verify` stores it as an event",
            ),
            Self::KeyNotThere => Some(
                "the key that signed is the provider's to give, and is not there: is the provider's key set reachable? `hookweir quarantine verify` tries again",
            ),
            Self::Handshake => Some(
                "it is a handshake by the present configuration, and no event: have the provider verify the URL again",
            ),
            Self::Id => Some("the sender is proven; the event's id cannot be told from the body"),
            Self::Size => Some(
                "it is larger than max_body_bytes of the source or of [limits], or its headers than limits.max_header_bytes: raise the bound",
            ),
            Self::FormerSecret => Some(
                "it was signed with a secret that this source had before a reload: put it back into retiring_secrets until the provider has the new one, unless it was removed because others know it",
            ),
            Self::Body(change) => Some(change.says()),
            _ => None,
        }
    }
}

/// Says by how much a clock is off.
fn clock(f: &mut fmt::Formatter<'_>, age: i64, tolerance: Option<u64>) -> fmt::Result {
    f.write_str("the signature is right, and was made ")?;
    match age {
        ..0 => write!(f, "{} s in the future", age.unsigned_abs())?,
        _ => write!(f, "{age} s before the receipt")?,
    }
    if let Some(tolerance) = tolerance {
        write!(f, ", where {tolerance} s are accepted")?;
    }
    f.write_str(
        ": the clock of this machine or of the sender is off, or something has held the delivery up. `timedatectl` shows this machine's. To accept it, \
         raise timestamp.tolerance_secs in [source.scheme], reload, and verify again",
    )
}

/// Says whose header is there.
fn other_scheme(
    f: &mut fmt::Formatter<'_>,
    providers: &[String],
    header: &str,
    proven: bool,
) -> fmt::Result {
    write!(
        f,
        "it has the header {header}, which {} sends",
        providers.join(", ")
    )?;
    match (proven, providers.first()) {
        (true, Some(first)) => write!(
            f,
            ", and the secret proves it by that scheme: set provider = \"{first}\""
        ),
        _ => f.write_str(
            ", and not the header of this source's provider: set the source's provider, or enter another URL at the sender",
        ),
    }
}

/// Says the cause and what to do. Holds no secret.
impl fmt::Display for Cause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Clock {
                age_secs,
                tolerance_secs,
            } => clock(f, *age_secs, *tolerance_secs),
            Self::OtherSource(source) => write!(
                f,
                "it is a delivery for source {source}, whose scheme and secret prove it: enter that source's URL at the provider"
            ),
            Self::SecretOfOther { source, reference } => write!(
                f,
                "it was signed with {reference}, a secret of source {source}: the two secrets are mixed up, here or at the provider"
            ),
            Self::Param(name) => write!(
                f,
                "it was signed with the value of params.{name}: by the provider, if that value is a secret; by anybody, if it is public"
            ),
            Self::Key { reference, form } => write!(
                f,
                "it was signed with {reference} {}: correct the secret where it is stored, reload, and verify again",
                form.says()
            ),
            Self::OtherScheme {
                providers,
                header,
                proven,
            } => other_scheme(f, providers, header, *proven),
            Self::Url(url) => write!(
                f,
                "the provider has signed the URL {url}: set public_url to it, or enter the URL of public_url at the provider"
            ),
            fixed => f.write_str(fixed.fixed().unwrap_or_default()),
        }
    }
}

/// Says the cause, or that none was found with the checks that were made.
impl fmt::Display for Diagnosis {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.cause {
            Some(cause) => match &self.clock {
                Some(clock) => write!(f, "two mistakes at once. {cause}. And {clock}"),
                None => write!(f, "{cause}"),
            },
            None if self.checks.is_empty() => f.write_str("nothing could be tried"),
            None => write!(
                f,
                "no usual mistake explains it, so it may be a forgery or a secret that is not known here; tried: {}",
                self.checks.join("; ")
            ),
        }
    }
}
