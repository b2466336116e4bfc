DROP TRIGGER conflict_count_insert;
DROP TRIGGER conflict_count_update;
DROP TRIGGER conflict_count_delete;
DROP TABLE conflict_size;
