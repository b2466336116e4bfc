//! What a request names and its provider keeps: a certificate at a URL, a key by its id, a URL to be visited. Verifying asks for it here and
//! answers "not now"; whoever runs the service fetches it, and the redelivery is decided.
//!
//! Anybody can name anything, so nothing but what the scheme pins is ever asked for, and little of it.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, OnceLock, PoisonError, RwLock};

use sha2::{Digest, Sha256};

use crate::Secret;
use crate::check::signature_list::Place;
use crate::crypto::certificate::Certificate;
use crate::crypto::jwk::JwkSet;
use crate::keys::wishes::{Wish, Wishes};
use crate::language::spec::{KeyApiSpec, PinnedUrlSpec};
use crate::language::template::{Cx, Params, Wrong, with_params};
use crate::{Reason, Refusal};

/// Longest URL, and longest id of a key.
const MAX_URL: usize = 512;
const MAX_KID: usize = 128;

/// Something to be fetched, so that a delivery can be decided.
#[derive(Debug, Clone)]
pub struct Fetch {
    name: String,
    url: String,
    body: Option<Secret>,
    what: What,
}

#[derive(Debug, Clone)]
enum What {
    Certificate,
    /// In JSON at a pointer, or in PEM.
    Key(Option<Box<str>>),
    Visit,
}

impl Fetch {
    /// What it is kept under.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Where it is.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// JSON to be posted; a GET without. It holds the secret of an API.
    pub fn body(&self) -> Option<&[u8]> {
        self.body.as_ref().map(Secret::expose)
    }

    /// What it is, in a word; its URL may hold a token.
    pub fn what(&self) -> &'static str {
        match self.what {
            What::Certificate => "certificate",
            What::Key(_) => "key",
            What::Visit => "visit",
        }
    }

    /// Digest of where it is. A key that was stored is that of this place, whatever the configuration says by now.
    pub fn place(&self) -> [u8; 32] {
        Sha256::digest(&self.url).into()
    }

    /// Whether what was fetched can change.
    pub fn expires(&self) -> bool {
        !matches!(self.what, What::Visit)
    }

    #[cfg(test)]
    pub(crate) fn of_key(name: &str) -> Self {
        Self {
            name: name.into(),
            url: String::new(),
            body: None,
            what: What::Key(None),
        }
    }

    fn read(&self, answer: &[u8]) -> Result<Fetched, String> {
        match &self.what {
            What::Visit => Ok(Fetched::Visited),
            What::Certificate => Certificate::parse(answer).map(Fetched::Certificate),
            What::Key(None) => {
                let mut keys = JwkSet::default();
                keys.add_pasted(answer).map(|()| Fetched::Key(keys))
            }
            What::Key(Some(at)) => {
                let json: serde_json::Value =
                    serde_json::from_slice(answer).map_err(|error| format!("not JSON: {error}"))?;
                let key = json.pointer(at).ok_or_else(|| format!("no key at {at}"))?;
                JwkSet::parse(&serde_json::json!({ "keys": [key] }).to_string()).map(Fetched::Key)
            }
        }
    }
}

/// What a fetch brought.
#[derive(Debug)]
pub(crate) enum Fetched {
    Certificate(Certificate),
    Key(JwkSet),
    Visited,
}

/// What was fetched, and what is to be.
#[derive(Debug, Default)]
pub(crate) struct Shelf {
    known: RwLock<HashMap<String, Arc<Fetched>>>,
    wishes: Mutex<Wishes>,
    recipe: OnceLock<Recipe>,
}

/// How keys and certificates of a scheme are fetched by their name alone.
#[derive(Debug)]
enum Recipe {
    Certificate(Arc<Pinned>),
    Key(Arc<Api>),
}

impl Shelf {
    /// What was fetched under this name; otherwise it is asked for.
    fn get(&self, fetch: Fetch) -> Option<Arc<Fetched>> {
        let known = self
            .known
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .get(&fetch.name)
            .cloned();
        if known.is_none() {
            self.wishes
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .add(fetch);
        }
        known
    }

    pub(crate) fn take_wanted(&self) -> Vec<Wish> {
        self.wishes
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take()
    }

    /// What a delivery that names this would have fetched.
    pub(crate) fn recall(&self, name: &str) -> Option<Fetch> {
        match self.recipe.get()? {
            Recipe::Certificate(pinned) => pinned
                .allows(name)
                .then(|| pinned.fetch(name, What::Certificate)),
            Recipe::Key(api) => is_plain(name).then(|| api.fetch(name)),
        }
    }

    pub(crate) fn keep(&self, fetch: &Fetch, answer: &[u8]) -> Result<(), String> {
        let fetched = Arc::new(fetch.read(answer)?);
        self.known
            .write()
            .unwrap_or_else(PoisonError::into_inner)
            .insert(fetch.name.clone(), fetched);
        Ok(())
    }

    pub(crate) fn forget(&self, name: &str) {
        self.known
            .write()
            .unwrap_or_else(PoisonError::into_inner)
            .remove(name);
    }
}

/// A URL that a request names.
#[derive(Debug)]
pub(crate) struct PinnedUrl {
    pub(crate) place: Place,
    shown: Box<str>,
    pinned: Arc<Pinned>,
    shelf: Arc<Shelf>,
}

/// Which URLs are the provider's.
#[derive(Debug)]
struct Pinned {
    hosts: Vec<Box<str>>,
    path: Box<str>,
}

impl PinnedUrl {
    pub(crate) fn compile(
        spec: &PinnedUrlSpec,
        place: Place,
        params: &Params,
        shelf: Arc<Shelf>,
    ) -> Result<Self, Wrong> {
        let hosts = spec
            .hosts
            .iter()
            .map(|host| with_params(host, params).map(Into::into))
            .collect::<Result<Vec<Box<str>>, _>>()?;
        // A name that ends in a wildcard would be anybody's.
        let pinned = |host: &str| {
            !host.ends_with(['*', '#']) && !host.contains(['/', '@', '?']) && !host.is_empty()
        };
        if hosts.is_empty() || !hosts.iter().all(|host| pinned(host)) {
            return Err("hosts: names of hosts that end in a domain of the provider's".into());
        }
        if !spec.path.starts_with('/') {
            return Err("path: starts with \"/\"".into());
        }
        let pinned = Arc::new(Pinned {
            hosts,
            path: spec.path.as_str().into(),
        });
        Ok(Self {
            place,
            shown: Place::describe(&spec.from).into(),
            pinned,
            shelf,
        })
    }

    /// There are certificates at these URLs.
    pub(crate) fn of_certificates(self) -> Self {
        // A scheme has one place of certificates, and is compiled once.
        let _ = self
            .shelf
            .recipe
            .set(Recipe::Certificate(self.pinned.clone()));
        self
    }

    /// The certificate at the URL, if it is here.
    pub(crate) fn certificate(&self, cx: Cx<'_>) -> Result<Option<Arc<Fetched>>, Refusal> {
        self.get(cx, What::Certificate)
    }

    /// Whether the URL has been visited.
    pub(crate) fn visited(&self, cx: Cx<'_>) -> Result<bool, Refusal> {
        self.get(cx, What::Visit).map(|visited| visited.is_some())
    }

    fn get(&self, cx: Cx<'_>, what: What) -> Result<Option<Arc<Fetched>>, Refusal> {
        let url = self.place.value(cx).filter(|url| !url.is_empty());
        let Some(url) = url else {
            return Err(Refusal::new(
                Reason::SignatureMissing,
                format!("{} is missing or empty", self.shown),
            ));
        };
        match std::str::from_utf8(&url)
            .ok()
            .filter(|url| self.pinned.allows(url))
        {
            Some(url) => Ok(self.shelf.get(self.pinned.fetch(url, what))),
            None => Err(Refusal::new(
                Reason::PreconditionFailed,
                format!("{} is not a URL of the provider's", self.shown),
            )),
        }
    }
}

impl Pinned {
    fn fetch(&self, url: &str, what: What) -> Fetch {
        Fetch {
            name: url.into(),
            url: url.into(),
            body: None,
            what,
        }
    }

    /// The text as it stands is compared, and never what some parser makes of it.
    fn allows(&self, url: &str) -> bool {
        let Some(rest) = url
            .strip_prefix("https://")
            .filter(|_| url.len() <= MAX_URL && !url.contains(".."))
        else {
            return false;
        };
        let (host, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
        let in_path = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.' | b':');
        matches(self.path.as_bytes(), path.as_bytes(), in_path)
            && self.hosts.iter().any(|pattern| {
                matches(pattern.as_bytes(), host.as_bytes(), |b| {
                    b.is_ascii_lowercase() || b == b'-'
                })
            })
    }
}

/// A URL that fits, for whoever signs as the provider.
pub(crate) fn example(spec: &PinnedUrlSpec, params: &Params) -> String {
    let host = spec
        .hosts
        .first()
        .and_then(|host| with_params(host, params).ok())
        .unwrap_or_default();
    format!(
        "https://{}{}",
        host.replace('*', "us-east").replace('#', "1"),
        spec.path.replace('*', "0123456789abcdef0123456789abcdef")
    )
}

/// Whether text is of the pattern's form: `*` is one or more of `star`, `#` one or more digits.
fn matches(pattern: &[u8], text: &[u8], star: fn(u8) -> bool) -> bool {
    let Some((first, pattern)) = pattern.split_first() else {
        return text.is_empty();
    };
    let class = match first {
        b'*' => star,
        b'#' => |b: u8| b.is_ascii_digit(),
        literal => return text.first() == Some(literal) && matches(pattern, &text[1..], star),
    };
    let most = text.iter().take_while(|b| class(**b)).count();
    (1..=most).any(|taken| matches(pattern, &text[taken..], star))
}

/// An API that gives a public key by its id.
#[derive(Debug)]
pub(crate) struct KeyApi {
    api: Arc<Api>,
    shelf: Arc<Shelf>,
}

#[derive(Debug)]
struct Api {
    /// What is before the id, and what is after it.
    url: (Box<str>, Option<Box<str>>),
    body: Vec<(Box<str>, Part)>,
    at: Option<Box<str>>,
    secret: Option<Secret>,
}

#[derive(Debug)]
enum Part {
    Kid,
    Secret,
    Text(Box<str>),
}

impl KeyApi {
    pub(crate) fn compile(
        spec: &KeyApiSpec,
        secret: Option<Secret>,
        params: &Params,
        shelf: Arc<Shelf>,
    ) -> Result<Self, Wrong> {
        let (before, after) = match spec.url.split_once("{kid}") {
            Some((before, after)) => (before, Some(with_params(after, params)?.into())),
            None => (spec.url.as_str(), None),
        };
        let part = |(name, text): (&String, &String)| -> Result<(Box<str>, Part), Wrong> {
            let part = match text.as_str() {
                "{kid}" => Part::Kid,
                "{secret}" => Part::Secret,
                text => Part::Text(with_params(text, params)?.into()),
            };
            Ok((name.as_str().into(), part))
        };
        let body = spec.body.iter().map(part).collect::<Result<Vec<_>, _>>()?;
        if after.is_none() && !body.iter().any(|(_, part)| matches!(part, Part::Kid)) {
            return Err("neither url nor body says {kid}".into());
        }
        let url = (with_params(before, params)?.into(), after);
        let api = Arc::new(Api {
            url,
            body,
            at: spec.at.as_deref().map(Into::into),
            secret,
        });
        // A scheme has one such API, and is compiled once.
        let _ = shelf.recipe.set(Recipe::Key(api.clone()));
        Ok(Self { api, shelf })
    }

    /// Where it is, for whoever has to trust it.
    pub(crate) fn url(&self) -> &str {
        &self.api.url.0
    }

    /// The key of this id, if it is here.
    pub(crate) fn key(&self, kid: &str) -> Result<Option<Arc<Fetched>>, Refusal> {
        if !is_plain(kid) {
            return Err(Refusal::new(
                Reason::SignatureMalformed,
                "the token does not name its key by a plain id",
            ));
        }
        Ok(self.shelf.get(self.api.fetch(kid)))
    }
}

/// Whether an id can stand in a URL as it is.
fn is_plain(kid: &str) -> bool {
    let harmless = kid
        .bytes()
        .all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_'));
    harmless && !kid.is_empty() && kid.len() <= MAX_KID
}

impl Api {
    fn fetch(&self, kid: &str) -> Fetch {
        let url = match &self.url {
            (before, Some(after)) => format!("{before}{kid}{after}"),
            (url, None) => url.to_string(),
        };
        let body = self.body.iter().map(|(name, part)| {
            let text = match part {
                Part::Kid => kid.into(),
                Part::Secret => String::from_utf8_lossy(
                    self.secret.as_ref().map(Secret::expose).unwrap_or_default(),
                )
                .trim()
                .to_owned(),
                Part::Text(text) => text.to_string(),
            };
            (name.to_string(), text)
        });
        let body: serde_json::Map<String, serde_json::Value> =
            body.map(|(name, text)| (name, text.into())).collect();
        let body = (!body.is_empty())
            .then(|| Secret::new(serde_json::Value::from(body).to_string().into_bytes()));
        Fetch {
            name: kid.into(),
            url,
            body,
            what: What::Key(self.at.clone()),
        }
    }
}
