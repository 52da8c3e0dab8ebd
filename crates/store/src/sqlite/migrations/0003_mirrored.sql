-- Sessions that are also put to a canary in its shadow: young ones with their sums, and those that are counted.
CREATE TABLE mirrored_sessions (
    tenant   TEXT NOT NULL,
    release  TEXT NOT NULL,
    unit     BLOB NOT NULL,
    document TEXT NOT NULL,
    PRIMARY KEY (tenant, release, unit)
) STRICT, WITHOUT ROWID;
