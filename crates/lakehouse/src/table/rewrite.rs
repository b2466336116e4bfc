//! Copies of rows in new files: for compaction, and for erasure.

use std::collections::HashSet;

use arrow_array::RecordBatch;
use futures_util::StreamExt as _;
use iceberg::scan::FileScanTask;
use iceberg::spec::DataFile;
use iceberg::table::Table;

use super::files::DayWriter;
use super::ids::files_of;
use crate::error::{LakeError, Result};

/// Bytes of files that are rewritten in one commit.
pub(crate) const BUNDLE_BYTES: u64 = 256 << 20;

/// Compressed bytes that are read at once, about.
const READ_BYTES: u64 = 1 << 20;

/// Copies the rows of `files`, which are of `day`, to new files. `keep` returns the rows of a batch that are
/// copied.
pub(crate) async fn rewrite(
    table: &Table,
    day: i32,
    files: &HashSet<String>,
    keep: impl Fn(RecordBatch) -> Result<RecordBatch>,
) -> Result<Vec<DataFile>> {
    let failed = LakeError::away::<iceberg::Error>;
    let plan = table
        .scan()
        .select_all()
        .build()
        .map_err(failed("plan to rewrite files"))?;
    let tasks = files_of(&plan).await?;
    let mut tasks: Vec<_> = tasks;
    tasks.retain(|task| files.contains(&task.data_file_path));
    let rows_at_once = rows_at_once(&tasks);
    let tasks: Vec<_> = tasks.into_iter().map(Ok).collect();
    let reader = table
        .reader_builder()
        .with_data_file_concurrency_limit(1)
        .with_batch_size(rows_at_once)
        .build();
    let read = reader.read(futures_util::stream::iter(tasks).boxed());
    let mut batches = read.map_err(failed("read a file of the table"))?.stream();
    let mut writer: Option<DayWriter> = None;
    while let Some(batch) = batches.next().await {
        let batch = keep(batch.map_err(failed("read a file of the table"))?)?;
        if batch.num_rows() == 0 {
            continue;
        }
        let writer = match &mut writer {
            Some(writer) => writer,
            none => none.insert(DayWriter::new(table, day).await?),
        };
        writer.write(batch).await?;
    }
    match writer {
        Some(writer) => writer.close().await,
        None => Ok(Vec::new()),
    }
}

/// Returns the number of rows that are read at once: fewer of large ones.
fn rows_at_once(tasks: &[FileScanTask]) -> usize {
    let bytes: u64 = tasks.iter().map(|task| task.file_size_in_bytes).sum();
    let rows: u64 = tasks.iter().filter_map(|task| task.record_count).sum();
    let each = (bytes / rows.max(1)).max(1);
    usize::try_from(READ_BYTES / each).map_or(1024, |rows| rows.clamp(1, 1024))
}
