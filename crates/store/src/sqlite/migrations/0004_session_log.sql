-- Sessions of running releases as a log: what one look changed is one row of lines, `UNIT DOCUMENT` for a session as it
-- is now and `UNIT` for one that is forgotten. A row for each session, under a key that is a hash, dirtied a page each.
CREATE TABLE session_log (
    ordinal   INTEGER PRIMARY KEY AUTOINCREMENT,
    tenant    TEXT    NOT NULL,
    release   TEXT    NOT NULL,
    folded    INTEGER NOT NULL CHECK (folded IN (0, 1)),
    written   INTEGER NOT NULL,
    forgotten INTEGER NOT NULL,
    bytes     INTEGER NOT NULL,
    document  TEXT    NOT NULL
) STRICT;

CREATE INDEX session_log_by_release ON session_log (tenant, release, folded, written, forgotten, bytes);

INSERT INTO session_log (tenant, release, folded, written, forgotten, bytes, document)
    SELECT tenant, release, 1, count(*), 0, sum(length(document) + 34),
           group_concat(lower(hex(unit)) || ' ' || document, char(10)) || char(10)
    FROM sessions GROUP BY tenant, release;

DROP TABLE sessions;
