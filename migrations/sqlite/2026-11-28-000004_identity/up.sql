-- Key of the message, where an event that comes again later is another one; else the dedup key is the message's. And a digest of what was
-- signed, where a time or a nonce was signed as well: the very same again is a duplicate.
ALTER TABLE dedup ADD COLUMN message BLOB;
ALTER TABLE dedup ADD COLUMN replay BLOB;
CREATE UNIQUE INDEX dedup_replay ON dedup (replay) WHERE replay IS NOT NULL;

-- For the spool: meaning of the event's id, and how long equal bytes are dropped, in milliseconds.
ALTER TABLE dedup ADD COLUMN id_class INTEGER;
ALTER TABLE dedup ADD COLUMN drop_same_bytes BIGINT;

-- Doubts about an event: the message id of the first one with the same id and another body; of the first one with the same bytes.
ALTER TABLE event ADD COLUMN conflict_of BLOB;
ALTER TABLE event ADD COLUMN same_bytes_as BLOB;
