-- Keys and certificates that deliveries named and that were fetched, so that a restart and other instances need not fetch them again: what
-- deliveries call it, the digest of the URL, and what was there.
CREATE TABLE fetched_key (
    source text        NOT NULL,
    name   text        NOT NULL,
    place  bytea       NOT NULL,
    answer bytea       NOT NULL,
    at     timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (source, name)
);
