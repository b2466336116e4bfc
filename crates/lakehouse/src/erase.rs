//! Erasure of rows, with every file and every version of the table that held them.
//!
//! The files are written again without the rows. Then all versions but the current one are dropped, and files
//! that no version names are deleted. Writers may run meanwhile.

use std::collections::{BTreeMap, HashMap, HashSet};

use arrow_array::cast::AsArray as _;
use arrow_array::{BooleanArray, RecordBatch};
use arrow_select::filter::filter_record_batch;
use futures_util::StreamExt as _;
use iceberg::expr::{Predicate, Reference};
use iceberg::spec::{Datum, Operation};
use iceberg::table::Table;
use iceberg::transaction::{ApplyTransactionAction as _, Transaction};

use crate::error::{LakeError, Result};
use crate::event::{Millis, RowId};
use crate::lake::Lake;
use crate::storage::local_path;
use crate::table::ids::{day_of, files_of};
use crate::table::replace::{Content, content, replace};
use crate::table::rewrite::{BUNDLE_BYTES, rewrite};
use crate::table::schema::{MESSAGE_ID, SOURCE};
use crate::upkeep::{Unnamed, remove_unnamed};

/// Attempts to commit one step while writers commit in between.
const ATTEMPTS: usize = 20;

/// Rows that are erased: those with one of the ids, and those of one of the sources.
#[derive(Clone, Debug, Default)]
pub struct Selection {
    /// Ids of messages.
    pub ids: HashSet<RowId>,
    /// Names of sources.
    pub sources: HashSet<String>,
}

/// Outcome of an erasure.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct Erased {
    /// Rows that were erased.
    pub rows: u64,
    /// Files that held them.
    pub files: usize,
    /// Files that held rows and are still on disk: a branch or a tag of another program names them.
    pub kept: usize,
}

impl Selection {
    /// Returns a filter by which files without such rows are left out. None if nothing is selected.
    fn filter(&self) -> Option<Predicate> {
        let ids: Vec<_> = self
            .ids
            .iter()
            .map(|id| Datum::string(id.to_string()))
            .collect();
        let sources: Vec<_> = self.sources.iter().map(Datum::string).collect();
        let by = |name: &str, values: Vec<Datum>| {
            (!values.is_empty()).then(|| Reference::new(name).is_in(values))
        };
        match (by(MESSAGE_ID, ids), by(SOURCE, sources)) {
            (Some(by_id), Some(by_source)) => Some(by_id.or(by_source)),
            (one, other) => one.or(other),
        }
    }

    /// Returns `true` for each row of `batch` that is not selected.
    fn others(&self, batch: &RecordBatch) -> Result<BooleanArray> {
        let column = |name: &str| {
            let column = batch.column_by_name(name);
            column.ok_or_else(|| LakeError::Table(format!("a file has no column {name}")))
        };
        let ids = column(MESSAGE_ID)?.as_string::<i32>();
        let sources = column(SOURCE)?.as_string::<i32>();
        let selected = |(id, source): (Option<&str>, Option<&str>)| {
            source.is_some_and(|source| self.sources.contains(source))
                || id
                    .and_then(|id| id.parse().ok())
                    .is_some_and(|id| self.ids.contains(&id))
        };
        let others = ids
            .iter()
            .zip(sources.iter())
            .map(|row| Some(!selected(row)));
        Ok(others.collect())
    }
}

/// Erases the selected rows. Copies of the events elsewhere stay, and a copy that comes from the feed later
/// becomes a row again.
pub async fn erase(lake: &Lake, selection: &Selection) -> Result<Erased> {
    let mut erased = Erased::default();
    let mut emptied: Vec<String> = Vec::new();
    let mut lost = 0;
    loop {
        let table = lake.load().await?;
        let content = content(&table).await?;
        if !content.deletes.is_empty() {
            return Err(LakeError::Table(format!(
                "{} has delete files of another engine: erase the rows with that engine, and drop old versions",
                table.identifier()
            )));
        }
        let hits = hits(&table, selection).await?;
        let Some((day, files)) = bundle(&content, &hits) else {
            break;
        };
        let keep = |batch: RecordBatch| {
            filter_record_batch(&batch, &selection.others(&batch)?)
                .map_err(LakeError::away("drop rows"))
        };
        let added = rewrite(&table, day, &files, keep).await?;
        let now = Millis::now();
        let change = replace(&table, &content, &files, added, Operation::Overwrite, now).await?;
        if lake.commit(change).await? {
            erased.rows += files.iter().filter_map(|file| hits.get(file)).sum::<u64>();
            emptied.extend(files);
            lost = 0;
        } else {
            lost += 1;
            give_up(lost)?;
        }
    }
    // Also after an erasure that was cut short: its versions may still be there.
    purge(lake).await?;
    erased.files = emptied.len();
    let is_left = |file: &&String| local_path(file).exists();
    erased.kept = emptied.iter().filter(is_left).count();
    Ok(erased)
}

fn give_up(lost: usize) -> Result<()> {
    if lost < ATTEMPTS {
        return Ok(());
    }
    Err(LakeError::Away(format!(
        "other programs changed the table in each of {ATTEMPTS} attempts: erase again, the rest is still there"
    )))
}

/// Returns the files with selected rows, and the number of these.
async fn hits(table: &Table, selection: &Selection) -> Result<HashMap<String, u64>> {
    let failed = LakeError::away::<iceberg::Error>;
    let mut hits = HashMap::new();
    let Some(filter) = selection.filter() else {
        return Ok(hits);
    };
    let scan = table.scan().select([MESSAGE_ID, SOURCE]);
    let plan = scan
        .with_filter(filter)
        .build()
        .map_err(failed("plan to look for rows"))?;
    let tasks = files_of(&plan).await?;
    for task in tasks {
        let path = task.data_file_path.clone();
        let one = futures_util::stream::iter([Ok(task)]).boxed();
        let read = table.reader_builder().build().read(one);
        let mut batches = read.map_err(failed("read a file of the table"))?.stream();
        while let Some(batch) = batches.next().await {
            let batch = batch.map_err(failed("read a file of the table"))?;
            let selected = batch.num_rows() - selection.others(&batch)?.true_count();
            if selected > 0 {
                *hits.entry(path.clone()).or_default() += selected as u64;
            }
        }
    }
    Ok(hits)
}

/// Returns files of one day out of `hits`, as many as are rewritten in one commit. None if there are none.
fn bundle(content: &Content, hits: &HashMap<String, u64>) -> Option<(i32, HashSet<String>)> {
    let mut days: BTreeMap<i32, (u64, HashSet<String>)> = BTreeMap::new();
    for entry in &content.entries {
        let file = entry.data_file();
        if !hits.contains_key(file.file_path()) {
            continue;
        }
        let (bytes, files) = days.entry(day_of(file.partition())).or_default();
        if files.is_empty() || *bytes + file.file_size_in_bytes() <= BUNDLE_BYTES {
            *bytes += file.file_size_in_bytes();
            files.insert(file.file_path().to_owned());
        }
    }
    let (day, (_, files)) = days.into_iter().next()?;
    Some((day, files))
}

/// Drops all versions but the current one, and deletes the files that it does not name.
async fn purge(lake: &Lake) -> Result<()> {
    let failed = LakeError::away::<iceberg::Error>;
    // The manifests of the current version still have bounds of the files that it dropped.
    for lost in 1.. {
        let table = lake.load().await?;
        let (content, nothing) = (content(&table).await?, HashSet::new());
        let now = Millis::now();
        let change = replace(
            &table,
            &content,
            &nothing,
            Vec::new(),
            Operation::Replace,
            now,
        );
        if lake.commit(change.await?).await? {
            break;
        }
        give_up(lost)?;
    }
    let transaction = Transaction::new(&lake.load().await?);
    let action = transaction
        .expire_snapshots()
        .expire_older_than_ms(Millis::now().0.saturating_add(1))
        .retain_last(1);
    let transaction = action
        .apply(transaction)
        .map_err(failed("drop old versions"))?;
    transaction
        .commit(&**lake.catalog())
        .await
        .map_err(failed("drop old versions"))?;
    for lost in 1.. {
        match remove_unnamed(lake, std::time::Duration::ZERO, Millis::now()).await? {
            Unnamed::Deleted(_) => break,
            Unnamed::Raced => give_up(lost)?,
        }
    }
    Ok(())
}
