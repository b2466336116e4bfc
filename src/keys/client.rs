//! HTTP client for keys: no redirects, no proxies, bounds on time and size.

use std::io::{self, Read};
use std::net::IpAddr;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use reqwest::blocking::{Client, RequestBuilder};
use reqwest::dns::{Addrs, Name, Resolve, Resolving};
use reqwest::redirect::Policy;

/// Longest time of a fetch.
const TIMEOUT: Duration = Duration::from_secs(10);
const MAX_BYTES: u64 = 1024 * 1024;

/// Origin of a URL to fetch.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Reach {
    /// The configuration. The URL may lead anywhere; it was validated at start.
    Configured,
    /// A delivery. The host is pinned, and must not lead into a private network.
    Public,
}

/// Returns a client to be shared by threads. A blocking client must not be made inside an async
/// runtime, so a thread of its own makes it.
pub(super) fn client_for(reach: Reach) -> io::Result<Client> {
    let made = thread::Builder::new()
        .name("http-client".into())
        .spawn(move || client(reach))?
        .join();
    made.map_err(|_| io::Error::other("cannot make the HTTP client"))?
        .map_err(io::Error::other)
}

/// Returns a client without redirects: keys come only from the URL of the configuration or preset.
fn client(reach: Reach) -> reqwest::Result<Client> {
    let builder = Client::builder()
        .timeout(TIMEOUT)
        .redirect(Policy::none())
        .no_proxy();
    match reach {
        Reach::Configured => builder.build(),
        Reach::Public => builder.dns_resolver(Arc::new(PublicOnly)).build(),
    }
}

/// Failure of a fetch.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum FetchError {
    /// The response is not the key: an error of the client, or another content.
    Refused(String),
    /// No response, or an error of the server.
    Unreachable(String),
}

impl std::fmt::Display for FetchError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let (Self::Refused(text) | Self::Unreachable(text)) = self;
        f.write_str(text)
    }
}

/// Returns the body of a response 200, within bounds. An error does not show the URL, which may
/// hold a token.
pub(super) fn answer(request: RequestBuilder) -> Result<Vec<u8>, FetchError> {
    let response = request
        .send()
        .map_err(|error| FetchError::Unreachable(causes(&error.without_url())))?;
    let status = response.status();
    if status != 200 {
        let text = format!("answered {status}");
        let busy = matches!(status.as_u16(), 408 | 425 | 429);
        return Err(if status.is_client_error() && !busy {
            FetchError::Refused(text)
        } else {
            FetchError::Unreachable(text)
        });
    }
    let mut body = Vec::new();
    response
        .take(MAX_BYTES + 1)
        .read_to_end(&mut body)
        .map_err(|error| FetchError::Unreachable(error.to_string()))?;
    if body.len() as u64 > MAX_BYTES {
        return Err(FetchError::Refused(format!(
            "larger than {MAX_BYTES} bytes"
        )));
    }
    Ok(body)
}

/// Returns an error with its causes. The outermost error says only that a request failed.
fn causes(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text = format!("{text}: {cause}");
        source = cause.source();
    }
    text
}

/// Resolver of names to public addresses only. `localhost` is allowed, since only an operator can
/// pin it.
struct PublicOnly;

impl Resolve for PublicOnly {
    fn resolve(&self, name: Name) -> Resolving {
        Box::pin(async move {
            let name = name.as_str().to_owned();
            let found = tokio::net::lookup_host((name.as_str(), 0)).await?;
            let may: Vec<_> = found
                .filter(|address| name == "localhost" || is_public(address.ip()))
                .collect();
            if may.is_empty() {
                Err(format!("{name} has no public address").into())
            } else {
                Ok(Box::new(may.into_iter()) as Addrs)
            }
        })
    }
}

/// Returns `true` for an address on the internet, `false` for this machine and private networks.
fn is_public(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(ip) => {
            let [a, b, ..] = ip.octets();
            let shared = a == 100 && (64..128).contains(&b);
            let testing = a == 198 && (18..20).contains(&b);
            let special =
                ip.is_private() || ip.is_loopback() || ip.is_link_local() || ip.is_documentation();
            !(special || shared || testing || a == 0 || a >= 224 || (a == 192 && b == 0))
        }
        IpAddr::V6(ip) => match ip.to_ipv4_mapped() {
            Some(ip) => is_public(ip.into()),
            // 2000::/3 is public, except documentation and addresses with an IPv4 address inside.
            None => {
                let [a, b, ..] = ip.segments();
                a & 0xe000 == 0x2000 && a != 0x2002 && !(a == 0x2001 && (b == 0 || b == 0xdb8))
            }
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_public_addresses_are_public() {
        for text in ["8.8.8.8", "52.94.1.2", "2600:1f18::1", "::ffff:8.8.8.8"] {
            assert!(is_public(text.parse().expect("an address")), "{text}");
        }
        let ours = "127.0.0.1 10.1.2.3 172.16.0.1 192.168.1.1 169.254.169.254 100.64.0.1 0.0.0.0 224.0.0.1 255.255.255.255 198.18.0.1 \
                    192.0.2.1 ::1 :: fe80::1 fd00:ec2::254 ::ffff:127.0.0.1 64:ff9b::7f00:1 2002:7f00:1:: ff02::1";
        for text in ours.split_whitespace() {
            assert!(!is_public(text.parse().expect("an address")), "{text}");
        }
    }
}
