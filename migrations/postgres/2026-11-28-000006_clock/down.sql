ALTER TABLE instance DROP COLUMN lease_ms;
DROP TABLE clock;
