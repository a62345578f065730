//! Every console and API path as a typed function: no address is written twice.

use std::fmt::Write as _;

use crate::model::{BulkId, BulkItemQuery, JobId, JobQuery, Kind, LogQuery, RequestQuery, UnitQuery};

/// `base` with `pairs` as a percent-encoded query.
#[must_use]
pub fn with_query(base: &str, pairs: &[(&'static str, String)]) -> String {
    let mut url = base.to_owned();
    for (index, (name, value)) in pairs.iter().enumerate() {
        url.push(if index == 0 { '?' } else { '&' });
        url.push_str(name);
        url.push('=');
        url.push_str(&encode(value));
    }
    url
}

/// Percent-encodes all but the unreserved characters of RFC 3986, section 2.3.
#[must_use]
pub fn encode(text: &str) -> String {
    let mut encoded = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~') {
            encoded.push(byte as char);
        } else {
            // Writing to a String cannot fail.
            let _ = write!(encoded, "%{byte:02X}");
        }
    }
    encoded
}

/// Pages of the console.
pub mod console {
    use super::{BulkId, JobId, JobQuery, Kind, encode, with_query};

    pub const JOBS: &str = "/jobs";
    pub const NEW_JOB: &str = "/jobs/new";
    pub const REMOVALS: &str = "/removals";
    /// The question before an action on many jobs; its query is a
    /// [`BulkQuestion`](crate::model::BulkQuestion). Also the target of its form (POST).
    pub const NEW_BULK: &str = "/bulk/new";
    /// Also the target of its form (POST) that makes jobs of the batches that another tool wrote down.
    pub const PROVIDERS: &str = "/providers";
    pub const AUDIT: &str = "/audit";
    pub const SIGN_IN: &str = "/sign-in";
    /// Form target: ends the session.
    pub const SIGN_OUT: &str = "/sign-out";

    /// The form of a new job of this kind.
    #[must_use]
    pub fn new_job(kind: Kind) -> String {
        match kind {
            Kind::Files => NEW_JOB.to_owned(),
            Kind::ProductMatching | Kind::Hosts | Kind::OpenaiBatch | Kind::GeminiBatch => {
                format!("{NEW_JOB}?kind={kind}")
            }
        }
    }

    /// The list under a query.
    #[must_use]
    pub fn jobs(query: &JobQuery) -> String {
        with_query(JOBS, &query.to_pairs())
    }

    /// The detail page.
    #[must_use]
    pub fn job(id: JobId) -> String {
        format!("/jobs/{id}")
    }

    /// The detail page with the cancel question rendered by the server; also the target of its form (POST).
    #[must_use]
    pub fn cancel(id: JobId) -> String {
        format!("/jobs/{id}/cancel")
    }

    /// The detail page with the delete question rendered by the server; also the target of its form (POST).
    #[must_use]
    pub fn delete(id: JobId) -> String {
        format!("/jobs/{id}/delete")
    }

    /// The same question, about force, with what was ticked in the first one.
    #[must_use]
    pub fn force_delete(id: JobId, keep_files: bool) -> String {
        format!("/jobs/{id}/delete?force=1{}", if keep_files { "&keep_files=1" } else { "" })
    }

    /// Form target: a new job over the units of this one.
    #[must_use]
    pub fn rerun(id: JobId) -> String {
        format!("/jobs/{id}/rerun")
    }

    /// One receipt.
    #[must_use]
    pub fn removal(id: JobId) -> String {
        format!("/removals/{id}")
    }

    /// An action on many jobs.
    #[must_use]
    pub fn bulk(id: BulkId) -> String {
        format!("/bulk/{id}")
    }

    /// Form target: begins nothing more of it.
    #[must_use]
    pub fn abort_bulk(id: BulkId) -> String {
        format!("/bulk/{id}/abort")
    }

    /// Form target: a new one over the jobs that failed.
    #[must_use]
    pub fn retry_bulk(id: BulkId) -> String {
        format!("/bulk/{id}/retry")
    }

    /// The providers with the batches of one of them.
    #[must_use]
    pub fn provider(name: &str) -> String {
        with_query(PROVIDERS, &[("provider", name.to_owned())])
    }

    /// Form target: makes a job of a batch that none knows.
    #[must_use]
    pub fn adopt(provider: &str, batch_id: &str) -> String {
        format!("{PROVIDERS}/{}/batches/{}/adopt", encode(provider), encode(batch_id))
    }

    /// Form target: cancels a batch that no job knows.
    #[must_use]
    pub fn cancel_remote(provider: &str, batch_id: &str) -> String {
        format!("{PROVIDERS}/{}/batches/{}/cancel", encode(provider), encode(batch_id))
    }

    /// Form target: asks the provider of a job now.
    #[must_use]
    pub fn refresh(id: JobId) -> String {
        format!("/jobs/{id}/refresh")
    }

    /// Form target: tries the removal of what was left again.
    #[must_use]
    pub fn retry_removal(id: JobId) -> String {
        format!("/removals/{id}/retry")
    }
}

/// The REST API.
pub mod api {
    use super::{BulkId, BulkItemQuery, JobId, JobQuery, LogQuery, RequestQuery, UnitQuery, encode, with_query};

    pub const JOBS: &str = "/api/jobs";
    pub const REMOVALS: &str = "/api/removals";
    pub const AUDIT: &str = "/api/audit";
    pub const FORM_OPTIONS: &str = "/api/form-options";
    pub const STATUS: &str = "/api/status";
    pub const TOKENS: &str = "/api/tokens";
    pub const BULK: &str = "/api/bulk";
    pub const OPENAPI: &str = "/api/openapi.json";

    /// The list under a query.
    #[must_use]
    pub fn jobs(query: &JobQuery) -> String {
        with_query(JOBS, &query.to_pairs())
    }

    /// One job.
    #[must_use]
    pub fn job(id: JobId) -> String {
        format!("/api/jobs/{id}")
    }

    /// POST: stop it.
    #[must_use]
    pub fn cancel(id: JobId) -> String {
        format!("/api/jobs/{id}/cancel")
    }

    /// DELETE: remove it.
    #[must_use]
    pub fn delete(id: JobId, force: bool, dry_run: bool, keep_files: bool) -> String {
        let flags = [("force", force), ("dry_run", dry_run), ("keep_files", keep_files)];
        let pairs: Vec<_> =
            flags.into_iter().filter(|(_, on)| *on).map(|(name, _)| (name, "true".to_owned())).collect();
        with_query(&job(id), &pairs)
    }

    /// POST: a new job over its units.
    #[must_use]
    pub fn rerun(id: JobId) -> String {
        format!("/api/jobs/{id}/rerun")
    }

    /// Its units.
    #[must_use]
    pub fn units(id: JobId, query: &UnitQuery) -> String {
        with_query(&format!("/api/jobs/{id}/units"), &query.to_pairs())
    }

    /// Its log: the latest lines of all units, or the log of one.
    #[must_use]
    pub fn log(id: JobId, query: &LogQuery) -> String {
        with_query(&format!("/api/jobs/{id}/log"), &query.to_pairs())
    }

    /// The same as a file, from the beginning to the end.
    #[must_use]
    pub fn log_file(id: JobId, query: &LogQuery) -> String {
        let mut pairs = LogQuery { cursor: None, ..query.clone() }.to_pairs();
        pairs.push(("download", "true".to_owned()));
        with_query(&format!("/api/jobs/{id}/log"), &pairs)
    }

    /// Its artifacts.
    #[must_use]
    pub fn artifacts(id: JobId, cursor: Option<&str>) -> String {
        let pairs: Vec<_> = cursor.into_iter().map(|cursor| ("cursor", cursor.to_owned())).collect();
        with_query(&format!("/api/jobs/{id}/artifacts"), &pairs)
    }

    /// What a `product_matching` job has found.
    #[must_use]
    pub fn matches(id: JobId) -> String {
        format!("/api/jobs/{id}/matches")
    }

    /// One artifact; `path` as [`Artifact::path`](crate::model::Artifact::path) gives it, already encoded.
    #[must_use]
    pub fn artifact(id: JobId, path: &str) -> String {
        format!("/api/jobs/{id}/artifacts/{path}")
    }

    /// The receipts.
    #[must_use]
    pub fn removals(cursor: Option<&str>) -> String {
        let pairs: Vec<_> = cursor.into_iter().map(|cursor| ("cursor", cursor.to_owned())).collect();
        with_query(REMOVALS, &pairs)
    }

    /// One receipt.
    #[must_use]
    pub fn removal(id: JobId) -> String {
        format!("/api/removals/{id}")
    }

    /// POST: try the removal of what was left again.
    #[must_use]
    pub fn retry_removal(id: JobId) -> String {
        format!("/api/removals/{id}/retry")
    }

    /// The actions on many jobs.
    #[must_use]
    pub fn bulks(cursor: Option<&str>) -> String {
        let pairs: Vec<_> = cursor.into_iter().map(|cursor| ("cursor", cursor.to_owned())).collect();
        with_query(BULK, &pairs)
    }

    /// One action on many jobs.
    #[must_use]
    pub fn bulk(id: BulkId) -> String {
        format!("/api/bulk/{id}")
    }

    /// Its jobs, with their results.
    #[must_use]
    pub fn bulk_items(id: BulkId, query: &BulkItemQuery) -> String {
        with_query(&format!("/api/bulk/{id}/items"), &query.to_pairs())
    }

    /// POST: begin nothing more of it.
    #[must_use]
    pub fn abort_bulk(id: BulkId) -> String {
        format!("/api/bulk/{id}/abort")
    }

    /// POST: a new one over the jobs that failed.
    #[must_use]
    pub fn retry_bulk(id: BulkId) -> String {
        format!("/api/bulk/{id}/retry")
    }

    /// The providers of the configuration.
    pub const PROVIDERS: &str = "/api/providers";
    /// POST: what a file of requests holds, before anything is sent.
    pub const CHECK_BATCH: &str = "/api/batches/check";

    /// What a provider has, also what no job knows.
    #[must_use]
    pub fn remote_batches(provider: &str, cursor: Option<&str>) -> String {
        let pairs: Vec<_> = cursor.into_iter().map(|cursor| ("cursor", cursor.to_owned())).collect();
        with_query(&format!("{PROVIDERS}/{}/batches", encode(provider)), &pairs)
    }

    /// POST: make a job of a batch that none knows.
    #[must_use]
    pub fn adopt_batch(provider: &str, batch_id: &str) -> String {
        format!("{PROVIDERS}/{}/batches/{}/adopt", encode(provider), encode(batch_id))
    }

    /// POST: cancel a batch that no job knows.
    #[must_use]
    pub fn cancel_remote_batch(provider: &str, batch_id: &str) -> String {
        format!("{PROVIDERS}/{}/batches/{}/cancel", encode(provider), encode(batch_id))
    }

    /// POST: make jobs of another tool's records.
    #[must_use]
    pub fn import_batches(provider: &str) -> String {
        format!("{PROVIDERS}/{}/import", encode(provider))
    }

    /// The requests of a batch with their results.
    #[must_use]
    pub fn requests(id: JobId, query: &RequestQuery) -> String {
        with_query(&format!("/api/jobs/{id}/requests"), &query.to_pairs())
    }

    /// POST: ask its provider now.
    #[must_use]
    pub fn refresh(id: JobId) -> String {
        format!("/api/jobs/{id}/refresh")
    }

    /// The audit.
    #[must_use]
    pub fn audit(cursor: Option<&str>) -> String {
        let pairs: Vec<_> = cursor.into_iter().map(|cursor| ("cursor", cursor.to_owned())).collect();
        with_query(AUDIT, &pairs)
    }
}
