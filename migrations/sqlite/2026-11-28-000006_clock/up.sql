-- The clock as it was when old rows were last deleted: one row. A clock that has jumped since deletes nothing.
CREATE TABLE clock (
    id   INTEGER PRIMARY KEY NOT NULL CHECK (id = 1),
    seen BIGINT  NOT NULL
);
-- The length of a lease, from its renewal to alive_until. A lease that ends later than that was taken by a clock that was ahead.
ALTER TABLE instance ADD COLUMN lease_ms BIGINT;
