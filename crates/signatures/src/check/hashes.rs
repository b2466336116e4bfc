//! Hash that a signature is made with, if the request names it.

use crate::check::signature_list::Candidate;
use crate::crypto::mac::HashName;
use crate::language::context::Cx;
use crate::language::place::Place;

/// Hashes of which one signs.
#[derive(Debug)]
pub(crate) struct Hashes {
    pub(crate) pick: PickHash,
    pub(crate) all: Vec<HashName>,
}

/// Choice of the hash that signs.
#[derive(Debug)]
pub(crate) enum PickHash {
    Fixed,
    /// Named by the label of the signature's entry.
    Label(Vec<(Box<str>, HashName)>),
    /// Named by a header or field.
    At(Place, Vec<(Box<str>, HashName)>),
}

/// Maximum number of signatures in a list that are checked by public keys, which is expensive.
/// Providers list two during a key rotation.
const MAX_CHECKED: usize = 3;

impl Hashes {
    /// The first signatures that have a hash of the scheme's, with that.
    pub(super) fn few<'s>(
        &'s self,
        candidates: &'s [Candidate],
        cx: Cx<'s>,
    ) -> impl Iterator<Item = (&'s Candidate, HashName)> {
        candidates
            .iter()
            .filter_map(move |candidate| Some((candidate, self.of(candidate, cx)?)))
            .take(MAX_CHECKED)
    }

    /// The hash that the request names for a signature, if it is one that the scheme accepts.
    fn of(&self, candidate: &Candidate, cx: Cx<'_>) -> Option<HashName> {
        self.all
            .iter()
            .copied()
            .find(|name| self.pick.allows(*name, candidate, cx))
    }
}

impl PickHash {
    pub(super) fn allows(&self, name: HashName, candidate: &Candidate, cx: Cx<'_>) -> bool {
        let listed = |names: &[(Box<str>, HashName)], text: &[u8]| {
            names
                .iter()
                .any(|(word, hash)| word.as_bytes() == text && *hash == name)
        };
        match self {
            Self::Fixed => true,
            Self::Label(names) => candidate
                .label
                .as_deref()
                .is_some_and(|label| listed(names, label)),
            Self::At(place, names) => place.value(cx).is_some_and(|text| listed(names, &text)),
        }
    }
}
