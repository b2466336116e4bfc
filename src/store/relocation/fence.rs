//! The mark of a move in a store, by which instances stay away from it.

use super::end::StoreEnd;
use crate::domain::delivery::wall_clock;
use crate::store::StoreError;
use crate::store::transfer::{CarriedRow, CarriedTable, Cell, CellKind, TableReader};

/// The table of the mark: one row, or none. It is carried nowhere.
const RELOCATION: CarriedTable = CarriedTable {
    name: "relocation",
    rows: "moves",
    columns: &[
        ("id", CellKind::Number),
        ("token", CellKind::Octets),
        ("state", CellKind::Words),
        ("other", CellKind::Words),
        ("at", CellKind::Time),
    ],
};

/// Part of a store in a move, and how far it has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::store) enum RelocationState {
    /// Source: nothing is stored any more, the rest is copied.
    Closed,
    /// Source: all of it is in the other store.
    Moved,
    /// Target: not all is there yet.
    Filling,
    /// Target: all is there, and the source is about to be marked as moved.
    Filled,
}

const STATES: [(RelocationState, &str); 4] = [
    (RelocationState::Closed, "closed"),
    (RelocationState::Moved, "moved"),
    (RelocationState::Filling, "filling"),
    (RelocationState::Filled, "filled"),
];

impl RelocationState {
    /// Returns `true` for the store that is moved to.
    pub(in crate::store) fn is_target(self) -> bool {
        matches!(self, Self::Filling | Self::Filled)
    }

    /// Returns the word by which it is stored.
    fn word(self) -> &'static str {
        let found = STATES.iter().find(|(state, _)| *state == self);
        found.map_or("", |(_, word)| *word)
    }
}

/// The mark of a move.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::store) struct Relocation {
    /// Name of the move, the same in both stores.
    pub(in crate::store) token: Vec<u8>,
    /// State of this store.
    pub(in crate::store) state: RelocationState,
    /// Name of the other store.
    pub(in crate::store) other: String,
}

impl Relocation {
    /// Returns the mark of a store, if it has one.
    pub(in crate::store) fn read(end: &mut dyn TableReader) -> Result<Option<Self>, StoreError> {
        let mut found = None;
        end.read(&RELOCATION, "", &mut |row| {
            found = Some(Self::of(&row)?);
            Ok(())
        })?;
        Ok(found)
    }

    /// Returns the mark of a store that holds everything. Fails if a move has not filled it yet.
    pub(in crate::store) fn whole(end: &mut dyn TableReader) -> Result<Option<Self>, StoreError> {
        match Self::read(end)? {
            Some(found) if found.state.is_target() => Err(found.refusal()),
            found => Ok(found),
        }
    }

    fn of(row: &CarriedRow) -> Result<Self, StoreError> {
        let [
            _,
            Cell::Octets(Some(token)),
            Cell::Words(Some(state)),
            Cell::Words(Some(other)),
            _,
        ] = &row.0[..]
        else {
            return Err(unknown("without a state"));
        };
        let known = STATES.iter().find(|(_, word)| word == state);
        let (state, _) = known.ok_or_else(|| unknown(state))?;
        Ok(Self {
            token: token.clone(),
            state: *state,
            other: other.clone(),
        })
    }

    /// Stores the mark.
    pub(in crate::store) fn write(&self, end: &mut dyn StoreEnd) -> Result<(), StoreError> {
        let row = CarriedRow(vec![
            Cell::Number(Some(1)),
            Cell::Octets(Some(self.token.clone())),
            Cell::Words(Some(self.state.word().to_owned())),
            Cell::Words(Some(self.other.clone())),
            Cell::Number(Some(wall_clock().0)),
        ]);
        end.write(&RELOCATION, &[row]).map(drop)
    }

    /// Gives the mark of the move `token` the state `to`, if it has one of the states `from`. Returns `false`
    /// if it has not: the store is not of this move, or not where it was. Commands on one store wait for each
    /// other here.
    pub(in crate::store) fn advance(
        end: &mut dyn StoreEnd,
        token: &[u8],
        from: &[RelocationState],
        to: RelocationState,
    ) -> Result<bool, StoreError> {
        let (now, of) = (end.now(), is_of(end, token, from));
        let change = format!(
            "UPDATE relocation SET state = '{}', at = {now} WHERE {of}",
            to.word()
        );
        Ok(end.execute(&change)? == 1)
    }

    /// Removes the mark of the move `token`, if it has this state. Returns `false` if it has not.
    pub(in crate::store) fn remove(
        end: &mut dyn StoreEnd,
        token: &[u8],
        state: RelocationState,
    ) -> Result<bool, StoreError> {
        let of = is_of(end, token, &[state]);
        Ok(end.execute(&format!("DELETE FROM relocation WHERE {of}"))? == 1)
    }

    /// Returns words for the backup of a store that was moved, or is about to be.
    pub(in crate::store) fn remark(&self) -> String {
        let other = &self.other;
        match self.state {
            RelocationState::Moved => format!(
                "this store was moved to {other}: what came since is there, and not in the backup"
            ),
            _ => format!(
                "this store is closed for a move to {other}: the backup does not say so, and a store that is restored from it is open"
            ),
        }
    }

    /// Returns the error of everybody who wants to use the store.
    pub(in crate::store) fn refusal(&self) -> StoreError {
        let other = &self.other;
        StoreError::Unfit(match self.state {
            RelocationState::Closed => format!(
                "closed for a move to {other}: nothing is stored here. Run `hookweir move` again to end it, or `hookweir move --cancel` to open \
                 this store again"
            ),
            RelocationState::Moved => format!(
                "moved to {other}: set store.url to it, and restart. Nothing is stored here any more"
            ),
            RelocationState::Filling | RelocationState::Filled => format!(
                "a move from {other} to here has not ended: run `hookweir move` there again"
            ),
        })
    }
}

/// Returns the condition for the mark of the move `token` in one of the states.
fn is_of(end: &dyn StoreEnd, token: &[u8], states: &[RelocationState]) -> String {
    let states: Vec<String> = states
        .iter()
        .map(|state| format!("'{}'", state.word()))
        .collect();
    format!(
        "token = {} AND state IN ({})",
        end.octets(token),
        states.join(", ")
    )
}

/// Fails if a move has the store.
pub(in crate::store) fn refuse_relocated(end: &mut dyn TableReader) -> Result<(), StoreError> {
    match Relocation::read(end)? {
        Some(found) => Err(found.refusal()),
        None => Ok(()),
    }
}

fn unknown(state: &str) -> StoreError {
    StoreError::Unfit(format!(
        "table relocation has a mark that this release does not know ({state}): use the release that has begun the move"
    ))
}
