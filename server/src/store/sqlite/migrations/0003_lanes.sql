-- Jobs whose work is done elsewhere and only waited for here do not compete with the others for a worker's slots.
ALTER TABLE jobs ADD COLUMN remote INTEGER NOT NULL DEFAULT 0;

DROP INDEX jobs_claimable;
CREATE INDEX jobs_claimable ON jobs (remote, running, served, seq) WHERE claimable = 1;
