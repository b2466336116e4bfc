//! Trace context of W3C: the headers `traceparent` and `tracestate`. Pure.

use std::fmt;

use crate::domain::request_id::RequestId;

/// Header with the trace and the span that a request or a message belongs to.
pub const TRACEPARENT: &str = "traceparent";
/// Header with what tracing systems add to [`TRACEPARENT`].
pub const TRACESTATE: &str = "tracestate";

/// A span of a trace, as [`TRACEPARENT`] names it.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct TraceContext {
    trace: [u8; 16],
    span: [u8; 8],
    sampled: bool,
}

/// Returns an id that no other span of this process has.
fn next_span() -> [u8; 8] {
    let (_, low) = RequestId::next().0.as_u64_pair();
    // Zero is no id.
    low.max(1).to_be_bytes()
}

impl TraceContext {
    /// Returns the first span of a new, sampled trace. The trace has the id of the request.
    pub fn first(id: RequestId) -> Self {
        Self {
            trace: *id.0.as_bytes(),
            span: next_span(),
            sampled: true,
        }
    }

    /// Returns a new span of the same trace.
    #[must_use]
    pub fn child(&self) -> Self {
        Self {
            span: next_span(),
            ..*self
        }
    }

    /// Parses a header's value. None if it is no trace context; versions after the present one are
    /// read as far as they are known, as W3C asks for.
    pub fn parse(text: &str) -> Option<Self> {
        let mut parts = text.trim().split('-');
        let (version, trace, span, flags) =
            (parts.next()?, parts.next()?, parts.next()?, parts.next()?);
        let [version] = lower_hex(version)?;
        let [flags] = lower_hex(flags)?;
        let (trace, span) = (lower_hex(trace)?, lower_hex(span)?);
        let is_whole = version != 0 || parts.next().is_none();
        let is_known = version != 0xff && trace != [0; 16] && span != [0; 8];
        (is_whole && is_known).then_some(Self {
            trace,
            span,
            sampled: flags & 1 == 1,
        })
    }

    /// Returns `true` if the spans of its trace are exported.
    pub fn is_sampled(&self) -> bool {
        self.sampled
    }

    /// Returns the bytes of the trace's id.
    pub fn trace_id(&self) -> [u8; 16] {
        self.trace
    }

    /// Returns the bytes of the span's id.
    pub fn span_id(&self) -> [u8; 8] {
        self.span
    }
}

/// Returns the bytes of `text`, which is in lower-case hexadecimal and of their length.
fn lower_hex<const LEN: usize>(text: &str) -> Option<[u8; LEN]> {
    let mut bytes = [0; LEN];
    let is_lower = !text.bytes().any(|byte| byte.is_ascii_uppercase());
    let decoded = hex::decode_to_slice(text, &mut bytes).is_ok();
    (is_lower && decoded).then_some(bytes)
}

impl fmt::Display for TraceContext {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (trace, span) = (hex::encode(self.trace), hex::encode(self.span));
        write!(f, "00-{trace}-{span}-0{}", u8::from(self.sampled))
    }
}

impl fmt::Debug for TraceContext {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const GIVEN: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";

    #[test]
    fn a_trace_context_is_read_and_written() {
        let context = TraceContext::parse(GIVEN).expect("a context");
        assert!(context.is_sampled());
        assert_eq!(context.to_string(), GIVEN);
        let child = context.child();
        assert_eq!(child.trace_id(), context.trace_id());
        assert_ne!(child.span_id(), context.span_id());
        assert_eq!(TraceContext::parse(&child.to_string()), Some(child));
    }

    #[test]
    fn only_the_sampled_flag_counts_and_a_later_version_may_say_more() {
        let with = |text: &str| TraceContext::parse(text).map(|context| context.is_sampled());
        assert_eq!(with(&GIVEN.replace("-01", "-00")), Some(false));
        assert_eq!(with(&GIVEN.replace("-01", "-03")), Some(true));
        assert_eq!(with(&format!("01{}-more", &GIVEN[2..])), Some(true));
    }

    #[test]
    fn what_is_no_trace_context_is_ignored() {
        let zero_trace = format!("00-{}-b7ad6b7169203331-01", "0".repeat(32));
        let zero_span = GIVEN.replace("b7ad6b7169203331", "0000000000000000");
        let wrong = [
            String::new(),
            "00".to_owned(),
            GIVEN.to_uppercase(),
            GIVEN.replace("00-", "ff-"),
            GIVEN.replace("-01", "-1"),
            format!("{GIVEN}-more"),
            zero_trace,
            zero_span,
        ];
        for text in wrong {
            assert_eq!(TraceContext::parse(&text), None, "{text}");
        }
    }

    #[test]
    fn a_new_trace_has_the_id_of_the_request() {
        let id = RequestId::next();
        let context = TraceContext::first(id);
        assert!(context.is_sampled());
        assert!(context.to_string().contains(&id.0.simple().to_string()));
    }
}
