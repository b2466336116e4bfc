//! Rules that a single kind or bound cannot say: shapes of names, paths and permissions.

use url::Url;

/// A PostgreSQL schema that needs no quoting.
pub(super) fn schema_name(name: &str) -> Result<(), String> {
    let first = name.starts_with(|c: char| c.is_ascii_lowercase() || c == '_');
    if first
        && name.len() <= 63
        && name
            .bytes()
            .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_')
    {
        return Ok(());
    }
    Err("expected a schema name of 1 to 63 characters of a-z, 0-9 and \"_\", not starting with a digit".to_owned())
}

/// The name of an exchange or queue.
pub(super) fn amqp_name(name: &str) -> Result<(), String> {
    if name.is_empty() {
        Err("expected a name, found an empty string".to_owned())
    } else {
        amqp_name_or_none(name)
    }
}

/// The name of a queue, or nothing.
pub(super) fn amqp_name_or_none(name: &str) -> Result<(), String> {
    if name.len() > 255 {
        return Err(format!("expected at most 255 bytes, found {}", name.len()));
    }
    if name.starts_with("amq.") {
        return Err(
            "names that begin with \"amq.\" are the broker's own; choose another".to_owned(),
        );
    }
    Ok(())
}

/// The path of a Unix socket. The kernel's address has room for 107 bytes.
pub(super) fn socket_path(path: &str) -> Result<(), String> {
    match path.len() {
        0..=107 => Ok(()),
        len => Err(format!(
            "expected at most 107 bytes, found {len}: the kernel takes no longer path of a socket"
        )),
    }
}

/// The name of a token: a part of log lines, and of who did what.
pub(super) fn token_name(name: &str) -> Result<(), String> {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
    match (1..=63).contains(&name.len()) && name.bytes().all(plain) {
        true => Ok(()),
        false => Err("no name of a token: use 1 to 63 letters, digits, -, _ or .".to_owned()),
    }
}

/// The name of a host, as a browser or a client writes it in `Host`, without a port.
pub(super) fn host_name(name: &str) -> Result<String, String> {
    let authority = name.parse::<http::uri::Authority>();
    match authority {
        Ok(authority) if authority.as_str() == authority.host() => Ok(name.to_ascii_lowercase()),
        _ => Err("expected the name or address of a host, without a port".to_owned()),
    }
}

/// Directives as in `RUST_LOG`.
pub(super) fn log_filter(filter: &str) -> Result<(), String> {
    match tracing_subscriber::EnvFilter::builder().parse(filter) {
        Ok(_) => Ok(()),
        Err(error) => Err(format!(
            "expected directives such as \"info\" or \"hookweir=debug,info\": {error}"
        )),
    }
}

/// Anything at all.
pub(super) fn anything(_: &str) -> Result<(), String> {
    Ok(())
}

/// Anything but nothing.
pub(super) fn not_empty(text: &str) -> Result<(), String> {
    if text.is_empty() {
        Err("expected a name, found an empty string".to_owned())
    } else {
        Ok(())
    }
}

/// Returns an error if `path` cannot follow `/ingest/` in a URL as it goes over the wire.
pub(super) fn path(path: &str) -> Result<(), String> {
    let segment = |segment: &str| {
        !matches!(segment, "" | "." | "..")
            && segment
                .bytes()
                .all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'.' | b'_' | b'~'))
    };
    if path.len() <= 255 && path.split('/').all(segment) {
        return Ok(());
    }
    let hint = if path.starts_with('/') {
        "; leave out the \"/\" in front"
    } else {
        ""
    };
    Err(format!(
        "expected what follows /ingest/, such as \"stripe\" or \"stripe/refunds\": up to 255 characters of a-z, A-Z, 0-9, \"-._~\", parted by \"/\"{hint}"
    ))
}

/// A URL that a provider or a browser would use.
pub(super) fn web_url(url: &str) -> Result<(), String> {
    match Url::parse(url) {
        Ok(url) if matches!(url.scheme(), "https" | "http") => Ok(()),
        // "hooks.example.com:8443/x" reads as a scheme and a path.
        Ok(_) if !url.contains("://") => Err(no_scheme()),
        Ok(url) => Err(format!(
            "expected a URL that begins with https://, found \"{}:\"",
            url.scheme()
        )),
        Err(url::ParseError::RelativeUrlWithoutBase) => Err(no_scheme()),
        Err(error) => Err(format!(
            "expected a URL such as \"https://your.host/ingest/stripe\": {error}"
        )),
    }
}

fn no_scheme() -> String {
    "expected a URL such as \"https://your.host/ingest/stripe\": put https:// in front".to_owned()
}

/// Permissions in octal that leave the owner reading and writing, and let nobody execute.
pub(super) fn file_mode(text: &str) -> Result<(), String> {
    match u32::from_str_radix(text, 8) {
        Ok(mode) if mode & 0o600 == 0o600 && mode & !0o664 == 0 => Ok(()),
        _ => Err("expected permissions in octal, as \"0600\", \"0640\" (a group may read) or \"0644\" (all may)".to_owned()),
    }
}
