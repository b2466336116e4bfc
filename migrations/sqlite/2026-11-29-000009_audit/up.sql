-- Record of what operators did by the admin API: changes, and bodies that were opened. Rows go after 400 days.
CREATE TABLE audit (
    id       BLOB   PRIMARY KEY NOT NULL, -- random
    at       BIGINT NOT NULL,             -- time
    instance BLOB   NOT NULL,             -- instance that was asked
    caller   TEXT   NOT NULL,             -- name of the token, or user and process at the socket
    action   TEXT   NOT NULL,             -- word for the function
    subject  TEXT   NOT NULL,             -- message id of the event, or the choice of events
    count    BIGINT NOT NULL,             -- number of events
    reason   TEXT                         -- reason that the caller gave
);
CREATE INDEX audit_at ON audit (at);
