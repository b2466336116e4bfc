//! Message ids, read from the files of the table.

use std::collections::{BTreeMap, HashMap, HashSet};

use arrow_array::cast::AsArray as _;
use arrow_array::types::TimestampMicrosecondType;
use futures_util::{StreamExt as _, TryStreamExt as _};
use iceberg::expr::{Predicate, Reference};
use iceberg::scan::{FileScanTask, TableScan};
use iceberg::spec::{DataFile, Datum, Literal, PrimitiveLiteral};
use iceberg::table::Table;

use super::schema::{COMMITTED_AT, MESSAGE_ID, RECEIVED_AT, SOURCE};
use crate::error::{LakeError, Result};
use crate::event::{Millis, RowId};

/// Milliseconds of one look-up: suspects received in the same hour are searched for together.
const LOOK_UP_MS: i64 = 3_600_000;

/// Returns the files that a scan reads, each as a task.
pub(crate) async fn files_of(scan: &TableScan) -> Result<Vec<FileScanTask>> {
    let failed = LakeError::away::<iceberg::Error>;
    let files = scan.plan_files().await;
    let files = files.map_err(failed("read the list of files"))?;
    let tasks = files.try_collect().await;
    tasks.map_err(failed("read the list of files"))
}

/// Hands the ids of all rows received at or after `floor` to `take`, without those in the files `skip`.
/// Returns the paths of all files that hold such rows.
pub async fn read(
    table: &Table,
    floor: Millis,
    skip: &HashSet<String>,
    take: impl FnMut(RowId),
) -> Result<HashSet<String>> {
    let mut scan = table.scan().select([MESSAGE_ID]);
    if floor > Millis(i64::MIN) {
        scan = scan.with_filter(from(floor));
    }
    let failed = LakeError::away::<iceberg::Error>;
    let planned = scan.build().map_err(failed("plan to read message ids"))?;
    let tasks = files_of(&planned).await?;
    let paths = tasks
        .iter()
        .map(|task| task.data_file_path.clone())
        .collect();
    let wanted = tasks
        .into_iter()
        .filter(|task| !skip.contains(&task.data_file_path));
    scan_tasks(table, wanted.collect(), take).await?;
    Ok(paths)
}

/// Hands id, source and time of receipt of each row that was received from `from` on and before `until` to `take`.
pub async fn received(
    table: &Table,
    from: Millis,
    until: Millis,
    mut take: impl FnMut(RowId, &str, Millis),
) -> Result<()> {
    let failed = LakeError::away::<iceberg::Error>;
    let before = Reference::new(RECEIVED_AT).less_than(Datum::timestamptz_micros(until.micros()));
    let planned = table
        .scan()
        .select([MESSAGE_ID, SOURCE, RECEIVED_AT])
        .with_filter(self::from(from).and(before))
        .build()
        .map_err(failed("plan to read rows"))?;
    let mut batches = planned.to_arrow().await.map_err(failed("read rows"))?;
    while let Some(batch) = batches.next().await {
        let batch = batch.map_err(failed("read rows"))?;
        let ids = batch.column(0).as_string::<i32>().iter();
        let sources = batch.column(1).as_string::<i32>().iter();
        let times = batch.column(2).as_primitive::<TimestampMicrosecondType>();
        for ((id, source), micros) in ids.zip(sources).zip(times.iter()) {
            let (Some(id), Some(source), Some(micros)) = (id, source, micros) else {
                continue;
            };
            let at = Millis(micros.div_euclid(1000));
            if from <= at && at < until {
                take(parse(table, id)?, source, at);
            }
        }
    }
    Ok(())
}

/// Returns those of `suspects` that the table has.
///
/// A copy has the time of receipt of its row, by which files are pruned. Only an event that returned after its
/// dedup window has another time; for those that are left, the ids of the whole table are read.
pub async fn find(table: &Table, suspects: &HashMap<RowId, Millis>) -> Result<HashSet<RowId>> {
    let mut found = HashSet::new();
    let mut hours: BTreeMap<i64, (Millis, Millis)> = BTreeMap::new();
    for &at in suspects.values() {
        let range = hours.entry(at.0.div_euclid(LOOK_UP_MS)).or_insert((at, at));
        *range = (range.0.min(at), range.1.max(at));
    }
    for (first, last) in hours.into_values() {
        let until = Reference::new(RECEIVED_AT)
            .less_than_or_equal_to(Datum::timestamptz_micros(last.micros()));
        look_up(table, Some(from(first).and(until)), suspects, &mut found).await?;
    }
    if found.len() < suspects.len() {
        look_up(table, None, suspects, &mut found).await?;
    }
    Ok(found)
}

/// A row, without its content.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CommittedRow {
    /// Time of its commit.
    pub committed_at: Millis,
    /// Version of the table that was read.
    pub snapshot: i64,
}

/// Returns the row with the message id `id`. The files of its time of receipt are read first, then those that
/// may have the id: an event that returned after its dedup window was received at another time.
pub async fn row(table: &Table, id: RowId, received_at: Millis) -> Result<Option<CommittedRow>> {
    let Some(snapshot) = table.metadata().current_snapshot() else {
        return Ok(None);
    };
    let snapshot = snapshot.snapshot_id();
    let is_it = Reference::new(MESSAGE_ID).equal_to(Datum::string(id.to_string()));
    let then = Reference::new(RECEIVED_AT)
        .less_than_or_equal_to(Datum::timestamptz_micros(received_at.micros()));
    let at_once = from(received_at).and(then).and(is_it.clone());
    for filter in [at_once, is_it] {
        if let Some(committed_at) = commit_of(table, id, filter).await? {
            return Ok(Some(CommittedRow {
                committed_at,
                snapshot,
            }));
        }
    }
    Ok(None)
}

/// Returns the time of the commit of the row with the message id `id`, among those that fit `filter`.
async fn commit_of(table: &Table, id: RowId, filter: Predicate) -> Result<Option<Millis>> {
    let failed = LakeError::away::<iceberg::Error>;
    let planned = table
        .scan()
        .select([MESSAGE_ID, COMMITTED_AT])
        .with_filter(filter)
        .build()
        .map_err(failed("plan to read a row"))?;
    let mut batches = planned.to_arrow().await.map_err(failed("read rows"))?;
    while let Some(batch) = batches.next().await {
        let batch = batch.map_err(failed("read rows"))?;
        let ids = batch.column(0).as_string::<i32>().iter();
        let times = batch.column(1).as_primitive::<TimestampMicrosecondType>();
        for (text, micros) in ids.zip(times.iter()) {
            if let (Some(text), Some(micros)) = (text, micros)
                && parse(table, text)? == id
            {
                return Ok(Some(Millis(micros.div_euclid(1000))));
            }
        }
    }
    Ok(None)
}

/// Returns the earliest time so that the rows received since are at most `capacity`. The files with the newest
/// rows count whole, so that none is read.
pub async fn floor(table: &Table, capacity: usize) -> Result<Millis> {
    let failed = LakeError::away::<iceberg::Error>;
    let Some(snapshot) = table.metadata().current_snapshot() else {
        return Ok(Millis(i64::MIN));
    };
    let list = table.manifest_list_reader(snapshot).load().await;
    let mut files: Vec<(i64, u64)> = Vec::new();
    for file in list
        .map_err(failed("read the list of manifests"))?
        .entries()
    {
        let manifest = file.load_manifest(table.file_io()).await;
        for entry in manifest.map_err(failed("read a manifest"))?.entries() {
            if entry.is_alive() {
                files.push((last_receipt(table, entry.data_file()), entry.record_count()));
            }
        }
    }
    files.sort_unstable_by(|a, b| b.cmp(a));
    let mut rows = 0;
    for (last, count) in files {
        rows += count;
        if rows > capacity as u64 {
            return Ok(Millis(last.div_euclid(1000) + 1));
        }
    }
    Ok(Millis(i64::MIN))
}

/// Returns the latest time of receipt in a file, in microseconds. Without statistics it is the end of the file's day.
fn last_receipt(table: &Table, file: &DataFile) -> i64 {
    let column = table.metadata().current_schema().field_by_name(RECEIVED_AT);
    let bound = column.and_then(|column| file.upper_bounds().get(&column.id));
    match bound.map(Datum::literal) {
        Some(PrimitiveLiteral::Long(micros)) => *micros,
        _ => (i64::from(day_of(file.partition())) + 1) * 86_400_000_000 - 1,
    }
}

/// Returns the day of a partition. Without one, the file counts as of the newest day.
pub(crate) fn day_of(partition: &iceberg::spec::Struct) -> i32 {
    match partition.iter().next().flatten() {
        Some(Literal::Primitive(PrimitiveLiteral::Int(day))) => *day,
        _ => i32::MAX,
    }
}

fn from(floor: Millis) -> Predicate {
    Reference::new(RECEIVED_AT).greater_than_or_equal_to(Datum::timestamptz_micros(floor.micros()))
}

async fn look_up(
    table: &Table,
    filter: Option<Predicate>,
    suspects: &HashMap<RowId, Millis>,
    found: &mut HashSet<RowId>,
) -> Result<()> {
    let failed = LakeError::away::<iceberg::Error>;
    let mut scan = table.scan().select([MESSAGE_ID]);
    if let Some(filter) = filter {
        scan = scan.with_filter(filter);
    }
    let planned = scan
        .build()
        .map_err(failed("plan to look message ids up"))?;
    scan_tasks(table, files_of(&planned).await?, |id| {
        if suspects.contains_key(&id) {
            found.insert(id);
        }
    })
    .await
}

async fn scan_tasks(
    table: &Table,
    tasks: Vec<FileScanTask>,
    mut take: impl FnMut(RowId),
) -> Result<()> {
    let failed = LakeError::away::<iceberg::Error>;
    let tasks = futures_util::stream::iter(tasks.into_iter().map(Ok)).boxed();
    let read = table
        .reader_builder()
        .build()
        .read(tasks)
        .map_err(failed("read message ids"))?;
    let mut batches = read.stream();
    while let Some(batch) = batches.next().await {
        let batch = batch.map_err(failed("read message ids"))?;
        for text in batch.column(0).as_string::<i32>().iter().flatten() {
            take(parse(table, text)?);
        }
    }
    Ok(())
}

fn parse(table: &Table, id: &str) -> Result<RowId> {
    id.parse().map_err(|_| {
        LakeError::Table(format!(
            "{} has a row with the message id {id:?}, which is no UUID: another program wrote it; remove the row",
            table.identifier()
        ))
    })
}
