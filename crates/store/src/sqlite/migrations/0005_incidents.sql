-- Incidents: the document holds the journal of each, which is only ever added to. Of one subject one is open at a time.
-- A notice of an incident stands in the outbox under a release that is empty.

CREATE TABLE incidents (
    number    INTEGER PRIMARY KEY AUTOINCREMENT,
    tenant    TEXT    NOT NULL,
    incident  TEXT    NOT NULL,
    route     TEXT    NOT NULL,
    subject   TEXT    NOT NULL,
    is_open   INTEGER NOT NULL,
    document  TEXT    NOT NULL,
    UNIQUE (tenant, incident)
) STRICT;

CREATE UNIQUE INDEX one_open_incident_per_subject ON incidents (tenant, route, subject) WHERE is_open = 1;
