-- Secrets that providers handed over in a handshake. Without a secret: it was forgotten at that time, and the next one may be learned.
CREATE TABLE learned_secret (
    source text        NOT NULL PRIMARY KEY,
    secret bytea,
    at     timestamptz NOT NULL DEFAULT now()
);
