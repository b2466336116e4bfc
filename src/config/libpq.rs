//! Connection parameters of libpq 18, and the values of them with which an event can be stored.

use std::net::Ipv6Addr;

use super::error::nearest;
use super::postgres_url::ESCAPES;

/// Text parameters of libpq, in its version 18.
const TEXTS: &[&str] = &[
    "application_name",
    "client_encoding",
    "dbname",
    "fallback_application_name",
    "gssdelegation",
    "gsslib",
    "host",
    "hostaddr",
    "krbsrvname",
    "max_protocol_version",
    "min_protocol_version",
    "options",
    "passfile",
    "password",
    "port",
    "require_auth",
    "requirepeer",
    "scram_client_key",
    "scram_server_key",
    "service",
    "sslcert",
    "sslcompression",
    "sslcrl",
    "sslcrldir",
    "sslkey",
    "sslpassword",
    "sslrootcert",
    "sslsni",
    "user",
];
/// Parameters that take a whole number.
const NUMBERS: &[&str] = &[
    "connect_timeout",
    "keepalives",
    "keepalives_idle",
    "keepalives_interval",
    "keepalives_count",
    "tcp_user_timeout",
];
/// Parameters that take one of a few words: of those of libpq, the ones with which an event can be stored.
const WORDS: &[(&str, &[&str])] = &[
    ("channel_binding", &["disable", "prefer", "require"]),
    ("gssencmode", &["disable", "prefer", "require"]),
    ("load_balance_hosts", &["disable", "random"]),
    ("replication", &["false", "off", "no", "0"]),
    ("ssl_max_protocol_version", TLS_VERSIONS),
    ("ssl_min_protocol_version", TLS_VERSIONS),
    ("sslcertmode", &["disable", "allow", "require"]),
    (
        "sslmode",
        &[
            "disable",
            "allow",
            "prefer",
            "require",
            "verify-ca",
            "verify-full",
        ],
    ),
    ("sslnegotiation", &["postgres", "direct"]),
    (
        "target_session_attrs",
        &["any", "read-write", "primary", "prefer-standby"],
    ),
];
const TLS_VERSIONS: &[&str] = &["TLSv1", "TLSv1.1", "TLSv1.2", "TLSv1.3"];
/// Returns an error if libpq does not know the parameter or refuses the value.
pub(super) fn judge(name: &str, value: &str) -> Result<(), String> {
    if let Some((_, words)) = WORDS.iter().find(|(known, _)| *known == name) {
        if value.is_empty()
            || words.iter().any(|word| {
                word.eq_ignore_ascii_case(value) && (*word == value || name.contains("protocol"))
            })
        {
            return Ok(());
        }
        let hint = nearest(value, words.iter().copied())
            .map(|word| format!("; did you mean {word}?"))
            .unwrap_or_default();
        return Err(format!(
            "{name}: expected one of {}{hint}",
            words.join(", ")
        ));
    }
    if NUMBERS.contains(&name) {
        return match value.trim().parse::<i32>() {
            Ok(_) => Ok(()),
            Err(_) => Err(format!("{name}: expected a whole number")),
        };
    }
    match name {
        "port" => value.split(',').try_for_each(port_number),
        "host" => value
            .split(',')
            .try_for_each(|host| host_name(host).map(drop)),
        _ if TEXTS.contains(&name) => Ok(()),
        _ => {
            let names = TEXTS
                .iter()
                .chain(NUMBERS)
                .copied()
                .chain(WORDS.iter().map(|(name, _)| *name));
            let hint = nearest(name, names)
                .map(|name| format!("; did you mean {name}?"))
                .unwrap_or_default();
            Err(format!(
                "no parameter of PostgreSQL's client has this name{hint}"
            ))
        }
    }
}

/// A host's name or address, or the folder of a socket.
pub(super) fn host_name(name: &str) -> Result<String, String> {
    let socket = name.starts_with(['/', '@']);
    let word = name.len() <= 253
        && name
            .chars()
            .all(|c| c.is_alphanumeric() || matches!(c, '-' | '.' | '_'));
    let address = name
        .split('%')
        .next()
        .is_some_and(|address| address.parse::<Ipv6Addr>().is_ok());
    if socket || word || address {
        Ok(name.to_owned())
    } else {
        Err(format!("not the name of a host: {ESCAPES}"))
    }
}

/// Checks a port; an empty one is the default.
pub(super) fn port_number(port: &str) -> Result<(), String> {
    // A password with an unescaped "/" can stand where a port is expected, so it is not repeated.
    if port.is_empty() || port.parse::<u16>().is_ok_and(|port| port > 0) {
        return Ok(());
    }
    Err(format!(
        "expected a port from 1 to 65535 behind \":\"; {ESCAPES}"
    ))
}
