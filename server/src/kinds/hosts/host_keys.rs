//! Whether a host is the one that we know: its key against the file `known_hosts` of OpenSSH.

use std::path::{Path, PathBuf};

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
        let keys = found.into_iter().map(|(_, key)| key).collect();
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
        if self.port == 22 { self.address.clone() } else { format!("[{}]:{}", self.address, self.port) }
    }
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
    fn a_new_key_is_taken_only_where_that_is_allowed_and_a_changed_one_never() {
        let (taken, file) = check("", true);
        assert!(taken.is_ok() && file.contains(ONE), "{file}");
        assert!(check(&format!("[web1]:2222 ssh-ed25519 {OTHER}\n"), true).0.is_err());
    }
}
