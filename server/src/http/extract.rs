//! What handlers take out of an address.

use app::model::{ErrorCode, JobId};
use axum::{
    extract::{FromRequestParts, Path, Query},
    http::request::Parts,
};

use super::problem::{Answer, Failure};

/// The job that the path names. A text that is no UUID is an unknown job.
#[derive(Clone, Copy, Debug)]
pub(crate) struct JobPath(pub(crate) JobId);

impl<S: Send + Sync> FromRequestParts<S> for JobPath {
    type Rejection = Failure;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Answer<Self> {
        let pairs = Path::<Vec<(String, String)>>::from_request_parts(parts, state).await;
        // What follows the id may be the name of a file that is not UTF-8; axum then decodes nothing of the path.
        let Ok(pairs) = pairs else {
            let id = parts.uri.path().split('/').find_map(|segment| segment.parse().ok());
            return id.map(JobPath).ok_or_else(|| Failure::no_job(""));
        };
        let text = pairs.iter().find(|(name, _)| name == "job_id").map_or("", |(_, text)| text.as_str());
        text.parse().map(JobPath).map_err(|_| Failure::no_job(text))
    }
}

/// The query of the address, decoded, in order.
#[derive(Clone, Debug)]
pub(crate) struct Pairs(Vec<(String, String)>);

impl<S: Send + Sync> FromRequestParts<S> for Pairs {
    type Rejection = Failure;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Answer<Self> {
        let pairs = Query::<Vec<(String, String)>>::from_request_parts(parts, state).await;
        pairs.map(|pairs| Pairs(pairs.0)).map_err(|_| invalid_query("The query could not be read."))
    }
}

impl Pairs {
    pub(crate) fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0.iter().map(|(name, value)| (name.as_str(), value.as_str()))
    }

    /// A value that is there and not empty.
    pub(crate) fn get(&self, name: &str) -> Option<&str> {
        self.iter().find(|(found, value)| *found == name && !value.is_empty()).map(|(_, value)| value)
    }

    /// `true`, `1`, `false`, `0`; not given is false.
    pub(crate) fn flag(&self, name: &str) -> Answer<bool> {
        match self.get(name) {
            None | Some("false" | "0") => Ok(false),
            Some("true" | "1") => Ok(true),
            Some(_) => Err(invalid_query(format!("`{name}` takes `true` or `false`.")).field(name)),
        }
    }
}

/// 400 with a sentence that names the parameter.
pub(crate) fn invalid_query(detail: impl Into<String>) -> Failure {
    Failure::new(ErrorCode::InvalidQuery, detail)
}
