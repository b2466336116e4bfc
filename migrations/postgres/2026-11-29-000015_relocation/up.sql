-- A move (`hookweir move`) to another store or from one: one row, or none. Instances stay away from a store with a row. The release before
-- works on this schema: triggers keep it from storing in a store that is closed.
CREATE TABLE relocation (
    id    smallint    NOT NULL PRIMARY KEY CHECK (id = 1),
    token bytea       NOT NULL,
    state text        NOT NULL,
    other text        NOT NULL,
    at    timestamptz NOT NULL DEFAULT now()
);

COMMENT ON TABLE relocation IS 'A move to another store or from one (hookweir move): one row, or none. Instances stay away from a store with a row.';
COMMENT ON COLUMN relocation.id IS 'Always 1.';
COMMENT ON COLUMN relocation.token IS 'Name of the move, the same in both stores.';
COMMENT ON COLUMN relocation.state IS 'closed or moved: the store that is moved. filling or filled: the store that it is moved to.';
COMMENT ON COLUMN relocation.other IS 'Name of the other store.';
COMMENT ON COLUMN relocation.at IS 'Time of the state.';
