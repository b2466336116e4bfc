//! A request as templates see it: headers, query, form fields, the JSON document, the URL as the
//! provider has it.

use http::HeaderName;

use crate::request::Request;
use crate::request::multipart::multipart_fields;

pub(crate) use crate::request::form::{Fields, field, fields, is_form, query, with_plus};
use crate::{Reason, Refusal};

/// Parts of a request that are decoded before its proof, because the scheme asks for them.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Needs {
    pub(crate) form: bool,
    pub(crate) query: bool,
}

/// One request, and its decoded parts.
#[derive(Debug)]
pub(crate) struct View<'a> {
    pub(crate) request: &'a Request,
    /// The body, decompressed where the scheme says so.
    pub(crate) body: &'a [u8],
    pub(crate) form: Fields<'a>,
    pub(crate) query: Fields<'a>,
}

impl<'a> View<'a> {
    pub(crate) fn new(request: &'a Request, body: &'a [u8], needs: Needs) -> Result<Self, Refusal> {
        let form = match needs.form {
            true if is_form(request) => fields(body)?,
            true => multipart_fields(request, body)?,
            false => Fields::new(),
        };
        let query = if needs.query {
            fields(query(&request.target).unwrap_or_default().as_bytes())?
        } else {
            Fields::new()
        };
        Ok(Self {
            request,
            body,
            form,
            query,
        })
    }

    /// Returns the view of a proven GET without a body, whose query is read as a form.
    pub(crate) fn by_query(&self) -> Result<Option<Self>, Refusal> {
        let Self { request, body, .. } = *self;
        let Some(query) = request.content_in_query() else {
            return Ok(None);
        };
        Ok(Some(Self {
            request,
            body,
            form: fields(query.as_bytes())?,
            query: self.query.clone(),
        }))
    }

    /// Returns the only value of a header. Fails if the header occurs twice, since a consumer could
    /// read the other value.
    pub(crate) fn header(&self, name: &'a HeaderName) -> Result<Option<&'a [u8]>, Refusal> {
        let mut values = self.request.headers.all(name);
        let first = values.next();
        if values.next().is_some() {
            return Err(Refusal::new(
                Reason::PreconditionFailed,
                format!("header {name} occurs more than once"),
            ));
        }
        Ok(first.map(http::HeaderValue::as_bytes))
    }
}

#[cfg(test)]
mod tests;
