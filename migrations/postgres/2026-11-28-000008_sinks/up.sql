-- A row of the outbox belongs to a sink, and so does a parked row: each sink confirms, postpones and parks by itself. Rows of the release
-- before, written without a sink, belong to the default one. That release works on this schema beside this one, with one sink.
ALTER TABLE outbox ADD COLUMN sink text COLLATE "C" NOT NULL DEFAULT 'default';
ALTER TABLE outbox DROP CONSTRAINT outbox_pkey;
ALTER TABLE outbox ADD CONSTRAINT outbox_pkey PRIMARY KEY (seq, sink);

-- An instance claims the rows of a sink; it looks for owners that are gone by hopping from owner to owner. The number is carried along,
-- and is no key of this index: see 000005.
DROP INDEX outbox_due;
CREATE INDEX outbox_due ON outbox (owner, sink, due_at) INCLUDE (seq);

ALTER TABLE parked ADD COLUMN sink text COLLATE "C" NOT NULL DEFAULT 'default';
ALTER TABLE parked DROP CONSTRAINT parked_pkey;
ALTER TABLE parked ADD CONSTRAINT parked_pkey PRIMARY KEY (seq, sink);

COMMENT ON SEQUENCE event_seq IS 'Numbers events. The number of an event is the same in event, outbox, published and parked.';

COMMENT ON TABLE dedup IS 'Keys of accepted events: decide between a new event and a duplicate. Rows go when they expire, unless their event waits.';
COMMENT ON COLUMN dedup.key IS 'Identity of the event: SHA-256 over its source and its provider''s id, or its bytes.';
COMMENT ON COLUMN dedup.guard IS 'Identity of the event''s bytes, if equal bytes under another id are marked or dropped.';
COMMENT ON COLUMN dedup.digest IS 'SHA-256 of the body: tells a redelivery from a conflict.';
COMMENT ON COLUMN dedup.source IS 'Name of the source.';
COMMENT ON COLUMN dedup.seq IS 'Number of the event that came first.';
COMMENT ON COLUMN dedup.expires_at IS 'End of the dedup window.';
COMMENT ON COLUMN dedup.message IS 'Key of the message, if it is not the dedup key.';
COMMENT ON COLUMN dedup.replay IS 'Digest of the signed request, if a time or a nonce was signed: the same request again is a duplicate.';

COMMENT ON TABLE event IS 'Events as received. Rows go after store.keep_events, counted from the confirm, once no sink has a row of the event.';
COMMENT ON COLUMN event.seq IS 'Number of the event.';
COMMENT ON COLUMN event.key IS 'Key of the message; the message id is a UUID made of it.';
COMMENT ON COLUMN event.source IS 'Name of the source.';
COMMENT ON COLUMN event.event_id IS 'The provider''s id of the event, as shown.';
COMMENT ON COLUMN event.event_type IS 'The provider''s type of the event.';
COMMENT ON COLUMN event.content_type IS 'Content-Type of the request.';
COMMENT ON COLUMN event.headers IS 'Headers that the source passes on: JSON, [["name","value"],...].';
COMMENT ON COLUMN event.received_at IS 'Time at which the request''s head had been read, in milliseconds since 1970, UTC.';
COMMENT ON COLUMN event.body IS 'Bytes as received.';
COMMENT ON COLUMN event.conflict_of IS 'Message id of the first event with the same id and another body.';
COMMENT ON COLUMN event.same_bytes_as IS 'Message id of the first event with the same bytes.';

COMMENT ON TABLE outbox IS 'Events that wait for a sink: a row for each event and sink. A row goes when its sink has confirmed the event.';
COMMENT ON COLUMN outbox.seq IS 'Number of the event.';
COMMENT ON COLUMN outbox.key IS 'Key of the message.';
COMMENT ON COLUMN outbox.owner IS 'Instance that publishes the row. Without a live lease (table instance) another instance takes the row over.';
COMMENT ON COLUMN outbox.bytes IS 'Size of the body.';
COMMENT ON COLUMN outbox.attempts IS 'Number of attempts that were not confirmed.';
COMMENT ON COLUMN outbox.since IS 'Time at which the row was written.';
COMMENT ON COLUMN outbox.due_at IS 'Time of the next attempt.';
COMMENT ON COLUMN outbox.sink IS 'Name of the sink.';

COMMENT ON TABLE published IS 'Confirms: a row for each event and sink that has confirmed it. Tells which events were kept long enough.';
COMMENT ON COLUMN published.seq IS 'Number of the event.';
COMMENT ON COLUMN published.at IS 'Time of the confirm.';

COMMENT ON TABLE parked IS 'Dead letters: events that a sink has refused for good, kept until an operator decides (hookweir parked).';
COMMENT ON COLUMN parked.seq IS 'Number of the event.';
COMMENT ON COLUMN parked.reason IS 'Reason of the refusal.';
COMMENT ON COLUMN parked.at IS 'Time at which the event was parked.';
COMMENT ON COLUMN parked.sink IS 'Name of the sink.';

COMMENT ON TABLE conflict IS 'Other bodies that came under a known key, each once. Rows go after store.keep_conflicts.';
COMMENT ON COLUMN conflict.key IS 'Key of the event, as in dedup.';
COMMENT ON COLUMN conflict.digest IS 'SHA-256 of this body.';
COMMENT ON COLUMN conflict.source IS 'Name of the source.';
COMMENT ON COLUMN conflict.event_id IS 'The provider''s id of the event, as shown.';
COMMENT ON COLUMN conflict.content_type IS 'Content-Type of the request.';
COMMENT ON COLUMN conflict.headers IS 'Headers that the source passes on: JSON, [["name","value"],...].';
COMMENT ON COLUMN conflict.received_at IS 'Time at which the request''s head had been read, in milliseconds since 1970, UTC.';
COMMENT ON COLUMN conflict.at IS 'Time at which the row was written.';
COMMENT ON COLUMN conflict.body IS 'Bytes as received.';

COMMENT ON TABLE instance IS 'Leases of running instances. An instance without a live lease has lost its claim to its outbox rows.';
COMMENT ON COLUMN instance.id IS 'Random id of the instance, new at each start.';
COMMENT ON COLUMN instance.alive_until IS 'End of the lease, unless it is renewed.';
COMMENT ON COLUMN instance.lease_ms IS 'Length of the lease. A lease that ends later than twice that from now was taken by a clock that was ahead.';

COMMENT ON TABLE learned_secret IS 'Secrets that providers handed over in a handshake (hookweir learned).';
COMMENT ON COLUMN learned_secret.source IS 'Name of the source.';
COMMENT ON COLUMN learned_secret.secret IS 'The secret. Empty if it was forgotten at that time: the next one may be learned.';
COMMENT ON COLUMN learned_secret.at IS 'Time of the last change.';

COMMENT ON TABLE fetched_key IS 'Keys and certificates that deliveries named and that were fetched: a restart need not fetch them again.';
COMMENT ON COLUMN fetched_key.source IS 'Name of the source.';
COMMENT ON COLUMN fetched_key.name IS 'Name of the key in deliveries.';
COMMENT ON COLUMN fetched_key.place IS 'SHA-256 of the URL.';
COMMENT ON COLUMN fetched_key.answer IS 'The key or certificate.';
COMMENT ON COLUMN fetched_key.at IS 'Time at which it was fetched.';

COMMENT ON TABLE clock IS 'One row: the database''s clock at the last deletion of old rows. After a jump nothing is deleted for a while.';
COMMENT ON COLUMN clock.id IS 'Always 1.';
COMMENT ON COLUMN clock.seen IS 'Time of the last deletion.';
