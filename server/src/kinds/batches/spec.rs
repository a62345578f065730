//! Checks a spec of the batch kinds, field by field, so that a refusal names the one that is wrong.

use app::model::BatchSpec;
use serde_json::Value;

use crate::{
    error::{Error, Result},
    kinds::fields::Fields,
};

/// Reads a spec; every error names its field.
pub(super) fn parse(spec: Value) -> Result<BatchSpec> {
    let mut fields = Fields::of(spec)?;
    let spec = BatchSpec {
        provider: fields.take("provider", "the name of a provider of the configuration")?.unwrap_or_default(),
        input: fields.take("input", "the path of a file")?,
        model: fields.take("model", "the name of a model")?,
        adopted: None,
    };
    fields.finish("The batch kinds take provider, input and model.")?;
    if spec.provider.is_empty() {
        return Err(Error::invalid_spec("spec.provider", "`spec.provider` is missing: the name of a provider."));
    }
    let is_name = |model: &String| {
        let is_fine = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-' | '/' | ':');
        !model.is_empty() && model.len() <= 200 && model.chars().all(is_fine) && !model.contains("..")
    };
    if !spec.model.as_ref().is_none_or(is_name) {
        return Err(Error::invalid_spec("spec.model", "`spec.model` takes the name of a model."));
    }
    Ok(spec)
}

/// A spec as it was stored.
pub(super) fn read(spec: &str) -> Result<BatchSpec> {
    serde_json::from_str(spec).map_err(|error| Error::internal("a stored spec cannot be read", error))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_refused_spec_names_its_field() {
        for (spec, field) in [
            (json!([]), "spec"),
            (json!({}), "spec.provider"),
            (json!({"provider": 1}), "spec.provider"),
            (json!({"provider": "openai", "input": ["a"]}), "spec.input"),
            (json!({"provider": "openai", "model": "../x"}), "spec.model"),
            (json!({"provider": "openai", "model": ""}), "spec.model"),
            (json!({"provider": "openai", "adopted": "batch_1"}), "spec.adopted"),
            (json!({"provider": "openai", "api_key": "sk"}), "spec.api_key"),
        ] {
            let Error::Invalid { field: named, .. } = parse(spec.clone()).unwrap_err() else { panic!("{spec}") };
            assert_eq!(named.as_deref(), Some(field), "{spec}");
        }
    }
}
