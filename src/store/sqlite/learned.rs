//! Secrets that providers handed over, one for each source.

use diesel::prelude::*;

use super::schema::learned_secret;
use super::{SqliteStore, now};
use crate::config::secret::Secret;
use crate::domain::delivery::{SourceName, UnixMillis};
use crate::store::{Learned, LearnedSecret, RELEARN_AFTER, StoreError};

impl SqliteStore {
    pub(super) fn learn_secret(
        &self,
        source: &SourceName,
        secret: &Secret,
    ) -> Result<Learned, StoreError> {
        let now = now();
        self.write(|connection| {
            let row = learned_secret::table.find(source.as_str());
            let known = row
                .select((learned_secret::secret, learned_secret::at))
                .first::<(Option<Vec<u8>>, i64)>(connection)
                .optional()?;
            let values = (
                learned_secret::secret.eq(secret.expose()),
                learned_secret::at.eq(now),
            );
            match known {
                None => {
                    diesel::insert_into(learned_secret::table)
                        .values((learned_secret::source.eq(source.as_str()), values))
                        .execute(connection)?;
                }
                // Forgotten long ago, or by a clock that was ahead.
                Some((None, at)) if at.abs_diff(now) > RELEARN_AFTER.as_millis() as u64 => {
                    diesel::update(row).set(values).execute(connection)?;
                }
                Some((known, _)) => return Ok(Learned::of(known.as_deref(), secret)),
            }
            Ok(Learned::Kept)
        })
    }

    pub(super) fn learned_secrets(&self) -> Result<Vec<LearnedSecret>, StoreError> {
        type Row = (String, Option<Vec<u8>>, i64);
        let rows = self.read(|connection| {
            learned_secret::table
                .order(learned_secret::source)
                .load::<Row>(connection)
        })?;
        let learned = |(source, secret, at): Row| LearnedSecret {
            source,
            secret: secret.map(Secret::new),
            at: UnixMillis(at),
        };
        Ok(rows.into_iter().map(learned).collect())
    }

    pub(super) fn forget_secret(&self, source: &SourceName) -> Result<bool, StoreError> {
        let now = now();
        self.write(|connection| {
            diesel::update(
                learned_secret::table
                    .find(source.as_str())
                    .filter(learned_secret::secret.is_not_null()),
            )
            .set((
                learned_secret::secret.eq(None::<Vec<u8>>),
                learned_secret::at.eq(now),
            ))
            .execute(connection)
            .map(|rows| rows > 0)
        })
    }
}
