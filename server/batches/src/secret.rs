//! Keys of providers: read from the environment or a protected file when they are needed, held in memory only.

use std::{
    fmt, fs,
    io::ErrorKind,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
};

use crate::{Error, Result};

/// A key. Shown nowhere: its `Debug` says only that there is one.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    /// White space around it (the end of a file's line) is no part of a key.
    #[must_use]
    pub fn new(text: &str) -> Secret {
        Secret(text.trim().to_owned())
    }

    /// For the one header that it goes into.
    pub(crate) fn expose(&self) -> &str {
        &self.0
    }

    /// Takes the key out of a text that came from outside: some servers repeat what they were given.
    pub(crate) fn redact(&self, text: &str) -> String {
        // A short test key would otherwise tear holes into words.
        if self.0.len() < 8 { text.to_owned() } else { text.replace(&self.0, "[key]") }
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret")
    }
}

/// Where a key comes from: what messages name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum KeyFrom {
    Variable(String),
    File(PathBuf),
}

impl fmt::Display for KeyFrom {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            KeyFrom::Variable(name) => write!(f, "the environment variable {name}"),
            KeyFrom::File(path) => write!(f, "the file {}", path.display()),
        }
    }
}

impl KeyFrom {
    /// Reads the key.
    ///
    /// # Errors
    /// [`Error::KeyMissing`] with the sentence that says which variable or file, and what is wrong with it.
    pub fn read(&self) -> Result<Secret> {
        let missing = |why: &str| Error::KeyMissing(format!("No key: {self} {why}."));
        let text = match self {
            KeyFrom::Variable(name) => match std::env::var(name) {
                Ok(text) => text,
                Err(std::env::VarError::NotPresent) => return Err(missing("is not set")),
                Err(std::env::VarError::NotUnicode(_)) => return Err(missing("is not text")),
            },
            KeyFrom::File(path) => read_protected(path).map_err(|why| missing(&why))?,
        };
        let secret = Secret::new(&text);
        if secret.0.is_empty() {
            return Err(missing("is empty"));
        }
        // It goes into a header.
        if !secret.0.bytes().all(|byte| byte.is_ascii_graphic()) {
            return Err(missing("holds characters that no key has"));
        }
        Ok(secret)
    }
}

/// A key that others may read is no secret: it is not used.
fn read_protected(path: &Path) -> Result<String, String> {
    let metadata = fs::metadata(path).map_err(|error| match error.kind() {
        ErrorKind::NotFound => "does not exist".to_owned(),
        _ => format!("cannot be read ({error})"),
    })?;
    let mode = metadata.permissions().mode() & 0o777;
    if mode & 0o077 != 0 {
        return Err(format!("may be read by others (mode {mode:04o}; make it 0600)"));
    }
    fs::read_to_string(path).map_err(|error| format!("cannot be read ({error})"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(text: &str, mode: u32) -> (tempfile::TempDir, KeyFrom) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("key");
        fs::write(&path, text).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
        (folder, KeyFrom::File(path))
    }

    #[test]
    fn a_key_is_never_shown() {
        let secret = Secret::new("sk-very-secret\n");
        assert_eq!(format!("{secret:?}"), "Secret");
        assert_eq!(secret.redact("Incorrect key sk-very-secret."), "Incorrect key [key].");
    }

    #[test]
    fn a_file_that_others_may_read_is_refused() {
        let (_folder, from) = file("sk-1", 0o640);
        let error = from.read().unwrap_err().to_string();
        assert!(error.contains("mode 0640"), "{error}");
        let (_folder, from) = file("sk-1\n", 0o600);
        assert_eq!(from.read().unwrap().expose(), "sk-1");
    }

    #[test]
    fn what_is_missing_is_named() {
        let error = KeyFrom::Variable("BELAY_TEST_NO_SUCH_KEY".to_owned()).read().unwrap_err().to_string();
        assert_eq!(error, "No key: the environment variable BELAY_TEST_NO_SUCH_KEY is not set.");
        let (_folder, from) = file(" \n", 0o600);
        assert!(from.read().unwrap_err().to_string().ends_with("is empty."));
        let (_folder, from) = file("two words", 0o600);
        assert!(from.read().is_err());
    }
}
