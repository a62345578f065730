//! Whether a host is the one that we know: its key against the file `known_hosts` of OpenSSH.

use std::path::{Path, PathBuf};

use glob::{MatchOptions, Pattern};
use russh::keys::{
    Algorithm, HashAlg, PublicKey, PublicKeyBase64 as _,
    known_hosts::{known_host_keys_path, learn_known_hosts_path},
};

/// What is known of one host.
#[derive(Clone, Debug)]
pub(super) struct HostKeys {
    file: PathBuf,
    address: String,
    port: u16,
    accept_new: bool,
    keys: Vec<PublicKey>,
}

impl HostKeys {
    /// Reads the file; one that is not there knows nobody. Blocking.
    pub(super) fn read(file: &Path, address: &str, port: u16, accept_new: bool) -> Result<HostKeys, String> {
        let found = known_host_keys_path(address, port, file)
            .map_err(|error| format!("`{}` cannot be read: {error}", file.display()))?;
        let mut keys: Vec<PublicKey> = found.into_iter().map(|(_, key)| key).collect();
        // What the library leaves out would make a changed key look like a new one: patterns, and other white space.
        let text = std::fs::read_to_string(file).unwrap_or_default();
        let place = place(address, port);
        keys.extend(
            text.lines().filter_map(|line| key_of(line, &place)).filter(|key| !keys.contains(key)).collect::<Vec<_>>(),
        );
        Ok(HostKeys { file: file.to_owned(), address: address.to_owned(), port, accept_new, keys })
    }

    /// Algorithms in the order in which the host is asked for its key: those first of which one is known.
    pub(super) fn preferred(&self, all: &[Algorithm]) -> Vec<Algorithm> {
        let is_known = |algorithm: &Algorithm| {
            self.keys.iter().any(|key| {
                let known = key.algorithm();
                known == *algorithm || (is_rsa(&known) && is_rsa(algorithm))
            })
        };
        let (known, others): (Vec<_>, Vec<_>) = all.iter().cloned().partition(is_known);
        known.into_iter().chain(others).collect()
    }

    /// Checks the key that the host showed. The error is a sentence with its fingerprint. Blocking.
    pub(super) fn check(&self, shown: &PublicKey) -> Result<(), String> {
        let fingerprint = shown.fingerprint(HashAlg::Sha256);
        let (file, place) = (self.file.display(), self.place());
        if self.is_revoked(shown) {
            return Err(format!("the key of {place} is revoked in `{file}`: {fingerprint}"));
        }
        if self.keys.iter().any(|key| key.key_data() == shown.key_data()) {
            return Ok(());
        }
        if !self.keys.is_empty() {
            return Err(format!(
                "the key of {place} has CHANGED: it showed {fingerprint}, which is not the one in `{file}`. Somebody may \
                 be listening in, or the host was set up anew; nothing was sent"
            ));
        }
        if !self.accept_new {
            return Err(format!(
                "the key of {place} is not known: it showed {fingerprint}. If that is right, add it to `{file}`"
            ));
        }
        learn_known_hosts_path(&self.address, self.port, shown, &self.file)
            .map_err(|error| format!("the new key of {place} could not be added to `{file}`: {error}"))?;
        tracing::info!(host = %place, %fingerprint, "took the key of a new host");
        Ok(())
    }

    /// A key that the file takes back, for whichever host.
    fn is_revoked(&self, shown: &PublicKey) -> bool {
        let key = shown.public_key_base64();
        let text = std::fs::read_to_string(&self.file).unwrap_or_default();
        text.lines().any(|line| line.starts_with("@revoked") && line.split_whitespace().any(|word| word == key))
    }

    fn place(&self) -> String {
        place(&self.address, self.port)
    }
}

/// A host as the file names it.
fn place(address: &str, port: u16) -> String {
    if port == 22 { address.to_owned() } else { format!("[{address}]:{port}") }
}

/// The key of a line that is about this place: `PATTERN[,PATTERN…] ALGORITHM KEY [COMMENT]`, see sshd(8). Hashed names
/// and marked lines are not read here.
fn key_of(line: &str, place: &str) -> Option<PublicKey> {
    let mut fields = line.split_whitespace();
    let (patterns, _, key) = (fields.next()?, fields.next()?, fields.next()?);
    if patterns.starts_with(['#', '@', '|']) {
        return None;
    }
    let mut is_meant = false;
    for pattern in patterns.split(',') {
        match pattern.strip_prefix('!') {
            Some(not) if matches(not, place) => return None,
            Some(_) => {}
            None => is_meant |= matches(pattern, place),
        }
    }
    is_meant.then(|| russh::keys::parse_public_key_base64(key).ok()).flatten()
}

/// `*` and `?` as in a shell; brackets are those around an address with a port.
fn matches(pattern: &str, place: &str) -> bool {
    const ANY: MatchOptions =
        MatchOptions { case_sensitive: false, require_literal_separator: false, require_literal_leading_dot: false };
    let literal = |c| match c {
        '[' => "[[]".to_owned(),
        ']' => "[]]".to_owned(),
        other => String::from(other),
    };
    let pattern: String = pattern.chars().map(literal).collect();
    Pattern::new(&pattern).is_ok_and(|pattern| pattern.matches_with(place, ANY))
}

/// One key serves all hashes.
const fn is_rsa(algorithm: &Algorithm) -> bool {
    matches!(algorithm, Algorithm::Rsa { .. })
}

#[cfg(test)]
mod tests {
    use super::*;

    const ONE: &str = "AAAAC3NzaC1lZDI1NTE5AAAAIJdD7y3aLq454yWBdwLWbieU1ebz9/cu7/QEXn9OIeZJ";
    const OTHER: &str = "AAAAC3NzaC1lZDI1NTE5AAAAIA6rWI3G1sz07DnfFlrouTcysQlj2P+jpNSOEWD9OJ3X";

    fn key(base64: &str) -> PublicKey {
        russh::keys::parse_public_key_base64(base64).unwrap()
    }

    fn check(known: &str, accept_new: bool) -> (Result<(), String>, String) {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("known_hosts");
        std::fs::write(&file, known).unwrap();
        let checked = HostKeys::read(&file, "web1", 2222, accept_new).unwrap().check(&key(ONE));
        (checked, std::fs::read_to_string(&file).unwrap())
    }

    #[test]
    fn a_host_is_taken_for_itself_only_by_the_key_that_is_known() {
        assert!(check(&format!("[web1]:2222 ssh-ed25519 {ONE}\n"), false).0.is_ok());
        for (known, words) in [
            (String::new(), "is not known"),
            (format!("web1 ssh-ed25519 {ONE}\n"), "is not known"),
            (format!("[web1]:2222 ssh-ed25519 {OTHER}\n"), "has CHANGED"),
            (format!("[web1]:2222 ssh-ed25519 {ONE}\n@revoked * ssh-ed25519 {ONE}\n"), "is revoked"),
        ] {
            let why = check(&known, false).0.unwrap_err();
            assert!(why.contains(words) && why.contains("SHA256:"), "{why}");
        }
    }

    #[test]
    fn what_the_file_knows_by_a_pattern_or_with_other_white_space_is_known() {
        for line in
            ["[web*]:2222 ssh-ed25519", "  [web1]:2222\tssh-ed25519\t", "db,[WEB?]:* ssh-ed25519", "* ssh-ed25519"]
        {
            assert!(check(&format!("{line} {ONE} somebody\n"), false).0.is_ok(), "{line}");
            let (changed, file) = check(&format!("{line} {OTHER}\n"), true);
            assert!(changed.unwrap_err().contains("has CHANGED"), "{line}");
            assert!(!file.contains(ONE), "nothing is learned: {file}");
        }
        for line in
            ["*,![web1]:2222 ssh-ed25519", "web? ssh-ed25519", "# * ssh-ed25519", "@cert-authority * ssh-ed25519"]
        {
            assert!(check(&format!("{line} {ONE}\n"), false).0.unwrap_err().contains("is not known"), "{line}");
        }
    }

    #[test]
    fn a_new_key_is_taken_only_where_that_is_allowed_and_a_changed_one_never() {
        let (taken, file) = check("", true);
        assert!(taken.is_ok() && file.contains(ONE), "{file}");
        assert!(check(&format!("[web1]:2222 ssh-ed25519 {OTHER}\n"), true).0.is_err());
    }
}
