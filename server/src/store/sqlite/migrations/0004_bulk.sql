-- Actions on many jobs, and what became of each. Both outlive the jobs.
CREATE TABLE bulks (
    seq         INTEGER PRIMARY KEY AUTOINCREMENT,
    bulk_id     BLOB NOT NULL UNIQUE,
    action      TEXT NOT NULL,
    reason      TEXT,
    notes       TEXT,
    force       INTEGER NOT NULL,
    keep_files  INTEGER NOT NULL,
    created_at  INTEGER NOT NULL,
    created_by  TEXT NOT NULL,
    source      TEXT NOT NULL,
    request_id  TEXT NOT NULL,
    finished_at INTEGER,
    aborted_at  INTEGER,
    aborted_by  TEXT,
    retry_of    BLOB,
    total       INTEGER NOT NULL
);
CREATE INDEX bulks_running ON bulks (seq) WHERE finished_at IS NULL;

CREATE TABLE bulk_items (
    bulk_seq INTEGER NOT NULL REFERENCES bulks (seq),
    idx      INTEGER NOT NULL,
    job_id   BLOB NOT NULL,
    name     TEXT NOT NULL,
    result   TEXT NOT NULL DEFAULT 'pending',
    detail   TEXT,
    at       INTEGER,
    bytes    INTEGER NOT NULL DEFAULT 0,
    PRIMARY KEY (bulk_seq, idx)
) WITHOUT ROWID;
-- What is next, how many have which result, and the page by result.
CREATE INDEX bulk_items_result ON bulk_items (bulk_seq, result, idx);
