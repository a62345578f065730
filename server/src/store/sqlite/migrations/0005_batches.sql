-- Batches at providers. They outlive a crash, and (without results) the job: what a provider has must be known as ours for
-- as long as it has it. `body` is the record as JSON; beside it stands what is looked for. `version` guards every update.
CREATE TABLE batches (
    job_id     BLOB PRIMARY KEY,
    provider   TEXT NOT NULL,
    tag        TEXT NOT NULL,
    remote_id  TEXT,
    version    INTEGER NOT NULL,
    -- Set when the job is gone.
    removed_at INTEGER,
    body       TEXT NOT NULL
) WITHOUT ROWID;
-- One job for a batch, whoever adopts it at the same time.
CREATE UNIQUE INDEX batches_remote ON batches (provider, remote_id) WHERE remote_id IS NOT NULL;
CREATE INDEX batches_tag ON batches (provider, tag);
