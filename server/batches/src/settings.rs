//! `[providers.NAME]`: where a provider is and how it is spoken to.

use std::{path::PathBuf, time::Duration};

use serde::{Deserialize, Serialize};

use crate::{Capabilities, KeyFrom, gemini, openai};

/// The shape of an API.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Shape {
    /// OpenAI's files and batches, and everything that speaks like them.
    Openai,
    /// The Gemini Developer API.
    Gemini,
}

/// One `[providers.NAME]` of the configuration. Everything but the shape has a default.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Settings {
    pub shape: Shape,
    /// Where its API begins: `https://api.openai.com/v1`, `https://generativelanguage.googleapis.com`.
    #[serde(default)]
    pub base_url: Option<String>,
    /// Environment variable that holds the key; default `OPENAI_API_KEY`, `GEMINI_API_KEY`.
    #[serde(default)]
    pub key_env: Option<String>,
    /// File that holds the key, mode 0600; instead of a variable.
    #[serde(default)]
    pub key_file: Option<PathBuf>,
    /// `OpenAI-Organization`.
    #[serde(default)]
    pub organization: Option<String>,
    /// `OpenAI-Project`.
    #[serde(default)]
    pub project: Option<String>,
    /// `v1beta` (default) or `v1`, for Gemini.
    #[serde(default)]
    pub api_version: Option<String>,
    /// What the service can do beside its shape: some that speak like OpenAI delete batches too.
    #[serde(default)]
    pub delete_batch: Option<bool>,
}

impl Settings {
    /// The provider's own service, with the key from the usual variable.
    #[must_use]
    pub fn of(shape: Shape) -> Settings {
        Settings {
            shape,
            base_url: None,
            key_env: None,
            key_file: None,
            organization: None,
            project: None,
            api_version: None,
            delete_batch: None,
        }
    }

    /// Where the API begins, without a slash at the end, and for Gemini without the version, which other tools want there.
    #[must_use]
    pub fn base_url(&self) -> &str {
        let base = self.address();
        match (self.shape, version_in(base)) {
            (Shape::Gemini, Some((rest, _))) => rest,
            (Shape::Gemini | Shape::Openai, _) => base,
        }
    }

    /// Which version of Gemini's API is spoken: as set, or as the address says.
    #[must_use]
    pub fn api_version(&self) -> &str {
        let in_address = || version_in(self.address()).map(|(_, version)| version);
        self.api_version.as_deref().or_else(in_address).unwrap_or("v1beta")
    }

    fn address(&self) -> &str {
        let base = self.base_url.as_deref().unwrap_or(match self.shape {
            Shape::Openai => "https://api.openai.com/v1",
            Shape::Gemini => "https://generativelanguage.googleapis.com",
        });
        base.trim_end_matches('/')
    }

    /// Where the key comes from; a file goes before a variable.
    #[must_use]
    pub fn key_from(&self) -> KeyFrom {
        match (&self.key_file, &self.key_env, self.shape) {
            (Some(path), _, _) => KeyFrom::File(path.clone()),
            (None, Some(name), _) => KeyFrom::Variable(name.clone()),
            (None, None, Shape::Openai) => KeyFrom::Variable("OPENAI_API_KEY".to_owned()),
            (None, None, Shape::Gemini) => KeyFrom::Variable("GEMINI_API_KEY".to_owned()),
        }
    }

    /// What the service can do: known without its key.
    #[must_use]
    pub fn capabilities(&self) -> Capabilities {
        let usual = match self.shape {
            Shape::Openai => openai::CAPABILITIES,
            Shape::Gemini => gemini::CAPABILITIES,
        };
        Capabilities { delete_batch: self.delete_batch.unwrap_or(usual.delete_batch), ..usual }
    }

    /// How long the service tries before it lets a batch expire: known without its key.
    #[must_use]
    pub fn deadline(&self) -> Duration {
        match self.shape {
            Shape::Openai => openai::DEADLINE,
            Shape::Gemini => gemini::DEADLINE,
        }
    }
}

/// An address that ends with a version, and the version.
fn version_in(base: &str) -> Option<(&str, &str)> {
    base.rsplit_once('/').filter(|(_, last)| matches!(*last, "v1" | "v1beta" | "v1alpha"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_may_end_with_a_slash_or_the_version() {
        let read = |shape, base: &str, version: Option<&str>| {
            let settings = Settings {
                base_url: Some(base.to_owned()),
                api_version: version.map(str::to_owned),
                ..Settings::of(shape)
            };
            (settings.base_url().to_owned(), settings.api_version().to_owned())
        };
        let pair = |base: &str, version: &str| (base.to_owned(), version.to_owned());
        assert_eq!(read(Shape::Gemini, "http://x", None), pair("http://x", "v1beta"));
        assert_eq!(read(Shape::Gemini, "http://x/v1/", None), pair("http://x", "v1"));
        assert_eq!(read(Shape::Gemini, "http://x/g/v1beta", Some("v1")), pair("http://x/g", "v1"));
        assert_eq!(read(Shape::Openai, "http://x/v1//", None).0, "http://x/v1", "a part of the address there");
    }
}
