//! Parser of templates.

use super::node::{CanonicalName, Filter, Node, Token};
use crate::crypto::mac::{Encoding, HashName};

/// Syntax that a template may use.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Grammar {
    /// A message: `[…]` is optional.
    Message,
    /// Anything else: `[` is `[`.
    Plain,
}

/// Parses a text into its nodes.
pub(super) fn parse(text: &str, grammar: Grammar) -> Result<Vec<Node>, String> {
    let mut parser = Parser {
        rest: text,
        grammar,
    };
    parser.nodes(false)
}

struct Parser<'p> {
    rest: &'p str,
    grammar: Grammar,
}

impl Parser<'_> {
    fn nodes(&mut self, inside: bool) -> Result<Vec<Node>, String> {
        let mut nodes = Vec::new();
        let brackets = self.grammar == Grammar::Message;
        loop {
            let stop = self
                .rest
                .find(|c| c == '{' || (brackets && (c == '[' || c == ']')))
                .unwrap_or(self.rest.len());
            let (literal, rest) = self.rest.split_at(stop);
            if !literal.is_empty() {
                nodes.push(Node::Literal(literal.into()));
            }
            self.rest = rest.get(1..).unwrap_or_default();
            match (rest.bytes().next(), inside) {
                (None, false) | (Some(b']'), true) => return Ok(nodes),
                (None, true) => return Err("\"[\" is not closed; add \"]\"".into()),
                (Some(b'{'), _) => {
                    let end = self
                        .rest
                        .find('}')
                        .ok_or("\"{\" is not closed; add \"}\"")?;
                    let token = &self.rest[..end];
                    self.rest = &self.rest[end + 1..];
                    nodes.push(node(token)?);
                }
                (Some(b'['), false) => nodes.push(Node::Optional(self.nodes(true)?)),
                (Some(other), _) => {
                    return Err(format!(
                        "\"{}\" has no meaning here; remove it",
                        char::from(other)
                    ));
                }
            }
        }
    }
}

/// Parses the text between `{` and `}`.
fn node(text: &str) -> Result<Node, String> {
    let mut words = text.split('|');
    let name = words.next().unwrap_or_default();
    let mut words: Vec<&str> = words.collect();
    let token = match name.split_once(':') {
        None => plain_token(name),
        Some(("param", param)) => return Ok(Node::Param(param.into())),
        Some(("join", names)) => {
            let inner = names.split('+').map(node).collect::<Result<_, _>>()?;
            return Ok(Node::Joined(inner, filters(&words)?));
        }
        Some(("header", header)) => Some(Token::Header(
            header
                .parse()
                .map_err(|_| format!("{{{text}}} does not hold the name of a header"))?,
        )),
        Some(("query", name)) => Some(Token::Query(name.into())),
        Some(("form", name)) => Some(form_token(name, &mut words)),
        Some(("canonical", name)) => Some(Token::Canonical(
            CanonicalName::parse(name).ok_or_else(|| format!("\"{name}\" is not a canonical request; write contentful, plivo-v3, qsh, truelayer, rfc9421 or cavage"))?,
        )),
        Some(("json", pointer)) if words.first() == Some(&"sorted_kv") => {
            words.remove(0);
            Some(Token::JsonSortedKv(pointer.to_owned().try_into()?))
        }
        Some(("json", pointer)) => Some(Token::Json(pointer.to_owned().try_into()?)),
        Some(_) => None,
    };
    let token = token.ok_or_else(|| format!("{{{text}}} is not a token of templates"))?;
    Ok(Node::Token(token, filters(&words)?))
}

fn plain_token(name: &str) -> Option<Token> {
    Some(match name {
        "body" => Token::Body,
        "timestamp" => Token::Timestamp,
        "secret" => Token::Secret,
        "method" => Token::Method,
        "url" => Token::Url,
        "base_url" => Token::BaseUrl,
        "path" => Token::Path,
        _ => return None,
    })
}

fn form_token(name: &str, words: &mut Vec<&str>) -> Token {
    match name {
        "sorted" => Token::FormSorted,
        "sorted_kv" => Token::FormSortedKv {
            except: take(words, "except:")
                .map(|names| names.split(',').map(Into::into).collect())
                .unwrap_or_default(),
        },
        name => Token::Form(name.into()),
    }
}

/// Takes the first word, if it starts with `start`, and returns its rest.
fn take<'w>(words: &mut Vec<&'w str>, start: &str) -> Option<&'w str> {
    let rest = words.first()?.strip_prefix(start)?;
    words.remove(0);
    Some(rest)
}

fn filters(words: &[&str]) -> Result<Vec<Filter>, String> {
    words.iter().map(|word| filter(word)).collect()
}

fn filter(word: &str) -> Result<Filter, String> {
    let encoding = |name: &str| {
        Encoding::parse(name).ok_or_else(|| {
            format!("\"{name}\" is not an encoding; write hex, HEX, base64 or base64url")
        })
    };
    Ok(match word.split_once(':') {
        None if word == "lower" => Filter::Lower,
        None if word == "crc32" => Filter::Crc32,
        Some(("sha256", name)) => Filter::Hash(HashName::Sha256, encoding(name)?),
        Some(("md5", name)) => Filter::Hash(HashName::Md5, encoding(name)?),
        Some(("hmac", name)) => Filter::Hmac(encoding(name)?),
        Some(("unescape", only)) => Filter::Unescape(only.as_bytes().into()),
        _ => {
            return Err(format!(
                "\"{word}\" is not a filter; write lower, crc32, sha256:ENC, md5:ENC, hmac:ENC, unescape:CHARACTERS"
            ));
        }
    })
}
