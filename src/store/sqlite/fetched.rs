//! Keys and certificates that deliveries named and that were fetched.

use std::time::Duration;

use diesel::prelude::*;

use super::schema::fetched_key::{self, at, name, source};
use super::{SqliteStore, now};
use crate::store::row::millis;
use crate::store::{FETCHED_KEYS, FetchedKey, KEEP_FETCHED, StoreError};

impl SqliteStore {
    pub(super) fn keep_fetched_key(&self, key: &FetchedKey) -> Result<(), StoreError> {
        let now = now();
        self.write(|connection| {
            let values = (
                fetched_key::place.eq(&key.place),
                fetched_key::answer.eq(&key.answer),
                at.eq(now),
            );
            diesel::replace_into(fetched_key::table)
                .values((source.eq(&key.source), name.eq(&key.name), values))
                .execute(connection)?;
            let kept: Vec<String> = fetched_key::table
                .filter(source.eq(&key.source))
                .order(at.desc())
                .limit(FETCHED_KEYS as i64)
                .select(name)
                .load(connection)?;
            let expired = at.lt(now.saturating_sub(millis(KEEP_FETCHED)));
            let too_many = source.eq(&key.source).and(name.ne_all(kept));
            diesel::delete(fetched_key::table.filter(expired.or(too_many)))
                .execute(connection)
                .map(drop)
        })
    }

    pub(super) fn fetched_keys(&self) -> Result<Vec<FetchedKey>, StoreError> {
        type Row = (String, String, Vec<u8>, Vec<u8>, i64);
        let rows = self.read(|connection| {
            fetched_key::table
                .order((source, name))
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
