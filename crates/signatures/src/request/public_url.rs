//! Public URL of a source, as its provider signs it.

use url::Url;

use crate::request::Request;
use crate::request::form::query;

/// Public URL of a source, as entered at the provider. The query is taken from the request; `Host`
/// is never used.
#[derive(Debug, Clone)]
pub(crate) struct PublicUrl {
    /// Spellings that `{url}` may have.
    pub(crate) spellings: Vec<Spelling>,
    /// Value of `{path}`.
    pub(crate) path: Box<str>,
}

/// Spelling of a URL.
#[derive(Debug, Clone)]
pub(crate) struct Spelling {
    /// Text without the query.
    pub(crate) text: Box<str>,
    pub(crate) scheme: Box<str>,
    /// Host and port as `Host` has them: in lower case, without a user, and without a default port.
    pub(crate) authority: Box<str>,
}

impl Spelling {
    fn new(url: &Url, text: String, authority: &str) -> Self {
        let default = match url.scheme() {
            "https" => ":443",
            _ => ":80",
        };
        let authority = authority.to_ascii_lowercase();
        Self {
            text: text.into(),
            scheme: url.scheme().into(),
            authority: authority.strip_suffix(default).unwrap_or(&authority).into(),
        }
    }
}

impl PublicUrl {
    pub(crate) fn parse(text: &str, both_ports: bool) -> Result<Self, String> {
        let url = Url::parse(text).map_err(|error| {
            format!("not a URL ({error}); write https://host/path, as entered at the provider")
        })?;
        let Some(host) = url
            .host_str()
            .filter(|_| matches!(url.scheme(), "http" | "https"))
        else {
            return Err(format!(
                "\"{text}\" is not a URL that a provider can call: https://host/path"
            ));
        };
        // As written, since providers sign it as written: no slash added, no case changed.
        let written = text.split(['?', '#']).next().unwrap_or_default();
        let path_at = text
            .find("://")
            .and_then(|at| written[at + 3..].find('/').map(|slash| at + 3 + slash));
        let path = path_at.map_or("", |at| &written[at..]);
        let authority = written[..path_at.unwrap_or(written.len())]
            .split_once("://")
            .map_or("", |(_, authority)| authority);
        // A user in the URL is a part of what is signed.
        let (user, host_and_port) = match authority.rfind('@') {
            Some(at) => authority.split_at(at + 1),
            None => ("", authority),
        };
        let spellings = if both_ports {
            let port = url.port_or_known_default().unwrap_or(443);
            let base = format!("{}://{user}{host}", url.scheme());
            vec![
                Spelling::new(&url, format!("{base}{path}"), host),
                Spelling::new(
                    &url,
                    format!("{base}:{port}{path}"),
                    &format!("{host}:{port}"),
                ),
            ]
        } else {
            vec![Spelling::new(&url, written.to_owned(), host_and_port)]
        };
        Ok(Self {
            spellings,
            path: path.into(),
        })
    }
}

impl PublicUrl {
    /// Returns the URL of a request, as its sender knows it.
    pub(crate) fn full(&self, request: &Request) -> String {
        let base = self.spellings.first().map_or("", |url| &url.text);
        query(&request.target).map_or_else(|| base.to_owned(), |query| format!("{base}?{query}"))
    }
}
