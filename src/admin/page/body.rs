//! A body as text: pretty, raw or in hexadecimal, cut to what a browser shows without effort.

use std::fmt::Write;

use maud::{Markup, html};

use super::form::{Form, address};
use super::frame::bytes;
use crate::operate::ApiProblem;

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

/// Addresses of a body.
pub(super) struct BodyPlace<'p> {
    /// Screen that shows it.
    pub(super) screen: String,
    /// Whole body as a file.
    pub(super) file: String,
    /// Parameter with the first byte that is shown.
    pub(super) at: &'static str,
    /// Parameter of another body on the same screen: its part stays.
    pub(super) kept: Option<(&'static str, &'p str)>,
}

impl BodyPlace<'_> {
    /// Returns the addresses of a body that is alone on its screen, below `place`.
    pub(super) fn alone(place: &str) -> Self {
        Self {
            screen: format!("{place}/body"),
            file: format!("{place}/download"),
            at: "at",
            kept: None,
        }
    }
}

/// Returns a part of a body with links to its other forms and parts.
pub(super) fn shown(body: &[u8], place: &BodyPlace, asked: &Form) -> Result<Markup, ApiProblem> {
    let is_json = body
        .trim_ascii_start()
        .first()
        .is_some_and(|byte| matches!(byte, b'{' | b'['));
    let usual = if is_json { "pretty" } else { "raw" };
    let wanted = asked.get("form").unwrap_or(usual);
    let found = FORMS.iter().find(|(name, _)| *name == wanted);
    let (name, form) = *found.ok_or_else(no_form)?;
    let at: usize = asked.number(place.at)?.unwrap_or(0);
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
    Ok(html! {
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
    })
}

fn no_form() -> ApiProblem {
    ApiProblem::bad_question(
        "a body is shown as pretty, raw or hex, and in no other form",
        "leave `form` out of the address",
    )
}

fn link(place: &BodyPlace, form: &str, at: usize) -> String {
    let at = at.to_string();
    let own = [("form", form), (place.at, &*at)];
    let all: Vec<(&str, &str)> = own.into_iter().chain(place.kept).collect();
    address(&place.screen, &all)
}

fn choices(place: &BodyPlace, now: &str) -> Markup {
    html! {
        p.choices {
            @for (name, _) in FORMS {
                a href=(link(place, name, 0)) aria-current=[(name == now).then_some("true")] { (name) } " "
            }
            a href=(place.file) download { "Download the whole body" }
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

    fn asked(body: &[u8], query: &str) -> String {
        let place = BodyPlace::alone("/page/events/7");
        let shown = shown(body, &place, &Form::read(query.as_bytes()));
        shown.expect("a body").into_string()
    }

    #[test]
    fn a_part_that_is_no_number_and_a_form_that_is_none_are_problems() {
        let place = BodyPlace::alone("/page/events/7");
        for query in ["at=x", "at=-1", "form=yaml"] {
            let problem = shown(b"{}", &place, &Form::read(query.as_bytes()));
            assert_eq!(problem.expect_err(query).status, 400);
        }
    }

    #[test]
    fn the_links_of_one_body_keep_the_part_of_the_other() {
        let place = BodyPlace {
            at: "first_at",
            kept: Some(("at", "65536")),
            ..BodyPlace::alone("/page/conflicts/7")
        };
        let body = vec![b'x'; 1 << 20];
        let shown = shown(&body, &place, &Form::default()).expect("a body");
        let link = "/page/conflicts/7/body?form=raw&amp;first_at=65536&amp;at=65536";
        assert!(shown.into_string().contains(link));
    }

    #[test]
    fn a_large_body_is_cut_says_so_and_leads_to_its_next_part() {
        let body = vec![b'x'; 1 << 20];
        let first = asked(&body, "");
        assert!(first.contains("kept whole"), "no word about the rest");
        assert!(first.contains("at=65536"), "no link to the next part");
        assert!(first.len() < 70 * 1024, "{} bytes", first.len());
        let last = asked(&body, "form=hex&at=1048575");
        assert!(last.contains("000fffff  78") && !last.contains("Next part"));
        let beyond = asked(&body, "form=hex&at=99999999");
        assert!(beyond.contains("of 1048576"));
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
        let shown = asked(b"<img src=x onerror=alert(1)>", "");
        assert!(
            !shown.contains("<img") && shown.contains("&lt;img"),
            "{shown}"
        );
    }
}
