//! Schema of signatures: their place, time, keys and hashes.

use std::collections::BTreeMap;

use serde::Deserialize;

use crate::crypto::mac::{Encoding, HashName};
use crate::language::syntax::{
    Expected, FieldRef, HashField, HostPattern, JsonPointer, ParamText, PathPattern,
};

/// Rule that turns a secret or public key, as the operator pastes it, into key bytes.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct KeySpec {
    /// Prefix that is removed from the pasted text, if present. `*_` removes everything up to the
    /// first `_`.
    pub strip_prefix: Option<StripPrefix>,
    /// Prefix of all of the provider's secrets. A secret without it gets a warning.
    pub expected_prefix: Option<String>,
    /// Prefixes of the provider's other keys and ids, and their meaning. A secret with such a prefix
    /// gets a warning.
    #[serde(default)]
    pub other_keys: BTreeMap<String, String>,
    /// Encoding of the pasted text after its prefix.
    #[serde(default)]
    pub decode: KeyDecode,
    /// If the prefix is missing, the secret is plain text and is not decoded.
    #[serde(default)]
    pub plain_without_prefix: bool,
    /// Hash function applied to the decoded key.
    pub derive_hash: Option<HashName>,
    /// Text appended to the decoded key.
    pub append_text: Option<String>,
    /// Unicode normalization of the pasted text.
    pub normalize: Option<Normalize>,
    /// Minimum length of the decoded key, in bytes; 16 if left out.
    pub min_bytes: Option<usize>,
}

/// Prefix that is removed from a key.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(from = "String")]
pub enum StripPrefix {
    /// This text; nothing if it is empty.
    Text(Box<str>),
    /// Everything up to the first underscore: `*_`.
    UpToUnderscore,
}

impl StripPrefix {
    /// Returns `key` without the prefix, if `key` has it.
    pub(crate) fn strip<'k>(&self, key: &'k [u8]) -> &'k [u8] {
        match self {
            Self::Text(prefix) => key.strip_prefix(prefix.as_bytes()).unwrap_or(key),
            Self::UpToUnderscore => {
                let end = key.iter().position(|byte| *byte == b'_');
                end.map_or(key, |at| &key[at + 1..])
            }
        }
    }
}

impl From<String> for StripPrefix {
    fn from(text: String) -> Self {
        match text.as_str() {
            "*_" => Self::UpToUnderscore,
            _ => Self::Text(text.into()),
        }
    }
}

/// Encoding of a key.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
#[expect(missing_docs, reason = "the names of the encodings")]
pub enum KeyDecode {
    #[default]
    Utf8,
    Base64,
    Hex,
}

/// Unicode normalization form.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
#[expect(missing_docs, reason = "the name of the form")]
pub enum Normalize {
    Nfkd,
}

/// Place in which the request names its hash function, and the accepted names.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct HashBySpec {
    /// Place of the name: `header:NAME`, or `signature` for the label of the signature's list
    /// entry.
    pub from: HashField,
    /// Accepted names, and the hash function of each.
    pub names: BTreeMap<String, HashName>,
}

/// Place and spelling of a signature.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SigSpec {
    /// Place of the signature: `header:NAME`, `query:NAME`, `form:NAME` or `json:/pointer`.
    pub from: FieldRef,
    /// Text that must stand in front of the signature.
    #[serde(default)]
    pub prefix: ParamText,
    /// Characters that separate the entries of a list of signatures.
    pub separators: Option<String>,
    /// Separator that the signer writes between entries; the first of `separators` if left out. The
    /// verifier accepts any of `separators`.
    pub send_separator: Option<String>,
    /// Character between the label and the value of a list entry.
    pub label_separator: Option<String>,
    /// Labels of the list entries that are signatures. Without `label_separator`, a label is a
    /// position, from 0.
    #[serde(default)]
    pub labels: Vec<ParamText>,
    /// Text encoding of the signature.
    #[serde(default)]
    pub encoding: Encoding,
    /// JSON pointer to the signature, if the text is a JSON document in base64.
    pub base64_json_pointer: Option<JsonPointer>,
    /// Position of the only secret that signs at this place; any secret if left out.
    pub secret_index: Option<usize>,
}

/// URL that a request names, pinned to the provider. Only `https://` URLs with one of the hosts and
/// the path are fetched.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PinnedUrlSpec {
    /// Place of the URL: `header:NAME` or `json:/pointer`.
    pub from: FieldRef,
    /// Host patterns. `*` matches lower-case letters and hyphens, `#` matches digits; neither
    /// matches a dot or a port.
    pub hosts: Vec<HostPattern>,
    /// Pattern of path and query. `*` matches letters, digits, `-`, `_`, `.` and `:`.
    pub path: PathPattern,
}

/// Place of the time of signing.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TsSpec {
    /// Place of the time: `signature:LABEL`, `header:NAME`, `form:NAME` or `json:/pointer`.
    pub from: FieldRef,
    /// Unit or format of the time.
    #[serde(default)]
    pub unit: TimeUnit,
    /// Maximum age of a signature, in seconds; 0 accepts any age.
    #[serde(default)]
    pub tolerance_secs: u64,
    /// A signature from further in the future than `tolerance_secs` is refused.
    #[serde(default)]
    pub refuse_future: bool,
    /// The time at a JSON pointer must be a number.
    #[serde(default)]
    pub must_be_number: bool,
}

/// Unit or format of a time.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum TimeUnit {
    /// Seconds since 1970.
    #[default]
    S,
    /// Milliseconds since 1970.
    Ms,
    /// Seconds or milliseconds since 1970, told apart by size.
    Auto,
    /// Date and time in RFC 3339.
    Rfc3339,
}

/// Spellings of the public URL that the verifier tries.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum UrlPorts {
    /// The URL as configured.
    #[default]
    Asis,
    /// The URL with its port or the default port, and the URL without a port.
    Both,
}

/// Digest in the request that must match, such as a digest of the body.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BindSpec {
    /// Place of the digest: `query:NAME`, `header:NAME` or `json:/pointer`.
    pub from: FieldRef,
    /// Template of the expected value.
    pub equals: Expected,
    /// The digest may be absent if the body is empty or is a form, whose fields are signed.
    #[serde(default)]
    pub unless_form: bool,
}
