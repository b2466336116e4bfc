-- The sink of a confirm is in its key: two sinks can confirm an event within one millisecond. The release before leaves the sink empty.
CREATE TABLE confirm (
    seq  BIGINT NOT NULL,
    at   BIGINT NOT NULL,
    sink TEXT   NOT NULL DEFAULT '', -- empty: no sink wanted the event, or a release before has stored the confirm
    PRIMARY KEY (at, seq, sink)
) WITHOUT ROWID;
INSERT INTO confirm (seq, at) SELECT seq, at FROM published ORDER BY at, seq;
DROP TABLE published;
ALTER TABLE confirm RENAME TO published;
