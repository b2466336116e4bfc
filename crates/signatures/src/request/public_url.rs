//! Public URL of a source, as its provider signs it.

use url::Url;

use crate::request::Request;
use crate::request::form::query;

/// Public URL of a source, as entered at the provider. The query is taken from the request; `Host`
/// is never used.
#[derive(Debug, Clone)]
pub(crate) struct PublicUrl {
    /// Spellings that `{url}` may have, without the query.
    pub(crate) spellings: Vec<Box<str>>,
    /// Value of `{path}`.
    pub(crate) path: Box<str>,
}

impl PublicUrl {
    pub(crate) fn parse(text: &str, both_ports: bool) -> Result<Self, String> {
        let url = Url::parse(text).map_err(|error| format!("\"{text}\" is not a URL: {error}"))?;
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
        let mut spellings = vec![Box::from(written)];
        if both_ports {
            let port = url.port_or_known_default().unwrap_or(443);
            // A user in the URL is a part of what is signed.
            let authority = written[..path_at.unwrap_or(written.len())]
                .split_once("://")
                .map_or("", |(_, authority)| authority);
            let user = authority.rfind('@').map_or("", |at| &authority[..=at]);
            let base = format!("{}://{user}{host}", url.scheme());
            spellings = vec![
                format!("{base}{path}").into(),
                format!("{base}:{port}{path}").into(),
            ];
        }
        Ok(Self {
            spellings,
            path: path.into(),
        })
    }
}

impl PublicUrl {
    /// Returns the URL of a request, as its sender knows it.
    pub(crate) fn full(&self, request: &Request) -> String {
        let base = self.spellings.first().map_or("", |url| url);
        query(&request.target).map_or_else(|| base.to_owned(), |query| format!("{base}?{query}"))
    }
}
