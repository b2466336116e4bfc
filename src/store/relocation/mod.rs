//! A move: all that a store holds goes to another store while instances serve, and then the first store is
//! closed for good.
//!
//! Each step is safe to lose. Until the source is closed, it serves, and the target refuses instances. Once
//! it is closed, nothing is stored in it, and the command goes on where it was, or opens it again. The source
//! is moved only after the target holds everything.

mod end;
mod fence;

use std::thread;
use std::time::{Duration, Instant};

pub(super) use self::end::StoreEnd;
pub(super) use self::fence::{Relocation, RelocationState, refuse_relocated};

use super::StoreError;
use super::postgres::PostgresStore;
use super::sqlite::SqliteStore;
use super::transfer::{CARRIED, CarriedTable, Contents, carry, counts, refuse_rows};
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
    store.writing(
        &mut |end| match Relocation::read(end)?.map(|found| found.state) {
            Some(RelocationState::Closed) => {
                was_closed = true;
                end.reopen()?;
                Relocation::clear(end)
            }
            Some(RelocationState::Moved) => Err(StoreError::Unfit(
                "the store was moved, and the other one may serve already: it stays closed".into(),
            )),
            _ => Ok(()),
        },
    )?;
    Ok(was_closed)
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
            self.copy_events(say)?;
            self.close(&token)?;
            failpoint!("move_closed");
            say(format!(
                "{} is closed; waiting for its instances to end publishing",
                self.names.0
            ));
        }
        self.wait_for_leases()?;
        say("copying keys, and what waits".to_owned());
        let held = self.copy_rest(&token)?;
        failpoint!("move_copied");
        self.end(&token)?;
        Ok(held)
    }

    /// Marks the target as incomplete, so that no instance serves from it. It has to be empty, or filled by
    /// a move of this source that was cut off.
    fn claim_target(&self, token: &[u8]) -> Result<(), StoreError> {
        self.target.prepare_schema()?;
        self.target.writing(&mut |end| {
            match Relocation::read(end)? {
                None => {
                    end.refuse_instances()?;
                    refuse_rows(end)?;
                }
                Some(found) if found.other == self.names.0 && found.state.is_target() => {}
                Some(found) => return Err(found.refusal()),
            }
            Relocation::clear(end)?;
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
    fn copy_events(&self, say: Progress<'_>) -> Result<(), StoreError> {
        let (event, mut said) = (table("event")?, Instant::now());
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
    fn wait_for_leases(&self) -> Result<(), StoreError> {
        let until = Instant::now() + self.lease * 2 + PATIENCE;
        loop {
            let mut alive = 0;
            self.source.reading(&mut |end| {
                alive = end.alive()?;
                Ok(())
            })?;
            if alive == 0 {
                return Ok(());
            }
            if Instant::now() >= until {
                self.source.writing(&mut |end| {
                    end.reopen()?;
                    Relocation::clear(end)
                })?;
                return Err(StoreError::Unfit(format!(
                    "{alive} instances go on publishing from {}, perhaps of an earlier release: the store is open again, and nothing is lost. \
                     Upgrade them, or stop them, and repeat the command",
                    self.names.0
                )));
            }
            thread::sleep(LOOK);
        }
    }

    /// Copies all but the events that are there, in one transaction of the target.
    fn copy_rest(&self, token: &[u8]) -> Result<Contents, StoreError> {
        let mut held = Contents::default();
        self.source.reading(&mut |from| {
            self.target.writing(&mut |to| {
                for table in CARRIED {
                    copy_table(from, to, table)?;
                }
                to.keep_orphans()?;
                to.set_last_number(from.last_number()?)?;
                Relocation::clear(to)?;
                self.relocation(token, RelocationState::Filled).write(to)?;
                held.rows = counts(to)?;
                Ok(())
            })
        })?;
        Ok(held)
    }

    /// Marks the source as moved, and then opens the target.
    fn end(&self, token: &[u8]) -> Result<(), StoreError> {
        self.source.writing(&mut |end| {
            Relocation::clear(end)?;
            self.relocation(token, RelocationState::Moved).write(end)
        })?;
        failpoint!("move_marked");
        self.target.writing(&mut |end| Relocation::clear(end))
    }

    /// Ends a move whose source is marked as moved: it was cut off after the copy, or has ended before.
    fn complete(&self, moved: &Relocation) -> Result<Contents, StoreError> {
        let mut held = Contents::default();
        self.target.writing(&mut |end| {
            match Relocation::read(end)? {
                Some(found) if found.token == moved.token => Relocation::clear(end)?,
                Some(found) => return Err(found.refusal()),
                None => {}
            }
            held.rows = counts(end)?;
            Ok(())
        })?;
        Ok(held)
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

fn table(name: &str) -> Result<&'static CarriedTable, StoreError> {
    let found = CARRIED.iter().find(|table| table.name == name);
    found.ok_or_else(|| StoreError::Unfit(format!("no table {name} is carried")))
}

/// Copies a table in place of what a move before has copied. Of events only later ones: those that are there
/// do not change.
fn copy_table(
    from: &mut dyn StoreEnd,
    to: &mut dyn StoreEnd,
    table: &CarriedTable,
) -> Result<(), StoreError> {
    if table.name == "event" {
        let last = to.number("SELECT coalesce(max(seq), 0) AS n0 FROM event")?;
        return carry(from, to, table, &format!("WHERE seq > {last}")).map(drop);
    }
    to.execute(&format!("DELETE FROM \"{}\"", table.name))?;
    let stored = carry(from, to, table, "")?;
    let found = to.count(table)?;
    if found == stored {
        return Ok(());
    }
    Err(StoreError::Unavailable(format!(
        "table {}: {stored} rows were stored and {found} are there",
        table.name
    )))
}
