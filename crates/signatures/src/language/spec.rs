//! The words in which a scheme is written: a preset in `presets/*.toml`, or `[source.scheme]` of an operator.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::Deserialize;

use crate::crypto::mac::{Encoding, HashName};
use crate::language::read::{self, Fault};

/// One scheme, as written. Everything is optional but `kind`; secrets, public URL and parameters belong to the source.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SchemeSpec {
    /// How the sender proves itself.
    pub kind: Kind,
    /// The hash of `hmac` and `hash`.
    #[serde(default = "sha256")]
    pub hash: HashName,
    /// Where the request names its hash, and which names are accepted.
    pub hash_by: Option<HashBySpec>,
    /// How a secret or public key becomes a key.
    #[serde(default)]
    pub key: KeySpec,
    /// Where the signature (or token) is. Several may be given; any of them may match.
    #[serde(default)]
    pub sig: Vec<SigSpec>,
    /// Where the time of signing is.
    pub ts: Option<TsSpec>,
    /// What is signed, as a template.
    pub message: Option<String>,
    /// Where the JSON document is: `body`, `form:NAME`, `multipart:NAME`, `encrypted:/pointer`, or `jwt` for the token's claims.
    #[serde(default = "body")]
    pub document: String,
    /// JSON pointer to an array of which every element is verified for itself; `{json:…}` is then relative to the element.
    pub each: Option<String>,
    /// Verify over the decompressed bytes where the body is gzip.
    #[serde(default)]
    pub gunzip: bool,
    /// Try the URL with and without its port.
    #[serde(default)]
    pub url_ports: UrlPorts,
    /// Preconditions: a place in the request, and what it must equal.
    #[serde(default)]
    pub require: BTreeMap<String, String>,
    /// Digests that the request carries outside of the signature.
    #[serde(default)]
    pub bind: Vec<BindSpec>,
    /// JSON Web Token.
    pub jwt: Option<JwtSpec>,
    /// Where the request says where its signer's certificate is. Public keys that the source gives take its place.
    pub cert_url: Option<PinnedUrlSpec>,
    /// Default values of the source's `params`.
    #[serde(default)]
    pub params: BTreeMap<String, String>,
    /// Methods of events.
    #[serde(default = "post")]
    pub methods: Vec<String>,
    /// Where id and type of the event are.
    #[serde(default)]
    pub event: EventSpec,
    /// What the provider wants to be answered.
    #[serde(default)]
    pub respond: RespondSpec,
    /// Requests that are no events.
    #[serde(default)]
    pub handshake: Vec<HandshakeSpec>,
    /// What else is known of the provider.
    #[serde(default)]
    pub facts: FactsSpec,
    /// A body of the provider's shape, with `{id}`, `{ts}` and `{time}` (RFC 3339), for `hookweir send`.
    pub sample: Option<String>,
}

fn sha256() -> HashName {
    HashName::Sha256
}
fn body() -> String {
    "body".into()
}
fn post() -> Vec<String> {
    vec!["POST".into()]
}
fn yes() -> bool {
    true
}

/// How the sender proves itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// HMAC over a message.
    Hmac,
    /// A plain hash over a message that holds the secret.
    Hash,
    /// The secret itself, in a header or elsewhere.
    Token,
    /// HTTP basic authentication; the secret is `user:password`.
    Basic,
    /// A JSON Web Token.
    Jwt,
    /// Ed25519 over a message.
    Ed25519,
    /// ECDSA on P-256 (DER) over a message; with SHA-256 unless `hash` or `hash_by` says SHA-1.
    #[serde(rename = "ecdsa-p256")]
    EcdsaP256,
    /// RSA PKCS#1 v1.5 over a message; with SHA-256 unless `hash` or `hash_by` says otherwise.
    #[serde(rename = "rsa-sha256", alias = "rsa")]
    Rsa,
    /// Nothing is verified.
    None,
}

/// How a secret or public key, as the operator pastes it, becomes a key.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct KeySpec {
    /// A prefix that is not part of the key, if it is there; `*_` is everything up to the first `_`.
    pub strip: Option<String>,
    /// How the provider's secrets always begin; others are warned about.
    pub begins: Option<String>,
    /// Its encoding after that.
    #[serde(default)]
    pub decode: KeyDecode,
    /// Without the prefix, take the secret as text.
    #[serde(default)]
    pub plain_without_prefix: bool,
    /// Hash it.
    pub derive: Option<HashName>,
    /// Append text.
    pub append: Option<String>,
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

/// Where the request names its hash.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct HashBySpec {
    /// `header:NAME`, or `sig` for the label of the signature's entry.
    pub from: String,
    /// The names that are accepted.
    pub names: BTreeMap<String, HashName>,
}

/// Where a signature is, and how it is written.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SigSpec {
    /// `header:NAME`, `query:NAME`, `form:NAME`, `json:/pointer`.
    pub from: String,
    /// Text in front of it, required.
    #[serde(default)]
    pub prefix: String,
    /// Characters that separate entries of a list.
    pub split: Option<String>,
    /// What a sender writes between entries; the first character of `split` if left out. Verifying takes any of `split`.
    pub join: Option<String>,
    /// The character between an entry's label and its value.
    pub kv: Option<String>,
    /// Labels of entries that are signatures (without `kv`: positions, from 0).
    #[serde(default)]
    pub take: Vec<String>,
    /// How its bytes are written.
    #[serde(default)]
    pub encoding: Encoding,
    /// The text is base64 of a JSON document, in which the signature is at this pointer.
    pub inside: Option<String>,
    /// Position of the one secret that signs here; any if left out.
    pub secret: Option<usize>,
}

/// A URL that a request names. Nothing but what is pinned here is ever fetched: `https://`, one of the hosts, the path, and nothing else.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PinnedUrlSpec {
    /// `header:NAME` or `json:/pointer`.
    pub from: String,
    /// Hosts; `*` is lower-case letters and hyphens, `#` is digits, so that no dot and no port gets in.
    pub hosts: Vec<String>,
    /// Path and query; `*` is letters, digits, `-`, `_`, `.` and `:`.
    pub path: String,
}

/// Where the time of signing is.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TsSpec {
    /// `sig:LABEL`, `header:NAME`, `form:NAME`, `json:/pointer`.
    pub from: String,
    /// How it is written.
    #[serde(default)]
    pub unit: TimeUnit,
    /// Largest age in seconds; 0 is any age.
    #[serde(default)]
    pub tolerance: u64,
    /// Whether a time further ahead than `tolerance` is refused too.
    #[serde(default)]
    pub future: bool,
    /// In JSON, it must be a number.
    #[serde(default)]
    pub number: bool,
}

/// How a time is written.
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

/// Whether the URL is tried with and without its port.
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
    pub from: String,
    /// What it must equal.
    pub of: String,
    /// It may be absent where the body is a form (whose fields are signed) or empty.
    #[serde(default)]
    pub unless_form: bool,
}

/// A JSON Web Token.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct JwtSpec {
    /// `header:NAME`, `body` or `json:/pointer`.
    pub from: String,
    /// Text in front of it, required.
    #[serde(default)]
    pub strip: String,
    /// What a detached signature signs (RFC 7515, appendix F), as a template; the token then has nothing between its dots.
    pub detached: Option<String>,
    /// What else a sender writes into the token's header.
    #[serde(default)]
    pub header: BTreeMap<String, String>,
    /// Accepted algorithms.
    pub algs: Vec<JwtAlg>,
    /// Allowed difference of clocks, in seconds.
    #[serde(default)]
    pub leeway: u64,
    /// Claims that must be there.
    #[serde(default)]
    pub require: Vec<String>,
    /// Claims and what they must equal. A name that starts with `/` is a JSON pointer, and `|` stands between several of which one must.
    #[serde(default)]
    pub claims: BTreeMap<String, String>,
    /// Largest age by `iat`, in seconds.
    pub max_age: Option<u64>,
    /// The claim that binds the body.
    pub body: Option<JwtDigestSpec>,
    /// The claim that binds the URL.
    pub url: Option<JwtDigestSpec>,
    /// Default URL of the provider's key set.
    pub jwks: Option<String>,
    /// Where the provider gives a key by its id. Public keys that the source gives take its place.
    pub key_api: Option<KeyApiSpec>,
    /// The token brings the certificates of its signer. Public keys that the source gives take their place.
    pub x5c: Option<X5cSpec>,
}

/// An API that gives a public key by its id.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct KeyApiSpec {
    /// Its URL, with `{kid}` in it where the key is named there.
    pub url: String,
    /// What is posted, as JSON; a GET if left out. `{kid}` is the key's id and `{secret}` the source's secret.
    #[serde(default)]
    pub body: BTreeMap<String, String>,
    /// JSON pointer to the key in the answer; the answer is a public key in PEM if left out.
    pub at: Option<String>,
}

/// A chain of exactly three certificates (`x5c` of RFC 7515) up to a pinned root.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct X5cSpec {
    /// The root, in PEM.
    pub root: String,
    /// An extension that the signer's certificate must have, as an object identifier.
    pub leaf: String,
    /// An extension that the certificate between must have.
    pub intermediate: String,
}

/// JWS algorithms, by their registered names.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[expect(missing_docs, reason = "their registered names")]
pub enum JwtAlg {
    HS256,
    HS384,
    HS512,
    RS256,
    RS384,
    RS512,
    ES256,
    ES384,
    ES512,
    EdDSA,
}

/// A claim that holds a digest.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct JwtDigestSpec {
    /// Its name.
    pub claim: String,
    /// Its hash.
    #[serde(default = "sha256")]
    pub hash: HashName,
    /// How its bytes are written.
    #[serde(default)]
    pub encoding: Encoding,
    /// It is absent exactly where there is no body.
    #[serde(default)]
    pub absent_if_empty: bool,
}

/// Where id and type of the event are.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EventSpec {
    /// Templates; the first whose tokens are all there is the id. None: the event has no id.
    #[serde(default)]
    pub id: Vec<String>,
    /// Template.
    #[serde(rename = "type", default)]
    pub event_type: String,
    /// What the provider's id stands for.
    #[serde(default)]
    pub id_kind: IdKind,
    /// JSON pointers into the document, to values that a redelivery may change: bodies are compared without them.
    #[serde(default)]
    pub varies: Vec<String>,
    /// What takes the place of an id that is not there.
    #[serde(default)]
    pub missing: Missing,
    /// Whether the provider's redeliveries have the same id.
    #[serde(default = "yes")]
    pub stable: bool,
    /// Where several events are in one POST.
    pub batch: Option<BatchSpec>,
}

impl Default for EventSpec {
    fn default() -> Self {
        Self {
            id: Vec::new(),
            event_type: String::new(),
            id_kind: IdKind::default(),
            varies: Vec::new(),
            missing: Missing::default(),
            stable: true,
            batch: None,
        }
    }
}

/// Meaning of a provider's id.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum IdKind {
    /// One id for each event. Counts for an id that an operator configures.
    #[default]
    Event,
    /// One id for each object, which has many events.
    Object,
    /// Not known.
    Unknown,
}

/// What takes the place of an id that is not there.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Missing {
    /// The digest of the body, for as long as the provider retries: for a provider that is known to make each event's body unique.
    Body,
    /// A generated id: every delivery is a new event, marked if its bytes are known.
    #[default]
    Unique,
    /// Refuse the delivery.
    Refuse,
}

/// Several events in one POST.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BatchSpec {
    /// JSON pointer to the array; a step `*` means every element of an array on the way.
    pub at: String,
    /// As `event.id`, relative to the element.
    #[serde(default)]
    pub id: Vec<String>,
    /// As `event.type`, relative to the element.
    #[serde(rename = "type", default)]
    pub event_type: String,
    /// As `event.varies`, relative to the element.
    #[serde(default)]
    pub varies: Vec<String>,
    /// Each element becomes an event of its own, unless the source says otherwise: for a provider that puts events together anew on a retry.
    #[serde(default)]
    pub split: bool,
    /// What an empty array means.
    #[serde(default)]
    pub empty: EmptyBatch,
}

/// What an empty batch means.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum EmptyBatch {
    /// A health check: answered as accepted, nothing is stored.
    #[default]
    Ok,
    /// It is refused.
    Refuse,
}

/// What the provider wants to be answered.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RespondSpec {
    /// Status.
    pub status: Option<u16>,
    /// `Content-Type` of the body.
    #[serde(rename = "type")]
    pub content_type: Option<String>,
    /// Headers.
    #[serde(default)]
    pub headers: BTreeMap<String, String>,
    /// Body.
    pub body: Option<String>,
    /// Body, as JSON.
    pub json: Option<toml::Value>,
    /// Status for a refused delivery.
    pub reject: Option<u16>,
    /// Status for "not now".
    pub overload: Option<u16>,
}

/// A request that is no event.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct HandshakeSpec {
    /// How it is recognised.
    pub when: WhenSpec,
    /// Places in the request, and what they must equal.
    #[serde(default)]
    pub check: BTreeMap<String, String>,
    /// Status where a check fails; refused as a bad signature if left out.
    pub otherwise: Option<u16>,
    /// The request must verify first.
    #[serde(default)]
    pub signed: bool,
    /// The parameter that must be `on` for it; with `off` such a request is no handshake.
    pub switch: Option<String>,
    /// A URL to be visited, once, before it is answered; until then it is "not now".
    pub visit: Option<PinnedUrlSpec>,
    /// Where the provider hands over the source's secret, which is kept where the source says `learn_secret = true`.
    pub learn: Option<String>,
    /// The answer.
    #[serde(default)]
    pub respond: RespondSpec,
}

/// How a handshake is recognised; everything given must hold.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct WhenSpec {
    /// Method.
    pub method: Option<String>,
    /// A query parameter that is there.
    pub query: Option<String>,
    /// A header that is there.
    pub header: Option<String>,
    /// A form field that is there.
    pub form: Option<String>,
    /// A JSON value that is there.
    pub json: Option<String>,
    /// What the value of the place named above is.
    pub equals: Option<String>,
}

/// What else is known of a provider, and how sure it is.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FactsSpec {
    /// The provider's name.
    pub name: Option<String>,
    /// Where the facts were read.
    pub source: Option<String>,
    /// How sure the scheme is.
    #[serde(default)]
    pub scheme: Evidence,
    /// How sure everything else is.
    #[serde(default)]
    pub rest: Evidence,
    /// Where it is known from that `event.id_kind`, `event.varies` and `event.missing` are right.
    #[serde(default)]
    pub identity: IdentityEvidence,
    /// What tells a redelivery from another event at this provider, in a sentence or two.
    pub identity_note: Option<String>,
    /// How long the provider retries.
    pub retry_hours: Option<u64>,
    /// How long a redelivery should be recognised, where it does not follow from `retry_hours`.
    pub window_days: Option<u64>,
    /// How soon the provider wants its answer.
    pub answer_within_ms: Option<u64>,
    /// Largest body the provider sends.
    pub max_body_bytes: Option<usize>,
    /// What to enter where in the provider's console.
    pub console: Option<String>,
    /// What else to know.
    pub note: Option<String>,
}

/// How sure a fact is.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Evidence {
    /// Read in the provider's own code or documentation.
    Own,
    /// Read in independent code.
    ThirdParty,
    /// Not confirmed.
    #[default]
    Recalled,
}

/// Origin of what is known of a provider's ids.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum IdentityEvidence {
    /// The provider's documentation says so.
    Documented,
    /// Recorded payloads show it.
    Recorded,
    /// The provider's SDK or its types show it.
    Sdk,
    /// Recalled, not confirmed.
    #[default]
    Recalled,
}

/// Hours that a redelivery is recognised at least, where nothing else is known.
const MIN_WINDOW_HOURS: u64 = 7 * 24;

impl FactsSpec {
    /// How long an event is known that its id does not make the only one: the provider's retries and a fifth; an hour where these are not
    /// known. Two minutes at least, for what proxies send twice.
    pub fn retry_span(&self) -> Duration {
        let span = match (self.retry_hours, self.window_days) {
            (Some(hours), _) => Duration::from_secs(hours * 3600 * 6 / 5),
            (None, Some(days)) => Duration::from_secs(days * 24 * 3600),
            (None, None) => Duration::from_secs(3600),
        };
        span.max(Duration::from_secs(120))
    }

    /// How long a redelivery should be recognised: the provider's retries and a fifth, at least seven days.
    pub fn window(&self) -> Duration {
        let hours = match (self.window_days, self.retry_hours) {
            (Some(days), _) => days * 24,
            (None, Some(hours)) => (hours + hours / 5).max(MIN_WINDOW_HOURS),
            (None, None) => MIN_WINDOW_HOURS,
        };
        Duration::from_secs(hours * 3600)
    }
}

impl SchemeSpec {
    /// Whether requests name keys that have to be fetched, unless the source gives them.
    pub fn fetches(&self) -> bool {
        self.cert_url.is_some() || self.jwt.as_ref().is_some_and(|jwt| jwt.key_api.is_some())
    }

    /// Reads a table whose `like` has been resolved. The error names every key with a mistake in it.
    pub fn from_table(table: toml::Table) -> Result<Self, String> {
        match Self::read(table) {
            (Some(spec), faults) if faults.is_empty() => Ok(spec),
            (_, faults) => Err(faults
                .iter()
                .map(ToString::to_string)
                .collect::<Vec<_>>()
                .join("; ")),
        }
    }

    /// The same; with mistakes in it, also what the rest says.
    pub(crate) fn read(mut table: toml::Table) -> (Option<Self>, Vec<Fault>) {
        // One of these is the usual case, and is written without brackets.
        for key in ["sig", "bind", "handshake"] {
            if let Some(one) = table.get_mut(key).filter(|value| value.is_table()) {
                *one = toml::Value::Array(vec![one.clone()]);
            }
        }
        let mut short = None;
        if let Some(token) = table.remove("token") {
            if table.contains_key("sig") {
                short = Some(Fault::new(
                    "token",
                    "short for sig = { from = … }; give one of the two",
                ));
            } else {
                let sig = toml::Table::from_iter([("from".to_owned(), token)]);
                table.insert(
                    "sig".into(),
                    toml::Value::Array(vec![toml::Value::Table(sig)]),
                );
            }
        }
        if let Some(event) = table.get_mut("event").and_then(toml::Value::as_table_mut) {
            id_as_list(event);
            if let Some(batch) = event.get_mut("batch").and_then(toml::Value::as_table_mut) {
                id_as_list(batch);
            }
        }
        let (spec, mut faults) = read::all(table);
        faults.extend(short);
        (spec, faults)
    }
}

fn id_as_list(event: &mut toml::Table) {
    if let Some(id) = event.get_mut("id").filter(|id| id.is_str()) {
        *id = toml::Value::Array(if id.as_str() == Some("") {
            Vec::new()
        } else {
            vec![id.clone()]
        });
    }
}

/// `table` on top of `base`, key by key. `false` takes away a table or list of `base`. What `base` says of the meaning of its ids does not
/// hold for an id of the table's own.
pub(crate) fn inherit(base: &toml::Table, table: &toml::Table) -> toml::Table {
    let mut base = base.clone();
    let own = table.get("event").and_then(toml::Value::as_table);
    let has_own_id = own.is_some_and(|event| event.contains_key("id"));
    if has_own_id && let Some(event) = base.get_mut("event").and_then(toml::Value::as_table_mut) {
        event.remove("id_kind");
        event.remove("varies");
    }
    let mut merged = overlay(&base, table);
    // `token` is short for a `sig`; the one that is written last counts.
    if table.contains_key("token") {
        merged.remove("sig");
    } else if table.contains_key("sig") {
        merged.remove("token");
    }
    merged
}

fn overlay(base: &toml::Table, table: &toml::Table) -> toml::Table {
    let mut merged = base.clone();
    for (key, value) in table {
        match (merged.get_mut(key), value) {
            (Some(toml::Value::Table(old)), toml::Value::Table(new)) => *old = overlay(old, new),
            (Some(toml::Value::Table(_) | toml::Value::Array(_)), toml::Value::Boolean(false)) => {
                merged.remove(key);
            }
            _ => {
                merged.insert(key.clone(), value.clone());
            }
        }
    }
    merged
}
