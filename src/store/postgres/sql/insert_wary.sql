-- The same as insert.sql, but known keys are passed over: the events that it returns were new.
WITH gone AS (
    -- IS TRUE: the way is by number, through outbox_pkey. An index that has the sink is not to be tried.
    DELETE FROM outbox WHERE seq = ANY ($1) AND (sink = $2) IS TRUE RETURNING seq
), told AS (
    INSERT INTO published (seq) SELECT seq FROM gone
), input AS MATERIALIZED (
    -- One row for each event of the batch. "synced" is evaluated before anything is stored: it makes this commit durable,
    -- whatever the session was told, and fails in a schema that is not the store's.
    SELECT nextval('event_seq') AS seq, (SELECT CASE WHEN current_schema() = $3 THEN
        set_config('synchronous_commit',
            CASE current_setting('synchronous_commit') WHEN 'remote_apply' THEN 'remote_apply' ELSE 'on' END, true)
        ELSE ('the schema in force is ' || coalesce(current_schema(), 'none'))::integer::text END) AS synced, i.*
    FROM unnest($4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15) WITH ORDINALITY
        AS i (key, guard, digest, source, event_id, event_type, content_type, headers, received_at, ttl, body, verified_by, place)
), fresh AS (
    -- Keys go in in order, so that two batches with common keys do not wait for each other in a circle.
    INSERT INTO dedup (key, guard, digest, source, seq, expires_at)
    SELECT key, guard, digest, source, seq, now() + ttl * interval '1 millisecond'
    FROM input ORDER BY key
    ON CONFLICT DO NOTHING RETURNING seq
), stored AS (
    INSERT INTO event (seq, key, source, event_id, event_type, content_type, headers, received_at, body, verified_by)
    SELECT seq, key, source, event_id, event_type, content_type, headers, received_at, body, verified_by
    FROM input JOIN fresh USING (seq)
), queued AS (
    INSERT INTO outbox (seq, key, bytes, owner, sink)
    SELECT seq, key, length(body), $16, $17
    FROM input JOIN fresh USING (seq)
)
SELECT place, seq, synced FROM input JOIN fresh USING (seq)
