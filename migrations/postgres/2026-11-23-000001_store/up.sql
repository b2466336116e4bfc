-- The store on PostgreSQL, in the schema that search_path names. migrations/sqlite holds the same tables.
--
-- Later migrations first expand (add a table, a nullable column), and contract only in a later release, so that instances of a release
-- and of the one before it can work on the same schema.

-- Numbers events; the same number follows an event through event, outbox, published and parked.
CREATE SEQUENCE event_seq;

-- Keys that were accepted: the one thing that decides between a new event and a duplicate. Never to be partitioned by time, since a
-- unique index of a partitioned table must contain the partition key.
CREATE TABLE dedup (
    key        bytea       NOT NULL PRIMARY KEY CHECK (length(key) = 32),
    guard      bytea,
    digest     bytea       NOT NULL,
    source     text        NOT NULL,
    seq        bigint      NOT NULL,
    expires_at timestamptz NOT NULL
) WITH (autovacuum_vacuum_scale_factor = 0.02, autovacuum_vacuum_insert_scale_factor = 0.05);
CREATE UNIQUE INDEX dedup_guard ON dedup (guard) WHERE guard IS NOT NULL;
CREATE INDEX dedup_expires_at ON dedup (expires_at);

-- Events as received. A row is written once and deleted once. Bodies are not compressed: it would cost more CPU than all the rest.
CREATE TABLE event (
    seq          bigint NOT NULL PRIMARY KEY,
    key          bytea  NOT NULL,
    source       text   NOT NULL,
    event_id     text   NOT NULL,
    event_type   text,
    content_type text,
    headers      text   NOT NULL,
    received_at  bigint NOT NULL,
    body         bytea  NOT NULL
) WITH (autovacuum_vacuum_scale_factor = 0.02, autovacuum_vacuum_insert_scale_factor = 0.05, toast.autovacuum_vacuum_scale_factor = 0.02);
ALTER TABLE event ALTER COLUMN body SET STORAGE EXTERNAL;

-- What waits for the queue. Narrow, so that half a million rows are no burden; bytes is the size of the body. Every row is soon
-- deleted again: vacuum it early, at full speed, and never truncate it (that takes an exclusive lock).
CREATE TABLE outbox (
    seq        bigint      NOT NULL PRIMARY KEY,
    key        bytea       NOT NULL,
    owner      bytea       NOT NULL,
    bytes      integer     NOT NULL,
    attempts   integer     NOT NULL DEFAULT 0,
    since      timestamptz NOT NULL DEFAULT now(),
    due_at     timestamptz NOT NULL DEFAULT now()
) WITH (
    autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 5000, autovacuum_vacuum_cost_delay = 0, vacuum_truncate = off
);
CREATE INDEX outbox_due ON outbox (owner, due_at, seq);

-- What the queue has confirmed, and when: tells which events may go once they were kept long enough.
CREATE TABLE published (
    seq        bigint      NOT NULL,
    at         timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (at, seq)
) WITH (autovacuum_vacuum_scale_factor = 0.02);

-- Events that can never be published; they stay until an operator decides.
CREATE TABLE parked (
    seq        bigint      NOT NULL PRIMARY KEY,
    reason     text        NOT NULL,
    at         timestamptz NOT NULL DEFAULT now()
);

-- Other bodies that came under a known key, each once.
CREATE TABLE conflict (
    key          bytea       NOT NULL,
    digest       bytea       NOT NULL,
    source       text        NOT NULL,
    event_id     text        NOT NULL,
    content_type text,
    headers      text        NOT NULL,
    received_at  bigint      NOT NULL,
    at           timestamptz NOT NULL DEFAULT now(),
    body         bytea       NOT NULL,
    PRIMARY KEY (key, digest)
);
CREATE INDEX conflict_at ON conflict (at);

-- Running instances. One without a row, or past alive_until, has lost its claim to its outbox rows.
CREATE TABLE instance (
    id          bytea       NOT NULL PRIMARY KEY,
    alive_until timestamptz NOT NULL
);
