CREATE TABLE confirm (
    seq BIGINT NOT NULL,
    at  BIGINT NOT NULL,
    PRIMARY KEY (at, seq)
) WITHOUT ROWID;
INSERT OR IGNORE INTO confirm (seq, at) SELECT seq, at FROM published ORDER BY at, seq;
DROP TABLE published;
ALTER TABLE confirm RENAME TO published;
