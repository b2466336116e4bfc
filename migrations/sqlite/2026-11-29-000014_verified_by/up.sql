-- Reference of the secret that has verified the event, never its value. Events of the release before have none; that release works on this
-- schema beside this one.
ALTER TABLE event ADD COLUMN verified_by TEXT;
