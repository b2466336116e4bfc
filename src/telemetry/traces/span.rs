//! A span, from its begin to its end.

use std::borrow::Cow;
use std::time::{Duration, SystemTime};

use crate::domain::outcome::Outcome;
use crate::domain::text::cut;
use crate::domain::trace_context::TraceContext;

/// Longest text of an attribute, in bytes.
const LONGEST_TEXT: usize = 256;
/// Attributes of one span at most.
const MOST_VALUES: usize = 8;

/// Role of a span in its trace.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SpanKind {
    /// Answers a request from outside.
    Server,
    /// Sends a message.
    Producer,
    /// Anything else.
    Internal,
}

/// Value of an attribute. Never a secret and never a part of a body.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SpanValue {
    /// A text.
    Text(Cow<'static, str>),
    /// A number.
    Number(i64),
}

impl From<&'static str> for SpanValue {
    fn from(text: &'static str) -> Self {
        Self::Text(Cow::Borrowed(text))
    }
}

impl From<String> for SpanValue {
    fn from(text: String) -> Self {
        Self::Text(Cow::Owned(shortened(text)))
    }
}

impl From<usize> for SpanValue {
    fn from(number: usize) -> Self {
        Self::Number(i64::try_from(number).unwrap_or(i64::MAX))
    }
}

fn shortened(mut text: String) -> String {
    let length = cut(&text, LONGEST_TEXT).len();
    text.truncate(length);
    text
}

/// A span as it is exported.
#[derive(Clone, Debug, PartialEq)]
pub struct SpanRecord {
    /// Its trace, and its id.
    pub context: TraceContext,
    /// Span that it belongs to.
    pub parent: Option<TraceContext>,
    /// The parent is another process's.
    pub remote_parent: bool,
    /// Its role.
    pub kind: SpanKind,
    /// Its name, from a fixed list.
    pub name: &'static str,
    /// Its begin.
    pub start: SystemTime,
    /// Its end.
    pub end: SystemTime,
    /// Names and values.
    pub attributes: Vec<(&'static str, SpanValue)>,
    /// Spans of other traces that it has to do with.
    pub links: Vec<TraceContext>,
    /// Reason for which it has failed.
    pub failure: Option<Cow<'static, str>>,
}

/// A span that has begun. It ends when it is dropped.
#[derive(Debug)]
pub struct OpenSpan(Option<Box<SpanRecord>>);

impl OpenSpan {
    fn begin(
        name: &'static str,
        kind: SpanKind,
        context: TraceContext,
        parent: Option<TraceContext>,
    ) -> Self {
        let now = SystemTime::now();
        Self(Some(Box::new(SpanRecord {
            context,
            parent,
            remote_parent: false,
            kind,
            name,
            start: now,
            end: now,
            attributes: Vec::with_capacity(MOST_VALUES),
            links: Vec::new(),
            failure: None,
        })))
    }

    /// Begins the first span of a trace that begins here.
    pub(super) fn first(name: &'static str, context: TraceContext) -> Self {
        Self::begin(name, SpanKind::Server, context, None)
    }

    /// Begins the first span here of a trace that a sender has begun.
    pub(super) fn continued(name: &'static str, parent: &TraceContext) -> Self {
        let mut span = Self::begin(name, SpanKind::Server, parent.child(), Some(*parent));
        span.edit(|span| span.remote_parent = true);
        span
    }

    /// Begins a span within `parent`. None if this process exports none, or the trace is not sampled.
    pub fn within(
        parent: Option<TraceContext>,
        name: &'static str,
        kind: SpanKind,
    ) -> Option<Self> {
        let parent = parent.filter(|parent| parent.is_sampled() && super::is_on())?;
        Some(Self::begin(name, kind, parent.child(), Some(parent)))
    }

    /// Begins a span of a trace of its own that has to do with `links`, and that has taken a while. None if
    /// this process exports none, or no link is sampled.
    pub fn linked(
        links: impl Iterator<Item = TraceContext>,
        name: &'static str,
        context: impl FnOnce() -> TraceContext,
        took: Duration,
    ) -> Option<Self> {
        let sampled = links.filter(TraceContext::is_sampled);
        let links: Vec<_> = sampled.take(super::MOST_LINKS).collect();
        if links.is_empty() || !super::is_on() {
            return None;
        }
        let mut span = Self::begin(name, SpanKind::Internal, context(), None);
        span.edit(|span| {
            span.links = links;
            span.start = span.start.checked_sub(took).unwrap_or(span.start);
        });
        Some(span)
    }

    /// Returns the context for what belongs to the span.
    pub fn context(&self) -> Option<TraceContext> {
        self.0.as_ref().map(|span| span.context)
    }

    fn edit(&mut self, change: impl FnOnce(&mut SpanRecord)) {
        if let Some(span) = &mut self.0 {
            change(span);
        }
    }

    /// Adds an attribute, up to a number of them.
    pub fn set(&mut self, name: &'static str, value: impl Into<SpanValue>) {
        self.edit(|span| {
            if span.attributes.len() < MOST_VALUES {
                span.attributes.push((name, value.into()));
            }
        });
    }

    /// Adds outcome and reason of a delivery. A shed or failed one is a failure of the span.
    pub fn set_outcome(&mut self, outcome: &Outcome) {
        self.set("hookweir.outcome", outcome.label());
        if !outcome.reason().is_empty() {
            self.set("hookweir.reason", outcome.reason());
        }
        match outcome {
            Outcome::Accepted { id } | Outcome::Duplicate { id } => {
                self.set("messaging.message.id", id.to_string());
            }
            Outcome::Challenge(_) | Outcome::Rejected(_) => {}
            Outcome::Shed(_) | Outcome::Failed(_) => self.fail(outcome.reason()),
        }
    }

    /// Ends the span without exporting it.
    pub fn discard(mut self) {
        self.0 = None;
    }

    /// Marks the span as failed.
    pub fn fail(&mut self, why: impl Into<Cow<'static, str>>) {
        let why = match why.into() {
            Cow::Owned(why) => Cow::Owned(shortened(why)),
            why @ Cow::Borrowed(_) => why,
        };
        self.edit(|span| span.failure = Some(why));
    }

    /// Takes back [`OpenSpan::fail`].
    pub fn succeed(&mut self) {
        self.edit(|span| span.failure = None);
    }
}

impl Drop for OpenSpan {
    fn drop(&mut self) {
        if let Some(mut span) = self.0.take() {
            // A clock that was set back makes no negative time.
            span.end = SystemTime::now().max(span.start);
            super::export(span);
        }
    }
}
