-- A row that a job of `hookweir republish` has written has the id of that job. Its message carries it.
ALTER TABLE outbox ADD COLUMN republished BLOB;

-- Jobs that put stored events into the outbox again. Rows go after 400 days.
CREATE TABLE republish_job (
    id         BLOB   PRIMARY KEY NOT NULL, -- rises with the time
    caller     TEXT   NOT NULL,             -- name of the token, or user and process at the socket
    choice     TEXT   NOT NULL,             -- choice of events, as JSON
    pace       BIGINT NOT NULL,             -- events in a second
    expected   BIGINT,                      -- number of events that the dry run has found
    state      TEXT   NOT NULL,             -- running, done, cancelled
    created_at BIGINT NOT NULL,             -- time at which an operator has started it
    changed_at BIGINT NOT NULL,             -- time of the last step
    due_at     BIGINT NOT NULL,             -- time of the next step
    after_seq  BIGINT NOT NULL,             -- number of the last event that was looked at
    until_seq  BIGINT NOT NULL,             -- number of the newest event when it was started
    events     BIGINT NOT NULL DEFAULT 0,   -- number of events that fit the choice so far
    copies     BIGINT NOT NULL DEFAULT 0    -- number of rows that it has put into the outbox
);
CREATE INDEX republish_job_running ON republish_job (id) WHERE state = 'running';
