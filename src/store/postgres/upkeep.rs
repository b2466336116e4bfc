//! Taking over rows of dead instances, and deleting old rows. Each is one short statement.
//!
//! The planner does not know how many rows an inner `LIMIT` leaves, and would join to the whole
//! table. So chosen rows are reached by `= ANY (ARRAY (SELECT …))` of their number, or of their
//! place (`ctid`, which stays while the row is locked).

/// Gives rows for sink `$4` of owners without a live lease to `$1`, at most `$2` of each owner, if
/// `$1` has a live lease. Owners are found by hopping along the index, whatever the number of rows.
/// Rows that another instance is taking at this moment are skipped. A lease that ends later than
/// twice its length from now (`$3` if the length is unknown) was taken by a clock that was ahead,
/// and is over.
pub(super) const TAKE_OVER: &str = "
    WITH RECURSIVE owners (owner) AS (
        (SELECT owner FROM outbox ORDER BY owner LIMIT 1)
        UNION ALL
        SELECT (SELECT o.owner FROM outbox o WHERE o.owner > owners.owner ORDER BY o.owner LIMIT 1)
        FROM owners WHERE owners.owner IS NOT NULL
    ), lost AS (
        SELECT owner FROM owners
        WHERE owner IS NOT NULL AND owner <> $1
          AND NOT EXISTS (
              SELECT FROM instance WHERE id = owner AND alive_until > now()
                 AND alive_until <= now() + 2 * coalesce(lease_ms, $3) * interval '1 millisecond')
          AND EXISTS (
              SELECT FROM instance WHERE id = $1 AND alive_until > now()
                 AND alive_until <= now() + 2 * coalesce(lease_ms, $3) * interval '1 millisecond')
    ), taken AS MATERIALIZED (
        SELECT rows.seq FROM lost CROSS JOIN LATERAL (
            SELECT seq FROM outbox
            WHERE (outbox.owner, outbox.sink) >= (lost.owner, $4) AND (outbox.owner, outbox.sink) <= (lost.owner, $4)
            ORDER BY outbox.owner, outbox.sink, due_at, seq LIMIT $2 FOR UPDATE SKIP LOCKED
        ) AS rows
    )
    UPDATE outbox SET owner = $1 WHERE seq = ANY (ARRAY (SELECT seq FROM taken)) AND (sink = $4) IS TRUE";

/// Deletes at most `$1` expired keys. If a key's event still waits, the key stays and is looked at
/// again after an hour. If the next event with that key is another one, the row moves to the key of
/// its message.
pub(super) const PRUNE_KEYS: &str = "
    WITH expired AS MATERIALIZED (
        SELECT ctid AS place,
               (SELECT true FROM outbox WHERE outbox.seq = dedup.seq LIMIT 1) IS NOT NULL
               OR (SELECT true FROM parked WHERE parked.seq = dedup.seq LIMIT 1) IS NOT NULL AS waits
        FROM dedup WHERE expires_at <= now() ORDER BY expires_at LIMIT $1 FOR UPDATE SKIP LOCKED
    ), kept AS (
        UPDATE dedup SET expires_at = now() + interval '1 hour', key = CASE WHEN substr(message, 1, 16) = substr(message, 17) THEN message ELSE key END
        WHERE ctid = ANY (ARRAY (SELECT place FROM expired WHERE waits))
    )
    DELETE FROM dedup WHERE ctid = ANY (ARRAY (SELECT place FROM expired WHERE NOT waits))";

/// Forgets at most `$1` confirms that came at least `$2` milliseconds ago, and deletes their events. An event that a sink still has a
/// row of, waiting or parked, stays: it goes with that sink's confirm.
pub(super) const PRUNE_EVENTS: &str = "
    WITH old AS MATERIALIZED (
        SELECT ctid AS place, seq,
               (SELECT true FROM outbox WHERE outbox.seq = published.seq LIMIT 1) IS NOT NULL
               OR (SELECT true FROM parked WHERE parked.seq = published.seq LIMIT 1) IS NOT NULL AS waits
        FROM published WHERE at <= now() - $2 * interval '1 millisecond'
        ORDER BY at, seq LIMIT $1 FOR UPDATE SKIP LOCKED
    ), deleted AS (
        DELETE FROM event WHERE seq = ANY (ARRAY (SELECT seq FROM old WHERE NOT waits))
    )
    DELETE FROM published WHERE ctid = ANY (ARRAY (SELECT place FROM old))";

/// Deletes at most `$1` bodies that were kept for `$2` milliseconds.
pub(super) const PRUNE_CONFLICTS: &str = "
    WITH old AS MATERIALIZED (
        SELECT ctid AS place FROM conflict WHERE at <= now() - $2 * interval '1 millisecond' ORDER BY at LIMIT $1 FOR UPDATE SKIP LOCKED
    )
    DELETE FROM conflict WHERE ctid = ANY (ARRAY (SELECT place FROM old))";

/// Deletes at most `$1` refused deliveries that were kept for `$2` milliseconds.
pub(super) const PRUNE_QUARANTINE: &str = "
    WITH old AS MATERIALIZED (
        SELECT ctid AS place FROM quarantine WHERE at <= now() - $2 * interval '1 millisecond' ORDER BY at LIMIT $1 FOR UPDATE SKIP LOCKED
    )
    DELETE FROM quarantine WHERE ctid = ANY (ARRAY (SELECT place FROM old))";

/// Deletes at most `$1` entries of the record of operators that were kept for `$2` milliseconds.
pub(super) const PRUNE_AUDIT: &str = "
    WITH old AS MATERIALIZED (
        SELECT ctid AS place FROM audit WHERE at <= now() - $2 * interval '1 millisecond' ORDER BY at LIMIT $1 FOR UPDATE SKIP LOCKED
    )
    DELETE FROM audit WHERE ctid = ANY (ARRAY (SELECT place FROM old))";

/// Deletes at most `$1` jobs that ended, and were begun `$2` milliseconds ago. There are few: no index is for them.
pub(super) const PRUNE_JOBS: &str = "
    DELETE FROM republish_job WHERE id = ANY (ARRAY (
        SELECT id FROM republish_job WHERE state <> 'running' AND created_at <= now() - $2 * interval '1 millisecond'
        ORDER BY id LIMIT $1))";

/// Deletes instances that died long ago, or by a clock that was ahead. Nothing depends on them.
pub(super) const PRUNE_INSTANCES: &str = "DELETE FROM instance WHERE alive_until <= now() - interval '1 day' OR alive_until > now() + interval '1 day'";

/// The clock now, and at the last deletion.
pub(super) const CLOCK: &str = "
    SELECT (extract(epoch FROM now()) * 1000)::bigint AS now,
           (SELECT (extract(epoch FROM seen) * 1000)::bigint FROM clock WHERE id = 1) AS last";

/// Stores the time of a deletion.
pub(super) const KEEP_CLOCK: &str = "INSERT INTO clock (id, seen) VALUES (1, now()) ON CONFLICT (id) DO UPDATE SET seen = excluded.seen";

/// Cuts the time of at most `$1` keys that would be kept for longer than `$2` milliseconds from now, to half of that.
pub(super) const CUT_KEYS: &str = "
    UPDATE dedup SET expires_at = now() + $2 / 2 * interval '1 millisecond' WHERE ctid = ANY (ARRAY (
        SELECT ctid FROM dedup WHERE expires_at > now() + $2 * interval '1 millisecond'
        ORDER BY expires_at DESC LIMIT $1 FOR UPDATE SKIP LOCKED))";

/// Counts at most `$1` events as published within the last second that were published more than `$2` milliseconds ahead. Two confirms of an
/// event get times of their own.
pub(super) const CUT_PUBLISHED: &str = "
    UPDATE published SET at = now() - (hashtext(sink || at::text) & 1048575) * interval '1 microsecond' WHERE ctid = ANY (ARRAY (
        SELECT ctid FROM published WHERE at > now() + $2 * interval '1 millisecond'
        ORDER BY at DESC, seq DESC LIMIT $1 FOR UPDATE SKIP LOCKED))";

/// The same for bodies in `conflict`.
pub(super) const CUT_CONFLICTS: &str = "
    UPDATE conflict SET at = now() WHERE ctid = ANY (ARRAY (
        SELECT ctid FROM conflict WHERE at > now() + $2 * interval '1 millisecond'
        ORDER BY at DESC LIMIT $1 FOR UPDATE SKIP LOCKED))";
