-- Captured answers: `sealed` is nonce, ciphertext and tag; no key is ever here. And who did what with them.

CREATE TABLE captures (
    tenant     TEXT    NOT NULL,
    capture    TEXT    NOT NULL,
    route      TEXT    NOT NULL,
    release    TEXT    NOT NULL,
    arm        TEXT    NOT NULL,
    at         INTEGER NOT NULL,
    expires_at INTEGER NOT NULL,
    document   TEXT    NOT NULL,
    sealed     BLOB    NOT NULL,
    PRIMARY KEY (tenant, capture)
) STRICT;

CREATE INDEX captures_of_arm ON captures (tenant, route, arm, at);
CREATE INDEX captures_of_release ON captures (tenant, release, at);
CREATE INDEX captures_by_age ON captures (tenant, expires_at);

CREATE TABLE capture_uses (
    tenant   TEXT    NOT NULL,
    number   INTEGER NOT NULL,
    at       INTEGER NOT NULL,
    document TEXT    NOT NULL,
    PRIMARY KEY (tenant, number)
) STRICT;

CREATE INDEX capture_uses_by_age ON capture_uses (tenant, at);
