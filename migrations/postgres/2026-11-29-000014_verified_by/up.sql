-- Reference of the secret that has verified the event, never its value. Events of the release before have none; that release works on this
-- schema beside this one.
ALTER TABLE event ADD COLUMN verified_by text;

COMMENT ON COLUMN event.verified_by IS 'Reference of the secret that has verified the event, as the configuration had it. Empty: not recorded.';
