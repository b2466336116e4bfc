-- Rows of several sinks become one.
CREATE TABLE old_parked (
    seq        INTEGER PRIMARY KEY NOT NULL,
    reason     TEXT    NOT NULL,
    at         BIGINT  NOT NULL
);
INSERT OR IGNORE INTO old_parked (seq, reason, at) SELECT seq, reason, at FROM parked ORDER BY seq, sink;
DROP TABLE parked;
ALTER TABLE old_parked RENAME TO parked;
CREATE TABLE old_outbox (
    seq        INTEGER PRIMARY KEY NOT NULL,
    key        BLOB    NOT NULL,
    owner      BLOB    NOT NULL,
    bytes      INTEGER NOT NULL,
    attempts   INTEGER NOT NULL DEFAULT 0,
    since      BIGINT  NOT NULL,
    due_at     BIGINT  NOT NULL
);
INSERT OR IGNORE INTO old_outbox SELECT seq, key, owner, bytes, attempts, since, due_at FROM outbox ORDER BY seq, sink;
DROP TABLE outbox;
ALTER TABLE old_outbox RENAME TO outbox;
CREATE INDEX outbox_due ON outbox (owner, due_at, seq);
