-- A row of the outbox belongs to a sink, and so does a parked row: each sink confirms, postpones and parks by itself. Rows that were
-- there belong to the default sink.
CREATE TABLE new_outbox (
    -- Events that wait for a sink: a row for each event and sink. A row goes when its sink has confirmed the event.
    seq      BIGINT  NOT NULL,                   -- number of the event
    sink     TEXT    NOT NULL DEFAULT 'default', -- name of the sink
    key      BLOB    NOT NULL,                   -- key of the message
    owner    BLOB    NOT NULL,                   -- instance that publishes the row, if it has a lease in table instance
    bytes    INTEGER NOT NULL,                   -- size of the body
    attempts INTEGER NOT NULL DEFAULT 0,         -- number of attempts that were not confirmed
    since    BIGINT  NOT NULL,                   -- time at which the row was written
    due_at   BIGINT  NOT NULL,                   -- time of the next attempt
    PRIMARY KEY (seq, sink)
) WITHOUT ROWID;
INSERT INTO new_outbox (seq, key, owner, bytes, attempts, since, due_at)
    SELECT seq, key, owner, bytes, attempts, since, due_at FROM outbox ORDER BY seq;
DROP TABLE outbox;
ALTER TABLE new_outbox RENAME TO outbox;
CREATE INDEX outbox_due ON outbox (owner, sink, due_at);

CREATE TABLE new_parked (
    -- Dead letters: events that a sink has refused for good, kept until an operator decides (hookweir parked).
    seq    BIGINT  NOT NULL,                   -- number of the event
    sink   TEXT    NOT NULL DEFAULT 'default', -- name of the sink
    reason TEXT    NOT NULL,                   -- reason of the refusal
    at     BIGINT  NOT NULL,                   -- time at which the event was parked
    PRIMARY KEY (seq, sink)
) WITHOUT ROWID;
INSERT INTO new_parked (seq, reason, at) SELECT seq, reason, at FROM parked ORDER BY seq;
DROP TABLE parked;
ALTER TABLE new_parked RENAME TO parked;
