-- Order of events at a sink: a row of an ordered sink has the number of its key. Rows of other sinks have none, and cost neither bytes nor
-- a place in an index. The release before works on this schema beside this one, without ordered sinks.
ALTER TABLE outbox ADD COLUMN order_key bigint;
CREATE INDEX outbox_order ON outbox (sink, order_key, seq) WHERE order_key IS NOT NULL;

-- A parked event holds the later ones of its key.
ALTER TABLE parked ADD COLUMN order_key bigint;
CREATE INDEX parked_order ON parked (sink, order_key, seq) WHERE order_key IS NOT NULL;

-- One instance at a time publishes the events of an ordered sink.
CREATE TABLE sink_holder (
    sink  text COLLATE "C" PRIMARY KEY,
    owner bytea NOT NULL
);

COMMENT ON COLUMN outbox.order_key IS 'Number of the event''s key, if the sink is ordered: events of one key leave in the order of seq.';
COMMENT ON COLUMN parked.order_key IS 'Number of the event''s key, if the sink is ordered: later events of the key wait.';
COMMENT ON TABLE sink_holder IS 'Instance that publishes the events of an ordered sink. Without a live lease another instance takes its place.';
COMMENT ON COLUMN sink_holder.sink IS 'Name of the sink.';
COMMENT ON COLUMN sink_holder.owner IS 'The instance.';
