-- A row that a job of `hookweir republish` has written has the id of that job, and its message carries it. Other rows have none, and cost no
-- byte. The release before works on this schema beside this one: it publishes such rows without the mark.
ALTER TABLE outbox ADD COLUMN republished bytea;

CREATE TABLE republish_job (
    id         bytea       NOT NULL PRIMARY KEY,
    caller     text        NOT NULL,
    choice     text        NOT NULL,
    pace       bigint      NOT NULL,
    expected   bigint,
    state      text        NOT NULL,
    created_at timestamptz NOT NULL DEFAULT now(),
    changed_at timestamptz NOT NULL DEFAULT now(),
    due_at     timestamptz NOT NULL DEFAULT now(),
    after_seq  bigint      NOT NULL,
    until_seq  bigint      NOT NULL,
    events     bigint      NOT NULL DEFAULT 0,
    copies     bigint      NOT NULL DEFAULT 0
);
CREATE INDEX republish_job_running ON republish_job (id) WHERE state = 'running';

COMMENT ON COLUMN outbox.republished IS 'Job that has put the event into the outbox again.';
COMMENT ON TABLE republish_job IS 'Jobs that put stored events into the outbox again (hookweir republish). Rows go after 400 days.';
COMMENT ON COLUMN republish_job.id IS 'Id of the job; rises with the time.';
COMMENT ON COLUMN republish_job.caller IS 'Name of the token, or user and process at the socket.';
COMMENT ON COLUMN republish_job.choice IS 'Choice of events, as JSON.';
COMMENT ON COLUMN republish_job.pace IS 'Events in a second.';
COMMENT ON COLUMN republish_job.expected IS 'Number of events that the dry run has found.';
COMMENT ON COLUMN republish_job.state IS 'running, done or cancelled.';
COMMENT ON COLUMN republish_job.created_at IS 'Time at which an operator has started it.';
COMMENT ON COLUMN republish_job.changed_at IS 'Time of the last step.';
COMMENT ON COLUMN republish_job.due_at IS 'Time of the next step.';
COMMENT ON COLUMN republish_job.after_seq IS 'Number of the last event that was looked at.';
COMMENT ON COLUMN republish_job.until_seq IS 'Number of the newest event when the job was started.';
COMMENT ON COLUMN republish_job.events IS 'Number of events that fit the choice so far.';
COMMENT ON COLUMN republish_job.copies IS 'Number of rows that it has put into the outbox.';
