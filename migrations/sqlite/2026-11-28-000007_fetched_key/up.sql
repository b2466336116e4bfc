-- Keys and certificates that deliveries named and that were fetched, so that a restart and other instances need not fetch them again: what
-- deliveries call it, the digest of the URL, and what was there.
CREATE TABLE fetched_key (
    source TEXT   NOT NULL,
    name   TEXT   NOT NULL,
    place  BLOB   NOT NULL,
    answer BLOB   NOT NULL,
    at     BIGINT NOT NULL,
    PRIMARY KEY (source, name)
);
