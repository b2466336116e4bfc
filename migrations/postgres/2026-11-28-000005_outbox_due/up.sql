-- Rows of the outbox by owner and time. The number is carried along, and is no key of this index: with statistics of an empty outbox the
-- planner took the index for a way to rows by number, and read all of it once for each of them.
DROP INDEX outbox_due;
CREATE INDEX outbox_due ON outbox (owner, due_at) INCLUDE (seq);
