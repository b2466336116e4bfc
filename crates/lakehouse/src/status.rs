//! State of a table, for its operator.

use iceberg::spec::PrimitiveLiteral;

use crate::error::Result;
use crate::event::Millis;
use crate::lake::Lake;
use crate::listing::{Listed, Listing};
use crate::table::ids::day_of;
use crate::table::replace::content;
use crate::table::schema::RECEIVED_AT;

/// State of a table.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Status {
    /// Folder of the table.
    pub location: String,
    /// Rows of the current version.
    pub rows: u64,
    /// Data files of the current version.
    pub files: usize,
    /// Data files that are smaller than the asked size.
    pub small_files: usize,
    /// Bytes of the data files.
    pub bytes: u64,
    /// First and last day of receipt, in days since 1970.
    pub days: Option<(i32, i32)>,
    /// Versions that can be read.
    pub versions: usize,
    /// Bytes of all metadata on disk.
    pub metadata_bytes: u64,
    /// Time of the last commit.
    pub last_commit: Option<Millis>,
    /// Latest time of receipt.
    pub newest: Option<Millis>,
    /// True if another engine deleted rows by delete files, which are not counted here.
    pub has_deletes: bool,
}

/// Returns the state of the table. Files below `small_bytes` count as small.
pub async fn status(lake: &Lake, small_bytes: u64) -> Result<Status> {
    let table = lake.load().await?;
    let metadata = table.metadata();
    let content = content(&table).await?;
    let received_at = metadata.current_schema().field_id_by_name(RECEIVED_AT);
    let files: Vec<_> = content
        .entries
        .iter()
        .map(|entry| entry.data_file())
        .collect();
    let days = files.iter().map(|file| day_of(file.partition()));
    let newest =
        files.iter().filter_map(
            |file| match file.upper_bounds().get(&received_at?)?.literal() {
                PrimitiveLiteral::Long(micros) => Some(Millis(micros.div_euclid(1000))),
                _ => None,
            },
        );
    let listing = Listing::of(&table);
    let mut metadata_bytes = 0;
    let mut add = |file: Listed| metadata_bytes += file.bytes;
    listing.walk("metadata", &mut add).await?;
    Ok(Status {
        location: listing.root().to_owned(),
        rows: files.iter().map(|file| file.record_count()).sum(),
        files: files.len(),
        small_files: files
            .iter()
            .filter(|file| file.file_size_in_bytes() < small_bytes)
            .count(),
        bytes: files.iter().map(|file| file.file_size_in_bytes()).sum(),
        days: days.clone().min().zip(days.max()),
        versions: metadata.snapshots().len(),
        metadata_bytes,
        last_commit: metadata
            .current_snapshot()
            .map(|snapshot| Millis(snapshot.timestamp_ms())),
        newest: newest.max(),
        has_deletes: !content.deletes.is_empty(),
    })
}
