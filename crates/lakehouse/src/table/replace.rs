//! Commits that replace files: compaction, retention, and removal of rows.
//!
//! The `iceberg` crate has appends only. This builds the snapshot of a replacement from its parts. Manifests
//! are merged on the way, so that their number stays small.

use std::collections::{BTreeMap, HashMap, HashSet};

use iceberg::spec::{
    DataFile, FormatVersion, MAIN_BRANCH, ManifestContentType, ManifestEntryRef, ManifestFile,
    ManifestListWriter, ManifestWriter, ManifestWriterBuilder, Operation, Snapshot,
    SnapshotReference, SnapshotRetention, SnapshotSummaryCollector, Summary,
};
use iceberg::table::Table;
use iceberg::{TableRequirement, TableUpdate};
use uuid::Uuid;

use crate::error::{LakeError, Result};
use crate::event::Millis;
use crate::protocol::token::{TOKEN, Token};

/// Parts of a commit.
#[derive(Debug)]
pub struct Change {
    /// Conditions: the version that the change was made for is the current one.
    pub requirements: Vec<TableRequirement>,
    /// The new snapshot, and the new token.
    pub updates: Vec<TableUpdate>,
}

/// Content of a table's current version.
#[derive(Debug, Default)]
pub struct Content {
    /// Data files, each with its manifest entry.
    pub entries: Vec<ManifestEntryRef>,
    /// Manifests of delete files, which other engines write.
    pub deletes: Vec<ManifestFile>,
    /// Number of manifests.
    pub manifests: usize,
}

/// Reads the list of files of the table's current version.
pub async fn content(table: &Table) -> Result<Content> {
    let failed = LakeError::away::<iceberg::Error>;
    let mut content = Content::default();
    let Some(snapshot) = table.metadata().current_snapshot() else {
        return Ok(content);
    };
    let list = table.manifest_list_reader(snapshot).load().await;
    for file in list
        .map_err(failed("read the list of manifests"))?
        .entries()
    {
        content.manifests += 1;
        if file.content == ManifestContentType::Deletes {
            content.deletes.push(file.clone());
            continue;
        }
        let manifest = file.load_manifest(table.file_io()).await;
        let (entries, _) = manifest.map_err(failed("read a manifest"))?.into_parts();
        content
            .entries
            .extend(entries.into_iter().filter(|entry| entry.is_alive()));
    }
    Ok(content)
}

/// Returns the commit that takes the files `removed` out of `content`, the current version of `table`, and
/// adds `added`. The token changes: a commit that was prepared before is refused.
pub async fn replace(
    table: &Table,
    content: &Content,
    removed: &HashSet<String>,
    added: Vec<DataFile>,
    operation: Operation,
    now: Millis,
) -> Result<Change> {
    let metadata = table.metadata();
    if metadata.format_version() != FormatVersion::V2 {
        return Err(LakeError::Table(format!(
            "{} has another format version than 2; leave its upkeep to the engine that changed it",
            table.identifier()
        )));
    }
    let snapshot = write_snapshot(table, content, removed, added, operation, now).await?;
    let snapshot_id = snapshot.snapshot_id();
    let reference =
        SnapshotReference::new(snapshot_id, SnapshotRetention::branch(None, None, None));
    let token = HashMap::from([(TOKEN.to_owned(), Token::fresh().to_text())]);
    Ok(Change {
        requirements: vec![
            TableRequirement::UuidMatch {
                uuid: metadata.uuid(),
            },
            TableRequirement::RefSnapshotIdMatch {
                r#ref: MAIN_BRANCH.to_owned(),
                snapshot_id: metadata.current_snapshot_id(),
            },
        ],
        updates: vec![
            TableUpdate::AddSnapshot { snapshot },
            TableUpdate::SetSnapshotRef {
                ref_name: MAIN_BRANCH.to_owned(),
                reference,
            },
            TableUpdate::SetProperties { updates: token },
        ],
    })
}

/// Writes the manifests of the snapshot, and returns it.
async fn write_snapshot(
    table: &Table,
    content: &Content,
    removed: &HashSet<String>,
    added: Vec<DataFile>,
    operation: Operation,
    now: Millis,
) -> Result<Snapshot> {
    let metadata = table.metadata();
    let id = fresh_id(metadata.snapshots().map(|snapshot| snapshot.snapshot_id()));
    let (parent, sequence) = (
        metadata.current_snapshot_id(),
        metadata.next_sequence_number(),
    );
    let summary = summary(table, content, removed, &added, operation);
    let failed = LakeError::away::<iceberg::Error>;
    let mut manifests = content.deletes.clone();
    let written = write_manifests(table, id, content, removed, added).await;
    manifests.extend(written.map_err(failed("write a manifest"))?);
    let path = format!(
        "{}/metadata/snap-{id}-0-{}.avro",
        metadata.location(),
        Uuid::now_v7()
    );
    let listed = write_list(table, &path, (id, parent, sequence), manifests).await;
    listed.map_err(failed("write a list of manifests"))?;
    Ok(Snapshot::builder()
        .with_snapshot_id(id)
        .with_parent_snapshot_id(parent)
        .with_sequence_number(sequence)
        .with_timestamp_ms(now.0.max(metadata.last_updated_ms()))
        .with_manifest_list(path)
        .with_summary(summary)
        .with_schema_id(metadata.current_schema_id())
        .build())
}

/// Returns a positive id that is not taken.
fn fresh_id(taken: impl Iterator<Item = i64>) -> i64 {
    let taken: HashSet<i64> = taken.collect();
    loop {
        let (high, low) = Uuid::new_v4().as_u64_pair();
        let id = ((high ^ low) >> 1) as i64;
        if id > 0 && !taken.contains(&id) {
            return id;
        }
    }
}

async fn write_manifests(
    table: &Table,
    snapshot_id: i64,
    content: &Content,
    removed: &HashSet<String>,
    added: Vec<DataFile>,
) -> iceberg::Result<Vec<ManifestFile>> {
    let mut writers: BTreeMap<i32, ManifestWriter> = BTreeMap::new();
    for entry in &content.entries {
        let file = entry.data_file().clone();
        let spec = file_spec(&file, table);
        let writer = match writers.entry(spec) {
            std::collections::btree_map::Entry::Occupied(writer) => writer.into_mut(),
            std::collections::btree_map::Entry::Vacant(place) => {
                place.insert(new_manifest(table, snapshot_id, spec)?)
            }
        };
        let sequence = entry.sequence_number().unwrap_or(0);
        let file_sequence = entry.file_sequence_number.or(entry.sequence_number());
        if removed.contains(file.file_path()) {
            writer.add_delete_file(file, sequence, file_sequence)?;
        } else {
            writer.add_existing_file(
                file,
                entry.snapshot_id().unwrap_or(0),
                sequence,
                file_sequence,
            )?;
        }
    }
    let mut manifests = Vec::new();
    for writer in writers.into_values() {
        manifests.push(writer.write_manifest_file().await?);
    }
    if !added.is_empty() {
        let spec = table.metadata().default_partition_spec_id();
        let mut writer = new_manifest(table, snapshot_id, spec)?;
        for file in added {
            // The sequence number is that of the commit.
            writer.add_file(file, -1)?;
        }
        manifests.push(writer.write_manifest_file().await?);
    }
    Ok(manifests)
}

/// Returns the id of the partition spec of `file`: tables of other engines may have had another one before.
fn file_spec(file: &DataFile, table: &Table) -> i32 {
    let fields = file.partition().fields().len();
    let default = table.metadata().default_partition_spec();
    if default.fields().len() == fields {
        return default.spec_id();
    }
    let mut specs = table.metadata().partition_specs_iter();
    specs
        .find(|spec| spec.fields().len() == fields)
        .map_or(default.spec_id(), |spec| spec.spec_id())
}

fn new_manifest(table: &Table, snapshot_id: i64, spec: i32) -> iceberg::Result<ManifestWriter> {
    let metadata = table.metadata();
    let path = format!(
        "{}/metadata/{}-m0.avro",
        metadata.location(),
        Uuid::now_v7()
    );
    let spec = metadata
        .partition_spec_by_id(spec)
        .unwrap_or(metadata.default_partition_spec());
    let builder = ManifestWriterBuilder::new(
        table.file_io().new_output(path)?,
        Some(snapshot_id),
        metadata.current_schema().clone(),
        spec.as_ref().clone(),
    );
    Ok(builder.build_v2_data())
}

async fn write_list(
    table: &Table,
    path: &str,
    (snapshot_id, parent, sequence): (i64, Option<i64>, i64),
    manifests: Vec<ManifestFile>,
) -> iceberg::Result<()> {
    let file = table.file_io().new_output(path)?.writer().await?;
    let mut list = ManifestListWriter::v2(file, snapshot_id, parent, sequence);
    list.add_manifests(manifests.into_iter())?;
    list.close().await
}

/// Returns the summary, with totals that follow from the content.
fn summary(
    table: &Table,
    content: &Content,
    removed: &HashSet<String>,
    added: &[DataFile],
    operation: Operation,
) -> Summary {
    let schema = table.metadata().current_schema();
    let spec = table.metadata().default_partition_spec();
    let mut collector = SnapshotSummaryCollector::default();
    let (mut files, mut rows, mut bytes) = (0u64, 0u64, 0u64);
    let mut count = |file: &DataFile| {
        files += 1;
        rows += file.record_count();
        bytes += file.file_size_in_bytes();
    };
    for entry in &content.entries {
        let file = entry.data_file();
        if removed.contains(file.file_path()) {
            collector.remove_file(file, schema.clone(), spec.clone());
        } else {
            count(file);
        }
    }
    for file in added {
        collector.add_file(file, schema.clone(), spec.clone());
        count(file);
    }
    let mut properties = collector.build();
    for (name, total) in [
        ("data-files", files),
        ("records", rows),
        ("files-size", bytes),
    ] {
        properties.insert(format!("total-{name}"), total.to_string());
    }
    Summary {
        operation,
        additional_properties: properties,
    }
}
