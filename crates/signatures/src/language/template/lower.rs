//! Templates with the parameters of a source, out of their nodes.

use super::tokens::{Segment, Token};
use crate::json_pointers::PathSet;
use crate::language::canonical::Canonical;
use crate::language::context::{Params, Wrong};
use crate::language::syntax::{Node, Token as Written};

pub(super) fn segments(
    nodes: &[Node],
    params: &Params,
    paths: &mut PathSet,
) -> Result<Vec<Segment>, Wrong> {
    let segment = |node: &Node| {
        Ok(match node {
            Node::Literal(text) => Segment::Literal(text.as_bytes().into()),
            Node::Param(name) => {
                let value = params.get(&**name);
                let value = value.ok_or_else(|| Wrong::MissingParam(name.clone()))?;
                Segment::Literal(value.as_bytes().into())
            }
            Node::Token(written, filters) => {
                Segment::Token(token(written, params, paths)?, filters.clone())
            }
            Node::Optional(inner) => Segment::Optional(segments(inner, params, paths)?),
            Node::Joined(inner, filters) => {
                Segment::Joined(segments(inner, params, paths)?, filters.clone())
            }
        })
    };
    nodes.iter().map(segment).collect()
}

fn token(written: &Written, params: &Params, paths: &mut PathSet) -> Result<Token, Wrong> {
    Ok(match written {
        Written::Body => Token::Body,
        Written::Timestamp => Token::Ts,
        Written::Secret => Token::Secret,
        Written::Method => Token::Method,
        Written::Url => Token::Url,
        Written::BaseUrl => Token::BaseUrl,
        Written::Path => Token::Path,
        Written::Header(name) => Token::Header(name.clone()),
        Written::Query(name) => Token::Query(name.clone()),
        Written::Form(name) => Token::Form(name.clone()),
        Written::FormSorted => Token::FormSorted,
        Written::FormSortedKv { except } => Token::FormSortedKv {
            except: except.clone(),
        },
        Written::Json(pointer) => Token::Json(paths.add(pointer)?, pointer.clone()),
        Written::JsonSortedKv(pointer) => Token::JsonSortedKv(paths.add(pointer)?),
        Written::Canonical(name) => Token::Canonical(Canonical::compile(*name, params)?),
    })
}
