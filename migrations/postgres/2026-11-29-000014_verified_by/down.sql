ALTER TABLE event DROP COLUMN verified_by;
