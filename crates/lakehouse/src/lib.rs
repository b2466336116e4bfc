//! Writer of the lakehouse: brings the events of a queue into an Apache Iceberg table, each one once.
//!
//! # Fenced insert-if-absent
//!
//! Every copy of an event has the same [message id](event::RowId). The writer therefore checks the
//! *rows* of the table, and no position in the queue:
//!
//! 1. [`feed`] hands out messages. [`protocol::batch`] collects them and folds copies.
//! 2. [`protocol::known`] drops the ids that the table has. A suspicion is settled by
//!    `table::ids`, which reads the table.
//! 3. `table::files` writes Parquet files and syncs them.
//! 4. The commit adds the files and sets a new *token* in one step. `catalog::fence` refuses the commit if
//!    the token of the table is not the one under which the ids were found absent.
//! 5. After the commit the feed is acked.
//!
//! If the token moved, another writer appended: the new ids are read and step 2 is repeated. If the answer
//! to a commit is unknown, the table is read: its token decides. `writer` has the loop.
//!
//! # Parts
//!
//! - `catalog`: the tables of the Iceberg JDBC catalog in SQLite or PostgreSQL, so that pyiceberg and Spark
//!   open the same catalog; or a REST catalog.
//! - `storage`: local files that are on disk, folders included, before they are named anywhere. `bucket`: those
//!   of an S3-compatible store.
//! - `table`: schema, rows, Parquet files.
//! - `upkeep`: compaction, expiry of versions, retention, removal of files that nothing names.
//! - `erase`: removal of rows with every file and version that held them.
//! - [`views`]: SQL for consumers.
//!
//! The parts from `catalog` on need the feature `table`, which brings Iceberg, Parquet and Arrow.

#[cfg(feature = "table")]
pub mod bucket;
#[cfg(feature = "table")]
pub mod catalog;
mod disk;
#[cfg(feature = "table")]
pub mod erase;
pub mod error;
pub mod event;
pub mod faults;
pub mod feed;
#[cfg(feature = "table")]
pub mod lake;
#[cfg(feature = "table")]
mod listing;
pub mod protocol;
#[cfg(feature = "table")]
pub mod run;
#[cfg(feature = "table")]
pub mod status;
#[cfg(feature = "table")]
pub mod storage;
#[cfg(feature = "table")]
pub mod table;
#[cfg(feature = "table")]
pub mod upkeep;
pub mod views;
#[cfg(feature = "table")]
pub mod writer;
