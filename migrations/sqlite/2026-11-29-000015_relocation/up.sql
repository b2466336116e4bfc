-- A move (`hookweir move`) to another store or from one: one row, or none. Instances stay away from a store with a row.
CREATE TABLE relocation (
    id    INTEGER PRIMARY KEY NOT NULL CHECK (id = 1),
    token BLOB    NOT NULL, -- name of the move, the same in both stores
    state TEXT    NOT NULL, -- closed or moved: the store that is moved; filling or filled: the store that it is moved to
    other TEXT    NOT NULL, -- name of the other store
    at    BIGINT  NOT NULL  -- time of the state
);
