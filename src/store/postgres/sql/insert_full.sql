-- The same as insert.sql, with the columns that few events fill, and for any number of sinks.
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
    FROM unnest($4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, $18, $19, $20) WITH ORDINALITY
        AS i (key, guard, digest, source, event_id, event_type, content_type, headers, received_at, ttl, body, verified_by,
            message, replay, conflict_of, same_bytes_as, sinks, place)
), fresh AS (
    -- Keys go in in order, so that two batches with common keys do not wait for each other in a circle.
    INSERT INTO dedup (key, guard, digest, source, seq, expires_at, message, replay)
    SELECT key, guard, digest, source, seq, now() + ttl * interval '1 millisecond', message, replay
    FROM input ORDER BY key
), stored AS (
    INSERT INTO event (seq, key, source, event_id, event_type, content_type, headers, received_at, body, verified_by, conflict_of, same_bytes_as)
    SELECT seq, coalesce(message, key), source, event_id, event_type, content_type, headers, received_at, body, verified_by, conflict_of, same_bytes_as
    FROM input
), queued AS (
    -- A row for each sink of the event. A list in a text, since a join with another input may be made by sorting the bodies.
    -- In it, an ordered sink has the event's key behind its name: "sink=1234".
    INSERT INTO outbox (seq, key, bytes, owner, sink, order_key)
    SELECT seq, coalesce(message, key), length(body), $21, split_part(sink.name, '=', 1), nullif(split_part(sink.name, '=', 2), '')::bigint
    FROM input CROSS JOIN LATERAL unnest(string_to_array(sinks, ',')) AS sink (name)
), filtered AS (
    -- An event that no sink wants is kept like one that was published now.
    INSERT INTO published (seq) SELECT seq FROM input WHERE sinks = ''
)
SELECT place, seq, synced FROM input
