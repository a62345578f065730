//! Checks a spec of kind `files`, field by field, so that a refusal names the one that is wrong.

use std::{
    collections::BTreeMap,
    ffi::OsStr,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
};

use app::model::{ErrorCode, FilesSpec};
use serde_json::Value;

use super::command::{has_placeholder, search_path};
use crate::{
    config::Preset,
    error::{Error, Result},
    kinds::fields::{Fields, MAX_GRACE_S, MAX_PARALLEL, check_range},
};

/// A week, seconds.
pub(super) const MAX_TIMEOUT_S: u32 = 604_800;
/// Longest path on Linux, bytes.
const MAX_PATH_BYTES: usize = 4_096;

/// Reads a spec; every error names its field.
pub(super) fn parse(spec: Value) -> Result<FilesSpec> {
    let mut fields = Fields::of(spec)?;
    let spec = FilesSpec {
        preset: fields.take("preset", "a text")?,
        command: fields.take("command", "a list of texts")?,
        inputs: fields.take("inputs", "a list of paths")?.unwrap_or_default(),
        parallel: fields.take("parallel", "a whole number from 1 to 1,024")?,
        timeout_s: fields.take("timeout_s", "a whole number of seconds from 1 to 604,800")?,
        grace_s: fields.take("grace_s", "a whole number of seconds from 0 to 3,600")?,
    };
    fields.finish("Kind `files` takes preset or command, inputs, parallel, timeout_s and grace_s.")?;
    Ok(spec)
}

/// Checks everything but the inputs.
pub(super) fn check(spec: &FilesSpec, presets: &BTreeMap<String, Preset>, allow_free_commands: bool) -> Result<()> {
    check_numbers(spec)?;
    let (field, command) = match (&spec.preset, &spec.command) {
        (Some(_), Some(_)) => {
            return Err(Error::invalid_spec("spec.command", "Give either `preset` or `command`, not both."));
        }
        (None, None) => return Err(missing_preset(presets)),
        (Some(name), None) => ("spec.preset", &find_preset(name, presets)?.command),
        (None, Some(_)) if !allow_free_commands => return Err(free_command_refused(presets)),
        (None, Some(command)) => ("spec.command", command),
    };
    check_command(field, command)
}

fn check_numbers(spec: &FilesSpec) -> Result<()> {
    check_range("parallel", spec.parallel, 1, MAX_PARALLEL, "")?;
    check_range("timeout_s", spec.timeout_s, 1, MAX_TIMEOUT_S, " seconds")?;
    check_range("grace_s", spec.grace_s, 0, MAX_GRACE_S, " seconds")
}

/// The preset of this name.
pub(super) fn find_preset<'a>(name: &str, presets: &'a BTreeMap<String, Preset>) -> Result<&'a Preset> {
    presets.get(name).ok_or_else(|| Error::Invalid {
        code: ErrorCode::InvalidSpec,
        field: Some("spec.preset".to_owned()),
        detail: format!("There is no preset `{name}`."),
        hint: Some(known_presets(presets)),
    })
}

fn missing_preset(presets: &BTreeMap<String, Preset>) -> Error {
    Error::Invalid {
        code: ErrorCode::InvalidSpec,
        field: Some("spec.preset".to_owned()),
        detail: "`spec.preset` is missing: say what to run.".to_owned(),
        hint: Some(known_presets(presets)),
    }
}

fn free_command_refused(presets: &BTreeMap<String, Preset>) -> Error {
    Error::Invalid {
        code: ErrorCode::InvalidSpec,
        field: Some("spec.command".to_owned()),
        detail: "Free commands are not allowed on this server.".to_owned(),
        hint: Some(format!(
            "{} Or set `allow_free_commands = true` under `[files]` in belay.toml.",
            known_presets(presets)
        )),
    }
}

fn known_presets(presets: &BTreeMap<String, Preset>) -> String {
    if presets.is_empty() {
        return "No presets are configured; see `[presets.NAME]` in belay.toml.".to_owned();
    }
    let names: Vec<String> = presets.keys().map(|name| format!("`{name}`")).collect();
    format!("Known presets: {}.", names.join(", "))
}

fn check_command(field: &str, command: &[String]) -> Result<()> {
    let Some(program) = command.first().filter(|program| !program.is_empty()) else {
        return Err(Error::invalid_spec(field, "The command is empty: its first word must be a program."));
    };
    if command.iter().any(|argument| argument.contains('\0')) {
        return Err(Error::invalid_spec(field, "A command cannot contain the NUL character."));
    }
    // What the file decides is known only when its turn comes.
    if has_placeholder(program) {
        return Ok(());
    }
    find_program(program).map(|_| ()).map_err(|detail| Error::invalid_spec(field, detail))
}

/// Where a program is, as the run would find it; else a sentence.
fn find_program(program: &str) -> std::result::Result<PathBuf, String> {
    if program.len() > MAX_PATH_BYTES {
        return Err("command not found: its name is too long".to_owned());
    }
    let candidates: Vec<PathBuf> = if program.contains('/') {
        if !program.starts_with('/') {
            return Err(format!(
                "command not found: `{program}` is relative; use an absolute path or a program in the PATH"
            ));
        }
        vec![PathBuf::from(program)]
    } else {
        std::env::split_paths(&search_path()).map(|folder| folder.join(program)).collect()
    };
    if let Some(found) = candidates.iter().find(|path| is_executable(path)) {
        return Ok(found.clone());
    }
    match candidates.iter().find(|path| path.exists()) {
        Some(path) if path.is_dir() => Err(format!("command not executable: `{program}` is a folder")),
        Some(_) => Err(format!("command not executable: `{program}`")),
        None => Err(format!("command not found: `{program}`")),
    }
}

fn is_executable(path: &Path) -> bool {
    let is_program = path.metadata().is_ok_and(|meta| meta.is_file() && meta.permissions().mode() & 0o111 != 0);
    is_program && nix::unistd::access(path, nix::unistd::AccessFlags::X_OK).is_ok()
}

/// Text for people from bytes.
pub(super) fn lossy(text: &OsStr) -> String {
    text.to_string_lossy().into_owned()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn presets() -> BTreeMap<String, Preset> {
        let preset = Preset { command: vec!["true".to_owned()], ..Preset::default() };
        BTreeMap::from([("noop".to_owned(), preset)])
    }

    fn refusal(spec: Value, free: bool) -> (String, String) {
        let error = parse(spec).and_then(|spec| check(&spec, &presets(), free)).unwrap_err();
        let Error::Invalid { field, detail, hint, .. } = error else { panic!("not a refusal: {error}") };
        (field.unwrap_or_default(), format!("{detail} {}", hint.unwrap_or_default()))
    }

    #[test]
    fn a_refused_spec_names_its_field() {
        let cases = [
            (json!([]), "spec"),
            (json!({}), "spec.preset"),
            (json!({"preset": "nope"}), "spec.preset"),
            (json!({"preset": "noop", "command": ["true"]}), "spec.command"),
            (json!({"preset": "noop", "parallel": 0}), "spec.parallel"),
            (json!({"preset": "noop", "parallel": 1025}), "spec.parallel"),
            (json!({"preset": "noop", "parallel": 1e30}), "spec.parallel"),
            (json!({"preset": "noop", "parallel": "4"}), "spec.parallel"),
            (json!({"preset": "noop", "timeout_s": 0}), "spec.timeout_s"),
            (json!({"preset": "noop", "grace_s": 3601}), "spec.grace_s"),
            (json!({"preset": "noop", "inputs": "x"}), "spec.inputs"),
            (json!({"preset": "noop", "shell": true}), "spec.shell"),
            (json!({"command": []}), "spec.command"),
            (json!({"command": [""]}), "spec.command"),
            (json!({"command": ["no-such-program-anywhere"]}), "spec.command"),
            (json!({"command": ["./relative"]}), "spec.command"),
            (json!({"command": ["/etc/passwd"]}), "spec.command"),
            (json!({"command": ["/tmp"]}), "spec.command"),
            (json!({"command": ["true", "a\u{0}b"]}), "spec.command"),
        ];
        for (spec, field) in cases {
            assert_eq!(refusal(spec.clone(), true).0, field, "{spec}");
        }
    }

    #[test]
    fn an_unknown_preset_lists_the_known_ones() {
        assert!(refusal(json!({"preset": "nope"}), false).1.contains("`noop`"));
    }

    #[test]
    fn a_free_command_is_refused_where_it_is_not_allowed() {
        let spec = parse(json!({"command": ["true"]})).unwrap();
        assert!(check(&spec, &presets(), true).is_ok());
        assert_eq!(refusal(json!({"command": ["true"]}), false).0, "spec.command");
    }

    #[test]
    fn a_missing_program_is_called_not_found_and_a_plain_file_not_executable() {
        assert!(refusal(json!({"command": ["no-such-program"]}), true).1.starts_with("command not found: `no-such"));
        assert!(refusal(json!({"command": ["/etc/passwd"]}), true).1.starts_with("command not executable"));
    }
}
