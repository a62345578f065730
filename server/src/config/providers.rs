//! `[providers.NAME]`: the batch APIs that jobs of kinds `openai_batch` and `gemini_batch` are sent to.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    time::Duration,
};

use app::model::ProviderKind;
use batches::{Settings, Shape, prices::Rate};
use serde::Deserialize;

/// Half a minute is much for a list, and little of the hours that a batch takes. Each answer of 500 costs it, too.
pub const LOST_CREATE: Duration = Duration::from_secs(30);

/// `[providers.NAME]`. A key is never here: the configuration names where it is.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ProviderConfig {
    /// The API that it speaks; default: Gemini for the name `gemini`, `OpenAI` for every other.
    #[serde(rename = "type")]
    pub speaks: Option<ProviderKind>,
    /// Default: the service's own.
    pub base_url: Option<String>,
    /// Environment variable of the server with the key; default by type: `OPENAI_API_KEY`, `GEMINI_API_KEY`.
    pub api_key_env: Option<String>,
    /// File with the key, for its owner only.
    pub api_key_file: Option<PathBuf>,
    /// Gemini: the part of the path that names the version; default `v1beta`.
    pub api_version: Option<String>,
    /// `OpenAI`: the headers `OpenAI-Organization` and `OpenAI-Project`.
    pub organization: Option<String>,
    pub project: Option<String>,
    /// True for a service of `OpenAI`'s shape that lets one delete batches, too.
    pub delete_batch: Option<bool>,
    /// Seconds for which a batch whose creation got no answer is looked for, before another is made: as long as the
    /// service's list may lag behind. Default 30.
    pub lost_create_s: Option<u32>,
    /// Leaves batch and files at the provider when a job is deleted, and says so in the receipt.
    pub keep_remote: bool,
    /// Rates by model, instead of those of the built-in table.
    pub prices: BTreeMap<String, Rate>,
}

impl ProviderConfig {
    /// For how long a batch whose creation got no answer is looked for.
    #[must_use]
    pub fn lost_create(&self) -> Duration {
        self.lost_create_s.map_or(LOST_CREATE, |seconds| Duration::from_secs(seconds.into()))
    }

    /// The API that a provider of this name speaks.
    #[must_use]
    pub fn kind(&self, name: &str) -> ProviderKind {
        self.speaks.unwrap_or(if name == "gemini" { ProviderKind::Gemini } else { ProviderKind::Openai })
    }

    /// As the provider's crate takes them.
    #[must_use]
    pub fn settings(&self, kind: ProviderKind) -> Settings {
        Settings {
            base_url: self.base_url.clone(),
            key_env: self.api_key_env.clone(),
            key_file: self.api_key_file.clone(),
            organization: self.organization.clone(),
            project: self.project.clone(),
            api_version: self.api_version.clone(),
            delete_batch: self.delete_batch,
            ..Settings::of(match kind {
                ProviderKind::Openai => Shape::Openai,
                ProviderKind::Gemini => Shape::Gemini,
            })
        }
    }
}

/// Checks what the types cannot, and makes paths absolute. The error is key and sentence.
pub(super) fn check(providers: &mut BTreeMap<String, ProviderConfig>, folder: &Path) -> Result<(), (String, String)> {
    for (name, provider) in providers {
        let fault = |field: &str, message: &str| Err((format!("providers.{name}{field}"), message.to_owned()));
        let is_fine = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
        if name.is_empty() || name.len() > 100 || !name.chars().all(is_fine) {
            return fault("", "a name is made of letters, digits, `.`, `_` and `-`");
        }
        if let Some(url) = &provider.base_url
            && !is_address(url)
        {
            return fault(".base_url", "must be http:// or https:// with a host, without user, query and fragment");
        }
        if provider.api_key_env.is_some() && provider.api_key_file.is_some() {
            return fault(".api_key_file", "stands beside `api_key_env`; a key is looked for in one place");
        }
        if provider.api_key_env.as_deref().is_some_and(|name| name.is_empty() || name.contains(['=', '\0'])) {
            return fault(".api_key_env", "takes the name of an environment variable");
        }
        if provider.api_version.as_deref().is_some_and(|version| !version.chars().all(is_fine)) {
            return fault(".api_version", "takes a word such as `v1beta`");
        }
        for (model, price) in &provider.prices {
            let rates = [Some(price.input), Some(price.output), price.cached];
            if rates.into_iter().flatten().any(|rate| !rate.is_finite() || rate < 0.0) {
                return fault(&format!(".prices.{model}"), "takes dollars, 0 or more");
            }
        }
        if let Some(path) = &mut provider.api_key_file {
            *path = folder.join(&*path);
        }
    }
    Ok(())
}

/// A key in an address would be in logs and pages.
fn is_address(url: &str) -> bool {
    let Ok(url) = reqwest::Url::parse(url) else { return false };
    let is_bare = url.username().is_empty() && url.password().is_none();
    matches!(url.scheme(), "http" | "https")
        && url.has_host()
        && is_bare
        && url.query().is_none()
        && url.fragment().is_none()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_name_says_what_it_speaks_unless_the_type_does() {
        let plain = ProviderConfig::default();
        assert_eq!(plain.kind("gemini"), ProviderKind::Gemini);
        assert_eq!(plain.kind("openai"), ProviderKind::Openai);
        assert_eq!(plain.kind("another"), ProviderKind::Openai);
        let typed = ProviderConfig { speaks: Some(ProviderKind::Gemini), ..ProviderConfig::default() };
        assert_eq!(typed.kind("openai"), ProviderKind::Gemini);
    }

    #[test]
    fn an_address_holds_no_key() {
        for bad in ["ftp://x/", "https://", "https://k@x/", "https://x/?key=k", "api.openai.com", "https://x/#k"] {
            assert!(!is_address(bad), "{bad}");
        }
        assert!(is_address("http://127.0.0.1:4010/v1"));
    }
}
