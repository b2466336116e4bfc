//! Parquet files with events, one or more for each day.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow_array::RecordBatch;
use arrow_schema::SchemaRef;
use iceberg::arrow::schema_to_arrow_schema;
use iceberg::spec::{DataFile, Literal, PartitionKey, Struct};
use iceberg::table::Table;
use iceberg::writer::base_writer::data_file_writer::{DataFileWriter, DataFileWriterBuilder};
use iceberg::writer::file_writer::ParquetWriterBuilder;
use iceberg::writer::file_writer::location_generator::{
    DefaultLocationGenerator, FileNameGenerator,
};
use iceberg::writer::file_writer::rolling_writer::RollingFileWriterBuilder;
use iceberg::writer::{IcebergWriter as _, IcebergWriterBuilder as _};
use parquet::basic::{Compression, ZstdLevel};
use parquet::file::properties::{EnabledStatistics, WriterProperties};
use parquet::schema::types::ColumnPath;

use super::rows::record_batch;
use super::schema::WITHOUT_STATISTICS;
use crate::error::{LakeError, Result};
use crate::event::{Event, Millis};
use crate::faults;

/// Bytes of events that are converted to Arrow at once. Bounds the memory, and keeps 32-bit offsets in range.
const CHUNK_BYTES: usize = 4 << 20;

/// Size in bytes at which a file is closed and another one begun.
const FILE_BYTES: usize = 128 << 20;

/// Rows of a row group: about 20 MB of usual bodies.
const ROW_GROUP: usize = 16 * 1024;

/// Bytes of a row group, which is in memory until it is whole.
const ROW_GROUP_BYTES: usize = 16 << 20;

/// Names of data files: a UUID. Two processes never write to the same file.
#[derive(Clone, Debug)]
struct UniqueNames;

impl FileNameGenerator for UniqueNames {
    fn generate_file_name(&self) -> String {
        format!("{}.parquet", uuid::Uuid::now_v7())
    }
}

/// Writes `events` to new files of `table`, and syncs them. No version of the table names them yet.
pub async fn write(table: &Table, events: &[Event], committed_at: Millis) -> Result<Vec<DataFile>> {
    let schema = table.metadata().current_schema();
    let arrow = schema_to_arrow_schema(schema).map_err(LakeError::away("convert the schema"))?;
    let arrow: SchemaRef = Arc::new(arrow);
    let mut days: BTreeMap<i32, Vec<&Event>> = BTreeMap::new();
    for event in events {
        days.entry(event.received_at.day()).or_default().push(event);
    }
    let mut files = Vec::new();
    for (day, mut events) in days {
        events.sort_by(|a, b| (&a.source, a.received_at).cmp(&(&b.source, b.received_at)));
        files.extend(write_day(table, &arrow, day, &events, committed_at).await?);
    }
    Ok(files)
}

async fn write_day(
    table: &Table,
    arrow: &SchemaRef,
    day: i32,
    events: &[&Event],
    committed_at: Millis,
) -> Result<Vec<DataFile>> {
    let mut writer = DayWriter::new(table, day).await?;
    for chunk in chunks(events) {
        let batch = record_batch(arrow, chunk, committed_at)
            .map_err(LakeError::away("convert events to columns"))?;
        writer.write(batch).await?;
    }
    writer.close().await
}

type FileWriter = DataFileWriter<ParquetWriterBuilder, DefaultLocationGenerator, UniqueNames>;

/// Writer of new files for one day.
pub(crate) struct DayWriter(FileWriter);

impl DayWriter {
    /// Begins files of `table` for events received on `day`.
    pub(crate) async fn new(table: &Table, day: i32) -> Result<Self> {
        let metadata = table.metadata();
        let schema = metadata.current_schema().clone();
        let spec = metadata.default_partition_spec().as_ref().clone();
        let day = Struct::from_iter([Some(Literal::date(day))]);
        let partition = PartitionKey::new(spec, schema.clone(), day);
        let locations =
            DefaultLocationGenerator::new(metadata).map_err(LakeError::away("name a file"))?;
        let parquet = ParquetWriterBuilder::new(parquet_properties(), schema);
        let files = table.file_io().clone();
        let rolling =
            RollingFileWriterBuilder::new(parquet, FILE_BYTES, files, locations, UniqueNames);
        let writer = DataFileWriterBuilder::new(rolling)
            .build(Some(partition))
            .await;
        writer
            .map(Self)
            .map_err(LakeError::away("begin a file of the table"))
    }

    /// Adds rows.
    pub(crate) async fn write(&mut self, batch: RecordBatch) -> Result<()> {
        self.0
            .write(batch)
            .await
            .map_err(LakeError::away("write a file of the table"))
    }

    /// Syncs the files.
    pub(crate) async fn close(mut self) -> Result<Vec<DataFile>> {
        self.0
            .close()
            .await
            .map_err(LakeError::away("finish a file of the table"))
    }
}

/// Divides `events` into chunks of about [`CHUNK_BYTES`].
fn chunks<'a, 'e>(events: &'a [&'e Event]) -> impl Iterator<Item = &'a [&'e Event]> {
    let mut rest = events;
    std::iter::from_fn(move || {
        let mut bytes = 0;
        let fits = rest.iter().take_while(|event| {
            let first = bytes == 0;
            bytes += event.size();
            first || bytes <= CHUNK_BYTES
        });
        let (chunk, after) = rest.split_at(fits.count());
        rest = after;
        (!chunk.is_empty()).then_some(chunk)
    })
}

/// Returns the properties of data files.
///
/// Statistics are never cut: the `iceberg` crate ignores row groups whose statistics are cut, and the bounds of
/// the file would be wrong. A reader that filters would then miss rows.
fn parquet_properties() -> WriterProperties {
    let zstd = ZstdLevel::try_new(3).unwrap_or_default();
    let cut = faults::makes("lake_statistics_cut").then_some(64);
    let mut builder = WriterProperties::builder()
        .set_compression(Compression::ZSTD(zstd))
        .set_statistics_truncate_length(cut)
        .set_column_index_truncate_length(None)
        .set_max_row_group_row_count(Some(ROW_GROUP))
        .set_max_row_group_bytes(Some(ROW_GROUP_BYTES));
    for name in ["message_id", "event_id", "body", "body_bytes"] {
        builder = builder.set_column_dictionary_enabled(ColumnPath::from(name), false);
    }
    let mut silent: Vec<ColumnPath> = WITHOUT_STATISTICS
        .iter()
        .map(|name| ColumnPath::from(*name))
        .collect();
    for leaf in ["key", "value"] {
        let path = ["headers", "key_value", leaf].map(str::to_owned);
        silent.push(ColumnPath::new(path.to_vec()));
    }
    for path in silent {
        builder = builder.set_column_statistics_enabled(path, EnabledStatistics::None);
    }
    builder.build()
}
