-- The store on SQLite. Times are milliseconds since 1970, UTC. migrations/postgres holds the same tables.
--
-- Later migrations first expand (add a table, a column with a default), and contract only in a later release, so that a release and
-- the one before it can work on the same schema.

-- Keys that were accepted: the one thing that decides between a new event and a duplicate. seq is the number of the first event; it is
-- never used again (AUTOINCREMENT), because a confirm may arrive late.
CREATE TABLE dedup (
    seq        INTEGER PRIMARY KEY AUTOINCREMENT NOT NULL,
    key        BLOB    NOT NULL CHECK (length(key) = 32),
    guard      BLOB,
    digest     BLOB    NOT NULL,
    source     TEXT    NOT NULL,
    expires_at BIGINT  NOT NULL
);
CREATE UNIQUE INDEX dedup_key ON dedup (key);
CREATE UNIQUE INDEX dedup_guard ON dedup (guard) WHERE guard IS NOT NULL;
CREATE INDEX dedup_expires_at ON dedup (expires_at);

-- Events as received. A row is written once and deleted once.
CREATE TABLE event (
    seq          INTEGER PRIMARY KEY NOT NULL,
    key          BLOB    NOT NULL,
    source       TEXT    NOT NULL,
    event_id     TEXT    NOT NULL,
    event_type   TEXT,
    content_type TEXT,
    headers      TEXT    NOT NULL,
    received_at  BIGINT  NOT NULL,
    body         BLOB    NOT NULL
);

-- What waits for the queue. Narrow, so that half a million rows are no burden; bytes is the size of the body.
CREATE TABLE outbox (
    seq        INTEGER PRIMARY KEY NOT NULL,
    key        BLOB    NOT NULL,
    owner      BLOB    NOT NULL,
    bytes      INTEGER NOT NULL,
    attempts   INTEGER NOT NULL DEFAULT 0,
    since      BIGINT  NOT NULL,
    due_at     BIGINT  NOT NULL
);
CREATE INDEX outbox_due ON outbox (owner, due_at, seq);

-- What the queue has confirmed, and when: tells which events may go once they were kept long enough.
CREATE TABLE published (
    seq        BIGINT  NOT NULL,
    at         BIGINT  NOT NULL,
    PRIMARY KEY (at, seq)
) WITHOUT ROWID;

-- Events that can never be published; they stay until an operator decides.
CREATE TABLE parked (
    seq        INTEGER PRIMARY KEY NOT NULL,
    reason     TEXT    NOT NULL,
    at         BIGINT  NOT NULL
);

-- Other bodies that came under a known key, each once.
CREATE TABLE conflict (
    key          BLOB   NOT NULL,
    digest       BLOB   NOT NULL,
    source       TEXT   NOT NULL,
    event_id     TEXT   NOT NULL,
    content_type TEXT,
    headers      TEXT   NOT NULL,
    received_at  BIGINT NOT NULL,
    at           BIGINT NOT NULL,
    body         BLOB   NOT NULL,
    PRIMARY KEY (key, digest)
);
CREATE INDEX conflict_at ON conflict (at);

-- Running instances. One without a row, or past alive_until, has lost its claim to its outbox rows.
CREATE TABLE instance (
    id          BLOB PRIMARY KEY NOT NULL,
    alive_until BIGINT NOT NULL
);
