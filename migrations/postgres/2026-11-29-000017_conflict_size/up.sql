-- Number and bytes of conflicts, so that their bound needs no look at them all: the sum over this table. Triggers write a row for each
-- change of conflict, in its transaction; an instance adds rows up. No row is shared, so that nobody waits for another. The release before
-- works on this schema beside this one: the triggers count for it.
CREATE TABLE conflict_size (
    id        bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    conflicts bigint NOT NULL,
    bytes     bigint NOT NULL
);

-- By the owner's rights: a login that was granted tables one by one goes on storing conflicts. Its table is named with the schema, so that
-- no temporary table takes its place. The length of a body is known without reading it.
CREATE FUNCTION count_conflicts() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    more   bigint := 0;
    larger bigint := 0;
BEGIN
    IF TG_OP = 'TRUNCATE' THEN
        EXECUTE format('DELETE FROM %I.conflict_size', TG_TABLE_SCHEMA);
        RETURN NULL;
    ELSIF TG_OP = 'DELETE' THEN
        SELECT -count(*), -coalesce(sum(octet_length(body) + octet_length(headers)), 0) INTO more, larger FROM gone;
    ELSE
        larger := octet_length(NEW.body) + octet_length(NEW.headers);
        IF TG_OP = 'UPDATE' THEN
            larger := larger - octet_length(OLD.body) - octet_length(OLD.headers);
        ELSE
            more := 1;
        END IF;
    END IF;
    IF more <> 0 OR larger <> 0 THEN
        EXECUTE format('INSERT INTO %I.conflict_size (conflicts, bytes) VALUES ($1, $2)', TG_TABLE_SCHEMA) USING more, larger;
    END IF;
    RETURN NULL;
END $$;

-- The first trigger keeps all writers out until the end of this transaction: those that are there are counted after it.
CREATE TRIGGER count_insert AFTER INSERT ON conflict FOR EACH ROW EXECUTE FUNCTION count_conflicts();
CREATE TRIGGER count_update AFTER UPDATE OF body, headers ON conflict FOR EACH ROW EXECUTE FUNCTION count_conflicts();
CREATE TRIGGER count_delete AFTER DELETE ON conflict REFERENCING OLD TABLE AS gone FOR EACH STATEMENT EXECUTE FUNCTION count_conflicts();
CREATE TRIGGER count_truncate AFTER TRUNCATE ON conflict FOR EACH STATEMENT EXECUTE FUNCTION count_conflicts();
INSERT INTO conflict_size (conflicts, bytes) SELECT count(*), coalesce(sum(octet_length(body) + octet_length(headers)), 0) FROM conflict;

COMMENT ON TABLE conflict_size IS 'Number and bytes of conflicts: the sum over all rows. Triggers of conflict write rows; an instance adds them up.';
COMMENT ON COLUMN conflict_size.id IS 'Number of the row.';
COMMENT ON COLUMN conflict_size.conflicts IS 'Conflicts that came, less those that have gone.';
COMMENT ON COLUMN conflict_size.bytes IS 'Bytes of their bodies and headers.';
