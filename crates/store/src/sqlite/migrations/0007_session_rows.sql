-- Sessions of running releases as rows that are appended and never read back while a release runs. A row goes once all its
-- sessions were exposed before `evidence.live_from`, or once a later lap holds whatever of it still lives. The first byte of
-- a document is its form; a text begins with the digits of a unit, and is what builds of before wrote.
CREATE TABLE session_rows (
    ordinal    INTEGER PRIMARY KEY AUTOINCREMENT,
    tenant     TEXT    NOT NULL,
    release    TEXT    NOT NULL,
    lap        INTEGER NOT NULL,
    exposed_to INTEGER NOT NULL,
    document   BLOB    NOT NULL
) STRICT;

CREATE INDEX session_rows_by_lap ON session_rows (tenant, release, lap);
CREATE INDEX session_rows_by_exposure ON session_rows (tenant, release, exposed_to);

ALTER TABLE evidence ADD COLUMN live_from INTEGER NOT NULL DEFAULT 0;

INSERT INTO session_rows (tenant, release, lap, exposed_to, document)
    SELECT tenant, release, 0, 9223372036854775807, CAST(document AS BLOB) FROM session_log ORDER BY ordinal;

DROP TABLE session_log;
