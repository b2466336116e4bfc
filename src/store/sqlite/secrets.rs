//! The role [`Secrets`] in SQLite.

use std::time::Duration;

use diesel::prelude::*;

use super::schema::{fetched_key, learned_secret};
use super::{SqliteStore, now};
use crate::config::secret::Secret;
use crate::domain::delivery::{SourceName, UnixMillis};
use crate::store::row::millis;
use crate::store::{
    FETCHED_KEYS, FetchedKey, KEEP_FETCHED, Learned, LearnedSecret, RELEARN_AFTER, Secrets,
    StoreError,
};

impl Secrets for SqliteStore {
    fn learn(&self, source: &SourceName, secret: &Secret) -> Result<Learned, StoreError> {
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

    fn learned(&self) -> Result<Vec<LearnedSecret>, StoreError> {
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

    fn forget(&self, source: &SourceName) -> Result<bool, StoreError> {
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

    fn keep_fetched(&self, key: &FetchedKey) -> Result<(), StoreError> {
        let now = now();
        self.write(|connection| {
            let values = (
                fetched_key::place.eq(&key.place),
                fetched_key::answer.eq(&key.answer),
                fetched_key::at.eq(now),
            );
            diesel::replace_into(fetched_key::table)
                .values((
                    fetched_key::source.eq(&key.source),
                    fetched_key::name.eq(&key.name),
                    values,
                ))
                .execute(connection)?;
            let kept: Vec<String> = fetched_key::table
                .filter(fetched_key::source.eq(&key.source))
                .order(fetched_key::at.desc())
                .limit(FETCHED_KEYS as i64)
                .select(fetched_key::name)
                .load(connection)?;
            let expired = fetched_key::at.lt(now.saturating_sub(millis(KEEP_FETCHED)));
            let too_many = fetched_key::source
                .eq(&key.source)
                .and(fetched_key::name.ne_all(kept));
            diesel::delete(fetched_key::table.filter(expired.or(too_many)))
                .execute(connection)
                .map(drop)
        })
    }

    fn fetched(&self) -> Result<Vec<FetchedKey>, StoreError> {
        type Row = (String, String, Vec<u8>, Vec<u8>, i64);
        let rows = self.read(|connection| {
            fetched_key::table
                .order((fetched_key::source, fetched_key::name))
                .load::<Row>(connection)
        })?;
        let now = now();
        let key = |(of, called, place, answer, since): Row| FetchedKey {
            source: of,
            name: called,
            place,
            answer,
            age: Duration::from_millis(u64::try_from(now.saturating_sub(since)).unwrap_or(0)),
        };
        Ok(rows.into_iter().map(key).collect())
    }
}
