DROP INDEX outbox_due;
CREATE INDEX outbox_due ON outbox (owner, due_at, seq);
