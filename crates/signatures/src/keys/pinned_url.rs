//! URLs that requests name: only those that the scheme pins to the provider are ever fetched.

use crate::keys::ring::{Fetch, Fetched, KeyRequest, KeyRing, Unproven, What};
use crate::language::context::{Cx, Params, Wrong};
use crate::language::place::Place;
use crate::language::spec::PinnedUrlSpec;
use crate::language::syntax::{PathPattern, UrlPart};
use crate::refusal::{Reason, Refusal};

/// Longest URL.
const MAX_URL: usize = 512;

/// A URL that a request names.
#[derive(Debug)]
pub(crate) struct PinnedUrl {
    pub(crate) place: Place,
    shown: Box<str>,
    pinned: Pinned,
}

/// URLs that are the provider's.
#[derive(Debug)]
struct Pinned {
    hosts: Vec<Box<[UrlPart]>>,
    path: PathPattern,
}

impl PinnedUrl {
    pub(crate) fn compile(
        spec: &PinnedUrlSpec,
        place: Place,
        params: &Params,
    ) -> Result<Self, Wrong> {
        let hosts = spec.hosts.iter().map(|host| host.fill(params));
        let hosts = hosts.collect::<Result<Vec<_>, _>>()?;
        if hosts.is_empty() {
            return Err("no host is given in hosts".into());
        }
        Ok(Self {
            place,
            shown: spec.from.shown(params).into(),
            pinned: Pinned {
                hosts,
                path: spec.path.clone(),
            },
        })
    }

    /// Returns the certificate at the URL.
    pub(crate) fn certificate<'k>(
        &self,
        cx: Cx<'_>,
        keys: &'k KeyRing,
    ) -> Result<&'k Fetched, Unproven> {
        self.get(cx, What::Certificate, keys)
    }

    /// Succeeds if the URL has been visited.
    pub(crate) fn visited(&self, cx: Cx<'_>, keys: &KeyRing) -> Result<(), Unproven> {
        self.get(cx, What::Visit, keys).map(|_| ())
    }

    /// Returns the fetch of the certificate at `url`, if the URL is the provider's.
    pub(crate) fn recall(&self, url: &str) -> Option<Fetch> {
        self.pinned
            .allows(url)
            .then(|| Pinned::fetch(url, What::Certificate))
    }

    fn get<'k>(&self, cx: Cx<'_>, what: What, keys: &'k KeyRing) -> Result<&'k Fetched, Unproven> {
        let url = self.place.value(cx).filter(|url| !url.is_empty());
        let Some(url) = url else {
            return Err(Refusal::new(
                Reason::SignatureMissing,
                format!("{} is missing or empty", self.shown),
            )
            .into());
        };
        match std::str::from_utf8(&url)
            .ok()
            .filter(|url| self.pinned.allows(url))
        {
            Some(url) => keys
                .fetched(url)
                .ok_or_else(|| Unproven::needs(KeyRequest::Fetch(Pinned::fetch(url, what)))),
            None => Err(Refusal::new(
                Reason::PreconditionFailed,
                format!("{} is not a URL of the provider's", self.shown),
            )
            .into()),
        }
    }
}

impl Pinned {
    fn fetch(url: &str, what: What) -> Fetch {
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
        let in_host = |b: u8| b.is_ascii_lowercase() || b == b'-';
        matches(self.path.parts(), path.as_bytes(), in_path)
            && self
                .hosts
                .iter()
                .any(|pattern| matches(pattern, host.as_bytes(), in_host))
    }
}

/// Returns a URL that fits, to sign with as the provider.
pub(crate) fn example(spec: &PinnedUrlSpec, params: &Params) -> String {
    let host = spec.hosts.first().and_then(|host| host.fill(params).ok());
    format!(
        "https://{}{}",
        filled(&host.unwrap_or_default(), "us-east"),
        filled(spec.path.parts(), "0123456789abcdef0123456789abcdef")
    )
}

/// Returns a text that matches the pattern, with `any` in place of [`UrlPart::Any`].
fn filled(pattern: &[UrlPart], any: &str) -> String {
    let part = |part: &UrlPart| match part {
        UrlPart::Literal(text) => text.to_string(),
        UrlPart::Any => any.to_owned(),
        UrlPart::Digits => "1".to_owned(),
    };
    pattern.iter().map(part).collect()
}

/// Returns `true` if the text matches the pattern. `any` is the class of [`UrlPart::Any`].
fn matches(pattern: &[UrlPart], text: &[u8], any: fn(u8) -> bool) -> bool {
    let Some((first, pattern)) = pattern.split_first() else {
        return text.is_empty();
    };
    let class = match first {
        UrlPart::Literal(literal) => {
            let rest = text.strip_prefix(literal.as_bytes());
            return rest.is_some_and(|rest| matches(pattern, rest, any));
        }
        UrlPart::Any => any,
        UrlPart::Digits => |b: u8| b.is_ascii_digit(),
    };
    let most = text.iter().take_while(|b| class(**b)).count();
    (1..=most).any(|taken| matches(pattern, &text[taken..], any))
}
