//! From preset or free command to what is executed: placeholders replaced byte for byte, and an environment that holds
//! nothing of the server's but what a command cannot do without.

use std::{
    collections::BTreeMap,
    ffi::{OsStr, OsString},
    os::unix::ffi::{OsStrExt as _, OsStringExt as _},
    path::Path,
};

const DEFAULT_PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// What the placeholders stand for.
pub(super) struct Values<'a> {
    pub(super) file: &'a Path,
    pub(super) out: &'a Path,
}

impl Values<'_> {
    fn name(&self) -> &OsStr {
        self.file.file_name().unwrap_or(self.file.as_os_str())
    }

    fn stem(&self) -> &OsStr {
        self.file.file_stem().unwrap_or(self.file.as_os_str())
    }

    fn of(&self, placeholder: &str) -> &OsStr {
        match placeholder {
            "{file}" => self.file.as_os_str(),
            "{name}" => self.name(),
            "{stem}" => self.stem(),
            _ => self.out.as_os_str(),
        }
    }
}

const PLACEHOLDERS: [&str; 4] = ["{file}", "{name}", "{stem}", "{out}"];

/// True when the argument depends on the file.
pub(super) fn has_placeholder(argument: &str) -> bool {
    PLACEHOLDERS.iter().any(|placeholder| argument.contains(placeholder))
}

/// Replaces every placeholder in every argument, in one pass: what a file's name brings in is not looked at again.
pub(super) fn fill(command: &[String], values: &Values<'_>) -> Vec<OsString> {
    command.iter().map(|argument| fill_one(argument, values)).collect()
}

fn fill_one(argument: &str, values: &Values<'_>) -> OsString {
    let mut filled = Vec::with_capacity(argument.len());
    let mut rest = argument;
    while let Some(next) = rest.chars().next() {
        if let Some(placeholder) = PLACEHOLDERS.into_iter().find(|placeholder| rest.starts_with(placeholder)) {
            filled.extend_from_slice(values.of(placeholder).as_bytes());
            rest = &rest[placeholder.len()..];
        } else {
            let (head, tail) = rest.split_at(next.len_utf8());
            filled.extend_from_slice(head.as_bytes());
            rest = tail;
        }
    }
    OsString::from_vec(filled)
}

/// The whole environment of a command (the mark is added by whoever starts it).
pub(super) fn environment(
    values: &Values<'_>,
    scratch: &Path,
    preset: Option<&BTreeMap<String, String>>,
) -> Vec<(OsString, OsString)> {
    let mut env: BTreeMap<OsString, OsString> = BTreeMap::new();
    env.insert("PATH".into(), search_path());
    env.insert("HOME".into(), std::env::var_os("HOME").unwrap_or_else(|| "/".into()));
    env.insert("LANG".into(), std::env::var_os("LANG").unwrap_or_else(|| "C.UTF-8".into()));
    for (name, value) in preset.into_iter().flatten() {
        env.insert(name.into(), value.into());
    }
    // Belay's own words come last: a preset cannot send a command to another folder by accident.
    env.entry("TMPDIR".into()).or_insert_with(|| scratch.into());
    env.insert("BELAY_FILE".into(), values.file.into());
    env.insert("BELAY_NAME".into(), values.name().into());
    env.insert("BELAY_STEM".into(), values.stem().into());
    env.insert("BELAY_OUT".into(), values.out.into());
    env.into_iter().collect()
}

/// Where programs are looked for: the server's own PATH.
pub(in crate::kinds) fn search_path() -> OsString {
    std::env::var_os("PATH").filter(|path| !path.is_empty()).unwrap_or_else(|| DEFAULT_PATH.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn filled(argument: &str, file: &[u8]) -> Vec<u8> {
        let values = Values { file: Path::new(OsStr::from_bytes(file)), out: Path::new("/out") };
        fill_one(argument, &values).into_vec()
    }

    #[test]
    fn placeholders_are_replaced_anywhere_inside_an_argument() {
        assert_eq!(filled("--in={file} {stem}.png", b"/a/b c.jpg"), b"--in=/a/b c.jpg b c.png");
        assert_eq!(filled("{out}/{name}{name}", b"/a/b.jpg"), b"/out/b.jpgb.jpg");
        assert_eq!(filled("{other} {", b"/a"), b"{other} {");
        assert_eq!(filled("fée {file}", b"/a"), "fée /a".as_bytes());
    }

    #[test]
    fn names_are_replaced_byte_for_byte_and_not_looked_at_again() {
        assert_eq!(filled("{file}", b"/a/\xff\n-{out}"), b"/a/\xff\n-{out}");
        assert_eq!(filled("{name}", b"/a/{file}{name}"), b"{file}{name}");
    }

    #[test]
    fn a_command_gets_nothing_else_of_the_servers_environment() {
        let values = Values { file: Path::new("/a/b"), out: Path::new("/out") };
        let preset = BTreeMap::from([("MODEL".to_owned(), "x".to_owned()), ("BELAY_FILE".to_owned(), "y".to_owned())]);
        let env = environment(&values, Path::new("/scratch"), Some(&preset));
        let names: Vec<&str> = env.iter().filter_map(|(name, _)| name.to_str()).collect();
        let expected =
            ["BELAY_FILE", "BELAY_NAME", "BELAY_OUT", "BELAY_STEM", "HOME", "LANG", "MODEL", "PATH", "TMPDIR"];
        assert_eq!(names, expected);
        assert!(env.contains(&("BELAY_FILE".into(), "/a/b".into())));
    }
}
