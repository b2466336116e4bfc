DROP TABLE republish_job;
ALTER TABLE outbox DROP COLUMN republished;
