-- The database's clock as it was when old rows were last deleted: one row. A clock that has jumped since deletes nothing.
CREATE TABLE clock (
    id   smallint    NOT NULL PRIMARY KEY CHECK (id = 1),
    seen timestamptz NOT NULL
);
-- The length of a lease, from its renewal to alive_until. A lease that ends later than that was taken by a clock that was ahead.
ALTER TABLE instance ADD COLUMN lease_ms bigint;
