//! The fields of a spec, read one by one, so that a refusal names the one that is wrong.

use app::model::ErrorCode;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value};

use crate::error::{Error, Result};

/// Most units of a job at once.
pub(super) const MAX_PARALLEL: u32 = 1_024;
/// A week, seconds.
pub(super) const MAX_TIMEOUT_S: u32 = 604_800;
/// An hour, seconds.
pub(super) const MAX_GRACE_S: u32 = 3_600;

/// What is left of a spec to be read.
pub(super) struct Fields(Map<String, Value>);

impl Fields {
    pub(super) fn of(spec: Value) -> Result<Fields> {
        match spec {
            Value::Object(fields) => Ok(Fields(fields)),
            _ => Err(Error::invalid_spec("spec", "`spec` must be an object.")),
        }
    }

    /// A field, if it is there; `takes` says what it takes.
    pub(super) fn take<T: DeserializeOwned>(&mut self, name: &str, takes: &str) -> Result<Option<T>> {
        let Some(value) = self.0.remove(name) else { return Ok(None) };
        serde_json::from_value(value)
            .map_err(|_| Error::invalid_spec(format!("spec.{name}"), format!("`spec.{name}` must be {takes}.")))
    }

    /// Refuses what is left; `known` says what the kind takes.
    pub(super) fn finish(self, known: &str) -> Result<()> {
        match self.0.keys().next() {
            Some(unknown) => Err(Error::Invalid {
                code: ErrorCode::InvalidSpec,
                field: Some(format!("spec.{unknown}")),
                detail: format!("`spec.{unknown}` is not known."),
                hint: Some(known.to_owned()),
            }),
            None => Ok(()),
        }
    }
}

/// Refuses a number out of its range; `what` is its unit.
pub(super) fn check_range(name: &str, value: Option<u32>, least: u32, most: u32, what: &str) -> Result<()> {
    if value.is_some_and(|value| !(least..=most).contains(&value)) {
        let detail = format!("`spec.{name}` must be from {least} to {most}{what}.");
        return Err(Error::invalid_spec(format!("spec.{name}"), detail));
    }
    Ok(())
}
