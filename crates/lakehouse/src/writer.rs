//! The writer: commits batches to the table so that each id has one row.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use iceberg::Catalog;
use iceberg::spec::DataFile;
use iceberg::table::Table;
use iceberg::transaction::{ApplyTransactionAction as _, Transaction};

use crate::catalog::fence::Fence;
use crate::error::{LakeError, Result};
use crate::event::{Event, Millis, RowId};
use crate::faults;
use crate::lake::Lake;
use crate::protocol::known::{KnownIds, Suspicion};
use crate::protocol::token::{Standing, TOKEN, Token, standing};
use crate::table::{files, ids};

/// Attempts to commit one batch before its messages go back to the feed.
const ATTEMPTS: usize = 20;

/// Share of the memory for ids that is filled at a start, so that it is not loaded again soon.
const FILL: (usize, usize) = (3, 4);

/// Outcome of a batch that is in the table.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct Committed {
    /// Rows that were added.
    pub added: usize,
    /// Messages whose id the table had already.
    pub copies: usize,
    /// Races that were lost to another writer.
    pub races: usize,
}

/// Events whose ids were absent, and the files that hold them.
type Prepared = (Vec<Event>, Vec<DataFile>);

/// Writer of a table. Any number of them may write to one table; each commit goes to one of them.
#[derive(Debug)]
pub struct Writer {
    lake: Lake,
    capacity: usize,
    view: Option<View>,
}

/// A version of the table, and the ids of its rows.
#[derive(Debug)]
struct View {
    table: Table,
    token: Token,
    known: KnownIds,
    /// Paths of the files whose ids are known.
    files: HashSet<String>,
}

impl Writer {
    /// Returns a writer that holds at most `capacity` ids in memory, 8 bytes each.
    pub fn new(lake: Lake, capacity: usize) -> Self {
        Self {
            lake,
            capacity,
            view: None,
        }
    }

    /// Returns the lakehouse that the writer writes to.
    pub fn lake(&self) -> &Lake {
        &self.lake
    }

    /// Loads the table, and the ids of rows that other writers added.
    pub async fn refresh(&mut self) -> Result<()> {
        let table = self.lake.load().await?;
        let token = Token::of(table.metadata().properties());
        let read_before = self.view.is_some();
        let mut view = match self.view.take() {
            Some(view) if !view.known.is_full() => view,
            _ => View::new(table.clone(), self.capacity).await?,
        };
        let skipped = read_before && faults::makes("lake_ids_not_read_again");
        if view.token != token && !skipped {
            let known = &mut view.known;
            let floor = known.floor();
            view.files = ids::read(&table, floor, &view.files, |id| {
                known.load([id].into_iter())
            })
            .await?;
            known.loaded();
        }
        view.token = token;
        view.table = table;
        self.view = Some(view);
        Ok(())
    }

    /// Brings `events` into the table, each id once. After `Ok` the feed may be acked.
    ///
    /// After an error the events may be in the table or not. Hand them in again, in any batch.
    pub async fn commit(&mut self, events: &[Event]) -> Result<Committed> {
        let mut races = 0;
        let mut written: Option<Prepared> = None;
        let own = Token::fresh();
        let total = events.len();
        for _ in 0..ATTEMPTS {
            if self.view.as_ref().is_none_or(|view| view.known.is_full()) {
                self.refresh().await?;
            }
            let prepared = match written.take() {
                Some(prepared) => Some(prepared),
                None => {
                    self.view
                        .as_ref()
                        .ok_or_else(no_view)?
                        .prepare(events)
                        .await?
                }
            };
            let Some((fresh, files)) = prepared else {
                return Ok(Committed {
                    added: 0,
                    copies: total,
                    races,
                });
            };
            let answer = self.append(&files, own).await;
            match self.settle(answer, own, races).await? {
                Standing::Committed => {
                    self.remember(&fresh, &files)?;
                    let added = fresh.len();
                    return Ok(Committed {
                        added,
                        copies: total - added,
                        races,
                    });
                }
                // Still absent: the same files are good.
                Standing::Unchanged => written = Some((fresh, files)),
                // The files are written again, since upkeep may remove those that no version named when the
                // token moved.
                Standing::Raced => {
                    races += 1;
                    self.refresh().await?;
                }
            }
        }
        Err(LakeError::Away(format!(
            "cannot commit {total} events to the table in {ATTEMPTS} attempts: other programs change it all \
             the time; the events wait"
        )))
    }

    /// Sends the commit. An error says nothing about the table.
    async fn append(&self, files: &[DataFile], own: Token) -> iceberg::Result<Table> {
        let view = self.view.as_ref().ok_or_else(|| {
            iceberg::Error::new(
                iceberg::ErrorKind::Unexpected,
                "no version of the table is loaded",
            )
        })?;
        let transaction = Transaction::new(&view.table);
        let append = transaction
            .fast_append()
            .with_check_duplicate(false)
            .add_data_files(files.iter().cloned());
        let transaction = append.apply(transaction)?;
        let token = transaction
            .update_table_properties()
            .set(TOKEN.to_owned(), own.to_text());
        let transaction = token.apply(transaction)?;
        let catalog: Arc<dyn Catalog> = self.lake.catalog().clone();
        if faults::makes("lake_no_fence") {
            return transaction.commit(&*catalog).await;
        }
        transaction.commit(&Fence::new(catalog, view.token)).await
    }

    /// Returns the standing of the batch after the `answer` to its commit. Reads the table if needed.
    async fn settle(
        &mut self,
        answer: iceberg::Result<Table>,
        own: Token,
        races: usize,
    ) -> Result<Standing> {
        let view = self.view.as_mut().ok_or_else(no_view)?;
        let table = match answer {
            Ok(table) => table,
            Err(error) => {
                tracing::debug!(
                    races,
                    "a commit to the lakehouse was not answered with success: {error}"
                );
                self.lake.load().await?
            }
        };
        let now = Token::of(table.metadata().properties());
        let standing = standing(now, view.token, own);
        if standing != Standing::Raced {
            view.table = table;
            view.token = now;
        }
        Ok(standing)
    }

    /// Remembers the ids of `rows`, which are in `files` of the table.
    fn remember(&mut self, rows: &[Event], files: &[DataFile]) -> Result<()> {
        let view = self.view.as_mut().ok_or_else(no_view)?;
        rows.iter()
            .for_each(|event| view.known.add(event.message_id));
        view.files
            .extend(files.iter().map(|file| file.file_path().to_owned()));
        Ok(())
    }
}

impl View {
    /// Returns a view of `table` that knows no row yet.
    async fn new(table: Table, capacity: usize) -> Result<Self> {
        let floor = ids::floor(&table, capacity / FILL.1 * FILL.0).await?;
        Ok(Self {
            known: KnownIds::new(capacity, floor),
            files: HashSet::new(),
            table,
            token: Token::fresh(),
        })
    }

    /// Returns those of `events` whose id no row of this version has.
    async fn absent(&self, events: &[Event]) -> Result<Vec<Event>> {
        let suspects: HashMap<RowId, Millis> = events
            .iter()
            .filter(|event| {
                self.known.look_up(event.message_id, event.received_at) == Suspicion::Possible
            })
            .map(|event| (event.message_id, event.received_at))
            .collect();
        let found = if suspects.is_empty() {
            HashSet::new()
        } else {
            ids::find(&self.table, &suspects).await?
        };
        Ok(events
            .iter()
            .filter(|event| !found.contains(&event.message_id))
            .cloned()
            .collect())
    }

    /// Writes those of `events` that no row has to new files. Returns None if there are none.
    async fn prepare(&self, events: &[Event]) -> Result<Option<Prepared>> {
        let fresh = self.absent(events).await?;
        if fresh.is_empty() {
            return Ok(None);
        }
        faults::point("lake_before_files");
        let files = files::write(&self.table, &fresh, Millis::now()).await?;
        faults::point("lake_after_files");
        Ok(Some((fresh, files)))
    }
}

fn no_view() -> LakeError {
    LakeError::Away("no version of the table is loaded".to_owned())
}
