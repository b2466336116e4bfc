//! Trials: verifications of what might have been sent, within bounds.

use bytes::Bytes;
use hookweir_signatures::{
    KeyRing, Reason, Scheme, SourceSpec, UnixMillis, Verdict, spec_of, verify,
};

use super::Case;
use super::cause::{Cause, Diagnosis};
use crate::domain::request::Request;

/// Verifications, at most.
const MOST: usize = 600;
/// Bytes that verifications hash, at most.
const MOST_BYTES: usize = 64 * 1024 * 1024;
/// Longest error of a clock, in seconds: 20 years.
const LONGEST: i64 = 20 * 366 * 24 * 3600;

/// Verifications of one case, with what is left of the bounds.
pub(super) struct Trials<'a> {
    case: &'a Case<'a>,
    /// Time at which signatures are judged: that of the receipt, or one at which their time is accepted.
    at: UnixMillis,
    left: usize,
    bytes: usize,
    checks: Vec<String>,
    /// Error of the clock, if another cause may be behind it.
    clock: Option<Cause>,
}

/// Result of one verification.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Proof {
    /// The sender is proven.
    Given,
    /// A key would have to be fetched.
    Undecided,
    /// It is a handshake, which may be answered without proof.
    Handshake,
    Refused(Reason),
    /// The scheme does not compile with these keys, or the bounds are reached.
    NotTried,
}

impl Proof {
    pub(super) fn is_given(self) -> bool {
        match self {
            Self::Given => true,
            // They are looked for in proven bytes.
            Self::Refused(reason) => matches!(reason, Reason::IdMissing | Reason::IdAmbiguous),
            Self::Undecided | Self::Handshake | Self::NotTried => false,
        }
    }
}

impl<'a> Trials<'a> {
    pub(super) fn new(case: &'a Case<'a>) -> Self {
        Self {
            case,
            at: case.request.received_at,
            left: MOST,
            bytes: MOST_BYTES,
            checks: Vec::new(),
            clock: None,
        }
    }

    /// Notes a check, for a verdict in which nothing fits.
    pub(super) fn checked(&mut self, check: impl Into<String>) {
        self.checks.push(check.into());
    }

    pub(super) fn diagnosis(mut self, cause: Option<Cause>) -> Diagnosis {
        if cause.is_none() && (self.left == 0 || self.bytes == 0) {
            self.checked("then the bound on trials was reached");
        }
        // An unproven header says nothing about the time.
        let is_found = match &cause {
            Some(Cause::OtherScheme { proven, .. }) => *proven,
            found => found.is_some(),
        };
        Diagnosis {
            cause,
            clock: self.clock.filter(|_| is_found),
            checks: self.checks,
        }
    }

    /// Returns `true` if a scheme proves anything.
    pub(super) fn verifies(&self, spec: &SourceSpec) -> bool {
        Scheme::compile(spec, 1).is_ok_and(|scheme| scheme.verifies())
    }

    /// Verifies a request as a delivery to a source with these keys.
    pub(super) fn prove(&mut self, spec: &SourceSpec, request: &Request) -> Proof {
        match Scheme::compile(spec, 1) {
            Ok(scheme) => self.prove_by(&scheme, request, self.at, self.case.keys),
            Err(_) => Proof::NotTried,
        }
    }

    /// Verifies a request as a delivery to another source, whose fetched keys are not there.
    pub(super) fn prove_other(&mut self, spec: &SourceSpec, request: &Request) -> Proof {
        match Scheme::compile(spec, 1) {
            Ok(scheme) => self.prove_by(&scheme, request, self.at, &KeyRing::EMPTY),
            Err(_) => Proof::NotTried,
        }
    }

    fn prove_by(
        &mut self,
        scheme: &Scheme,
        request: &Request,
        at: UnixMillis,
        keys: &KeyRing,
    ) -> Proof {
        let plain = scheme.unpacked_len(&request.body);
        let bytes = request.body.len().max(plain.unwrap_or_default());
        if self.left == 0 || self.bytes < bytes {
            self.bytes = 0;
            return Proof::NotTried;
        }
        self.left -= 1;
        let verdict = verify(scheme, keys, request, at);
        let of_time = [Reason::TimestampTooOld, Reason::TimestampInFuture];
        // The body of one that is refused for its time is not hashed.
        if !matches!(&verdict, Err(refusal) if of_time.contains(&refusal.reason)) {
            self.bytes -= bytes;
        }
        match verdict {
            Ok(Verdict::Events(_)) => Proof::Given,
            // A handshake may be answered without any proof.
            Ok(Verdict::Challenge(_)) => Proof::Handshake,
            Ok(Verdict::NeedsKeys(_) | Verdict::Learn { .. }) => Proof::Undecided,
            Err(refusal) => Proof::Refused(refusal.reason),
        }
    }

    /// Returns a request that is refused for the same reason: without its body if that does not matter.
    fn smallest(&mut self, scheme: &Scheme, refused: Reason) -> Request {
        let request = self.case.request;
        let empty = Request {
            body: Bytes::new(),
            ..request.clone()
        };
        match self.prove_by(scheme, &empty, request.received_at, self.case.keys) {
            Proof::Refused(reason) if reason == refused => empty,
            _ => request.clone(),
        }
    }

    /// Returns the error of the clock, if the time alone is the cause. If another cause is behind it, later trials
    /// are made at a time that is accepted.
    pub(super) fn clock(&mut self, refused: Reason) -> Option<Cause> {
        let is_old = match refused {
            Reason::TimestampTooOld => true,
            Reason::TimestampInFuture => false,
            _ => return None,
        };
        self.checked("the time of the signature");
        let spec = &self.case.source.spec;
        let scheme = Scheme::compile(spec, 1).ok()?;
        let received = self.case.request.received_at.0;
        let judged = self.smallest(&scheme, refused);
        // The nearest time at which the reason is another one, in seconds from the receipt.
        let (mut off, mut near) = (0, LONGEST);
        while near - off > 1 {
            let middle = off + (near - off) / 2;
            let shift = if is_old { -middle } else { middle };
            let at = UnixMillis(received.saturating_add(shift * 1000));
            match self.prove_by(&scheme, &judged, at, self.case.keys) {
                Proof::Refused(reason) if reason == refused => off = middle,
                Proof::NotTried => return None,
                _ => near = middle,
            }
        }
        let tolerance = spec_of(spec)
            .ok()?
            .timestamp
            .map(|time| time.tolerance_secs);
        let by = near + tolerance.map_or(0, |secs| i64::try_from(secs).unwrap_or(0));
        let shift = if is_old { -near } else { near };
        self.at = UnixMillis(received.saturating_add(shift * 1000));
        let proof = self.prove_by(&scheme, self.case.request, self.at, self.case.keys);
        let clock = Cause::Clock {
            age_secs: if is_old { by } else { -by },
            tolerance_secs: tolerance,
        };
        if proof.is_given() {
            return Some(clock);
        }
        self.clock = Some(clock);
        None
    }
}
