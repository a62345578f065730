//! Checks a spec of kind `files`, field by field, so that a refusal names the one that is wrong.

use std::{
    ffi::OsStr,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
};

use app::model::FilesSpec;
use serde_json::Value;

use super::command::{has_placeholder, search_path};
use crate::{
    error::{Error, Result},
    kinds::{
        fields::{Fields, MAX_GRACE_S, MAX_PARALLEL, MAX_TIMEOUT_S, check_range},
        presets::Commands,
    },
};

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
pub(super) fn check(spec: &FilesSpec, commands: &Commands) -> Result<()> {
    check_numbers(spec)?;
    let (field, command) = commands.chosen(spec.preset.as_deref(), spec.command.as_deref())?;
    // What the file decides is known only when its turn comes.
    match command.first() {
        Some(program) if !has_placeholder(program) => {
            find_program(program).map(|_| ()).map_err(|detail| Error::invalid_spec(field, detail))
        }
        Some(_) | None => Ok(()),
    }
}

fn check_numbers(spec: &FilesSpec) -> Result<()> {
    check_range("parallel", spec.parallel, 1, MAX_PARALLEL, "")?;
    check_range("timeout_s", spec.timeout_s, 1, MAX_TIMEOUT_S, " seconds")?;
    check_range("grace_s", spec.grace_s, 0, MAX_GRACE_S, " seconds")
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
    use std::collections::BTreeMap;

    use serde_json::json;

    use super::*;
    use crate::config::Preset;

    fn commands(allow_free: bool) -> Commands {
        let preset = Preset { command: vec!["true".to_owned()], ..Preset::default() };
        Commands { presets: BTreeMap::from([("noop".to_owned(), preset)]), allow_free, section: "files" }
    }

    fn refusal(spec: Value, free: bool) -> (String, String) {
        let error = parse(spec).and_then(|spec| check(&spec, &commands(free))).unwrap_err();
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
        assert!(check(&spec, &commands(true)).is_ok());
        assert_eq!(refusal(json!({"command": ["true"]}), false).0, "spec.command");
    }

    #[test]
    fn a_missing_program_is_called_not_found_and_a_plain_file_not_executable() {
        assert!(refusal(json!({"command": ["no-such-program"]}), true).1.starts_with("command not found: `no-such"));
        assert!(refusal(json!({"command": ["/etc/passwd"]}), true).1.starts_with("command not executable"));
    }
}
