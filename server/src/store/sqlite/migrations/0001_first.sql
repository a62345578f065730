-- Names are those of the model: phases, kinds, statuses as in JSON. Times are milliseconds since 1970 (UTC), ids are
-- 16 bytes, JSON is text.

-- One row. `changes` moves with every write that a page could show; `served` gives jobs their turn.
CREATE TABLE clock (
    one     INTEGER PRIMARY KEY CHECK (one = 1),
    changes INTEGER NOT NULL,
    served  INTEGER NOT NULL
);
INSERT INTO clock VALUES (1, 1, 0);

CREATE TABLE jobs (
    -- Order of creation, and the key of every page. Never used again.
    seq          INTEGER PRIMARY KEY AUTOINCREMENT,
    job_id       BLOB NOT NULL UNIQUE,
    name         TEXT NOT NULL COLLATE NOCASE,
    kind         TEXT NOT NULL,
    phase        TEXT NOT NULL,
    spec         TEXT NOT NULL,
    -- JSON: the kind's phases in order, with the progress of those that are over.
    phases       TEXT NOT NULL,
    -- Position in `phases` of the one that is worked on.
    work         INTEGER NOT NULL DEFAULT 0,
    parallel     INTEGER NOT NULL CHECK (parallel >= 1),
    created_at   INTEGER NOT NULL,
    created_by   TEXT NOT NULL,
    started_at   INTEGER,
    finished_at  INTEGER,
    rerun_of     BLOB,

    -- Units by status; what is left of `total` is pending. All pending and running ones are of the present phase.
    total        INTEGER NOT NULL,
    succeeded    INTEGER NOT NULL DEFAULT 0,
    failed       INTEGER NOT NULL DEFAULT 0,
    cancelled    INTEGER NOT NULL DEFAULT 0,
    running      INTEGER NOT NULL DEFAULT 0,
    -- The turn in which it was last given a worker's slot.
    served       INTEGER NOT NULL DEFAULT 0,

    -- The first cancel request. `stop_waiting` is `running`.
    cancel_at          INTEGER,
    cancel_by          TEXT,
    cancel_source      TEXT,
    cancel_request_id  TEXT,
    cancel_reason      TEXT,
    cancel_notes       TEXT,
    forced_at          INTEGER,
    cancelled_at       INTEGER,
    stop_never_started INTEGER NOT NULL DEFAULT 0,
    stop_stopped       INTEGER NOT NULL DEFAULT 0,
    stop_unconfirmed   INTEGER NOT NULL DEFAULT 0,
    -- 1: there are pending rows that count as cancelled already.
    sweep              INTEGER NOT NULL DEFAULT 0,

    -- A delete that waits for the proof of the stop.
    delete_at         INTEGER,
    delete_by         TEXT,
    delete_source     TEXT,
    delete_request_id TEXT,
    delete_keep_files INTEGER,

    -- The phases are `Phase::CLAIMABLE`; a test holds them to it.
    claimable INTEGER NOT NULL GENERATED ALWAYS AS (
        phase IN ('pending', 'collection', 'feature_extraction', 'matching', 'evidence', 'in_progress', 'validating', 'finalizing')
        AND total > succeeded + failed + cancelled + running AND running < parallel) VIRTUAL,
    -- The same without `pending`.
    idle INTEGER NOT NULL GENERATED ALWAYS AS (
        phase IN ('collection', 'feature_extraction', 'matching', 'evidence', 'in_progress', 'validating', 'finalizing')
        AND total = succeeded + failed + cancelled) VIRTUAL,

    CHECK (succeeded >= 0 AND failed >= 0 AND cancelled >= 0 AND running >= 0),
    CHECK (total >= succeeded + failed + cancelled + running),
    CHECK (running <= parallel)
);
-- Who is next: small, however many jobs are over.
CREATE INDEX jobs_claimable ON jobs (running, served, seq) WHERE claimable = 1;
CREATE INDEX jobs_idle ON jobs (seq) WHERE idle = 1;
CREATE INDEX jobs_sweep ON jobs (seq) WHERE sweep = 1;
CREATE INDEX jobs_delete_intended ON jobs (seq) WHERE delete_at IS NOT NULL;
-- The list. Every index ends in `seq` by itself.
CREATE INDEX jobs_phase ON jobs (phase);
CREATE INDEX jobs_kind ON jobs (kind);
CREATE INDEX jobs_phase_kind ON jobs (phase, kind);
CREATE INDEX jobs_creator ON jobs (created_by);
CREATE INDEX jobs_creator_phase ON jobs (created_by, phase);
CREATE INDEX jobs_finished ON jobs (finished_at) WHERE finished_at IS NOT NULL;
CREATE INDEX jobs_phase_finished ON jobs (phase, finished_at) WHERE finished_at IS NOT NULL;
CREATE INDEX jobs_name ON jobs (name);

-- Name and id by their trigrams; the text itself is not kept a second time.
CREATE VIRTUAL TABLE jobs_text USING fts5 (name, job_id, content='', contentless_delete=1, tokenize='trigram');

-- Jobs per phase, exact at every moment.
CREATE TABLE phase_counts (phase TEXT PRIMARY KEY, jobs INTEGER NOT NULL) WITHOUT ROWID;
CREATE TRIGGER jobs_counted_in AFTER INSERT ON jobs BEGIN
    INSERT INTO phase_counts VALUES (new.phase, 1) ON CONFLICT (phase) DO UPDATE SET jobs = jobs + 1;
END;
CREATE TRIGGER jobs_counted_out AFTER DELETE ON jobs BEGIN
    UPDATE phase_counts SET jobs = jobs - 1 WHERE phase = old.phase;
END;
CREATE TRIGGER jobs_counted_on AFTER UPDATE OF phase ON jobs WHEN old.phase <> new.phase BEGIN
    UPDATE phase_counts SET jobs = jobs - 1 WHERE phase = old.phase;
    INSERT INTO phase_counts VALUES (new.phase, 1) ON CONFLICT (phase) DO UPDATE SET jobs = jobs + 1;
END;

CREATE TABLE units (
    job_seq     INTEGER NOT NULL REFERENCES jobs (seq),
    idx         INTEGER NOT NULL,
    phase       TEXT NOT NULL,
    name        TEXT NOT NULL,
    input       BLOB NOT NULL,
    status      TEXT NOT NULL DEFAULT 'pending',
    attempt     INTEGER NOT NULL DEFAULT 0,
    losses      INTEGER NOT NULL DEFAULT 0,
    started_at  INTEGER,
    finished_at INTEGER,
    run_id      BLOB,
    exit_code   INTEGER,
    error       TEXT,
    artifacts   INTEGER NOT NULL DEFAULT 0,
    -- JSON; absent on a cancelled unit that was never started.
    stop        TEXT,
    PRIMARY KEY (job_seq, idx)
) WITHOUT ROWID;
-- The queue of a job, and the units page by status.
CREATE INDEX units_status ON units (job_seq, status, idx);

CREATE TABLE workers (
    worker_id    TEXT PRIMARY KEY,
    instance     TEXT NOT NULL,
    host         TEXT NOT NULL,
    boot_id      TEXT NOT NULL,
    slots        INTEGER NOT NULL,
    started_at   INTEGER NOT NULL,
    heartbeat_at INTEGER NOT NULL
) WITHOUT ROWID;

CREATE TABLE runs (
    seq         INTEGER PRIMARY KEY,
    run_id      BLOB NOT NULL UNIQUE,
    job_seq     INTEGER NOT NULL REFERENCES jobs (seq),
    idx         INTEGER NOT NULL,
    worker      TEXT NOT NULL,
    instance    TEXT NOT NULL,
    -- open, lost, closed
    state       TEXT NOT NULL,
    started_at  INTEGER NOT NULL,
    lease_until INTEGER NOT NULL,
    finished_at INTEGER,
    exit_code   INTEGER,
    stop        TEXT,
    -- 0: not in doubt; 1: closed without proof of its end; 2: the same, and counted in the job's `stop_unconfirmed`.
    unproven    INTEGER NOT NULL DEFAULT 0
);
CREATE INDEX runs_job ON runs (job_seq);
CREATE INDEX runs_open_job ON runs (job_seq) WHERE state <> 'closed';
CREATE INDEX runs_open_worker ON runs (worker) WHERE state <> 'closed';
CREATE INDEX runs_unproven ON runs (job_seq) WHERE unproven > 0;

CREATE TABLE artifacts (
    job_seq  INTEGER NOT NULL REFERENCES jobs (seq),
    path     TEXT NOT NULL,
    name     TEXT NOT NULL,
    unit     INTEGER,
    category TEXT NOT NULL,
    bytes    INTEGER NOT NULL,
    PRIMARY KEY (job_seq, path)
) WITHOUT ROWID;

CREATE TABLE idempotency (
    actor        TEXT NOT NULL,
    key          TEXT NOT NULL,
    request_hash TEXT NOT NULL,
    job_id       BLOB NOT NULL,
    at           INTEGER NOT NULL,
    PRIMARY KEY (actor, key)
) WITHOUT ROWID;
CREATE INDEX idempotency_at ON idempotency (at);

-- What follows outlives the job.
CREATE TABLE receipts (
    seq    INTEGER PRIMARY KEY AUTOINCREMENT,
    job_id BLOB NOT NULL UNIQUE,
    body   TEXT NOT NULL
);
CREATE TABLE removal_runs (
    job_id      BLOB NOT NULL,
    run_id      BLOB NOT NULL,
    kind        TEXT NOT NULL,
    job_phase   TEXT NOT NULL,
    unit        INTEGER NOT NULL,
    unit_name   TEXT NOT NULL,
    state       TEXT NOT NULL,
    worker      TEXT NOT NULL,
    instance    TEXT NOT NULL,
    started_at  INTEGER NOT NULL,
    lease_until INTEGER NOT NULL,
    stop        TEXT,
    PRIMARY KEY (job_id, run_id)
) WITHOUT ROWID;

CREATE TABLE audit (
    seq        INTEGER PRIMARY KEY AUTOINCREMENT,
    at         INTEGER NOT NULL,
    actor      TEXT NOT NULL,
    action     TEXT NOT NULL,
    job_id     BLOB,
    job_name   TEXT,
    source     TEXT NOT NULL,
    address    TEXT,
    request_id TEXT NOT NULL,
    result     TEXT NOT NULL,
    detail     TEXT
);

-- Secrets only as SHA-256, hex.
CREATE TABLE sign_in_links (hash TEXT PRIMARY KEY, expires INTEGER NOT NULL) WITHOUT ROWID;
CREATE TABLE sessions (
    hash       TEXT PRIMARY KEY,
    actor      TEXT NOT NULL,
    created_at INTEGER NOT NULL,
    expires    INTEGER NOT NULL
) WITHOUT ROWID;
CREATE TABLE tokens (
    name       TEXT PRIMARY KEY,
    hash       TEXT NOT NULL UNIQUE,
    created_at INTEGER NOT NULL,
    created_by TEXT NOT NULL
) WITHOUT ROWID;
