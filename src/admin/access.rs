//! Access to the admin API: who calls, and with which rights.
//!
//! On the Unix socket the kernel names the caller. Everywhere else a token does, on loopback too: every
//! user of the machine reaches loopback, and a web page can make a browser send a request there.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use actix_web::HttpRequest;
use actix_web::http::header::{self, HeaderMap, HeaderName};

use super::caller::{Caller, Process};
use crate::config::model::{AdminApi, Right};
use crate::config::secret::Secret;
use crate::domain::delivery::BodyDigest;
use crate::operate::ApiProblem;
use crate::telemetry::logs;

/// Header in which a browser tells which page has made it send a request.
const SEC_FETCH_SITE: HeaderName = HeaderName::from_static("sec-fetch-site");

/// Rights of callers, by the configuration.
pub(super) struct Access {
    /// Number of the service's own user.
    own_user: u32,
    group_may: Vec<Right>,
    tokens: Vec<Token>,
    /// Hosts besides loopback, in lower case.
    hosts: Vec<String>,
}

struct Token {
    name: Arc<str>,
    /// Digest of the secret: comparing digests takes the same time for every wrong secret.
    digest: BodyDigest,
    may: Vec<Right>,
}

impl Access {
    /// Takes the rights of `settings`, for a service with the admin address `listen`.
    pub(super) fn new(settings: &AdminApi, listen: SocketAddr) -> Self {
        let usable = |secret: &Secret| !secret.is_unread();
        let tokens = settings.tokens.iter().filter(|token| usable(&token.secret));
        let own_address = Some(listen.ip()).filter(|ip| !ip.is_unspecified());
        let hosts = settings.hosts.iter().cloned();
        Self {
            own_user: rustix::process::geteuid().as_raw(),
            group_may: settings.group_may.clone(),
            tokens: tokens
                .map(|token| Token {
                    name: token.name.as_str().into(),
                    digest: BodyDigest::of(token.secret.expose()),
                    may: token.may.clone(),
                })
                .collect(),
            hosts: hosts.chain(own_address.map(|ip| ip.to_string())).collect(),
        }
    }

    /// Returns `true` if somebody can get in at the admin address.
    pub(super) fn has_tokens(&self) -> bool {
        !self.tokens.is_empty()
    }

    /// Returns the caller of a request, if it has the right. Refusals are logged.
    pub(super) fn admit(&self, request: &HttpRequest, needs: Right) -> Result<Caller, ApiProblem> {
        let admitted = match request.conn_data::<Process>() {
            Some(process) => Ok(self.of_process(*process)),
            None => self.of_token(request.headers()),
        };
        let admitted = admitted.and_then(|caller| match caller.may.contains(&needs) {
            true => Ok(caller),
            false => Err(lacks(&caller, needs)),
        });
        admitted.inspect_err(|problem| {
            let peer = request.peer_addr().map(|peer| peer.ip().to_string());
            let peer = peer.as_deref().unwrap_or("the socket");
            logs::admin_refused(peer, request.path(), problem.status, &problem.detail);
        })
    }

    /// Returns a process at the socket. Its permissions have let it connect.
    fn of_process(&self, process: Process) -> Caller {
        let is_own = process.uid == 0 || process.uid == self.own_user;
        let may = match is_own {
            true => Right::ALL.to_vec(),
            false => self.group_may.clone(),
        };
        Caller {
            name: process.to_string().into(),
            may,
        }
    }

    /// Returns the bearer of a token, of a request that no web page has made a browser send.
    fn of_token(&self, headers: &HeaderMap) -> Result<Caller, ApiProblem> {
        let host = only(headers, &header::HOST).unwrap_or_default();
        if !self.is_own_host(host) {
            return Err(ApiProblem::misdirected(
                format!("the admin API is not known as \"{}\"", host.escape_debug()),
                "ask for localhost or a loopback address, or add the name to admin.hosts",
            ));
        }
        if is_foreign(headers, host) {
            return Err(ApiProblem::forbidden(
                "the request was made by a page of another site",
                "ask with a client that is no browser, or from a page of this address",
            ));
        }
        let secret = only(headers, &header::AUTHORIZATION)
            .and_then(|value| value.split_once(' '))
            .filter(|(scheme, _)| scheme.eq_ignore_ascii_case("bearer"))
            .map(|(_, secret)| secret.trim());
        secret
            .and_then(|secret| self.bearer(secret))
            .ok_or_else(|| {
                let detail = match secret {
                    Some(_) => "no token has this secret",
                    None => "the admin API needs a token here",
                };
                ApiProblem::unauthorized(
                    detail,
                    "send Authorization: Bearer SECRET, with the secret of one of admin.tokens",
                )
            })
    }

    /// Returns the bearer of the token with this secret.
    pub(super) fn bearer(&self, secret: &str) -> Option<Caller> {
        let digest = BodyDigest::of(secret.as_bytes());
        let token = self.tokens.iter().find(|token| token.digest == digest)?;
        Some(Caller {
            name: format!("token {}", token.name).into(),
            may: token.may.clone(),
        })
    }

    /// Returns `true` if the service is known by the host in this `Host` header.
    pub(super) fn is_own_host(&self, header: &str) -> bool {
        let Ok(authority) = header.parse::<http::uri::Authority>() else {
            return false;
        };
        let host = authority
            .host()
            .trim_matches(['[', ']'])
            .to_ascii_lowercase();
        let is_loopback = host.parse().is_ok_and(|ip: IpAddr| ip.is_loopback());
        is_loopback || host == "localhost" || self.hosts.contains(&host)
    }
}

/// Returns `true` if a page of another site has made a browser send the request.
pub(super) fn is_foreign(headers: &HeaderMap, host: &str) -> bool {
    let origin_is_foreign = headers.get_all(header::ORIGIN).any(|origin| {
        let origin = origin.to_str().unwrap_or_default();
        let own = origin.split_once("://").map(|(_, authority)| authority);
        !own.is_some_and(|own| own.eq_ignore_ascii_case(host))
    });
    let site_is_foreign = headers
        .get_all(SEC_FETCH_SITE)
        .any(|site| site != "same-origin" && site != "none");
    origin_is_foreign || site_is_foreign
}

/// Returns the only value of a header.
pub(super) fn only<'h>(headers: &'h HeaderMap, name: &HeaderName) -> Option<&'h str> {
    let mut values = headers.get_all(name);
    let value = values.next()?;
    value.to_str().ok().filter(|_| values.next().is_none())
}

pub(super) fn lacks(caller: &Caller, right: Right) -> ApiProblem {
    let word = right.word();
    ApiProblem::forbidden(
        format!("{} lacks the right \"{word}\"", caller.name),
        format!(
            "ask as root or as the service's user, or add \"{word}\" to `may` of the token, or to admin.group_may for the socket's group"
        ),
    )
}

#[cfg(test)]
mod tests {
    use actix_web::test::TestRequest;

    use super::*;
    use crate::config::Config;

    const CONFIG: &str = "
        [admin]
        hosts = [\"Ops.example.com\"]
        [admin.tokens.ann]
        secret = \"plain:0123456789abcdef\"
        may = [\"look\"]
        [admin.tokens.bob]
        secret = \"plain:fedcba9876543210\"
        may = [\"bodies\"]";

    fn access() -> Access {
        let config = Config::from_toml(CONFIG).expect("valid");
        Access::new(&config.admin, ([10, 0, 0, 7], 8421).into())
    }

    /// Status of a request with these headers, in place of 200 the caller's name.
    fn ask(headers: &[(&'static str, &'static str)]) -> Result<String, u16> {
        let mut request = TestRequest::get();
        for header in headers {
            request = request.append_header(*header);
        }
        let admitted = access().admit(&request.to_http_request(), Right::Look);
        admitted
            .map(|caller| caller.name.to_string())
            .map_err(|problem| problem.status)
    }

    #[test]
    fn a_token_names_its_caller_and_gives_no_other_right_than_its_own() {
        let host = ("host", "127.0.0.1:8421");
        let ann = ("authorization", "Bearer 0123456789abcdef");
        assert_eq!(ask(&[host, ann]).as_deref(), Ok("token ann"));
        let bob = ("authorization", "bearer fedcba9876543210");
        assert_eq!(ask(&[host, bob]), Err(403), "it may open bodies only");
        for wrong in [
            "Bearer 0123456789abcdeF",
            "Basic 0123456789abcdef",
            "Bearer ",
            "0123456789abcdef",
        ] {
            assert_eq!(ask(&[host, ("authorization", wrong)]), Err(401), "{wrong}");
        }
        assert_eq!(ask(&[host]), Err(401));
        assert_eq!(ask(&[host, ann, bob]), Err(401), "two of them name nobody");
    }

    #[test]
    fn a_name_that_is_not_the_services_own_is_refused_before_the_token_is_looked_at() {
        let ann = ("authorization", "Bearer 0123456789abcdef");
        for own in [
            "localhost",
            "LOCALHOST:8421",
            "127.0.0.9",
            "[::1]:8421",
            "10.0.0.7:8421",
            "ops.example.com:8421",
        ] {
            assert!(ask(&[("host", own), ann]).is_ok(), "{own}");
        }
        for foreign in [
            "evil.example",
            "localhost.evil.example",
            "10.0.0.8",
            "127.0.0.1.evil.example",
            "user@localhost@evil.example",
            "",
        ] {
            assert_eq!(ask(&[("host", foreign), ann]), Err(421), "{foreign}");
        }
        assert_eq!(ask(&[ann]), Err(421));
        let two = [("host", "localhost"), ("host", "evil.example"), ann];
        assert_eq!(ask(&two), Err(421));
    }

    #[test]
    fn a_page_of_another_site_is_refused_with_a_right_token_too() {
        let ann = ("authorization", "Bearer 0123456789abcdef");
        let host = ("host", "localhost:8421");
        let own = [
            host,
            ann,
            ("origin", "http://localhost:8421"),
            ("sec-fetch-site", "same-origin"),
        ];
        assert!(ask(&own).is_ok());
        for foreign in ["http://evil.example", "http://localhost:9999", "null"] {
            assert_eq!(
                ask(&[host, ann, ("origin", foreign)]),
                Err(403),
                "{foreign}"
            );
        }
        assert_eq!(
            ask(&[host, ann, ("sec-fetch-site", "cross-site")]),
            Err(403)
        );
    }

    #[test]
    fn at_the_socket_root_and_the_own_user_have_all_rights_and_others_those_of_the_group() {
        let access = access();
        let may = |uid| access.of_process(Process { uid, pid: Some(7) }).may;
        assert_eq!(may(0), Right::ALL);
        assert_eq!(may(access.own_user), Right::ALL);
        assert_eq!(may(access.own_user + 1), [Right::Look]);
    }
}
