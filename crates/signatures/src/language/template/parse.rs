//! Parser of templates.

use super::tokens::{Filter, Grammar, Segment, Token};
use crate::crypto::mac::{Encoding, HashName};
use crate::json_pointers::PathSet;
use crate::language::canonical::Canonical;
use crate::language::context::{Params, Wrong};

pub(super) struct Parser<'p> {
    pub(super) rest: &'p str,
    pub(super) grammar: Grammar,
    pub(super) params: &'p Params,
    pub(super) paths: &'p mut PathSet,
}

impl Parser<'_> {
    pub(super) fn segments(&mut self, inside: bool) -> Result<Vec<Segment>, Wrong> {
        let mut segments = Vec::new();
        let brackets = self.grammar == Grammar::Message;
        loop {
            let stop = self
                .rest
                .find(|c| c == '{' || (brackets && (c == '[' || c == ']')))
                .unwrap_or(self.rest.len());
            let (literal, rest) = self.rest.split_at(stop);
            if !literal.is_empty() {
                segments.push(Segment::Literal(literal.as_bytes().into()));
            }
            self.rest = rest.get(1..).unwrap_or_default();
            match (rest.bytes().next(), inside) {
                (None, false) | (Some(b']'), true) => return Ok(segments),
                (None, true) => return Err("\"[\" without \"]\"".into()),
                (Some(b'{'), _) => {
                    let end = self.rest.find('}').ok_or("\"{\" without \"}\"")?;
                    let token = &self.rest[..end];
                    self.rest = &self.rest[end + 1..];
                    segments.push(self.token(token)?);
                }
                (Some(b'['), false) => {
                    let inner = self.segments(true)?;
                    segments.push(Segment::Optional(inner));
                }
                (Some(other), _) => {
                    return Err(format!("\"{}\" where it has no meaning", char::from(other)).into());
                }
            }
        }
    }

    fn token(&mut self, text: &str) -> Result<Segment, Wrong> {
        let mut words = text.split('|');
        let name = words.next().unwrap_or_default();
        let mut words: Vec<&str> = words.collect();
        let sorted_kv = words.first() == Some(&"sorted_kv");
        if sorted_kv {
            words.remove(0);
        }
        let token = match name.split_once(':') {
            None => match name {
                "body" => Token::Body,
                "timestamp" => Token::Ts,
                "secret" => Token::Secret,
                "method" => Token::Method,
                "url" => Token::Url,
                "base_url" => Token::BaseUrl,
                "path" => Token::Path,
                _ => return Err(format!("no token {{{text}}}").into()),
            },
            Some(("param", param)) => {
                let value = self
                    .params
                    .get(param)
                    .ok_or_else(|| Wrong::MissingParam(param.into()))?;
                return Ok(Segment::Literal(value.as_bytes().into()));
            }
            Some(("header", header)) => Token::Header(
                header
                    .parse()
                    .map_err(|_| format!("{{{text}}} names no header"))?,
            ),
            Some(("query", name)) => Token::Query(name.into()),
            Some(("form", "sorted")) => Token::FormSorted,
            Some(("form", "sorted_kv")) => {
                let except = match words.first().and_then(|word| word.strip_prefix("except:")) {
                    Some(names) => {
                        words.remove(0);
                        names.split(',').map(Into::into).collect()
                    }
                    None => Box::default(),
                };
                Token::FormSortedKv { except }
            }
            Some(("form", name)) => Token::Form(name.into()),
            Some(("canonical", name)) => Token::Canonical(
                Canonical::parse(name, self.params)
                    .ok_or_else(|| format!("no canonical request \"{name}\""))?,
            ),
            Some(("join", names)) => {
                let inner = names
                    .split('+')
                    .map(|name| self.token(name))
                    .collect::<Result<_, _>>()?;
                return Ok(Segment::Joined(
                    inner,
                    words.into_iter().map(filter).collect::<Result<_, _>>()?,
                ));
            }
            Some(("json", pointer)) if sorted_kv => Token::JsonSortedKv(self.paths.add(pointer)?),
            Some(("json", pointer)) => Token::Json(self.paths.add(pointer)?, pointer.into()),
            Some(_) => return Err(format!("no token {{{text}}}").into()),
        };
        let filters = words.into_iter().map(filter).collect::<Result<_, _>>()?;
        Ok(Segment::Token(token, filters))
    }
}

fn filter(word: &str) -> Result<Filter, String> {
    let encoding = |name: &str| {
        Encoding::parse(name)
            .ok_or_else(|| format!("no encoding \"{name}\": hex, HEX, base64 or base64url"))
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
                "no filter \"{word}\": lower, crc32, sha256:ENC, md5:ENC, hmac:ENC, unescape:CHARACTERS"
            ));
        }
    })
}
