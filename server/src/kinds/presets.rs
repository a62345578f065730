//! What a job runs: a preset of the configuration, or a command of its own where that is allowed.

use std::collections::BTreeMap;

use app::model::ErrorCode;

use crate::{
    config::Preset,
    error::{Error, Result},
};

/// What jobs of one kind may run.
#[derive(Clone, Debug)]
pub(super) struct Commands {
    /// Presets of this kind only.
    pub(super) presets: BTreeMap<String, Preset>,
    pub(super) allow_free: bool,
    /// Section of belay.toml whose `allow_free_commands` that is.
    pub(super) section: &'static str,
}

impl Commands {
    /// The command that a spec names, and the field that names it.
    pub(super) fn chosen<'a>(
        &'a self,
        preset: Option<&str>,
        command: Option<&'a [String]>,
    ) -> Result<(&'static str, &'a [String])> {
        let (field, command) = match (preset, command) {
            (Some(_), Some(_)) => {
                return Err(Error::invalid_spec("spec.command", "Give either `preset` or `command`, not both."));
            }
            (None, None) => {
                return Err(self.refused("preset", "`spec.preset` is missing: say what to run.".to_owned(), ""));
            }
            (Some(name), None) => ("spec.preset", self.find(name)?.command.as_slice()),
            (None, Some(_)) if !self.allow_free => {
                let how = format!(" Or set `allow_free_commands = true` under `[{}]` in belay.toml.", self.section);
                return Err(self.refused("command", "Free commands are not allowed on this server.".to_owned(), &how));
            }
            (None, Some(command)) => ("spec.command", command),
        };
        if command.first().is_none_or(|program| program.is_empty()) {
            return Err(Error::invalid_spec(field, "The command is empty: its first word must be a program."));
        }
        if command.iter().any(|argument| argument.contains('\0')) {
            return Err(Error::invalid_spec(field, "A command cannot contain the NUL character."));
        }
        Ok((field, command))
    }

    fn find(&self, name: &str) -> Result<&Preset> {
        self.presets.get(name).ok_or_else(|| self.refused("preset", format!("There is no preset `{name}`."), ""))
    }

    fn refused(&self, field: &str, detail: String, also: &str) -> Error {
        let names: Vec<String> = self.presets.keys().map(|name| format!("`{name}`")).collect();
        let known = if names.is_empty() {
            "No presets are configured; see `[presets.NAME]` in belay.toml.".to_owned()
        } else {
            format!("Known presets: {}.", names.join(", "))
        };
        Error::Invalid {
            code: ErrorCode::InvalidSpec,
            field: Some(format!("spec.{field}")),
            detail,
            hint: Some(known + also),
        }
    }
}
