//! A delivery as a command of curl: its stored headers and its body, without secrets.

use std::fmt::Write;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use maud::{Markup, html};

use crate::operate::{EventView, OpenedBody};

/// Largest body that stands in the command. A larger one comes out of its file.
const INLINE: usize = 16 * 1024;

/// Characters of a line of base64.
const LINE: usize = 76;

/// Parts of the names of headers that may carry a secret, or a signature that lets a delivery be repeated.
const SECRET: [&str; 10] = [
    "auth", "cookie", "token", "secret", "key", "sign", "hmac", "password", "session", "digest",
];

/// Returns the command with a button that copies it. `url` is the address that the provider has.
pub(super) fn shown(event: &EventView, opened: &OpenedBody, url: &str) -> Markup {
    let (sent, left_out): (Vec<_>, Vec<_>) = headers(event, opened)
        .into_iter()
        .partition(|(name, _)| !may_be_secret(name));
    let file = format!("{}.body", opened.message_id);
    let inline = opened.bytes.len() <= INLINE;
    html! {
        h2 { "As a command of curl" }
        @if !inline { p { "The body is too large for a command: download it first, as " code { (file) } "." } }
        pre #curl tabindex="0" aria-label="Command of curl" { code { (command(url, &sent, &opened.bytes, &file)) } }
        p { button type="button" data-copy="curl" hidden { "Copy" } " " span role="status" {} }
        p.quiet {
            "Without the signature, Hookweir refuses it: change URL to the address of a consumer. "
            @if !left_out.is_empty() {
                "Headers that may carry a secret are left out: " (left_out.iter().map(|(name, _)| *name).collect::<Vec<_>>().join(", ")) "."
            }
        }
    }
}

/// Returns the stored headers, with the type of the body.
fn headers<'h>(event: &'h EventView, opened: &'h OpenedBody) -> Vec<(&'h str, &'h str)> {
    let stored = opened.headers.iter();
    let stored = stored.map(|(name, value)| (&**name, &**value));
    let stored = stored.filter(|(name, _)| !name.eq_ignore_ascii_case("content-type"));
    let kind = event.content_type.as_deref();
    let kind = kind.map(|kind| ("content-type", kind));
    kind.into_iter().chain(stored).collect()
}

fn may_be_secret(name: &str) -> bool {
    let name = name.to_ascii_lowercase();
    SECRET.iter().any(|part| name.contains(part))
}

fn command(url: &str, headers: &[(&str, &str)], body: &[u8], file: &str) -> String {
    let mut text = format!("URL={}\n", quoted(url));
    let inline = body.len() <= INLINE;
    if inline {
        text.push_str("base64 -d <<'BODY' |\n");
        let encoded = STANDARD.encode(body);
        let mut rest = encoded.as_str();
        while !rest.is_empty() {
            let (line, more) = rest.split_at(rest.len().min(LINE));
            text.push_str(line);
            text.push('\n');
            rest = more;
        }
        text.push_str("BODY\n");
    }
    text.push_str("curl --request POST");
    for (name, value) in headers {
        // Writing to a string cannot fail.
        let _ = write!(
            text,
            " \\\n  --header {}",
            quoted(&format!("{name}: {value}"))
        );
    }
    let from = if inline { "@-" } else { &format!("@{file}") };
    let _ = write!(text, " \\\n  --data-binary {from} \"$URL\"");
    text
}

/// Returns a word of a shell. Nothing in it is expanded.
fn quoted(text: &str) -> String {
    format!("'{}'", text.replace('\'', "'\\''"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn headers_that_may_carry_a_secret_are_left_out() {
        for name in [
            "Authorization",
            "cookie",
            "X-Gitlab-Token",
            "x-api-key",
            "stripe-signature",
            "x-hub-signature-256",
            "x-shopify-hmac-sha256",
        ] {
            assert!(may_be_secret(name), "{name}");
        }
        for name in [
            "content-type",
            "user-agent",
            "x-github-event",
            "x-request-id",
        ] {
            assert!(!may_be_secret(name), "{name}");
        }
    }

    #[test]
    fn a_shell_expands_nothing_of_a_strangers_text() {
        let evil = "a'; touch /tmp/x; $(id) `id` \\";
        let run = std::process::Command::new("sh")
            .args(["-c", &format!("printf %s {}", quoted(evil))])
            .output()
            .expect("a shell");
        assert_eq!(String::from_utf8_lossy(&run.stdout), evil);
    }

    #[test]
    fn a_small_body_stands_in_the_command_and_a_large_one_comes_from_its_file() {
        let small = command("http://x", &[], &[0xff; 100], "7.body");
        assert!(small.contains("@-") && small.lines().all(|line| line.len() <= LINE));
        let large = command("http://x", &[], &[b'x'; INLINE + 1], "7.body");
        assert!(large.contains("@7.body") && !large.contains("base64"));
    }
}
