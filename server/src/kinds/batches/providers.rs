//! The batch APIs of the configuration: found by name, connected when they are needed.

use std::{
    collections::BTreeMap,
    path::Path,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use app::model::{CheckedInput, Kind, ProviderInfo, ProviderKind};
use batches::{Provider, Settings, prices::Prices};

use super::{input, view};
use crate::{
    config::{Config, providers::ProviderConfig},
    error::{Error, Result},
};

/// See the module.
pub struct Providers {
    known: BTreeMap<String, Known>,
}

/// One `[providers.NAME]`.
pub(crate) struct Known {
    pub(crate) name: String,
    pub(crate) kind: ProviderKind,
    /// Leave what is there when a job is removed.
    pub(super) keep_remote: bool,
    pub(super) prices: Prices,
    /// For how long a batch whose creation got no answer is looked for.
    pub(super) lost_create: Duration,
    settings: Settings,
    connected: Mutex<Option<Arc<dyn Provider>>>,
}

impl Providers {
    /// Those of a configuration. Reads no key and connects to nobody.
    #[must_use]
    pub fn new(config: &Config) -> Self {
        let known = |(name, provider): (&String, &ProviderConfig)| {
            let kind = provider.kind(name);
            let known = Known {
                name: name.clone(),
                kind,
                keep_remote: provider.keep_remote,
                prices: Prices::new(provider.prices.clone()),
                lost_create: provider.lost_create(),
                settings: provider.settings(kind),
                connected: Mutex::default(),
            };
            (name.clone(), known)
        };
        Providers { known: config.providers.iter().map(known).collect() }
    }

    /// As the console offers them.
    #[must_use]
    pub fn offered(&self) -> Vec<ProviderInfo> {
        self.known.values().map(Known::info).collect()
    }

    pub(crate) fn get(&self, name: &str) -> Option<&Known> {
        self.known.get(name)
    }

    /// The provider, or the refusal of its name.
    pub(crate) fn find(&self, name: &str) -> Result<&Known> {
        self.get(name).ok_or_else(|| Error::NotFound(format!("There is no provider `{name}` in the configuration.")))
    }

    /// The provider that a spec names, if its kind takes jobs of `kind` and its key is there.
    pub(super) fn for_spec(&self, name: &str, kind: Kind) -> Result<&Known> {
        let of_kind = |known: &&Known| known.kind.job_kind() == kind;
        let Some(known) = self.get(name) else {
            let names: Vec<String> =
                self.known.values().filter(of_kind).map(|known| format!("`{}`", known.name)).collect();
            let hint = if names.is_empty() {
                "Add one as `[providers.NAME]` to belay.toml.".to_owned()
            } else {
                format!("Known ones: {}.", names.join(", "))
            };
            return Err(Error::Invalid {
                code: app::model::ErrorCode::InvalidSpec,
                field: Some("spec.provider".to_owned()),
                detail: format!("There is no provider `{name}`."),
                hint: Some(hint),
            });
        };
        if !of_kind(&known) {
            let detail = format!("The provider `{name}` takes jobs of kind `{}`, not `{kind}`.", known.kind.job_kind());
            return Err(Error::invalid_spec("spec.provider", detail));
        }
        if let Some(fault) = known.key_fault() {
            return Err(Error::invalid_spec("spec.provider", format!("The provider `{name}` cannot be used. {fault}")));
        }
        Ok(known)
    }

    /// Checks a file of requests for a provider. Blocking.
    pub(crate) fn check(&self, known: &Known, file: &Path, model: Option<&str>) -> Result<CheckedInput> {
        let mut checked = input::check(file, known.kind, model)?;
        checked.estimate = view::estimate(&known.prices, &checked);
        Ok(checked)
    }
}

impl Known {
    fn info(&self) -> ProviderInfo {
        let can = self.settings.capabilities();
        ProviderInfo {
            name: self.name.clone(),
            kind: self.kind,
            address: address(self.settings.base_url()),
            key_fault: self.key_fault(),
            can_cancel: can.cancel,
            can_delete_batch: can.delete_batch,
            can_delete_files: can.delete_files,
            can_list: can.list,
            deadline_hours: u32::try_from(self.settings.deadline().as_secs() / 3_600).unwrap_or(u32::MAX),
        }
    }

    fn key_fault(&self) -> Option<String> {
        self.settings.key_from().read().err().map(|error| error.to_string())
    }

    /// The way to it. A connection that was made stays until [`forget`](Self::forget).
    pub(crate) fn connect(&self) -> batches::Result<Arc<dyn Provider>> {
        let mut connected = self.connected.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(provider) = connected.as_ref() {
            return Ok(provider.clone());
        }
        let provider = batches::connect(&self.settings)?;
        *connected = Some(provider.clone());
        Ok(provider)
    }

    /// The key was refused: the next connection reads it anew.
    pub(super) fn forget(&self) {
        self.connected.lock().unwrap_or_else(PoisonError::into_inner).take();
    }

    pub(super) fn can_delete_batch(&self) -> bool {
        self.settings.capabilities().delete_batch
    }

    pub(super) fn can_delete_files(&self) -> bool {
        self.settings.capabilities().delete_files
    }

    pub(super) fn deadline(&self) -> Duration {
        self.settings.deadline()
    }
}

/// Scheme, host and port.
fn address(url: &str) -> String {
    reqwest::Url::parse(url).map_or_else(|_| String::new(), |url| url.origin().ascii_serialization())
}
