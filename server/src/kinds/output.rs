//! What a run left in its `out` folder: listed without following anything, moved into place in one step.

use std::{
    ffi::OsStr,
    fs, io,
    os::unix::{ffi::OsStrExt as _, fs::PermissionsExt as _},
    path::Path,
};

use app::model::{Category, Kind};

use crate::store::ArtifactRow;

/// Most artifacts of one unit that are listed; more stay on disk and are deleted with the job.
const MAX_ARTIFACTS: usize = 10_000;
/// Folders inside folders that are looked into.
const MAX_DEPTH: usize = 64;

/// The regular files below `out`, in order, under the path that they will have. Links and devices are no artifacts.
pub(super) fn list(out: &Path, unit: u64, kind: Kind) -> io::Result<Vec<ArtifactRow>> {
    let mut rows = Vec::new();
    match fs::symlink_metadata(out) {
        Ok(meta) if meta.is_dir() => {}
        // The command removed it, or put something else there.
        Ok(_) => return Ok(rows),
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(rows),
        Err(error) => return Err(error),
    }
    list_folder(out, &unit.to_string(), 0, &mut rows)?;
    for row in &mut rows {
        row.unit = Some(unit);
        row.category = kind.category_of(row.path.split('/').nth(1).unwrap_or_default());
    }
    rows.sort_unstable_by(|left, right| left.path.cmp(&right.path));
    Ok(rows)
}

fn list_folder(folder: &Path, path: &str, depth: usize, rows: &mut Vec<ArtifactRow>) -> io::Result<()> {
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        let name = entry.file_name();
        let meta = fs::symlink_metadata(entry.path())?;
        let path = format!("{path}/{}", encode(&name));
        if meta.is_dir() && depth < MAX_DEPTH {
            make_ours(&entry.path(), 0o700, &meta);
            list_folder(&entry.path(), &path, depth + 1, rows)?;
        } else if meta.is_file() && rows.len() < MAX_ARTIFACTS {
            make_ours(&entry.path(), 0o600, &meta);
            let name = name.to_string_lossy().into_owned();
            rows.push(ArtifactRow { path, name, unit: None, category: Category::Results, bytes: meta.len() });
        }
    }
    Ok(())
}

/// A folder that its maker left read-only could be neither moved nor removed, a file without permission not be shown.
fn make_ours(path: &Path, needed: u32, meta: &fs::Metadata) {
    let mode = meta.permissions().mode();
    if mode & needed != needed
        && let Err(error) = fs::set_permissions(path, fs::Permissions::from_mode(mode & 0o777 | needed))
    {
        tracing::debug!(path = %path.display(), %error, "permissions of an artifact stay as they are");
    }
}

/// Puts `out` in the place of what a former run left. Safe to repeat: without `out` nothing changes.
pub(super) fn adopt(out: &Path, place: &Path) -> io::Result<()> {
    let is_empty = match fs::symlink_metadata(out) {
        Ok(meta) => !meta.is_dir() || fs::read_dir(out)?.next().is_none(),
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(error),
    };
    remove(place)?;
    if is_empty {
        return Ok(());
    }
    if let Some(parent) = place.parent() {
        crate::data::make_folder(parent)?;
    }
    fs::rename(out, place)
}

/// Removes a folder; one that is not there is fine.
pub(super) fn remove(folder: &Path) -> io::Result<()> {
    match fs::remove_dir_all(folder) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        Ok(()) | Err(_) => Ok(()),
    }
}

/// One name as part of a URL: all but the unreserved characters of RFC 3986 percent-encoded, whatever its bytes.
pub(super) fn encode(name: &OsStr) -> String {
    let mut encoded = String::with_capacity(name.len());
    for byte in name.as_bytes() {
        if byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~') {
            encoded.push(char::from(*byte));
        } else {
            encoded.push_str(&format!("%{byte:02X}"));
        }
    }
    encoded
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    #[test]
    fn only_regular_files_are_artifacts_and_their_names_are_encoded() {
        let folder = tempfile::tempdir().unwrap();
        let out = folder.path().join("out");
        fs::create_dir_all(out.join("sub dir")).unwrap();
        fs::write(out.join("sub dir").join(OsStr::from_bytes(b"\xff.png")), "12").unwrap();
        fs::write(out.join("a%b"), "1").unwrap();
        symlink("/etc/passwd", out.join("link")).unwrap();
        nix::unistd::mkfifo(&out.join("fifo"), nix::sys::stat::Mode::S_IRWXU).unwrap();
        let rows = list(&out, 3, Kind::Files).unwrap();
        let found: Vec<(&str, u64)> = rows.iter().map(|row| (row.path.as_str(), row.bytes)).collect();
        assert_eq!(found, [("3/a%25b", 1), ("3/sub%20dir/%FF.png", 2)]);
        assert_eq!(rows[1].name, "\u{fffd}.png");
    }

    #[test]
    fn adopting_twice_is_adopting_once_and_replaces_a_former_run() {
        let folder = tempfile::tempdir().unwrap();
        let (out, place) = (folder.path().join("out"), folder.path().join("artifacts/0"));
        fs::create_dir_all(&place).unwrap();
        fs::write(place.join("old"), "1").unwrap();
        fs::create_dir_all(&out).unwrap();
        fs::write(out.join("new"), "1").unwrap();
        adopt(&out, &place).unwrap();
        adopt(&out, &place).unwrap();
        assert!(place.join("new").exists() && !place.join("old").exists() && !out.exists());
    }

    #[test]
    fn a_run_that_made_nothing_leaves_no_folder() {
        let folder = tempfile::tempdir().unwrap();
        let (out, place) = (folder.path().join("out"), folder.path().join("artifacts/0"));
        fs::create_dir_all(&out).unwrap();
        adopt(&out, &place).unwrap();
        assert!(!place.exists());
    }
}
