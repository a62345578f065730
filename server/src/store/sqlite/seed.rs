//! Fills a database with jobs that are over, for the measurements at 1,000,000 jobs.

use std::path::Path;

use app::model::Kind;
use sqlx::{AssertSqlSafe, SqliteConnection};

use super::{SqliteStore, rows::int};
use crate::error::Result;

/// Jobs a transaction.
const CHUNK: i64 = 100_000;

/// 2025-01-01T00:00:00Z; the jobs are 10 s apart from here on.
const FIRST_CREATED: i64 = 1_735_689_600_000;

/// Adds `jobs` finished jobs of one unit each: phases, kinds, creators and names mixed, no runs and no files. Not for
/// a database in use: indexes are dropped and made again.
///
/// # Errors
/// As [`SqliteStore::open`].
pub async fn seed(path: &Path, jobs: u64) -> Result<()> {
    let store = SqliteStore::open(path).await?;
    let mut conn = store.writer.acquire().await?;
    for pragma in ["PRAGMA synchronous = OFF", "PRAGMA cache_size = -200000"] {
        sqlx::query(pragma).execute(&mut *conn).await?;
    }
    let first: i64 = sqlx::query_scalar("SELECT coalesce(max(seq), 0) + 1 FROM jobs").fetch_one(&mut *conn).await?;
    let last = first + int(jobs) - 1;
    let indexes = drop_indexes(&mut conn).await?;
    let mut from = first;
    while from <= last {
        let to = (from + CHUNK - 1).min(last);
        insert(&mut conn, from, to).await?;
        from = to + 1;
    }
    for sql in indexes {
        sqlx::query(AssertSqlSafe(sql)).execute(&mut *conn).await?;
    }
    sqlx::query("UPDATE clock SET changes = changes + 1").execute(&mut *conn).await?;
    drop(conn);
    store.close().await;
    Ok(())
}

/// Sorting once is several times faster than keeping every index in order. Answers the statements that make them again.
async fn drop_indexes(conn: &mut SqliteConnection) -> Result<Vec<String>> {
    let indexes: Vec<(String, String)> = sqlx::query_as(
        "SELECT name, sql FROM sqlite_schema
         WHERE type = 'index' AND tbl_name IN ('jobs', 'units') AND sql IS NOT NULL ORDER BY name",
    )
    .fetch_all(&mut *conn)
    .await?;
    for (name, _) in &indexes {
        sqlx::query(AssertSqlSafe(format!("DROP INDEX {name}"))).execute(&mut *conn).await?;
    }
    Ok(indexes.into_iter().map(|(_, sql)| sql).collect())
}

/// ?1, ?2: first and last number. ?3: JSON array of kinds. ?4: when the first was created.
const JOBS: &str = "WITH RECURSIVE
    numbers (n) AS (SELECT ?1 UNION ALL SELECT n + 1 FROM numbers WHERE n < ?2),
    words (mix, n) AS (SELECT (n * 2654435761) % 4294967296, n FROM numbers),
    plain AS (SELECT n, mix, ?4 + n * 10000 AS at,
        CASE WHEN mix % 100 < 80 THEN 'completed' WHEN mix % 100 < 88 THEN 'partial'
             WHEN mix % 100 < 95 THEN 'failed' ELSE 'cancelled' END AS phase FROM words)
    INSERT INTO jobs (seq, job_id, name, kind, phase, spec, phases, parallel, created_at, created_by, started_at,
        finished_at, total, succeeded, failed, cancelled, cancel_at, cancel_by, cancel_source, cancel_request_id,
        cancel_reason, cancelled_at, stop_never_started)
    SELECT n, unhex(printf('%012x7%03x8%03x%012x', at, n % 4096, mix % 4096, mix * 65521)),
        json_extract('[\"nightly checksums\",\"catalogue import\",\"look book\",\"thumbnails\",\"transcode\",\"invoices\",\"backup check\",\"sensor batch\"]',
            '$[' || (mix % 8) || ']') || ' ' || (n % 5000),
        json_extract(?3, '$[' || (n % json_array_length(?3)) || ']'), phase,
        '{\"preset\":\"sha256\",\"inputs\":[],\"parallel\":2}', '[{\"phase\":\"in_progress\"}]', 2, at,
        json_extract('[\"mara\",\"jon\",\"ines\",\"token:nightly\",\"token:ci\"]', '$[' || (mix / 8 % 5) || ']'),
        at + 500, at + 500 + mix % 600000, 1, phase IN ('completed', 'partial'), phase = 'failed', phase = 'cancelled',
        iif(phase = 'cancelled', at + 400, NULL), iif(phase = 'cancelled', 'mara', NULL),
        iif(phase = 'cancelled', 'console', NULL), iif(phase = 'cancelled', 'seed', NULL),
        iif(phase = 'cancelled', 'user_request', NULL), iif(phase = 'cancelled', at + 450, NULL), phase = 'cancelled'
    FROM plain";

const UNITS: &str = "INSERT INTO units (job_seq, idx, phase, name, input, status, attempt, started_at, finished_at)
    SELECT seq, 0, 'in_progress', 'file', CAST('/in/file' AS BLOB),
        CASE phase WHEN 'failed' THEN 'failed' WHEN 'cancelled' THEN 'cancelled' ELSE 'succeeded' END,
        phase <> 'cancelled', started_at, finished_at
    FROM jobs WHERE seq BETWEEN ?1 AND ?2";

const TEXTS: &str = "INSERT INTO jobs_text (rowid, name, job_id)
    SELECT seq, name, substr(id, 1, 8) || '-' || substr(id, 9, 4) || '-' || substr(id, 13, 4) || '-'
        || substr(id, 17, 4) || '-' || substr(id, 21)
    FROM (SELECT seq, name, lower(hex(job_id)) AS id FROM jobs WHERE seq BETWEEN ?1 AND ?2)";

async fn insert(conn: &mut SqliteConnection, from: i64, to: i64) -> Result<()> {
    let kinds: Vec<String> = Kind::ALL.iter().map(|kind| format!("\"{kind}\"")).collect();
    sqlx::query("BEGIN IMMEDIATE").execute(&mut *conn).await?;
    sqlx::query(JOBS)
        .bind(from)
        .bind(to)
        .bind(format!("[{}]", kinds.join(",")))
        .bind(FIRST_CREATED)
        .execute(&mut *conn)
        .await?;
    for sql in [UNITS, TEXTS] {
        sqlx::query(sql).bind(from).bind(to).execute(&mut *conn).await?;
    }
    sqlx::query("COMMIT").execute(conn).await?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use app::model::{JobQuery, JobSort, Phase};

    use super::*;
    use crate::store::Store;

    #[tokio::test]
    async fn seeded_jobs_are_jobs_like_others() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("seeded.db");
        seed(&path, 500).await.unwrap();
        seed(&path, 100).await.unwrap();
        let store = SqliteStore::open(&path).await.unwrap();
        let counts = store.phase_counts().await.unwrap();
        assert_eq!(counts.iter().map(|count| count.count).sum::<u64>(), 600);
        for phase in Phase::TERMINAL {
            let query = JobQuery { phases: vec![phase], sort: JobSort::FinishedLatest, ..JobQuery::default() };
            assert!(!store.jobs(&query).await.unwrap().items.is_empty(), "{phase}");
        }
        let some = store.jobs(&JobQuery::default()).await.unwrap().items.remove(0);
        let query = JobQuery { q: Some(some.job_id.to_string()), ..JobQuery::default() };
        assert_eq!(store.jobs(&query).await.unwrap().items, [some]);
    }
}
