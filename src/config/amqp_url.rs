//! URLs of RabbitMQ: `amqp://user:password@host:5672,host:5672/vhost`. Pure.
//!
//! No crate for URLs takes a list of hosts: a URL is made for each of them.

use std::fmt;

use url::Url;

use super::secret::Secret;
use super::urls::{is_this_machine, without_password};

/// Most nodes that a URL may name.
const MAX_NODES: usize = 16;

/// A broker, or nodes of a cluster that share a login and a virtual host.
#[derive(Clone, Debug, PartialEq)]
pub struct AmqpUrl {
    /// One AMQP URL for each node, with user and password; empty where only the service can read them.
    nodes: Vec<Secret>,
    /// The URL without its password.
    shown: String,
    /// First host to which a connection goes unencrypted over a network.
    in_plain_text_to: Option<String>,
}

impl AmqpUrl {
    /// Parses a URL. The error never repeats the text: it may hold a password.
    pub fn parse(text: &str) -> Result<Self, String> {
        let text = text.trim();
        let (scheme, rest) = text
            .split_once("://")
            .ok_or("use amqp://user:password@host:5672/vhost (\"amqps://\" with TLS)")?;
        // A password may have an unescaped "@" or ",", a host may not.
        let after_login = rest.rfind('@').map_or(0, |at| at + 1);
        let (login, rest) = rest.split_at(after_login);
        let (hosts, tail) = rest.split_at(rest.find(['/', '?', '#']).unwrap_or(rest.len()));
        let hosts: Vec<_> = hosts.split(',').map(str::trim).collect();
        if hosts.len() > MAX_NODES {
            return Err(format!(
                "the URL names more than {MAX_NODES} nodes: name fewer; one that answers is enough"
            ));
        }
        let mut url = Self {
            nodes: Vec::with_capacity(hosts.len()),
            shown: without_password(text),
            in_plain_text_to: None,
        };
        for host in hosts {
            let node = format!("{scheme}://{login}{host}{tail}");
            let parsed = parse_node(&node)?;
            let away = parsed.host_str().filter(|host| {
                parsed.scheme() == "amqp" && !is_this_machine(host.trim_matches(['[', ']']))
            });
            url.in_plain_text_to = url.in_plain_text_to.or_else(|| away.map(str::to_owned));
            url.nodes.push(Secret::new(node.into_bytes()));
        }
        Ok(url)
    }

    /// Returns a URL that stands in for one that only the service can read.
    pub(super) fn unread() -> Self {
        Self {
            nodes: Vec::new(),
            shown: super::urls::UNREAD.to_owned(),
            in_plain_text_to: None,
        }
    }

    /// Returns one AMQP URL for each node. There is none if only the service can read them.
    pub fn nodes(&self) -> &[Secret] {
        &self.nodes
    }

    /// Returns the first host to which a connection goes unencrypted over a network.
    pub fn in_plain_text_to(&self) -> Option<String> {
        self.in_plain_text_to.clone()
    }
}

impl fmt::Display for AmqpUrl {
    /// Writes the URL without its password.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.shown)
    }
}

fn parse_node(text: &str) -> Result<Url, String> {
    let url = super::urls::parse(text)?;
    if url.host_str().is_none_or(str::is_empty) {
        return Err(
            "the URL names no host: amqp://user:password@HOST:5672/vhost, with commas between several hosts"
                .to_owned(),
        );
    }
    if url.path().trim_start_matches('/').contains('/') {
        return Err(
            "a \"/\" in the name of a virtual host is written %2f: amqp://host:5672/%2f".to_owned(),
        );
    }
    Ok(url)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn nodes(text: &str) -> Result<Vec<String>, String> {
        let url = AmqpUrl::parse(text)?;
        let text = |node: &Secret| String::from_utf8_lossy(node.expose()).into_owned();
        Ok(url.nodes().iter().map(text).collect())
    }

    #[test]
    fn a_url_with_several_hosts_becomes_one_for_each() {
        assert_eq!(
            nodes("amqps://u:p@a:5671,b,[::1]:5673/%2f?heartbeat=5").expect("valid"),
            [
                "amqps://u:p@a:5671/%2f?heartbeat=5",
                "amqps://u:p@b/%2f?heartbeat=5",
                "amqps://u:p@[::1]:5673/%2f?heartbeat=5"
            ]
        );
        assert_eq!(
            nodes(" amqp://localhost ").expect("valid"),
            ["amqp://localhost"]
        );
        let many = format!("amqp://{}", ["a"; MAX_NODES + 1].join(","));
        for wrong in [
            "amqp://",
            "amqp://a,",
            "amqp://,a",
            "amqp://a,b/x/y",
            "amqp://a:x,b",
            &many,
        ] {
            assert!(nodes(wrong).is_err(), "{wrong} was accepted");
        }
    }

    #[test]
    fn a_password_with_commas_is_one_password_and_never_shown() {
        let url = AmqpUrl::parse("amqp://u:hunter2,%40x@a,b/v").expect("valid");
        assert_eq!(url.nodes().len(), 2);
        assert_eq!(
            url.nodes()[1].expose(),
            "amqp://u:hunter2,%40x@b/v".as_bytes()
        );
        assert_eq!(url.to_string(), "amqp://u:***@a,b/v");
        assert!(!format!("{url:?}").contains("hunter2"));
        let error = nodes("amqp://u:hunter2@a,b/x/y").expect_err("no such path");
        assert!(!error.contains("hunter2"), "{error}");
    }

    #[test]
    fn a_node_elsewhere_without_tls_is_named() {
        let plain = |text: &str| AmqpUrl::parse(text).expect("valid").in_plain_text_to();
        assert_eq!(
            plain("amqp://localhost,b:5672,c").as_deref(),
            Some("b"),
            "the first that is elsewhere"
        );
        assert_eq!(plain("amqp://localhost,[::1]:5673"), None);
        assert_eq!(plain("amqps://a,b"), None);
    }
}
