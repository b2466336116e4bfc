//! Bodies that may have been signed in place of the one that came: something on the way has changed it.

use bytes::Bytes;
use hookweir_signatures::Reason;

use super::Case;
use super::cause::{BodyChange, Cause};
use super::trials::Trials;
use crate::domain::request::Request;

/// Deepest JSON that is printed in other ways. An indent makes much white space of deeper ones.
const DEEPEST: usize = 64;
/// Largest body that is tried in other forms, in bytes.
const LARGEST: usize = 512 * 1024;

/// Returns the change of the body after it was signed.
pub(super) fn find(case: &Case<'_>, trials: &mut Trials<'_>, refused: Reason) -> Option<Cause> {
    if matches!(
        refused,
        Reason::SignatureMissing | Reason::SignatureMalformed
    ) {
        return None;
    }
    let body = &case.request.body[..];
    if body.len() > LARGEST {
        trials.checked("no change of the body, which is too large to be tried");
        return None;
    }
    trials.checked("a newline more or less, other ends of lines, and a byte order mark");
    let mut tries = |change: BodyChange, body: Vec<u8>| {
        let request = Request {
            body: Bytes::from(body),
            ..case.request.clone()
        };
        let proof = trials.prove(&case.source.spec, &request);
        proof.is_given().then_some(Cause::Body(change))
    };
    for (change, body) in ends(body) {
        if let Some(cause) = tries(change, body) {
            return Some(cause);
        }
    }
    let tokens = tokens(body)?;
    for style in STYLES {
        for text in [
            Text::AsIs,
            Text::Slashes,
            Text::NoSlashes,
            Text::Ascii,
            Text::Unicode,
        ] {
            let cause = tries(BodyChange::Reserialised, printed(&tokens, style, text));
            if cause.is_some() {
                return cause;
            }
        }
    }
    trials.checked("its JSON printed in 20 other ways");
    None
}

/// Returns the body with other ends.
fn ends(body: &[u8]) -> Vec<(BodyChange, Vec<u8>)> {
    let mut all = Vec::new();
    for end in [&b"\r\n"[..], b"\n"] {
        if let Some(less) = body.strip_suffix(end) {
            all.push((BodyChange::NewlineMore, less.to_vec()));
        }
    }
    for end in [&b"\n"[..], b"\r\n"] {
        all.push((BodyChange::NewlineLess, [body, end].concat()));
    }
    if let Some(less) = body.strip_prefix(b"\xef\xbb\xbf") {
        all.push((BodyChange::ByteOrderMark, less.to_vec()));
    }
    let unix: Vec<u8> = body.iter().copied().filter(|byte| *byte != b'\r').collect();
    let lines: Vec<&[u8]> = unix.split(|byte| *byte == b'\n').collect();
    all.push((BodyChange::LineEnds, lines.join(&b"\r\n"[..])));
    all.push((BodyChange::LineEnds, unix));
    all
}

/// A token of JSON, as it is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Token<'b> {
    Open(u8),
    Close(u8),
    Comma,
    Colon,
    /// A string with its quotes.
    Text(&'b [u8]),
    /// A number, `true`, `false` or `null`.
    Word(&'b [u8]),
}

/// Style of printed JSON: white space after a comma and a colon, or an indent.
#[derive(Clone, Copy)]
struct Style {
    comma: &'static str,
    colon: &'static str,
    indent: usize,
}

const STYLES: [Style; 4] = [
    Style {
        comma: ",",
        colon: ":",
        indent: 0,
    },
    Style {
        comma: ", ",
        colon: ": ",
        indent: 0,
    },
    Style {
        comma: ",",
        colon: ": ",
        indent: 2,
    },
    Style {
        comma: ",",
        colon: ": ",
        indent: 4,
    },
];

/// Escapes in printed strings.
#[derive(Clone, Copy)]
enum Text {
    AsIs,
    /// `/` is escaped, as PHP does.
    Slashes,
    NoSlashes,
    /// Everything but ASCII is escaped, as Python does.
    Ascii,
    /// Nothing but ASCII is escaped.
    Unicode,
}

/// Returns the tokens of a JSON document. None: it is none, or is too deep.
fn tokens(body: &[u8]) -> Option<Vec<Token<'_>>> {
    let mut tokens = Vec::new();
    let mut depth = 0_usize;
    let mut rest = body.trim_ascii();
    if !matches!(rest.first(), Some(b'{' | b'[')) {
        return None;
    }
    while let Some(first) = rest.first() {
        let (token, len) = match first {
            b'{' | b'[' => {
                depth += 1;
                (Token::Open(*first), 1)
            }
            b'}' | b']' => {
                depth = depth.saturating_sub(1);
                (Token::Close(*first), 1)
            }
            b',' => (Token::Comma, 1),
            b':' => (Token::Colon, 1),
            b'"' => {
                let len = text_len(rest)?;
                (Token::Text(rest.split_at(len).0), len)
            }
            _ => {
                let is_end = |byte: &u8| b",:{}[]\" \t\r\n".contains(byte);
                let len = rest.iter().position(is_end).unwrap_or(rest.len());
                (Token::Word(rest.split_at(len).0), len)
            }
        };
        if depth > DEEPEST {
            return None;
        }
        tokens.push(token);
        rest = rest.split_at(len).1.trim_ascii_start();
    }
    Some(tokens)
}

/// Returns the length of the string at the beginning, with its quotes.
fn text_len(text: &[u8]) -> Option<usize> {
    let mut is_escaped = false;
    for (at, byte) in text.iter().enumerate().skip(1) {
        match byte {
            _ if is_escaped => is_escaped = false,
            b'\\' => is_escaped = true,
            b'"' => return Some(at + 1),
            _ => {}
        }
    }
    None
}

fn printed(tokens: &[Token<'_>], style: Style, text: Text) -> Vec<u8> {
    let mut out = Vec::new();
    let mut depth = 0_usize;
    let line = |out: &mut Vec<u8>, depth: usize| {
        if style.indent > 0 {
            out.push(b'\n');
            out.resize(out.len() + depth * style.indent, b' ');
        }
    };
    for (at, token) in tokens.iter().enumerate() {
        match token {
            Token::Open(byte) => {
                out.push(*byte);
                depth += 1;
                if !matches!(tokens.get(at + 1), Some(Token::Close(_))) {
                    line(&mut out, depth);
                }
            }
            Token::Close(byte) => {
                depth = depth.saturating_sub(1);
                let before = at.checked_sub(1).and_then(|at| tokens.get(at));
                if !matches!(before, Some(Token::Open(_))) {
                    line(&mut out, depth);
                }
                out.push(*byte);
            }
            Token::Comma => {
                out.extend_from_slice(style.comma.as_bytes());
                line(&mut out, depth);
            }
            Token::Colon => out.extend_from_slice(style.colon.as_bytes()),
            Token::Text(bytes) => escaped(&mut out, bytes, text),
            Token::Word(bytes) => out.extend_from_slice(bytes),
        }
    }
    out
}

/// Adds a string with other escapes. One that is not UTF-8 stays as it is.
fn escaped(out: &mut Vec<u8>, bytes: &[u8], text: Text) {
    let Ok(string) = std::str::from_utf8(bytes) else {
        return out.extend_from_slice(bytes);
    };
    match text {
        Text::AsIs => out.extend_from_slice(bytes),
        Text::Slashes => {
            let plain = string.replace("\\/", "/");
            out.extend_from_slice(plain.replace('/', "\\/").as_bytes());
        }
        Text::NoSlashes => out.extend_from_slice(string.replace("\\/", "/").as_bytes()),
        Text::Ascii => {
            for c in string.chars() {
                if c.is_ascii() {
                    out.push(c as u8);
                    continue;
                }
                for unit in c.encode_utf16(&mut [0; 2]) {
                    out.extend_from_slice(format!("\\u{unit:04x}").as_bytes());
                }
            }
        }
        Text::Unicode => match serde_json::from_str::<String>(string) {
            Ok(plain) => match serde_json::to_string(&plain) {
                Ok(printed) => out.extend_from_slice(printed.as_bytes()),
                Err(_) => out.extend_from_slice(bytes),
            },
            Err(_) => out.extend_from_slice(bytes),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn as_printed(body: &str, style: usize, text: Text) -> String {
        let tokens = tokens(body.as_bytes()).expect("JSON");
        String::from_utf8(printed(&tokens, STYLES[style], text)).expect("UTF-8")
    }

    #[test]
    fn json_is_printed_as_other_languages_do_and_numbers_stay_as_they_are() {
        let body = "{ \"a\":[1.50,\"\\/\u{e4}\"],\"b\" : {} }\n";
        assert_eq!(
            as_printed(body, 0, Text::AsIs),
            "{\"a\":[1.50,\"\\/\u{e4}\"],\"b\":{}}"
        );
        assert_eq!(
            as_printed(body, 1, Text::Ascii),
            "{\"a\": [1.50, \"\\/\\u00e4\"], \"b\": {}}"
        );
        assert_eq!(
            as_printed(body, 2, Text::NoSlashes),
            "{\n  \"a\": [\n    1.50,\n    \"/\u{e4}\"\n  ],\n  \"b\": {}\n}"
        );
        assert_eq!(
            as_printed("[\"\\u00e4/\"]", 0, Text::Unicode),
            "[\"\u{e4}/\"]"
        );
        assert_eq!(as_printed("[\"/\"]", 0, Text::Slashes), "[\"\\/\"]");
    }

    #[test]
    fn what_is_no_json_is_left_alone() {
        for body in ["a=1", "", "{\"open", "\"text\""] {
            assert_eq!(tokens(body.as_bytes()), None, "{body}");
        }
        for deep in ["[", "{\"a\":["] {
            assert_eq!(tokens(deep.repeat(100_000).as_bytes()), None, "{deep}");
        }
    }
}
