-- Rows of several sinks become one.
DELETE FROM outbox AS other USING outbox AS first WHERE other.seq = first.seq AND other.sink > first.sink;
DELETE FROM parked AS other USING parked AS first WHERE other.seq = first.seq AND other.sink > first.sink;
ALTER TABLE parked DROP CONSTRAINT parked_pkey;
ALTER TABLE parked ADD CONSTRAINT parked_pkey PRIMARY KEY (seq);
ALTER TABLE parked DROP COLUMN sink;
DROP INDEX outbox_due;
CREATE INDEX outbox_due ON outbox (owner, due_at) INCLUDE (seq);
ALTER TABLE outbox DROP CONSTRAINT outbox_pkey;
ALTER TABLE outbox ADD CONSTRAINT outbox_pkey PRIMARY KEY (seq);
ALTER TABLE outbox DROP COLUMN sink;
