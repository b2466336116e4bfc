//! Bounds on the number and the bytes of deliveries, and the kinds of bodies that may take the last
//! room.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use crate::domain::outcome::ShedReason;
use crate::faults::mutants::Mutant;

/// A body of at most this many bytes is small: a quarter of the budget is kept for such.
pub const SMALL: usize = 64 * 1024;

/// BodyKind of a body. It decides the part of the bound up to which the body gets room.
///
/// Each kind stops at a part of the bound, so that the next kind in this order still finds room. A
/// body that is held open, or is unusually large, never takes the last room.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BodyKind {
    /// Larger than what the provider usually sends: half.
    Unusual,
    /// Larger than [`SMALL`]: three quarters.
    Large,
    /// Small, and not all of it is here yet: seven eighths.
    Partial,
    /// Small and whole: all of it.
    Whole,
}

impl BodyKind {
    /// Returns the kind of a body of `bytes` bytes, of which the last one has come or not.
    pub fn of(bytes: usize, usual: usize, whole: bool) -> Self {
        match bytes {
            _ if bytes > usual.max(SMALL) => Self::Unusual,
            _ if bytes > SMALL => Self::Large,
            _ if !whole => Self::Partial,
            _ => Self::Whole,
        }
    }

    /// Returns the bytes of `max` that may be in use once this kind has its room. A body of
    /// `largest` bytes always fits alone.
    fn limit(self, max: usize, largest: usize) -> usize {
        let part = match self {
            Self::Unusual => max / 2,
            Self::Large => max - max / 4,
            Self::Partial => max - max / 8,
            Self::Whole => max,
        };
        let part = if Mutant::NoShares.is_on() { max } else { part };
        part.max(largest.min(max))
    }
}

/// Upper bound on a number of deliveries or events, and on their bytes.
#[derive(Debug)]
pub struct Budget {
    max_count: AtomicUsize,
    count: AtomicUsize,
    bytes: Share,
}

/// Upper bound on bytes: of a whole budget, or of one source's share in it.
#[derive(Debug)]
pub struct Share {
    max: AtomicUsize,
    /// Largest body that may come.
    largest: AtomicUsize,
    used: AtomicUsize,
}

impl Share {
    /// Returns a share of `max` bytes. A body of `largest` bytes always fits alone.
    pub fn new(max: usize, largest: usize) -> Self {
        Self {
            max: max.max(largest).into(),
            largest: largest.into(),
            used: AtomicUsize::new(0),
        }
    }

    /// Takes over the bounds of `other`. If more is in use, nothing gets room until it is given back.
    pub fn resize(&self, other: &Self) {
        self.max.store(other.max(), Ordering::Relaxed);
        let largest = other.largest.load(Ordering::Relaxed);
        self.largest.store(largest, Ordering::Relaxed);
    }

    fn max(&self) -> usize {
        self.max.load(Ordering::Relaxed)
    }

    fn limit(&self, kind: BodyKind) -> usize {
        kind.limit(self.max(), self.largest.load(Ordering::Relaxed))
    }

    /// Returns the share of one of `sources` in `max` bytes: half, or all of them for a single
    /// source.
    pub fn of_source(max: usize, sources: usize, largest: usize) -> Self {
        Self::new(
            if sources > 1 && !Mutant::NoShares.is_on() {
                max / 2
            } else {
                max
            },
            largest,
        )
    }

    /// Returns the bytes in use, and their bound.
    pub fn used(&self) -> (usize, usize) {
        (self.used.load(Ordering::Relaxed), self.max())
    }

    fn has_room(&self, bytes: usize, kind: BodyKind) -> bool {
        let used = self.used.load(Ordering::Relaxed);
        used.checked_add(bytes)
            .is_some_and(|sum| sum <= self.limit(kind))
    }

    fn take(&self, bytes: usize, kind: BodyKind) -> bool {
        take(&self.used, bytes, self.limit(kind))
    }

    fn give_back(&self, bytes: usize) {
        self.used.fetch_sub(bytes, Ordering::Relaxed);
    }
}

impl Budget {
    /// Returns a budget of `max_count` entries of `max_bytes` bytes in all.
    pub fn new(max_count: usize, max_bytes: usize) -> Arc<Self> {
        Self::for_bodies(max_count, max_bytes, 0)
    }

    /// Returns a budget in which a body of `largest` bytes always fits alone.
    pub fn for_bodies(max_count: usize, max_bytes: usize, largest: usize) -> Arc<Self> {
        let bytes = Share {
            max: max_bytes.into(),
            largest: largest.into(),
            used: AtomicUsize::new(0),
        };
        Arc::new(Self {
            max_count: max_count.into(),
            count: AtomicUsize::new(0),
            bytes,
        })
    }

    /// Takes over the bounds of `other`. If more is in use, nothing gets room until it is given back.
    pub fn resize(&self, other: &Self) {
        self.max_count.store(other.max_count(), Ordering::Relaxed);
        self.bytes.resize(&other.bytes);
    }

    /// Returns the bound on the number of entries.
    pub fn max_count(&self) -> usize {
        self.max_count.load(Ordering::Relaxed)
    }

    /// Reserves room for `count` entries of `bytes` bytes together. Fails with the bound that is
    /// reached.
    pub fn reserve(self: &Arc<Self>, count: usize, bytes: usize) -> Result<Permit, ShedReason> {
        if !take(&self.count, count, self.max_count()) {
            return Err(ShedReason::Requests);
        }
        if !self.bytes.take(bytes, BodyKind::Whole) {
            self.count.fetch_sub(count, Ordering::Relaxed);
            return Err(ShedReason::Bytes);
        }
        Ok(Permit {
            budget: self.clone(),
            share: None,
            count,
            bytes,
        })
    }

    /// Returns an empty permit, which grows within the budget and `share`.
    pub fn empty_permit(self: &Arc<Self>, share: Option<Arc<Share>>) -> Permit {
        Permit {
            budget: self.clone(),
            share,
            count: 0,
            bytes: 0,
        }
    }

    /// Returns `Ok` if a delivery of `bytes` bytes has room now, in the budget and in `share`.
    pub fn has_room(&self, share: &Share, bytes: usize, kind: BodyKind) -> Result<(), ShedReason> {
        match (
            self.count.load(Ordering::Relaxed) < self.max_count(),
            self.bytes.has_room(bytes, kind),
            share.has_room(bytes, kind),
        ) {
            (false, ..) => Err(ShedReason::Requests),
            (_, false, _) => Err(ShedReason::Bytes),
            (.., false) => Err(ShedReason::SourceBytes),
            _ => Ok(()),
        }
    }

    /// Returns the deliveries and bytes in use.
    pub fn used(&self) -> (usize, usize) {
        (self.count.load(Ordering::Relaxed), self.bytes.used().0)
    }

    /// Returns the deliveries and bytes that still have room.
    pub fn room(&self) -> (usize, usize) {
        let (count, bytes) = self.used();
        (
            self.max_count().saturating_sub(count),
            self.bytes.max().saturating_sub(bytes),
        )
    }
}

fn take(used: &AtomicUsize, want: usize, max: usize) -> bool {
    used.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |now| {
        now.checked_add(want).filter(|sum| *sum <= max)
    })
    .is_ok()
}

/// A part of a [`Budget`], given back on drop.
#[derive(Debug)]
pub struct Permit {
    budget: Arc<Budget>,
    share: Option<Arc<Share>>,
    count: usize,
    bytes: usize,
}

impl Permit {
    /// Room for `more` bytes on top, if there is any for this kind of body.
    pub fn grow(&mut self, more: usize, kind: BodyKind) -> Result<(), ShedReason> {
        if self
            .share
            .as_ref()
            .is_some_and(|share| !share.take(more, kind))
        {
            return Err(ShedReason::SourceBytes);
        }
        if !self.budget.bytes.take(more, kind) {
            if let Some(share) = &self.share {
                share.give_back(more);
            }
            return Err(ShedReason::Bytes);
        }
        self.bytes += more;
        Ok(())
    }

    /// Gives back the room for `bytes` bytes that are no longer in memory.
    pub fn shrink(&mut self, bytes: usize) {
        let bytes = bytes.min(self.bytes);
        self.bytes -= bytes;
        self.budget.bytes.give_back(bytes);
        if let Some(share) = &self.share {
            share.give_back(bytes);
        }
    }

    /// Counts one thing more, if there is room for it.
    pub fn count_one(&mut self) -> Result<(), ShedReason> {
        if !take(&self.budget.count, 1, self.budget.max_count()) {
            return Err(ShedReason::Requests);
        }
        self.count += 1;
        Ok(())
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        self.budget.count.fetch_sub(self.count, Ordering::Relaxed);
        self.shrink(self.bytes);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_budget_is_never_passed_and_all_of_it_comes_back() {
        let budget = Budget::new(2, 100);
        let mut a = budget.reserve(1, 60).expect("room");
        assert_eq!(
            budget.reserve(1, 41).expect_err("41 more bytes"),
            ShedReason::Bytes
        );
        assert_eq!(budget.used(), (1, 60), "a refusal takes nothing");
        assert_eq!(a.grow(41, BodyKind::Whole), Err(ShedReason::Bytes));
        a.grow(40, BodyKind::Whole).expect("room for 40");
        let b = budget.reserve(1, 0).expect("room");
        assert_eq!(
            budget.reserve(1, 0).expect_err("a third thing"),
            ShedReason::Requests
        );
        a.shrink(70);
        assert_eq!(budget.used(), (2, 30));
        drop(a);
        assert_eq!(budget.used(), (1, 0));
        drop(b);
        assert_eq!(budget.used(), (0, 0));
    }

    #[test]
    fn a_source_takes_half_at_most_and_large_bodies_leave_a_quarter() {
        let max = 128 * SMALL;
        let budget = Budget::for_bodies(1000, max, 20 * SMALL);
        let [one, two] = [0, 1].map(|_| Arc::new(Share::of_source(max, 2, 20 * SMALL)));
        let fill = |share: &Arc<Share>, bytes: usize, kind: BodyKind| {
            let mut permit = budget.empty_permit(Some(share.clone()));
            while permit.grow(bytes, kind).is_ok() {}
            permit
        };
        let large = fill(&one, SMALL, BodyKind::Large);
        assert_eq!(budget.used().1, 48 * SMALL, "three quarters of its half");
        let partial = fill(&one, SMALL / 4, BodyKind::Partial);
        assert_eq!(
            one.used(),
            (56 * SMALL, 64 * SMALL),
            "an eighth of it is for small bodies that are whole"
        );
        assert_eq!(
            budget.has_room(&one, 1, BodyKind::Partial),
            Err(ShedReason::SourceBytes)
        );
        assert_eq!(budget.has_room(&one, SMALL, BodyKind::Whole), Ok(()));
        let others = fill(&two, SMALL, BodyKind::Large);
        assert_eq!(budget.used().1, 96 * SMALL, "three quarters of all");
        let small = fill(&two, SMALL, BodyKind::Whole);
        assert_eq!((two.used().0, budget.used().1), (64 * SMALL, 120 * SMALL));
        assert_eq!(
            budget.has_room(&two, 1, BodyKind::Whole),
            Err(ShedReason::SourceBytes)
        );
        drop((large, partial, others, small));
        assert_eq!((one.used().0, two.used().0, budget.used()), (0, 0, (0, 0)));

        let unusual = fill(&one, SMALL, BodyKind::Unusual);
        assert_eq!(one.used().0, 32 * SMALL, "half of its half");
        assert_eq!(
            budget.has_room(&one, SMALL, BodyKind::Large),
            Ok(()),
            "what the provider usually sends still finds room"
        );
        drop(unusual);
        let alone = Arc::new(Share::of_source(max, 1, 0));
        assert_eq!(alone.used(), (0, max), "a source that is alone takes all");
    }

    #[test]
    fn the_largest_body_always_fits_alone() {
        let budget = Budget::for_bodies(1, 1000, 900);
        let share = Arc::new(Share::of_source(1000, 2, 900));
        let mut permit = budget.empty_permit(Some(share));
        assert_eq!(permit.grow(900, BodyKind::Unusual), Ok(()));
        assert_eq!(
            permit.grow(1, BodyKind::Unusual),
            Err(ShedReason::SourceBytes)
        );
    }

    #[test]
    fn the_kind_of_a_body_follows_from_its_size_and_its_provider() {
        let mib = 1 << 20;
        assert_eq!(BodyKind::of(SMALL, mib, true), BodyKind::Whole);
        assert_eq!(BodyKind::of(SMALL, mib, false), BodyKind::Partial);
        assert_eq!(BodyKind::of(SMALL + 1, mib, true), BodyKind::Large);
        assert_eq!(BodyKind::of(mib + 1, mib, true), BodyKind::Unusual);
        assert_eq!(
            BodyKind::of(SMALL, 1000, true),
            BodyKind::Whole,
            "small is small, whatever is usual"
        );
    }
}
