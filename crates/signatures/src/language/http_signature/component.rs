//! Components of a request that a signature covers.

use std::fmt;

use http::HeaderName;

use super::Form;

/// SignedComponent of a request that a signature covers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum SignedComponent {
    /// Part of the request beside its headers, as a standard names it.
    Derived(Derived),
    Header(HeaderName),
}

/// Part of a request beside its headers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Derived {
    Authority,
    Created,
    Expires,
    Method,
    Path,
    Query,
    /// One query parameter, whose name the request gives beside the component.
    QueryParam,
    /// Path and query (RFC 9421).
    RequestTarget,
    /// Method, path and query (the draft).
    RequestLine,
    Scheme,
    TargetUri,
}

/// Names of RFC 9421.
const RFC9421: &[Derived] = &[
    Derived::Authority,
    Derived::Method,
    Derived::Path,
    Derived::Query,
    Derived::QueryParam,
    Derived::RequestTarget,
    Derived::Scheme,
    Derived::TargetUri,
];

/// Names of the draft.
const CAVAGE: &[Derived] = &[Derived::Created, Derived::Expires, Derived::RequestLine];

impl Derived {
    const fn name(self) -> &'static str {
        match self {
            Self::Authority => "@authority",
            Self::Created => "(created)",
            Self::Expires => "(expires)",
            Self::Method => "@method",
            Self::Path => "@path",
            Self::Query => "@query",
            Self::QueryParam => "@query-param",
            Self::RequestTarget => "@request-target",
            Self::RequestLine => "(request-target)",
            Self::Scheme => "@scheme",
            Self::TargetUri => "@target-uri",
        }
    }
}

impl SignedComponent {
    /// Returns the component of this name. None if the standard has no such component.
    pub(crate) fn parse(form: Form, name: &str) -> Option<Self> {
        let derived = match form {
            Form::Rfc9421 => RFC9421,
            Form::Cavage => CAVAGE,
        };
        let known = derived.iter().find(|derived| derived.name() == name);
        match known {
            Some(derived) => Some(Self::Derived(*derived)),
            // "@" and parentheses are in no header's name.
            None => name.parse().ok().map(Self::Header),
        }
    }

    /// Returns the component of a header.
    pub(crate) const fn header(name: &'static str) -> Self {
        Self::Header(HeaderName::from_static(name))
    }

    pub(crate) fn name(&self) -> &str {
        match self {
            Self::Derived(derived) => derived.name(),
            Self::Header(name) => name.as_str(),
        }
    }
}

impl fmt::Display for SignedComponent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}
