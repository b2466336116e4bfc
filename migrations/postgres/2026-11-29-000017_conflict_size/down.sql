DROP TRIGGER count_insert ON conflict;
DROP TRIGGER count_update ON conflict;
DROP TRIGGER count_delete ON conflict;
DROP TRIGGER count_truncate ON conflict;
DROP FUNCTION count_conflicts();
DROP TABLE conflict_size;
