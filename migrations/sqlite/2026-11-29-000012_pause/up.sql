-- Sources and sinks that an operator has paused. `hookweir resume` deletes the row.
CREATE TABLE pause (
    kind   TEXT   NOT NULL, -- source, sink
    name   TEXT   NOT NULL,
    caller TEXT   NOT NULL, -- name of the token, or user and process at the socket
    reason TEXT,            -- reason that was given
    at     BIGINT NOT NULL, -- time at which it was paused
    PRIMARY KEY (kind, name)
);
