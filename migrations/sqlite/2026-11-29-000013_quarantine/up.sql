-- Deliveries that were refused for good, kept so that they can be verified again. The release before works on this schema, and keeps none.
CREATE TABLE quarantine (
    number      INTEGER PRIMARY KEY AUTOINCREMENT NOT NULL, -- never used again
    at          BIGINT  NOT NULL, -- time at which it was kept
    source      TEXT    NOT NULL,
    received_at BIGINT  NOT NULL, -- time of receipt by the instance's clock
    request_id  TEXT    NOT NULL,
    reason      TEXT    NOT NULL, -- as in metrics and logs
    detail      TEXT    NOT NULL,
    method      TEXT    NOT NULL,
    target      TEXT    NOT NULL, -- path and query as sent
    peer        TEXT,             -- address of the client or of the proxy in front
    cut         BOOLEAN NOT NULL, -- a part of the headers or of the body is missing
    bytes       BIGINT  NOT NULL, -- length of the body
    size        BIGINT  NOT NULL, -- bytes that count for the bounds
    headers     BLOB    NOT NULL, -- a line for each
    body        BLOB    NOT NULL
);
CREATE INDEX quarantine_source ON quarantine (source, number, size);
CREATE INDEX quarantine_at ON quarantine (at);
