//! Artifacts: listed from the store, opened name by name without following a link.

use std::{
    ffi::{OsStr, OsString},
    fs::File,
    io,
    os::unix::ffi::{OsStrExt as _, OsStringExt as _},
    path::Path,
};

use app::model::{Artifact, JobId, MatchResults, Page};
use nix::{
    errno::Errno,
    fcntl::{OFlag, open, openat},
    sys::stat::Mode,
};
use percent_encoding::percent_decode_str;

use super::{ArtifactFile, core::Core, views};
use crate::error::{Error, Result};

pub(super) async fn list(core: &Core, id: JobId, cursor: Option<&str>) -> Result<Page<Artifact>> {
    if core.find(id).await?.phase == app::model::Phase::Deleting {
        return Ok(Page::default());
    }
    let page = core.store.artifacts(id, cursor, views::PAGE).await?;
    Ok(Page { items: page.items.into_iter().map(views::artifact).collect(), next_cursor: page.next_cursor })
}

/// What a job that looks for something has found so far.
pub(super) async fn matches(core: &Core, id: JobId) -> Result<MatchResults> {
    let job = views::find_shown(core, id).await?;
    let found = core.kind(job.kind)?.matches(id).await?;
    found.ok_or_else(|| Error::NotFound(format!("Jobs of kind `{}` have no matches.", job.kind)))
}

pub(super) async fn open_artifact(core: &Core, id: JobId, path: &str) -> Result<ArtifactFile> {
    views::find_shown(core, id).await?;
    let missing = || Error::NotFound("There is no such artifact.".to_owned());
    let names = names_of(path).ok_or_else(missing)?;
    let folder = core.data.artifacts(id);
    let opened = core.blocking(move || open_below(&folder, &names)).await?;
    opened.map_err(|error| match error.kind() {
        io::ErrorKind::NotFound | io::ErrorKind::NotADirectory | io::ErrorKind::InvalidInput => missing(),
        _ if error.raw_os_error() == Some(Errno::ELOOP as i32) => missing(),
        _ => Error::from(error),
    })
}

/// The names of a percent-encoded path; `None` when one of them is no plain name.
pub(crate) fn names_of(path: &str) -> Option<Vec<OsString>> {
    path.split('/')
        .map(|part| {
            let name: Vec<u8> = percent_decode_str(part).collect();
            let is_plain =
                !name.is_empty() && name != b"." && name != b".." && !name.iter().any(|b| matches!(b, 0 | b'/'));
            is_plain.then(|| OsString::from_vec(name))
        })
        .collect()
}

/// Opens a regular file below a folder, one name after the other: no link is followed, not even one that is put there
/// meanwhile.
fn open_below(folder: &Path, names: &[OsString]) -> io::Result<ArtifactFile> {
    let (last, folders) = names.split_last().ok_or(io::ErrorKind::InvalidInput)?;
    let of_folder = OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
    let mut place = open(folder, of_folder, Mode::empty())?;
    for name in folders {
        place = openat(&place, name.as_os_str(), of_folder, Mode::empty())?;
    }
    // Without O_NONBLOCK a pipe in the place of a file would be waited for.
    let of_file = OFlag::O_RDONLY | OFlag::O_NOFOLLOW | OFlag::O_NONBLOCK | OFlag::O_CLOEXEC;
    let file = File::from(openat(&place, last.as_os_str(), of_file, Mode::empty())?);
    let meta = file.metadata()?;
    if !meta.is_file() {
        return Err(io::ErrorKind::InvalidInput.into());
    }
    Ok(ArtifactFile { name: shown(last), bytes: meta.len(), file })
}

fn shown(name: &OsStr) -> String {
    String::from_utf8_lossy(name.as_bytes()).into_owned()
}

#[cfg(test)]
mod tests {
    use std::{fs, io::Read as _, os::unix::fs::symlink};

    use super::*;

    fn read(folder: &Path, path: &str) -> Option<String> {
        let mut text = String::new();
        open_below(folder, &names_of(path)?).ok()?.file.read_to_string(&mut text).ok()?;
        Some(text)
    }

    #[test]
    fn nothing_outside_the_folder_is_opened() {
        let top = tempfile::tempdir().unwrap();
        let folder = top.path().join("artifacts");
        fs::create_dir_all(folder.join("0")).unwrap();
        fs::write(top.path().join("secret"), "s").unwrap();
        fs::write(folder.join("0").join(OsStr::from_bytes(b"a\xff b")), "a").unwrap();
        symlink(top.path().join("secret"), folder.join("0/link")).unwrap();
        symlink(top.path(), folder.join("1")).unwrap();
        nix::unistd::mkfifo(&folder.join("0/pipe"), Mode::S_IRWXU).unwrap();
        assert_eq!(read(&folder, "0/a%FF%20b").as_deref(), Some("a"));
        let hostile =
            ["../secret", "0/../../secret", "0/%2e%2e/%2e%2e/secret", "0/link", "1/secret", "/0", "0//x", "0%2Flink"];
        for path in hostile.into_iter().chain(["", "0", "0/pipe", "0/none", "0/a%00"]) {
            assert_eq!(read(&folder, path), None, "{path}");
        }
    }
}
