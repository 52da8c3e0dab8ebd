-- Every row carries its tenant. Documents are `{"v":1,"row":…}`; a column beside a document is what
-- queries need of it. Unsigned 64-bit numbers are stored as their 64 bits.

CREATE TABLE routes (
    tenant           TEXT    NOT NULL,
    route            TEXT    NOT NULL,
    stable           TEXT    NOT NULL,
    table_generation INTEGER NOT NULL,
    releases         INTEGER NOT NULL,
    PRIMARY KEY (tenant, route)
) STRICT, WITHOUT ROWID;

CREATE TABLE versions (
    tenant   TEXT NOT NULL,
    version  TEXT NOT NULL,
    document TEXT NOT NULL,
    PRIMARY KEY (tenant, version)
) STRICT;

CREATE TABLE releases (
    number     INTEGER PRIMARY KEY AUTOINCREMENT,
    tenant     TEXT    NOT NULL,
    release    TEXT    NOT NULL,
    route      TEXT    NOT NULL,
    generation INTEGER NOT NULL,
    is_over    INTEGER NOT NULL,
    changed_by TEXT    NOT NULL,
    document   TEXT    NOT NULL,
    UNIQUE (tenant, release)
) STRICT;

CREATE UNIQUE INDEX one_unfinished_release_per_route ON releases (tenant, route) WHERE is_over = 0;

CREATE TABLE journal (
    number   INTEGER PRIMARY KEY AUTOINCREMENT,
    tenant   TEXT NOT NULL,
    release  TEXT NOT NULL,
    document TEXT NOT NULL
) STRICT;

CREATE INDEX journal_of_release ON journal (tenant, release, number);

CREATE TRIGGER journal_rows_are_immutable BEFORE UPDATE ON journal
BEGIN
    SELECT RAISE(ABORT, 'a journal row is never changed');
END;

CREATE TABLE outbox (
    number     INTEGER PRIMARY KEY AUTOINCREMENT,
    tenant     TEXT    NOT NULL,
    release    TEXT    NOT NULL,
    tries      INTEGER NOT NULL,
    last_error TEXT,
    document   TEXT    NOT NULL
) STRICT;

CREATE INDEX outbox_of_tenant ON outbox (tenant, number);

CREATE TABLE evidence (
    tenant    TEXT NOT NULL,
    release   TEXT NOT NULL,
    yardstick TEXT,
    totals    TEXT,
    PRIMARY KEY (tenant, release)
) STRICT;

CREATE TABLE sessions (
    tenant   TEXT NOT NULL,
    release  TEXT NOT NULL,
    unit     BLOB NOT NULL,
    document TEXT NOT NULL,
    PRIMARY KEY (tenant, release, unit)
) STRICT, WITHOUT ROWID;

CREATE TABLE sealed_buckets (
    ordinal  INTEGER PRIMARY KEY AUTOINCREMENT,
    tenant   TEXT    NOT NULL,
    release  TEXT    NOT NULL,
    number   TEXT    NOT NULL,
    stratum  INTEGER NOT NULL,
    bucket   INTEGER NOT NULL,
    document TEXT    NOT NULL,
    UNIQUE (tenant, release, number, stratum, bucket)
) STRICT;

CREATE TABLE counted (
    tenant   TEXT    NOT NULL,
    gateway  TEXT    NOT NULL,
    epoch    INTEGER NOT NULL,
    sequence INTEGER NOT NULL,
    PRIMARY KEY (tenant, gateway, epoch)
) STRICT, WITHOUT ROWID;

CREATE TABLE documents (
    tenant TEXT NOT NULL,
    name   TEXT NOT NULL,
    text   TEXT NOT NULL,
    PRIMARY KEY (tenant, name)
) STRICT;
