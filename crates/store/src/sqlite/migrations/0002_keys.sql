-- Client keys: of their secrets only hashes, inside the document. What payers used, by day of UTC;
-- the payer is `key/NAME`, `customer/NAME` or `tenant`, the cost is in billionths of a dollar.

CREATE TABLE client_keys (
    tenant     TEXT    NOT NULL,
    key        TEXT    NOT NULL,
    generation INTEGER NOT NULL,
    document   TEXT    NOT NULL,
    PRIMARY KEY (tenant, key)
) STRICT;

CREATE TABLE spending (
    tenant   TEXT    NOT NULL,
    payer  TEXT    NOT NULL,
    day      INTEGER NOT NULL,
    requests INTEGER NOT NULL,
    tokens   INTEGER NOT NULL,
    cost     INTEGER NOT NULL,
    PRIMARY KEY (tenant, payer, day)
) STRICT, WITHOUT ROWID;

CREATE INDEX spending_of_day ON spending (tenant, day);
