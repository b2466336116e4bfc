-- Deliveries that were refused for good, kept so that they can be verified again. The release before works on this schema, and keeps none.
CREATE TABLE quarantine (
    number      bigint      GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    at          timestamptz NOT NULL DEFAULT now(),
    source      text        NOT NULL,
    received_at bigint      NOT NULL,
    request_id  text        NOT NULL,
    reason      text        NOT NULL,
    detail      text        NOT NULL,
    method      text        NOT NULL,
    target      text        NOT NULL,
    peer        text,
    cut         boolean     NOT NULL,
    bytes       bigint      NOT NULL,
    size        bigint      NOT NULL,
    headers     bytea       NOT NULL,
    body        bytea       NOT NULL
);
CREATE INDEX quarantine_source ON quarantine (source, number, size);
CREATE INDEX quarantine_at ON quarantine (at);

COMMENT ON TABLE quarantine IS 'Deliveries that were refused for good (hookweir quarantine). Rows go after quarantine.keep_days, by their bounds, or once they were verified and stored as events.';
COMMENT ON COLUMN quarantine.number IS 'Number; never used again.';
COMMENT ON COLUMN quarantine.at IS 'Time at which it was kept.';
COMMENT ON COLUMN quarantine.source IS 'Source that refused it.';
COMMENT ON COLUMN quarantine.received_at IS 'Time of receipt by the instance''s clock, in milliseconds since 1970.';
COMMENT ON COLUMN quarantine.request_id IS 'Id of the request in logs and in its response.';
COMMENT ON COLUMN quarantine.reason IS 'Reason, as in metrics and logs.';
COMMENT ON COLUMN quarantine.detail IS 'Detail, as in logs.';
COMMENT ON COLUMN quarantine.method IS 'HTTP method.';
COMMENT ON COLUMN quarantine.target IS 'Path and query as sent.';
COMMENT ON COLUMN quarantine.peer IS 'Address of the client or of the proxy in front.';
COMMENT ON COLUMN quarantine.cut IS 'True if a part of the headers or of the body is missing.';
COMMENT ON COLUMN quarantine.bytes IS 'Length of the body as far as it is kept.';
COMMENT ON COLUMN quarantine.size IS 'Bytes that count for the bounds.';
COMMENT ON COLUMN quarantine.headers IS 'Headers, a line for each.';
COMMENT ON COLUMN quarantine.body IS 'Body as received.';
