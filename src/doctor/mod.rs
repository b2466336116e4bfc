//! The doctor: names the cause for which a delivery was refused, by trying what the usual mistakes would have sent.
//!
//! Pure: the request, the sources and their keys are arguments, and there is no clock. The work is bounded by the
//! number of trials and by the bytes that they hash. Nothing that it returns holds a secret.

mod body_forms;
mod cause;
mod key_forms;
mod other_schemes;
#[cfg(test)]
mod tests;
mod trials;
mod urls;

use std::fmt;

pub use self::cause::{BodyChange, Cause, Diagnosis, KeyForm};
use self::trials::{Proof, Trials};
use crate::domain::request::Request;
use hookweir_signatures::{KeyRing, Reason, Secret, SourceSpec};

/// A source as the doctor knows it.
#[derive(Clone)]
pub struct DoctorSource {
    /// Its name.
    pub name: String,
    /// Its scheme and keys.
    pub spec: SourceSpec,
    /// References of its secrets, in their order. They hold no secret.
    pub references: Vec<String>,
    /// Secrets that it had before a reload.
    pub former: Vec<Secret>,
}

impl DoctorSource {
    /// Returns the name of the secret at a position.
    fn reference(&self, at: usize) -> String {
        let known = self.references.get(at);
        known.map_or_else(|| format!("secret {}", at + 1), Clone::clone)
    }
}

/// Shows the name only.
impl fmt::Debug for DoctorSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "DoctorSource({})", self.name)
    }
}

/// A refused delivery, and all that the doctor may know.
pub struct Case<'a> {
    /// The delivery, with its time of receipt.
    pub request: &'a Request,
    /// Source that refused it.
    pub source: &'a DoctorSource,
    /// The other sources.
    pub others: &'a [DoctorSource],
    /// Keys of the source that are not in its configuration.
    pub keys: &'a KeyRing,
}

/// Shows no header, no query and no body: one of them may hold a secret.
impl fmt::Debug for Case<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (source, bytes) = (&self.source.name, self.request.body.len());
        write!(f, "Case({source}, {bytes} bytes)")
    }
}

/// Returns the cause for which a delivery is refused, with the checks that were made.
pub fn examine(case: &Case<'_>) -> Diagnosis {
    let mut trials = Trials::new(case);
    let cause = find(case, &mut trials);
    trials.diagnosis(cause)
}

/// Returns the cause, if one of the checks finds it. The first that fits counts.
fn find(case: &Case<'_>, trials: &mut Trials<'_>) -> Option<Cause> {
    let spec = &case.source.spec;
    let refused = match trials.prove(spec, case.request) {
        Proof::Given => return Some(Cause::VerifiesNow),
        Proof::Undecided => return Some(Cause::KeyNotThere),
        Proof::Handshake => return Some(Cause::Handshake),
        Proof::NotTried => return None,
        Proof::Refused(reason) => reason,
    };
    match refused {
        Reason::IdMissing | Reason::IdAmbiguous => return Some(Cause::Id),
        Reason::BodyTooLarge => return Some(Cause::Size),
        _ => {}
    }
    if let Some(clock) = trials.clock(refused) {
        return Some(clock);
    }
    other_sources(case, trials)
        .or_else(|| other_schemes::find(case, trials, refused))
        .or_else(|| key_forms::find(case, trials, refused))
        .or_else(|| body_forms::find(case, trials, refused))
        .or_else(|| urls::find(case, trials))
}

/// Sources that are tried, at most.
const SOURCES: usize = 64;

/// Returns the other source that the delivery is for: its scheme and its secrets prove it.
fn other_sources(case: &Case<'_>, trials: &mut Trials<'_>) -> Option<Cause> {
    let others = &case.others[..case.others.len().min(SOURCES)];
    trials.checked(format!(
        "the schemes and secrets of {} other sources",
        others.len()
    ));
    let found = others.iter().find(|other| {
        let verifies = trials.verifies(&other.spec);
        verifies && trials.prove_other(&other.spec, case.request).is_given()
    });
    let same = found.filter(|other| other.spec.provider == case.source.spec.provider);
    match (same, found) {
        (Some(same), _) => Some(Cause::OtherSource(same.name.clone())),
        (None, Some(other)) => Some(Cause::OtherSource(other.name.clone())),
        (None, None) => None,
    }
}
