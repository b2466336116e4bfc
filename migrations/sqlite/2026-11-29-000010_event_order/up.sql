-- Order of events at a sink: a row of an ordered sink has the number of its key. Rows of other sinks have none.
ALTER TABLE outbox ADD COLUMN order_key BIGINT;
CREATE INDEX outbox_order ON outbox (sink, order_key, seq) WHERE order_key IS NOT NULL;

-- A parked event holds the later ones of its key.
ALTER TABLE parked ADD COLUMN order_key BIGINT;
CREATE INDEX parked_order ON parked (sink, order_key, seq) WHERE order_key IS NOT NULL;
