//! URLs that the provider may have signed in place of `public_url`: a proxy has changed a part of it.

use hookweir_signatures::SourceSpec;
use http::header::{HOST, HeaderName};
use url::Url;

use super::Case;
use super::cause::Cause;
use super::trials::Trials;

const FORWARDED_HOST: HeaderName = HeaderName::from_static("x-forwarded-host");

/// Hosts and paths that are tried, at most. With both protocols and a slash more or less, four times as many URLs.
const HOSTS: usize = 6;
const PATHS: usize = 6;

/// Returns the URL that the provider has signed, without user and query.
pub(super) fn find(case: &Case<'_>, trials: &mut Trials<'_>) -> Option<Cause> {
    let configured = case.source.spec.public_url.as_deref()?;
    let url = Url::parse(configured).ok()?;
    trials.checked("other protocols, hosts, ports and paths of public_url");
    for host in hosts(case, &url) {
        for path in paths(case, &url) {
            for protocol in ["https", "http"] {
                let tried = format!("{protocol}://{host}{path}");
                let spec = SourceSpec {
                    public_url: Some(tried.clone()),
                    ..case.source.spec.clone()
                };
                if tried != configured && trials.prove(&spec, case.request).is_given() {
                    return Some(Cause::Url(tried.escape_debug().to_string()));
                }
            }
        }
    }
    None
}

/// Returns hosts with and without their ports: the configured one, and those that the request names.
fn hosts(case: &Case<'_>, url: &Url) -> Vec<String> {
    let header = |name: &HeaderName| {
        let value = case.request.headers.get(name)?.to_str().ok()?;
        Some(value.split(',').next()?.trim().to_owned())
    };
    let configured = url.host_str().map(str::to_owned);
    let with_port = configured.as_ref().map(|host| {
        let port = url.port_or_known_default().unwrap_or(443);
        format!("{host}:{port}")
    });
    let named = [header(&HOST), header(&FORWARDED_HOST)];
    let mut hosts: Vec<String> = Vec::new();
    let all = [configured, with_port].into_iter().chain(named).flatten();
    for host in all.filter(|host| !host.is_empty() && host.len() < 256) {
        let bare = host.rsplit_once(':').map(|(bare, _)| bare.to_owned());
        for host in [Some(host), bare].into_iter().flatten() {
            if !hosts.contains(&host) {
                hosts.push(host);
            }
        }
    }
    hosts.truncate(HOSTS);
    hosts
}

/// Returns paths, each with and without a slash at its end: the configured one, the one that was requested, and each
/// without its first part.
fn paths(case: &Case<'_>, url: &Url) -> Vec<String> {
    let requested = case.request.target.split('?').next().unwrap_or_default();
    let without_first = |path: &str| {
        let rest = path.strip_prefix('/')?;
        rest.find('/').map(|at| rest[at..].to_owned())
    };
    let mut paths: Vec<String> = Vec::new();
    let all = [
        Some(url.path().to_owned()),
        Some(requested.to_owned()),
        without_first(url.path()),
        without_first(requested),
    ];
    for path in all.into_iter().flatten() {
        let bare = path.trim_end_matches('/').to_owned();
        for path in [bare.clone(), format!("{bare}/")] {
            if !paths.contains(&path) {
                paths.push(path);
            }
        }
    }
    paths.truncate(PATHS);
    paths
}
