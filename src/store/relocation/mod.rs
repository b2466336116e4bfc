//! A move: all that a store holds goes to another store while instances serve, and then the first store is
//! closed for good.
//!
//! Each step is safe to lose. Until the source is closed, it serves, and the target refuses instances. Once
//! it is closed, nothing is stored in it, and the command goes on where it was, or opens it again. The source
//! is moved only after the target holds everything.

mod copy;
mod end;
mod fence;

use std::thread;
use std::time::{Duration, Instant};

pub(super) use self::end::StoreEnd;
pub(super) use self::fence::{Relocation, RelocationState, refuse_relocated};

use super::StoreError;
use super::postgres::PostgresStore;
use super::sqlite::SqliteStore;
use super::transfer::{Contents, carry, counts, refuse_rows};
use crate::config::model;
use crate::domain::delivery::InstanceId;
use crate::faults::points::failpoint;

/// Events of one step while instances serve.
const STEP: i64 = 2000;
/// Number of events that may be left for the time in which the source is closed.
const REST: i64 = 2000;
/// Rounds over the events that came meanwhile, at most.
const ROUNDS: usize = 20;
/// Time for instances to end their leases, on top of the longest lease.
const PATIENCE: Duration = Duration::from_secs(45);
/// Attempts to close the source.
const TRIES: usize = 3;
/// Interval at which the leases are looked at: another process ends them.
const LOOK: Duration = Duration::from_millis(200);

/// A store that can be moved, or moved to.
pub(super) trait Relocatable {
    /// Brings the schema up to date.
    fn prepare_schema(&self) -> Result<(), StoreError>;

    /// Fails if the login may not close the store.
    fn check_owner(&self) -> Result<(), StoreError>;

    /// Runs `work` on one moment of the store. It may only read.
    fn reading(
        &self,
        work: &mut dyn FnMut(&mut dyn StoreEnd) -> Result<(), StoreError>,
    ) -> Result<(), StoreError>;

    /// Runs `work` in one transaction.
    fn writing(
        &self,
        work: &mut dyn FnMut(&mut dyn StoreEnd) -> Result<(), StoreError>,
    ) -> Result<(), StoreError>;
}

/// Progress of a move, for the person who waits.
pub type Progress<'a> = &'a mut dyn FnMut(String);

/// Moves all that the store of `source` holds into the store of `target`.
pub fn relocate(
    source: &model::Store,
    target: &model::Store,
    say: Progress<'_>,
) -> Result<Contents, StoreError> {
    if let model::StoreUrl::Sqlite(path) = &source.url
        && !path.is_file()
    {
        return Err(StoreError::Unfit(format!(
            "there is no file {}: store.url names the store",
            path.display()
        )));
    }
    let moving = Move {
        names: (name(source), name(target)),
        lease: source.lease,
        source: open(source)?,
        target: open(target)?,
    };
    moving.run(say)
}

/// Opens a store again that was closed for a move. Returns `false` if it is not closed.
pub fn reopen(source: &model::Store) -> Result<bool, StoreError> {
    let store = open(source)?;
    let mut was_closed = false;
    store.writing(&mut |end| {
        let Some(found) = Relocation::read(end)?.filter(|found| !found.state.is_target()) else {
            return Ok(());
        };
        // A command that ends the move at this moment is waited for, and has it then.
        was_closed = Relocation::remove(end, &found.token, RelocationState::Closed)?;
        if was_closed {
            return end.reopen();
        }
        Err(StoreError::Unfit(
            "the store was moved, and the other one may serve already: it stays closed".into(),
        ))
    })?;
    Ok(was_closed)
}

/// Fails if the mark was not what it was taken for.
fn held(is_ours: bool) -> Result<(), StoreError> {
    if is_ours {
        return Ok(());
    }
    Err(StoreError::Unfit(
        "another command has changed the move meanwhile, or the store was opened again: run the command again, one at a time".into(),
    ))
}

fn open(config: &model::Store) -> Result<Box<dyn Relocatable>, StoreError> {
    Ok(match &config.url {
        model::StoreUrl::Sqlite(path) => Box::new(SqliteStore::new(path, config)?),
        model::StoreUrl::Postgres(url) => {
            Box::new(PostgresStore::new(url, config, 2)?.behind_what()?)
        }
    })
}

/// Returns the name of a store, without a password.
fn name(config: &model::Store) -> String {
    match &config.url {
        // The same path is another file in another folder.
        model::StoreUrl::Sqlite(path) => {
            let whole = std::path::absolute(path).unwrap_or_else(|_| path.clone());
            format!("sqlite://{}", whole.display())
        }
        model::StoreUrl::Postgres(_) => format!("{} (schema {})", config.url, config.schema),
    }
}

struct Move {
    /// Names of source and target.
    names: (String, String),
    /// Length of a lease in the source.
    lease: Duration,
    source: Box<dyn Relocatable>,
    target: Box<dyn Relocatable>,
}

impl Move {
    fn run(&self, say: Progress<'_>) -> Result<Contents, StoreError> {
        self.source.prepare_schema()?;
        self.source.check_owner()?;
        let before = relocation(&*self.source)?;
        let token = match &before {
            Some(found) if found.other != self.names.1 => return Err(found.refusal()),
            Some(found) if found.state == RelocationState::Moved => return self.complete(found),
            Some(found) if found.state == RelocationState::Closed => found.token.clone(),
            Some(found) => return Err(found.refusal()),
            None => InstanceId::random().as_bytes().to_vec(),
        };
        self.claim_target(&token)?;
        failpoint!("move_claimed");
        if before.is_none() {
            self.copy_events(&token, say)?;
            self.close(&token)?;
            failpoint!("move_closed");
            say(format!(
                "{} is closed; waiting for its instances to end publishing",
                self.names.0
            ));
        }
        self.wait_for_leases(&token)?;
        failpoint!("move_alone");
        say("copying keys, and what waits".to_owned());
        let held = self.copy_rest(&token)?;
        failpoint!("move_copied");
        self.end(&token)?;
        Ok(held)
    }

    /// Marks the target as incomplete, so that no instance serves from it, and closes it for those that do
    /// not see the mark. It has to be empty, or of a move from here that was cut off.
    fn claim_target(&self, token: &[u8]) -> Result<(), StoreError> {
        self.target.prepare_schema()?;
        self.target.check_owner()?;
        self.target.writing(&mut |end| {
            let found = Relocation::read(end)?;
            if let Some(found) = &found
                && !(found.other == self.names.0 && found.state.is_target())
            {
                return Err(found.refusal());
            }
            end.reopen()?;
            end.close()?;
            match found {
                None => {
                    end.refuse_instances(self.lease)?;
                    refuse_rows(end)?;
                }
                Some(found) if found.token == token => {
                    let state = found.state;
                    return held(Relocation::advance(end, token, &[state], state)?);
                }
                // Another move has filled it, perhaps from another store that had this name.
                Some(found) => {
                    held(Relocation::remove(end, &found.token, found.state)?)?;
                    end.execute("DELETE FROM event")?;
                }
            }
            self.relocation(token, RelocationState::Filling).write(end)
        })
    }

    fn relocation(&self, token: &[u8], state: RelocationState) -> Relocation {
        let (source, target) = &self.names;
        let other = if state.is_target() { source } else { target };
        Relocation {
            token: token.to_vec(),
            state,
            other: other.clone(),
        }
    }

    /// Copies events in the order of their numbers while instances serve, until few are left.
    fn copy_events(&self, token: &[u8], say: Progress<'_>) -> Result<(), StoreError> {
        let (event, mut said) = (copy::events()?, Instant::now());
        for _ in 0..ROUNDS {
            // All with a lower number are visible, and none appears later.
            let mut until = 0;
            self.source.writing(&mut |end| {
                until = end.horizon()?;
                Ok(())
            })?;
            let begin = self.last_copied()?;
            let mut after = begin;
            while after < until {
                let mut copied = 0;
                let filter =
                    format!("WHERE seq > {after} AND seq <= {until} ORDER BY seq LIMIT {STEP}");
                self.target.writing(&mut |to| {
                    let state = RelocationState::Filling;
                    held(Relocation::advance(to, token, &[state], state)?)?;
                    self.source.reading(&mut |from| {
                        copied = carry(from, to, event, &filter)?;
                        Ok(())
                    })
                })?;
                failpoint!("move_copying");
                if copied == 0 {
                    break;
                }
                after = self.last_copied()?;
                if said.elapsed() > Duration::from_secs(2) {
                    said = Instant::now();
                    say(format!("events up to number {after} of {until}"));
                }
            }
            if until - begin <= REST {
                break;
            }
        }
        Ok(())
    }

    /// Returns the number of the last event in the target.
    fn last_copied(&self) -> Result<i64, StoreError> {
        let mut last = 0;
        self.target.reading(&mut |end| {
            last = end.number("SELECT coalesce(max(seq), 0) AS n0 FROM event")?;
            Ok(())
        })?;
        Ok(last)
    }

    /// Closes the source: from this commit on nothing is stored in it. In PostgreSQL it may meet a statement
    /// that waits for it, and has to begin again.
    fn close(&self, token: &[u8]) -> Result<(), StoreError> {
        let mut tried = 0;
        loop {
            let closed = self.source.writing(&mut |end| {
                end.close()?;
                self.relocation(token, RelocationState::Closed).write(end)
            });
            tried += 1;
            match closed {
                Err(StoreError::Unavailable(_)) if tried < TRIES => {}
                closed => return closed,
            }
        }
    }

    /// Waits until no instance has a lease. If that takes too long, the source is opened again.
    fn wait_for_leases(&self, token: &[u8]) -> Result<(), StoreError> {
        let until = Instant::now() + self.lease * 2 + PATIENCE;
        loop {
            let mut alive = 0;
            self.source.reading(&mut |end| {
                alive = end.alive(self.lease)?;
                Ok(())
            })?;
            if alive == 0 {
                return Ok(());
            }
            if Instant::now() >= until {
                self.source.writing(&mut |end| {
                    held(Relocation::remove(end, token, RelocationState::Closed)?)?;
                    end.reopen()
                })?;
                return Err(StoreError::Unfit(format!(
                    "{alive} instances go on publishing from {}, perhaps of an earlier release: the store is open again, and nothing is lost. \
                     Upgrade them, or stop them, or grant their login SELECT on the table relocation, and repeat the command",
                    self.names.0
                )));
            }
            thread::sleep(LOOK);
        }
    }

    /// Copies all but the events that are there, in one transaction of the target. A second command on the
    /// target waits for it.
    fn copy_rest(&self, token: &[u8]) -> Result<Contents, StoreError> {
        use RelocationState::{Filled, Filling};
        let mut contents = Contents::default();
        self.source.reading(&mut |from| {
            self.target.writing(&mut |to| {
                held(Relocation::advance(to, token, &[Filling, Filled], Filled)?)?;
                to.reopen()?;
                copy::rest(from, to)?;
                to.close()?;
                contents.rows = counts(to)?;
                Ok(())
            })
        })?;
        Ok(contents)
    }

    /// Marks the source as moved, and then opens the target. If the source was opened again, or the target
    /// is of another move by now, neither is changed.
    fn end(&self, token: &[u8]) -> Result<(), StoreError> {
        use RelocationState::{Closed, Filled, Moved};
        self.target.writing(&mut |to| {
            held(Relocation::remove(to, token, Filled)?)?;
            self.source
                .writing(&mut |from| held(Relocation::advance(from, token, &[Closed], Moved)?))?;
            failpoint!("move_marked");
            to.reopen()
        })
    }

    /// Ends a move whose source is marked as moved: it was cut off after the copy, or has ended before.
    fn complete(&self, moved: &Relocation) -> Result<Contents, StoreError> {
        let mut contents = Contents::default();
        self.target.writing(&mut |end| {
            match Relocation::read(end)? {
                Some(found) if found.token == moved.token => {
                    held(Relocation::remove(
                        end,
                        &found.token,
                        RelocationState::Filled,
                    )?)?;
                    end.reopen()?;
                }
                Some(found) => return Err(found.refusal()),
                None => {}
            }
            contents.rows = counts(end)?;
            Ok(())
        })?;
        Ok(contents)
    }
}

fn relocation(store: &dyn Relocatable) -> Result<Option<Relocation>, StoreError> {
    let mut found = None;
    store.reading(&mut |end| {
        found = Relocation::read(end)?;
        Ok(())
    })?;
    Ok(found)
}
