//! Known events of a batch: the rows that have their keys, and the bodies of those that conflict.

use diesel::prelude::*;
use diesel::sql_query;
use diesel::sql_types::{Array, BigInt, Binary, Integer, Nullable, Text};

use crate::store::row::{Decision, KnownRow, Met, decide, headers_to_text};
use crate::store::{Inserted, NewEvent};

/// Returns the results of events that were not new. None for an event that has to be tried again.
/// Stores the bodies of events that conflict.
pub(super) fn look_up(
    connection: &mut PgConnection,
    known: &[&NewEvent],
) -> QueryResult<Vec<Option<Inserted>>> {
    let mut inserted = Vec::with_capacity(known.len());
    let (mut conflicts, mut over) = (Vec::new(), Vec::new());
    for (new, met) in known.iter().zip(met(connection, known)?) {
        inserted.push(match decide(new, &met)? {
            Decision::Known(known) => {
                if matches!(known, Inserted::Conflict(_)) {
                    conflicts.push(*new);
                }
                Some(known)
            }
            Decision::GivesWay => {
                over.push(&new.key.as_bytes()[..]);
                None
            }
            Decision::Gone => None,
        });
    }
    keep_conflicts(connection, &conflicts)?;
    if !over.is_empty() {
        // What another instance has made anew meanwhile is not past its time.
        sql_query(GIVE_WAY)
            .bind::<Array<Binary>, _>(&over)
            .execute(connection)?;
    }
    Ok(inserted)
}

/// Moves rows past their time to the key of their message, if nothing else names the message. They
/// stay for as long as they would have.
const GIVE_WAY: &str = "
    UPDATE dedup SET key = message
    WHERE key = ANY ($1) AND expires_at <= now() AND substr(message, 1, 16) = substr(message, 17) AND message <> key";

/// A row of [`MET`].
#[derive(QueryableByName)]
struct MetRow {
    #[diesel(sql_type = BigInt)]
    place: i64,
    #[diesel(sql_type = Integer)]
    by: i32,
    #[diesel(sql_type = BigInt)]
    seq: i64,
    #[diesel(sql_type = Binary)]
    key: Vec<u8>,
    #[diesel(sql_type = Nullable<Binary>)]
    message: Option<Vec<u8>>,
    #[diesel(sql_type = Binary)]
    digest: Vec<u8>,
    #[diesel(sql_type = BigInt)]
    time_left: i64,
}

/// Returns the rows that have one of the events' keys.
fn met(connection: &mut PgConnection, known: &[&NewEvent]) -> QueryResult<Vec<Met>> {
    let keys: Vec<&[u8]> = known.iter().map(|new| &new.key.as_bytes()[..]).collect();
    let guards: Vec<Option<&[u8]>> = known
        .iter()
        .map(|new| new.bytes_key.as_ref().map(|key| &key.as_bytes()[..]))
        .collect();
    let replays: Vec<Option<&[u8]>> = known
        .iter()
        .map(|new| new.replay.as_ref().map(|key| &key.as_bytes()[..]))
        .collect();
    let rows: Vec<MetRow> = sql_query(MET)
        .bind::<Array<Binary>, _>(&keys)
        .bind::<Array<Nullable<Binary>>, _>(&guards)
        .bind::<Array<Nullable<Binary>>, _>(&replays)
        .load(connection)?;
    let mut met: Vec<Met> = known.iter().map(|_| Met::default()).collect();
    for row in rows {
        let place = usize::try_from(row.place - 1).ok();
        let Some(met) = place.and_then(|at| met.get_mut(at)) else {
            continue;
        };
        let by = row.by;
        let row = Some(KnownRow {
            seq: row.seq,
            key: row.key,
            message: row.message,
            digest: row.digest,
            left: row.time_left,
        });
        match by {
            0 => met.by_key = row,
            1 => met.by_bytes = row,
            _ => met.by_replay = row,
        }
    }
    Ok(met)
}

/// Rows with an event's key (0), its bytes (1) and its signed request (2). Each is one look into an
/// index, whatever the planner believes of the tables.
const MET: &str = "
    SELECT i.place, found.by, found.seq, found.key, found.message, found.digest,
           ceil(extract(epoch FROM found.expires_at - now()) * 1000)::bigint AS time_left
    FROM unnest($1, $2, $3) WITH ORDINALITY AS i (key, guard, replay, place)
    CROSS JOIN LATERAL (
        (SELECT 0 AS by, d.* FROM dedup d WHERE d.key = i.key LIMIT 1)
        UNION ALL (SELECT 1, d.* FROM dedup d WHERE d.guard = i.guard LIMIT 1)
        UNION ALL (SELECT 2, d.* FROM dedup d WHERE d.replay = i.replay LIMIT 1)
    ) AS found";

fn keep_conflicts(connection: &mut PgConnection, conflicts: &[&NewEvent]) -> QueryResult<()> {
    // One by one: they are rare, and large bodies need not be copied into one more array.
    for new in conflicts {
        sql_query(
            "INSERT INTO conflict (key, digest, source, event_id, content_type, headers, received_at, body)
             VALUES ($1, $2, $3, $4, $5, $6, $7, $8) ON CONFLICT DO NOTHING",
        )
        .bind::<Binary, _>(&new.key.as_bytes()[..])
        .bind::<Binary, _>(&new.digest.as_bytes()[..])
        .bind::<Text, _>(new.source.as_str())
        .bind::<Text, _>(new.event_id.as_str())
        .bind::<Nullable<Text>, _>(new.content_type.as_deref())
        .bind::<Text, _>(headers_to_text(&new.headers))
        .bind::<BigInt, _>(new.received_at.0)
        .bind::<Binary, _>(&new.body[..])
        .execute(connection)?;
    }
    Ok(())
}
