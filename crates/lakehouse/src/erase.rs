//! Erasure of rows, with every file and every version of the table that held them.
//!
//! The files are written again without the rows. Then all versions but the current one are dropped, and files
//! that no version names are deleted. Writers may run meanwhile.

use std::collections::{BTreeMap, HashMap, HashSet};

use arrow_array::cast::AsArray as _;
use arrow_array::{Array as _, BooleanArray, RecordBatch};
use arrow_select::filter::filter_record_batch;
use futures_util::StreamExt as _;
use iceberg::expr::{Predicate, Reference};
use iceberg::spec::{Datum, Operation};
use iceberg::table::Table;
use iceberg::transaction::{ApplyTransactionAction as _, Transaction};
use serde_json::Value;

use crate::error::{LakeError, Result};
use crate::event::{Millis, RowId};
use crate::lake::Lake;
use crate::listing::Listing;
use crate::table::ids::{day_of, files_of};
use crate::table::replace::{Content, content, replace};
use crate::table::rewrite::{BUNDLE_BYTES, rewrite};
use crate::table::schema::{BODY, MESSAGE_ID, SOURCE};
use crate::upkeep::{Unnamed, remove_unnamed};

/// Attempts to commit one step while writers commit in between.
const ATTEMPTS: usize = 20;

/// Rows that are erased: those with one of the ids, those of one of the sources, and those with one of the
/// subjects.
#[derive(Clone, Debug, Default)]
pub struct Selection {
    /// Ids of messages.
    pub ids: HashSet<RowId>,
    /// Names of sources.
    pub sources: HashSet<String>,
    /// Values in bodies.
    pub subjects: Vec<Subject>,
}

/// A value at a place of a JSON body, such as the id of a customer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Subject {
    /// JSON pointer (RFC 6901) to the place.
    pub pointer: String,
    /// The value: a text, or a number, `true` or `false` as JSON writes it.
    pub value: String,
}

impl Subject {
    fn is_in(&self, body: &Value) -> bool {
        match body.pointer(&self.pointer) {
            Some(Value::String(text)) => *text == self.value,
            Some(value @ (Value::Number(_) | Value::Bool(_))) => {
                serde_json::from_str::<Value>(&self.value).is_ok_and(|wanted| wanted == *value)
            }
            _ => false,
        }
    }
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
    /// Rows whose body is no JSON, so that no subject was looked for in it.
    pub unsearched: u64,
}

/// Files that were looked through, and what they hold. A file never changes.
#[derive(Default)]
struct Searched {
    /// Selected rows of the files that have some.
    hits: HashMap<String, u64>,
    /// All files.
    files: HashSet<String>,
    /// Rows of each file whose body is no JSON.
    unsearched: HashMap<String, u64>,
}

/// Rows of a batch.
struct Judged {
    /// `true` for each row that is not selected.
    others: BooleanArray,
    /// Rows whose body is no JSON, if bodies were looked at.
    unsearched: u64,
}

impl Selection {
    fn is_empty(&self) -> bool {
        self.ids.is_empty() && self.sources.is_empty() && self.subjects.is_empty()
    }

    /// Returns the columns that decide on a row.
    fn columns(&self) -> &'static [&'static str] {
        if self.subjects.is_empty() {
            &[MESSAGE_ID, SOURCE]
        } else {
            &[MESSAGE_ID, SOURCE, BODY]
        }
    }

    /// Returns a filter by which files without such rows are left out. None: every file may have some.
    fn filter(&self) -> Option<Predicate> {
        if !self.subjects.is_empty() {
            return None;
        }
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

    /// Judges the rows of `batch`.
    fn judge(&self, batch: &RecordBatch) -> Result<Judged> {
        let column = |name: &str| {
            let column = batch.column_by_name(name);
            column.ok_or_else(|| LakeError::Table(format!("a file has no column {name}")))
        };
        let ids = column(MESSAGE_ID)?.as_string::<i32>();
        let sources = column(SOURCE)?.as_string::<i32>();
        let bodies = match self.subjects.as_slice() {
            [] => None,
            _ => Some(column(BODY)?.as_string::<i32>()),
        };
        let mut unsearched = 0;
        let mut has_subject = |row: usize| {
            let Some(bodies) = bodies else { return false };
            let body = bodies.is_valid(row).then(|| bodies.value(row));
            let body = body.and_then(|text| serde_json::from_str::<Value>(text).ok());
            unsearched += u64::from(body.is_none());
            body.is_some_and(|body| self.subjects.iter().any(|subject| subject.is_in(&body)))
        };
        let selected = |(row, (id, source)): (usize, (Option<&str>, Option<&str>))| {
            has_subject(row)
                || source.is_some_and(|source| self.sources.contains(source))
                || id
                    .and_then(|id| id.parse().ok())
                    .is_some_and(|id| self.ids.contains(&id))
        };
        let rows = ids.iter().zip(sources.iter()).enumerate();
        let others = rows.map(selected).map(|selected| Some(!selected)).collect();
        Ok(Judged { others, unsearched })
    }
}

/// Erases the selected rows. Copies of the events elsewhere stay, and a copy that comes from the feed later
/// becomes a row again.
pub async fn erase(lake: &Lake, selection: &Selection) -> Result<Erased> {
    let mut erased = Erased::default();
    let mut searched = Searched::default();
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
        searched.search(&table, selection).await?;
        let hits = &searched.hits;
        let Some((day, files)) = bundle(&content, hits) else {
            break;
        };
        let keep = |batch: RecordBatch| {
            filter_record_batch(&batch, &selection.judge(&batch)?.others)
                .map_err(LakeError::away("drop rows"))
        };
        let added = rewrite(&table, day, &files, keep).await?;
        let now = Millis::now();
        let change = replace(&table, &content, &files, added, Operation::Overwrite, now).await?;
        if lake.commit(change).await? {
            erased.rows += files.iter().filter_map(|f| hits.get(f)).sum::<u64>();
            // Their other rows are in new files.
            searched.unsearched.retain(|file, _| !files.contains(file));
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
    erased.unsearched = searched.unsearched.values().sum();
    let listing = Listing::of(&lake.load().await?);
    for file in &emptied {
        erased.kept += usize::from(listing.exists(file).await?);
    }
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

impl Searched {
    /// Looks through the files of this version that were not looked through yet.
    async fn search(&mut self, table: &Table, selection: &Selection) -> Result<()> {
        if selection.is_empty() {
            return Ok(());
        }
        let failed = LakeError::away::<iceberg::Error>;
        let mut scan = table.scan().select(selection.columns().iter().copied());
        if let Some(filter) = selection.filter() {
            scan = scan.with_filter(filter);
        }
        let plan = scan.build().map_err(failed("plan to look for rows"))?;
        for task in files_of(&plan).await? {
            let path = task.data_file_path.clone();
            if !self.files.insert(path.clone()) {
                continue;
            }
            let one = futures_util::stream::iter([Ok(task)]).boxed();
            let read = table.reader_builder().build().read(one);
            let mut batches = read.map_err(failed("read a file of the table"))?.stream();
            while let Some(batch) = batches.next().await {
                let batch = batch.map_err(failed("read a file of the table"))?;
                let judged = selection.judge(&batch)?;
                *self.unsearched.entry(path.clone()).or_default() += judged.unsearched;
                let selected = batch.num_rows() - judged.others.true_count();
                if selected > 0 {
                    *self.hits.entry(path.clone()).or_default() += selected as u64;
                }
            }
        }
        Ok(())
    }
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
