-- Sources and sinks that an operator has paused, for all instances. The release before works on this schema, and pauses nothing.
CREATE TABLE pause (
    kind   text        NOT NULL,
    name   text        NOT NULL,
    caller text        NOT NULL,
    reason text,
    at     timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (kind, name)
);

COMMENT ON TABLE pause IS 'Sources and sinks that an operator has paused (hookweir pause). hookweir resume deletes the row.';
COMMENT ON COLUMN pause.kind IS 'source or sink.';
COMMENT ON COLUMN pause.name IS 'Its name.';
COMMENT ON COLUMN pause.caller IS 'Name of the token, or user and process at the socket.';
COMMENT ON COLUMN pause.reason IS 'Reason that was given.';
COMMENT ON COLUMN pause.at IS 'Time at which it was paused.';
