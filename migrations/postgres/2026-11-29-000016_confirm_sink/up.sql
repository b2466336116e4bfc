-- Sink of a confirm. Two confirms of an event within a millisecond stay two in SQLite, whose key has the sink; here times have microseconds,
-- and a second one at the same microsecond is stored by the next attempt. The release before leaves the sink empty.
ALTER TABLE published ADD COLUMN sink text NOT NULL DEFAULT '';

COMMENT ON COLUMN published.sink IS 'Sink that has confirmed it. Empty: no sink wanted the event, or a release before has stored the confirm.';
