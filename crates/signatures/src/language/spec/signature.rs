//! Schema of signatures: their place, time, keys and hashes.

use std::collections::BTreeMap;

use serde::Deserialize;

use crate::crypto::mac::{Encoding, HashName};
use crate::language::syntax::{Expected, FieldRef, HashField, ParamText};

/// Rule by which a secret or public key, as the operator pastes it, becomes a key.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct KeySpec {
    /// A prefix that is not part of the key, if it is there; `*_` is everything up to the first `_`.
    pub strip_prefix: Option<String>,
    /// Text with which the provider's secrets always begin; others are warned about.
    pub expected_prefix: Option<String>,
    /// Its encoding after that.
    #[serde(default)]
    pub decode: KeyDecode,
    /// Without the prefix, take the secret as text.
    #[serde(default)]
    pub plain_without_prefix: bool,
    /// Hash it.
    pub derive_hash: Option<HashName>,
    /// Append text.
    pub append_text: Option<String>,
    /// Unicode normalisation of the text.
    pub normalize: Option<Normalize>,
    /// Shortest key that is accepted, in bytes after decoding; 16 if left out.
    pub min_bytes: Option<usize>,
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

/// Unicode normalisation.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
#[expect(missing_docs, reason = "the name of the form")]
pub enum Normalize {
    Nfkd,
}

/// Place where the request names its hash.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct HashBySpec {
    /// `header:NAME`, or `signature` for the label of the signature's entry.
    pub from: HashField,
    /// The names that are accepted.
    pub names: BTreeMap<String, HashName>,
}

/// Place and spelling of a signature.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SigSpec {
    /// `header:NAME`, `query:NAME`, `form:NAME`, `json:/pointer`.
    pub from: FieldRef,
    /// Text in front of it, required.
    #[serde(default)]
    pub prefix: ParamText,
    /// Characters that separate entries of a list.
    pub separators: Option<String>,
    /// Text that a sender writes between entries; the first character of `separators` if left out. Verifying takes any of `separators`.
    pub send_separator: Option<String>,
    /// The character between an entry's label and its value.
    pub label_separator: Option<String>,
    /// Labels of entries that are signatures (without `label_separator`: positions, from 0).
    #[serde(default)]
    pub labels: Vec<ParamText>,
    /// Encoding of its bytes.
    #[serde(default)]
    pub encoding: Encoding,
    /// The text is base64 of a JSON document, in which the signature is at this pointer.
    pub base64_json_pointer: Option<String>,
    /// Position of the one secret that signs here; any if left out.
    pub secret_index: Option<usize>,
}

/// A URL that a request names. Nothing but what is pinned here is ever fetched: `https://`, one of the hosts, the path, and nothing else.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PinnedUrlSpec {
    /// `header:NAME` or `json:/pointer`.
    pub from: FieldRef,
    /// Hosts; `*` is lower-case letters and hyphens, `#` is digits, so that no dot and no port gets in.
    pub hosts: Vec<ParamText>,
    /// Path and query; `*` is letters, digits, `-`, `_`, `.` and `:`.
    pub path: String,
}

/// Place of the time of signing.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TsSpec {
    /// `signature:LABEL`, `header:NAME`, `form:NAME`, `json:/pointer`.
    pub from: FieldRef,
    /// Unit or format of the time.
    #[serde(default)]
    pub unit: TimeUnit,
    /// Largest age in seconds; 0 is any age.
    #[serde(default)]
    pub tolerance_secs: u64,
    /// A time further ahead than `tolerance_secs` is refused too.
    #[serde(default)]
    pub refuse_future: bool,
    /// In JSON, it must be a number.
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
    /// Seconds or milliseconds, by size.
    Auto,
    /// RFC 3339.
    Rfc3339,
}

/// Spellings of the URL to try: with and without its port.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum UrlPorts {
    /// As configured.
    #[default]
    Asis,
    /// With the port (the default one if none is given), and without any.
    Both,
}

/// A digest that the request carries outside of the signature.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BindSpec {
    /// `query:NAME`, `header:NAME` or `json:/pointer`.
    pub from: FieldRef,
    /// Template of the expected value.
    pub equals: Expected,
    /// It may be absent where the body is a form (whose fields are signed) or empty.
    #[serde(default)]
    pub unless_form: bool,
}
