CREATE TABLE audit (
    id       bytea       NOT NULL PRIMARY KEY,
    at       timestamptz NOT NULL DEFAULT now(),
    instance bytea       NOT NULL,
    caller   text        NOT NULL,
    action   text        NOT NULL,
    subject  text        NOT NULL,
    count    bigint      NOT NULL,
    reason   text
);
CREATE INDEX audit_at ON audit (at);

COMMENT ON TABLE audit IS 'Record of what operators did by the admin API and the command line: changes, and bodies that were opened. Rows go after 400 days.';
COMMENT ON COLUMN audit.id IS 'Random.';
COMMENT ON COLUMN audit.at IS 'Time.';
COMMENT ON COLUMN audit.instance IS 'Instance that was asked; of a command, an id of its own.';
COMMENT ON COLUMN audit.caller IS 'Name of the token, or user and process at the socket or of the command.';
COMMENT ON COLUMN audit.action IS 'Word for the function.';
COMMENT ON COLUMN audit.subject IS 'Message id of the event, or the choice of events.';
COMMENT ON COLUMN audit.count IS 'Number of events.';
COMMENT ON COLUMN audit.reason IS 'Reason that the caller gave.';
