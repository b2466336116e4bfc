-- Number and bytes of conflicts, so that their bound needs no look at them all: one row. Triggers keep it, in the transaction of each
-- change of conflict, so that the release before does as well.
CREATE TABLE conflict_size (
    id        INTEGER PRIMARY KEY NOT NULL CHECK (id = 1),
    conflicts BIGINT  NOT NULL, -- number of conflicts
    bytes     BIGINT  NOT NULL  -- bytes of their bodies and headers
);
INSERT INTO conflict_size (id, conflicts, bytes)
    SELECT 1, count(*), coalesce(sum(length(body) + length(headers)), 0) FROM conflict;

CREATE TRIGGER conflict_count_insert AFTER INSERT ON conflict BEGIN
    UPDATE conflict_size SET conflicts = conflicts + 1, bytes = bytes + length(NEW.body) + length(NEW.headers);
END;
CREATE TRIGGER conflict_count_update AFTER UPDATE OF body, headers ON conflict BEGIN
    UPDATE conflict_size SET bytes = bytes + length(NEW.body) + length(NEW.headers)
        - length(OLD.body) - length(OLD.headers);
END;
CREATE TRIGGER conflict_count_delete AFTER DELETE ON conflict BEGIN
    UPDATE conflict_size SET conflicts = conflicts - 1, bytes = bytes - length(OLD.body) - length(OLD.headers);
END;
