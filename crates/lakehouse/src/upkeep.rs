//! Upkeep of a table, beside any number of writers and other engines.
//!
//! - [`compact`] puts the small files of a day together, and merges manifests.
//! - [`retain`] drops days that are older than the retention.
//! - [`expire`] drops old versions of the table.
//! - [`remove_unnamed`] deletes files that no version names: of expired versions, and of writers that died.
//!
//! Each change requires the version that it was made for. If a writer was faster, nothing changes, and the
//! next round tries again. A writer's own process runs the upkeep between two commits, so it does not starve.

use std::collections::{BTreeMap, HashSet};
use std::time::{Duration, SystemTime};

use iceberg::spec::Operation;
use iceberg::table::Table;
use iceberg::transaction::{ApplyTransactionAction as _, Transaction};
use uuid::Uuid;

use crate::error::{LakeError, Result};
use crate::event::Millis;
use crate::lake::Lake;
use crate::listing::{Listed, Listing, METADATA, key};
use crate::table::ids::day_of;
use crate::table::replace::{Content, content, replace};
use crate::table::rewrite::{BUNDLE_BYTES, rewrite};
use crate::table::versions::thinned;

/// Settings of the upkeep.
#[derive(Clone, Copy, Debug)]
pub struct UpkeepLimits {
    /// A file below this size is small, in bytes. 0 leaves compaction to another engine.
    pub small_bytes: u64,
    /// Small files of one day that are put together.
    pub small_files: usize,
    /// Age from which a version may be dropped.
    pub keep_versions: Duration,
    /// Versions that are kept, however old.
    pub keep_count: usize,
    /// Days of events that are kept. 0 keeps all.
    pub keep_days: u32,
    /// Age from which a file that nothing names is deleted.
    pub unnamed_age: Duration,
    /// Free space of the table's disk that compaction leaves, in bytes. 0 is none.
    pub min_free: u64,
}

/// Work that one round of the upkeep has done.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct Upkept {
    /// Files that were put together.
    pub compacted: usize,
    /// Versions that were dropped.
    pub expired: usize,
    /// Files of days past the retention that were dropped.
    pub dropped: usize,
    /// Files that were deleted.
    pub deleted: usize,
}

/// Runs one round of the upkeep.
pub async fn round(lake: &Lake, limits: &UpkeepLimits, now: Millis) -> Result<Upkept> {
    let dropped = retain(lake, limits.keep_days, now).await;
    let expired = expire(lake, limits, now).await;
    let deleted = match remove_unnamed(lake, limits.unnamed_age, now).await {
        Ok(Unnamed::Deleted(files)) => Ok(files),
        Ok(Unnamed::Raced) => Ok(0),
        Err(error) => Err(error),
    };
    // Last, since it takes room: on a full disk the others still make some.
    let compacted = compact(lake, limits, now).await;
    Ok(Upkept {
        dropped: dropped?,
        expired: expired?,
        deleted: deleted?,
        compacted: compacted?,
    })
}

/// Puts the small files of one day together, if there are enough. Returns their number.
pub async fn compact(lake: &Lake, limits: &UpkeepLimits, now: Millis) -> Result<usize> {
    let table = lake.load().await?;
    let content = content(&table).await?;
    if !content.deletes.is_empty() {
        // Another engine deleted rows by delete files. It knows which files they concern.
        return Ok(0);
    }
    let Some((day, files, bytes)) = small_files(&content, limits, now) else {
        return Ok(0);
    };
    // The old files stay until their versions expire.
    Listing::of(&table).check_room(limits.min_free, bytes)?;
    let added = rewrite(&table, day, &files, Ok).await?;
    let change = replace(&table, &content, &files, added, Operation::Replace, now).await?;
    Ok(if lake.commit(change).await? {
        files.len()
    } else {
        0
    })
}

/// Puts the small files of each day together, from two on. Returns their number.
pub async fn compact_all(lake: &Lake, limits: &UpkeepLimits) -> Result<usize> {
    let limits = UpkeepLimits {
        small_files: 2,
        ..*limits
    };
    let mut total = 0;
    let mut left = usize::MAX;
    loop {
        let files = content(&lake.load().await?).await?.entries.len();
        // Files that stay small however often they are put together.
        if files >= left {
            return Ok(total);
        }
        left = files;
        match compact(lake, &limits, Millis::now()).await? {
            0 => return Ok(total),
            some => total += some,
        }
    }
}

/// Returns the day with the most small files, these, and their bytes, if they are enough. Files of a day that is over
/// are put together from two on.
fn small_files(
    content: &Content,
    limits: &UpkeepLimits,
    now: Millis,
) -> Option<(i32, HashSet<String>, u64)> {
    let mut days: BTreeMap<i32, (u64, HashSet<String>)> = BTreeMap::new();
    for entry in &content.entries {
        let file = entry.data_file();
        let size = file.file_size_in_bytes();
        let (bytes, files) = days.entry(day_of(file.partition())).or_default();
        if size < limits.small_bytes && *bytes + size <= BUNDLE_BYTES {
            *bytes += size;
            files.insert(file.file_path().to_owned());
        }
    }
    // A late event may still come on the day after.
    let is_over = |day: i32| day < now.day() - 1;
    let enough = days.into_iter().filter(|(day, (_, files))| {
        files.len()
            >= if is_over(*day) {
                2
            } else {
                limits.small_files.max(2)
            }
    });
    enough
        .max_by_key(|(_, (_, files))| files.len())
        .map(|(day, (bytes, files))| (day, files, bytes))
}

/// Drops files of days that are older than `keep_days`. Returns their number.
pub async fn retain(lake: &Lake, keep_days: u32, now: Millis) -> Result<usize> {
    if keep_days == 0 {
        return Ok(0);
    }
    let first = now
        .day()
        .saturating_sub(i32::try_from(keep_days).unwrap_or(i32::MAX));
    let table = lake.load().await?;
    let content = content(&table).await?;
    let old: HashSet<String> = content
        .entries
        .iter()
        .map(|entry| entry.data_file())
        .filter(|file| day_of(file.partition()) < first)
        .map(|file| file.file_path().to_owned())
        .collect();
    if old.is_empty() {
        return Ok(0);
    }
    let change = replace(&table, &content, &old, Vec::new(), Operation::Delete, now).await?;
    Ok(if lake.commit(change).await? {
        old.len()
    } else {
        0
    })
}

/// Longest age of versions up to which they are thinned.
const THINNED_BELOW: Duration = Duration::from_secs(3600);

/// Drops versions that are older than the limits, and some between younger ones. Returns their number.
pub async fn expire(lake: &Lake, limits: &UpkeepLimits, now: Millis) -> Result<usize> {
    let failed = LakeError::away::<iceberg::Error>;
    let table = lake.load().await?;
    let before = table.metadata().snapshots().len();
    let age = i64::try_from(limits.keep_versions.as_millis()).unwrap_or(i64::MAX);
    let limit = now.0.saturating_sub(age);
    let old = table
        .metadata()
        .snapshots()
        .filter(|snapshot| snapshot.timestamp_ms() < limit)
        .count();
    let thinned = match limits.keep_versions <= THINNED_BELOW {
        true => thinned(table.metadata(), limits.keep_count, now)?,
        // Somebody reads on from a version by its id.
        false => Vec::new(),
    };
    // A commit for each version that is dropped would cost more than it saves.
    if before <= limits.keep_count || old + thinned.len() < limits.keep_count.min(20) {
        return Ok(0);
    }
    let transaction = Transaction::new(&table);
    let action = transaction
        .expire_snapshots()
        .expire_older_than_ms(limit)
        .expire_snapshot_ids(thinned)
        .retain_last(limits.keep_count.max(1));
    let transaction = action
        .apply(transaction)
        .map_err(failed("expire versions"))?;
    let after = transaction
        .commit(&**lake.catalog())
        .await
        .map_err(failed("expire versions"))?;
    Ok(before.saturating_sub(after.metadata().snapshots().len()))
}

/// Least age of a file of another engine. Its jobs commit their files hours after they wrote them.
const FOREIGN_AGE: Duration = Duration::from_secs(3 * 24 * 60 * 60);

/// Times before which a file must have been written to be deleted.
struct Oldest {
    own: SystemTime,
    foreign: SystemTime,
}

impl Oldest {
    fn new(now: SystemTime, age: Duration) -> Self {
        let before = |age| now.checked_sub(age).unwrap_or(SystemTime::UNIX_EPOCH);
        let foreign = if age.is_zero() {
            age
        } else {
            age.max(FOREIGN_AGE)
        };
        Self {
            own: before(age),
            foreign: before(foreign),
        }
    }

    fn of(&self, key: &str) -> SystemTime {
        let name = key.rsplit('/').next().unwrap_or_default();
        // Ours have a UUID of version 7, and other engines' of version 4.
        let uuids = name.as_bytes().windows(36);
        let mut versions = uuids.filter_map(|part| Uuid::try_parse_ascii(part).ok());
        match versions.any(|uuid| uuid.get_version_num() == 7) || name.ends_with(".metadata.json") {
            true => self.own,
            false => self.foreign,
        }
    }
}

/// Outcome of the removal of files that no version names.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Unnamed {
    /// So many files were deleted.
    Deleted(usize),
    /// Nothing was deleted: another program changed the table meanwhile.
    Raced,
}

/// Deletes files of the table's folder that no version names and that are older than `age`.
///
/// A commit that was prepared before could still name such a file. So a version without changes is committed
/// first, with a new token: it refuses those commits, and a refused writer writes its files anew.
pub async fn remove_unnamed(lake: &Lake, age: Duration, now: Millis) -> Result<Unnamed> {
    let table = lake.load().await?;
    let listing = Listing::of(&table);
    let now_there = listing.now().await?;
    let oldest = Oldest::new(now_there, age);
    if candidates(&table, &listing, &oldest).await?.is_empty() {
        return Ok(Unnamed::Deleted(0));
    }
    let content = content(&table).await?;
    let nothing = HashSet::new();
    let barrier = replace(
        &table,
        &content,
        &nothing,
        Vec::new(),
        Operation::Replace,
        now,
    )
    .await?;
    if !lake.commit(barrier).await? {
        return Ok(Unnamed::Raced);
    }
    let mut deleted = 0;
    let table = lake.load().await?;
    for key in candidates(&table, &listing, &oldest).await? {
        deleted += usize::from(listing.delete(&key).await?);
    }
    Ok(Unnamed::Deleted(deleted))
}

/// Returns files that no version of `table` names and that were written before `oldest`. Files with names of other
/// engines must be older than [`FOREIGN_AGE`], too, unless `age` is zero, as for an erasure.
///
/// If the listing lacks the current metadata file, store and table name files differently, and none is returned.
async fn candidates(table: &Table, listing: &Listing, age: &Oldest) -> Result<Vec<String>> {
    let named = named_files(table).await?;
    let current = table.metadata_location().map(key);
    let mut is_listed = false;
    let (mut found, mut metadata) = (Vec::new(), Vec::new());
    for folder in ["data", "metadata"] {
        let mut take = |file: Listed| {
            is_listed |= current.as_deref() == Some(file.key.as_str());
            if named.contains(&file.key) || !is_ours(&file.key) {
                return;
            }
            // Young ones, too: a table that is written has no old one.
            if file.key.ends_with(METADATA) {
                metadata.push(file.key.clone());
            }
            if file.written < age.of(&file.key) {
                found.push(file.key);
            }
        };
        listing.walk(folder, &mut take).await?;
    }
    if !is_listed {
        return Err(LakeError::Away(format!(
            "the files of {} are listed under other names than the table has: no unused file is deleted",
            listing.root()
        )));
    }
    if !found.is_empty() {
        listing.check_owner(table, &metadata).await?;
    }
    Ok(found)
}

/// Returns `true` if the file is of a kind that a table consists of.
fn is_ours(key: &str) -> bool {
    let name = key.rsplit('/').next().unwrap_or_default();
    [".parquet", ".avro", ".metadata.json"]
        .iter()
        .any(|end| name.ends_with(end))
        || name.starts_with(".version-hint.text-")
        || name.starts_with(".clock-")
}

/// Returns the keys of all files that a version of `table` names.
async fn named_files(table: &Table) -> Result<HashSet<String>> {
    let failed = LakeError::away::<iceberg::Error>;
    let metadata = table.metadata();
    let mut named: HashSet<String> = HashSet::new();
    named.extend(table.metadata_location().map(key));
    named.extend(
        metadata
            .metadata_log()
            .iter()
            .map(|log| key(&log.metadata_file)),
    );
    named.extend(
        metadata
            .statistics_iter()
            .map(|file| key(&file.statistics_path)),
    );
    named.extend(
        metadata
            .partition_statistics_iter()
            .map(|file| key(&file.statistics_path)),
    );
    for snapshot in metadata.snapshots() {
        named.insert(key(snapshot.manifest_list()));
        let list = table.manifest_list_reader(snapshot).load().await;
        for file in list.map_err(failed("read a list of manifests"))?.entries() {
            if !named.insert(key(&file.manifest_path)) {
                // Read already.
                continue;
            }
            let manifest = file.load_manifest(table.file_io()).await;
            let manifest = manifest.map_err(failed("read a manifest"))?;
            let alive = manifest.entries().iter().filter(|entry| entry.is_alive());
            named.extend(alive.map(|entry| key(entry.file_path())));
        }
    }
    Ok(named)
}
