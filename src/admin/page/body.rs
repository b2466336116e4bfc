//! A body as text: pretty, raw or in hexadecimal, cut to what a browser shows without effort.

use std::fmt::Write;

use maud::{Markup, html};

use super::form::address;
use super::frame::bytes;

/// Bytes that are shown at once.
const SHOWN: usize = 64 * 1024;

/// Deepest indentation. JSON that is nested deeper stays on the same margin.
const DEEPEST: usize = 64;

/// Way in which a body is shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum BodyForm {
    Pretty,
    Raw,
    Hex,
}

const FORMS: [(&str, BodyForm); 3] = [
    ("pretty", BodyForm::Pretty),
    ("raw", BodyForm::Raw),
    ("hex", BodyForm::Hex),
];

/// Returns a part of a body with links to its other forms and parts. `at` is the first byte.
pub(super) fn shown(body: &[u8], place: &str, form: Option<&str>, at: Option<&str>) -> Markup {
    let is_json = body
        .trim_ascii_start()
        .first()
        .is_some_and(|byte| matches!(byte, b'{' | b'['));
    let usual = if is_json { "pretty" } else { "raw" };
    let wanted = form.unwrap_or(usual);
    let (name, form) = *FORMS
        .iter()
        .find(|(name, _)| *name == wanted)
        .unwrap_or(&FORMS[1]);
    let at = at.and_then(|at| at.parse().ok()).unwrap_or(0);
    let at = usize::min(at, body.len());
    // A part may begin within a string: its lines would be made up.
    let form = match form {
        BodyForm::Pretty if at > 0 => BodyForm::Raw,
        form => form,
    };
    let part = &body[at..body.len().min(at.saturating_add(SHOWN))];
    let text = match form {
        BodyForm::Pretty => pretty(part),
        BodyForm::Raw => String::from_utf8_lossy(part).into_owned(),
        BodyForm::Hex => hex(part, at),
    };
    let end = at + part.len();
    html! {
        (choices(place, name))
        @if part.len() < body.len() {
            p.cut role="note" {
                "Bytes " (at) " to " (end) " of " (body.len()) " (" (bytes(body.len() as u64)) ") are shown. "
                strong { "The rest is not shown here, and kept whole. " }
                @if at > 0 {
                    a href=(link(place, name, at.saturating_sub(SHOWN))) { "Part before" } " "
                }
                @if end < body.len() { a href=(link(place, name, end)) { "Next part" } }
            }
        }
        @if body.is_empty() { p.quiet { "The body is empty." } }
        @else { pre.body tabindex="0" aria-label="Body" { code { (text) } } }
    }
}

fn link(place: &str, form: &str, at: usize) -> String {
    address(
        &format!("{place}/body"),
        &[("form", form), ("at", &at.to_string())],
    )
}

fn choices(place: &str, now: &str) -> Markup {
    html! {
        p.choices {
            @for (name, _) in FORMS {
                a href=(link(place, name, 0)) aria-current=[(name == now).then_some("true")] { (name) } " "
            }
            a href=(format!("{place}/download")) download { "Download the whole body" }
        }
    }
}

/// Returns JSON with a line for each value. The bytes are not parsed: a part of a body is shown, too.
fn pretty(part: &[u8]) -> String {
    let text = String::from_utf8_lossy(part);
    let mut out = String::with_capacity(text.len() * 2);
    let (mut depth, mut inside, mut escaped) = (0_usize, false, false);
    let line = |out: &mut String, depth: usize| {
        out.push('\n');
        for _ in 0..depth.min(DEEPEST) {
            out.push_str("  ");
        }
    };
    let mut chars = text.chars().peekable();
    while let Some(char) = chars.next() {
        if inside {
            out.push(char);
            inside = escaped || char != '"';
            escaped = char == '\\' && !escaped;
            continue;
        }
        match char {
            '"' => {
                inside = true;
                out.push(char);
            }
            '{' | '[' => {
                while chars.next_if(char::is_ascii_whitespace).is_some() {}
                out.push(char);
                match chars.next_if(|next| matches!(next, '}' | ']')) {
                    Some(end) => out.push(end),
                    None => {
                        depth += 1;
                        line(&mut out, depth);
                    }
                }
            }
            '}' | ']' => {
                depth = depth.saturating_sub(1);
                line(&mut out, depth);
                out.push(char);
            }
            ',' => {
                out.push(char);
                line(&mut out, depth);
            }
            ':' => out.push_str(": "),
            _ if char.is_ascii_whitespace() => {}
            _ => out.push(char),
        }
    }
    out
}

/// Returns rows of 16 bytes: place, hexadecimal, and what is text.
fn hex(part: &[u8], from: usize) -> String {
    let mut out = String::with_capacity(part.len() * 5);
    for (row, bytes) in part.chunks(16).enumerate() {
        // Writing to a string cannot fail.
        let _ = write!(out, "{:08x} ", from + row * 16);
        for byte in bytes {
            let _ = write!(out, " {byte:02x}");
        }
        for _ in bytes.len()..16 {
            out.push_str("   ");
        }
        out.push_str("  ");
        for byte in bytes {
            let is_text = byte.is_ascii_graphic() || *byte == b' ';
            out.push(if is_text { char::from(*byte) } else { '.' });
        }
        out.push('\n');
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn json_gets_lines_and_its_strings_stay_as_they_are() {
        let shown = pretty(br#"{"a":[1,{"b":"x{,\"y"}],"c":{},"d":[ ]}"#);
        let lines = [
            "{",
            "  \"a\": [",
            "    1,",
            "    {",
            "      \"b\": \"x{,\\\"y\"",
            "    }",
            "  ],",
            "  \"c\": {},",
            "  \"d\": []",
            "}",
        ];
        assert_eq!(shown.lines().collect::<Vec<_>>(), lines);
        let back: serde_json::Value = serde_json::from_str(&shown).expect("JSON still");
        assert_eq!(back["a"][1]["b"], "x{,\"y");
    }

    #[test]
    fn hexadecimal_shows_place_bytes_and_text() {
        let shown = hex(b"POST\0\xffx", 64);
        assert!(
            shown.starts_with("00000040  50 4f 53 54 00 ff 78"),
            "{shown}"
        );
        assert!(shown.ends_with("POST..x\n"), "{shown}");
    }

    #[test]
    fn a_large_body_is_cut_says_so_and_leads_to_its_next_part() {
        let body = vec![b'x'; 1 << 20];
        let first = shown(&body, "/page/events/7", None, None).into_string();
        assert!(first.contains("kept whole"), "no word about the rest");
        assert!(first.contains("at=65536"), "no link to the next part");
        assert!(first.len() < 70 * 1024, "{} bytes", first.len());
        let last = shown(&body, "/page/events/7", Some("hex"), Some("1048575"));
        let last = last.into_string();
        assert!(last.contains("000fffff  78") && !last.contains("Next part"));
        let beyond = shown(&body, "/page/events/7", Some("hex"), Some("99999999"));
        assert!(beyond.into_string().contains("of 1048576"));
    }

    #[test]
    fn nested_brackets_do_not_make_the_page_grow_without_bound() {
        let body = vec![b'['; SHOWN];
        let shown = pretty(&body);
        assert!(
            shown.len() <= SHOWN * (2 * DEEPEST + 2) + 2,
            "{}",
            shown.len()
        );
    }

    #[test]
    fn a_body_is_text_and_never_markup() {
        let shown = shown(
            b"<img src=x onerror=alert(1)>",
            "/page/events/7",
            None,
            None,
        );
        let shown = shown.into_string();
        assert!(
            !shown.contains("<img") && shown.contains("&lt;img"),
            "{shown}"
        );
    }
}
