ALTER TABLE published DROP COLUMN sink;
