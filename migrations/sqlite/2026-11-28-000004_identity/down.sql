ALTER TABLE event DROP COLUMN same_bytes_as;
ALTER TABLE event DROP COLUMN conflict_of;
DROP INDEX dedup_replay;
ALTER TABLE dedup DROP COLUMN drop_same_bytes;
ALTER TABLE dedup DROP COLUMN id_class;
ALTER TABLE dedup DROP COLUMN replay;
ALTER TABLE dedup DROP COLUMN message;
