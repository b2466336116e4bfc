//! Versions that are dropped before their age.

use std::collections::HashMap;

use iceberg::spec::{Snapshot, SnapshotRef, SnapshotReference, TableMetadata};
use serde::Deserialize;

use crate::error::{LakeError, Result};
use crate::event::Millis;

/// Age from which versions are thinned.
const THIN_AGE: i64 = 300_000;
/// Number of versions from which on younger ones are thinned, too.
const THIN_COUNT: usize = 200;
/// Least time between two versions that stay.
const STEP: i64 = 60_000;

/// Returns ids of versions to drop, so that about one a minute is left. Each commit writes all versions again.
///
/// Only a version whose files are all in the next one goes: a query on it still finds them. The newest `keep` stay. A
/// table with a branch or a tag of another program is left as it is.
pub(crate) fn thinned(metadata: &TableMetadata, keep: usize, now: Millis) -> Result<Vec<i64>> {
    if references(metadata)? > 1 {
        return Ok(Vec::new());
    }
    let mut versions: Vec<&SnapshotRef> = metadata.snapshots().collect();
    versions.sort_by_key(|version| std::cmp::Reverse(version.sequence_number()));
    let mut kept_at = i64::MAX;
    let mut thinned = Vec::new();
    for (place, pair) in (1..).zip(versions.windows(2)) {
        let [next, version] = pair else { continue };
        let at = version.timestamp_ms();
        let is_recent = place < keep || (place < THIN_COUNT && at > now.0 - THIN_AGE);
        let goes =
            !is_recent && has_all_files_of(next, version) && kept_at.saturating_sub(at) < STEP;
        if goes {
            thinned.push(version.snapshot_id());
        } else {
            kept_at = at;
        }
    }
    Ok(thinned)
}

fn has_all_files_of(next: &Snapshot, version: &Snapshot) -> bool {
    let summary = &next.summary().additional_properties;
    let has_no = |name: &str| summary.get(name).is_none_or(|count| count == "0");
    next.parent_snapshot_id() == Some(version.snapshot_id())
        && has_no("deleted-data-files")
        && has_no("added-delete-files")
}

/// Returns the number of branches and tags. The `iceberg` crate does not hand them out.
fn references(metadata: &TableMetadata) -> Result<usize> {
    #[derive(Deserialize)]
    struct Named {
        #[serde(default)]
        refs: HashMap<String, SnapshotReference>,
    }
    let read = serde_json::to_value(metadata).and_then(serde_json::from_value::<Named>);
    let named = read.map_err(LakeError::away("read the branches of the table"))?;
    Ok(named.refs.len())
}
