//! References to fields of a request.

use std::fmt;

use serde::Deserialize;

use super::node::Token;
use super::param_text::ParamText;
use super::pointer_text::PointerText;
use crate::language::context::Params;
use crate::language::http_signature::{Form, Part};

/// Place in a request: `header:NAME`, `query:NAME`, `form:NAME`, `json:/pointer`,
/// `signature:LABEL`, or a part of an HTTP Message Signature.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
#[serde(try_from = "String")]
pub struct FieldRef(pub(crate) Field);

/// Kind and name of a field.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Field {
    Form(ParamText),
    Header(ParamText),
    Json(PointerText),
    Query(ParamText),
    HttpSignature(Form, Part),
    /// An entry of the signature's list.
    Entry(ParamText),
}

/// Place in which a request names its hash function.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub enum HashField {
    /// Label of the signature's list entry: `signature`.
    Label,
    /// Place in the request.
    Field(FieldRef),
}

/// Place of a token.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub enum TokenPlace {
    /// The whole body.
    Body,
    /// A header or a JSON value.
    Field(FieldRef),
}

impl FieldRef {
    /// Returns the header's name, if the place is a header and its name holds no parameter.
    pub fn header_name(&self) -> Option<&str> {
        match &self.0 {
            Field::Header(name) => name.as_literal(),
            _ => None,
        }
    }

    /// Returns `true` if a template's token is this place.
    pub(crate) fn is_token(&self, token: &Token) -> bool {
        match (&self.0, token) {
            (Field::Header(name), Token::Header(header)) => name
                .as_literal()
                .is_some_and(|name| name.eq_ignore_ascii_case(header.as_str())),
            (Field::Query(name), Token::Query(token)) | (Field::Form(name), Token::Form(token)) => {
                name.as_literal() == Some(token)
            }
            (Field::Json(PointerText::Pointer(pointer)), Token::Json(token)) => pointer == token,
            _ => false,
        }
    }

    pub(crate) fn is_json(&self) -> bool {
        matches!(self.0, Field::Json(_))
    }

    pub(crate) fn is_form(&self) -> bool {
        matches!(self.0, Field::Form(_))
    }

    /// Returns the names of the parameters in the text.
    pub(crate) fn params(&self) -> impl Iterator<Item = &str> {
        let text = match &self.0 {
            Field::Form(text) | Field::Header(text) | Field::Query(text) | Field::Entry(text) => {
                Some(text)
            }
            Field::Json(pointer) => pointer.with_params(),
            Field::HttpSignature(..) => None,
        };
        text.into_iter().flat_map(ParamText::params)
    }

    /// Returns the place as an operator reads it.
    pub(crate) fn shown(&self, params: &Params) -> String {
        match &self.0 {
            Field::Header(name) => name.shown(params),
            Field::Query(name) => format!("query parameter {}", name.shown(params)),
            Field::Form(name) => format!("form field {}", name.shown(params)),
            Field::Json(pointer) => format!("{} of the body", pointer.shown(params)),
            Field::HttpSignature(..) | Field::Entry(_) => self.to_string(),
        }
    }
}

impl TryFrom<String> for FieldRef {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        let name = |name: &str| ParamText::try_from(name.to_owned());
        Ok(Self(match text.split_once(':') {
            Some(("header", header)) => Field::Header(name(header)?),
            Some(("query", parameter)) => Field::Query(name(parameter)?),
            Some(("form", field)) => Field::Form(name(field)?),
            Some(("json", pointer)) => Field::Json(pointer.to_owned().try_into()?),
            Some(("signature", label)) => Field::Entry(name(label)?),
            Some((form, part))
                if let (Some(form), Some(part)) = (Form::parse(form), Part::parse(part)) =>
            {
                Field::HttpSignature(form, part)
            }
            _ => {
                return Err(format!(
                    "\"{text}\" is not a place; write header:NAME, query:NAME, form:NAME or json:/pointer"
                ));
            }
        }))
    }
}

impl fmt::Display for FieldRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Field::Form(name) => write!(f, "form:{name}"),
            Field::Header(name) => write!(f, "header:{name}"),
            Field::Json(pointer) => write!(f, "json:{pointer}"),
            Field::Query(name) => write!(f, "query:{name}"),
            Field::HttpSignature(form, part) => write!(f, "{}:{}", form.name(), part.name()),
            Field::Entry(label) => write!(f, "signature:{label}"),
        }
    }
}

impl TryFrom<String> for HashField {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        match text.as_str() {
            "signature" => Ok(Self::Label),
            _ => FieldRef::try_from(text).map(Self::Field),
        }
    }
}

impl TokenPlace {
    /// Returns the header's name, if the place is a header and its name holds no parameter.
    pub fn header_name(&self) -> Option<&str> {
        match self {
            Self::Body => None,
            Self::Field(field) => field.header_name(),
        }
    }
}

impl fmt::Display for TokenPlace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Body => f.write_str("body"),
            Self::Field(field) => field.fmt(f),
        }
    }
}

impl TryFrom<String> for TokenPlace {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        if text == "body" {
            return Ok(Self::Body);
        }
        match FieldRef::try_from(text) {
            Ok(field) if matches!(field.0, Field::Header(_) | Field::Json(_)) => {
                Ok(Self::Field(field))
            }
            _ => Err("not the place of a token; write header:NAME, json:/pointer or body".into()),
        }
    }
}
