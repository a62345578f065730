//! Fetching files from a host over SFTP: paths with patterns, one size limit, and names that may hold anything. No shell
//! reads them.

use std::path::{Path, PathBuf};

use glob::{MatchOptions, Pattern};
use russh_sftp::client::SftpSession;
use tokio::{
    fs::File,
    io::{AsyncReadExt as _, AsyncWriteExt as _},
};

use super::connection::Connection;

/// End of the name of a file that was not fetched to its end.
pub(super) const PARTIAL: &str = ".partial";
/// Most files of one host.
const MAX_FILES: usize = 1_000;
/// Longest pattern, bytes.
const MAX_PATTERN: usize = 4_096;
/// Read at a time, bytes.
const PIECE: usize = 32 * 1024;

/// As a shell matches names.
const OPTIONS: MatchOptions =
    MatchOptions { case_sensitive: true, require_literal_separator: true, require_literal_leading_dot: true };

/// Checks a pattern of a spec; the error is a sentence.
pub(super) fn check(pattern: &str) -> Result<(), String> {
    if pattern.is_empty() || pattern.len() > MAX_PATTERN || pattern.contains('\0') || pattern.ends_with('/') {
        return Err(format!("`{pattern}` is no path of files on a host."));
    }
    for part in pattern.split('/') {
        if part == "**" {
            return Err(format!("`{pattern}`: `**` is not known; name each level."));
        }
        Pattern::new(part).map_err(|error| format!("`{pattern}` is no pattern: {}.", error.msg))?;
    }
    Ok(())
}

/// What was fetched.
#[derive(Debug, Default)]
pub(super) struct Fetched {
    files: usize,
    bytes: u64,
    /// What was not, and why: a sentence each.
    pub(super) faults: Vec<String>,
}

impl Fetched {
    /// Nobody could be asked for files.
    pub(super) fn nothing(why: &str) -> Self {
        Fetched { faults: vec![format!("no files were fetched: {why}")], ..Fetched::default() }
    }

    pub(super) fn summary(&self) -> String {
        let noun = if self.files == 1 { "file" } else { "files" };
        format!("fetched {} {noun}, {} bytes", self.files, self.bytes)
    }
}

/// Fetches what the patterns match into `out`, under the same paths. May be dropped at any point: what is not whole then
/// keeps the end [`PARTIAL`].
pub(super) async fn fetch(connection: &Connection, patterns: &[String], out: &Path, max_bytes: u64) -> Fetched {
    let session = match open(connection).await {
        Ok(session) => session,
        Err(why) => return Fetched::nothing(&why),
    };
    let mut fetched = Fetched::default();
    for pattern in patterns {
        match find(&session, pattern).await {
            Ok(paths) if paths.is_empty() => fetched.faults.push(format!("`{pattern}` matches no file")),
            Ok(paths) => {
                for path in paths {
                    if fetched.files >= MAX_FILES {
                        fetched.faults.push(format!("more than {MAX_FILES} files match; the others were not fetched"));
                        return fetched;
                    }
                    match fetch_one(&session, &path, out, max_bytes).await {
                        Ok(bytes) => {
                            fetched.files += 1;
                            fetched.bytes += bytes;
                        }
                        Err(why) => fetched.faults.push(format!("`{path}` was not fetched: {why}")),
                    }
                }
            }
            Err(why) => fetched.faults.push(format!("`{pattern}` could not be looked for: {why}")),
        }
    }
    let _ = session.close().await;
    fetched
}

async fn open(connection: &Connection) -> Result<SftpSession, String> {
    let channel = connection.channel().await?;
    let fault = |error: russh::Error| format!("the host has no SFTP: {error}");
    channel.request_subsystem(true, "sftp").await.map_err(fault)?;
    SftpSession::new(channel.into_stream()).await.map_err(|error| format!("the host has no SFTP: {error}"))
}

/// The regular files that a pattern matches, in order.
async fn find(session: &SftpSession, pattern: &str) -> Result<Vec<String>, String> {
    let (root, parts) = match pattern.strip_prefix('/') {
        Some(rest) => ("/", rest),
        None => (".", pattern),
    };
    let mut found = vec![root.to_owned()];
    for part in parts.split('/').filter(|part| !part.is_empty()) {
        let is_plain = Pattern::escape(part) == part;
        let matcher = Pattern::new(part).map_err(|error| error.msg.to_owned())?;
        let mut next = Vec::new();
        for folder in found {
            if is_plain {
                next.push(join(&folder, part));
                continue;
            }
            // What cannot be listed holds nothing that could be fetched.
            let Ok(entries) = session.read_dir(&folder).await else { continue };
            let mut names: Vec<String> = entries.map(|entry| entry.file_name()).collect();
            names.retain(|name| matcher.matches_with(name, OPTIONS));
            names.sort_unstable();
            next.extend(names.iter().map(|name| join(&folder, name)));
        }
        found = next;
    }
    let mut files = Vec::new();
    for path in found {
        if session.metadata(&path).await.is_ok_and(|meta| meta.is_regular()) {
            files.push(path);
        }
    }
    Ok(files)
}

fn join(folder: &str, name: &str) -> String {
    if folder.ends_with('/') { format!("{folder}{name}") } else { format!("{folder}/{name}") }
}

async fn fetch_one(session: &SftpSession, path: &str, out: &Path, max_bytes: u64) -> Result<u64, String> {
    let too_large = || format!("it is larger than {max_bytes} bytes");
    let size = session.metadata(path).await.map_err(|error| error.to_string())?.size.unwrap_or(0);
    if size > max_bytes {
        return Err(too_large());
    }
    let mut remote = session.open(path).await.map_err(|error| error.to_string())?;
    let whole = place_of(out, path);
    let mut name = whole.as_os_str().to_owned();
    name.push(PARTIAL);
    let partial = PathBuf::from(name);
    let disk = |error: std::io::Error| format!("it cannot be stored: {error}");
    if let Some(folder) = partial.parent() {
        tokio::fs::create_dir_all(folder).await.map_err(disk)?;
    }
    let mut local = File::create(&partial).await.map_err(disk)?;
    let mut piece = vec![0_u8; PIECE];
    let mut bytes = 0;
    loop {
        let count = remote.read(&mut piece).await.map_err(|error| error.to_string())?;
        if count == 0 {
            break;
        }
        bytes += count as u64;
        // It may grow while it is read.
        if bytes > max_bytes {
            return Err(too_large());
        }
        local.write_all(&piece[..count]).await.map_err(disk)?;
    }
    local.flush().await.map_err(disk)?;
    drop(local);
    tokio::fs::rename(&partial, &whole).await.map_err(disk)?;
    Ok(bytes)
}

/// Below `out`, and nowhere else.
fn place_of(out: &Path, path: &str) -> PathBuf {
    let parts = path.split('/').filter(|part| !part.is_empty() && *part != ".");
    parts.fold(out.to_owned(), |place, part| place.join(if part == ".." { "__" } else { part }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fetched_file_lies_below_its_folder_whatever_its_path() {
        for (path, place) in [
            ("/var/log/app/a b.log", "out/var/log/app/a b.log"),
            ("./-rf", "out/-rf"),
            ("/../../etc/passwd", "out/__/__/etc/passwd"),
            ("/a//./new\nline", "out/a/new\nline"),
        ] {
            assert_eq!(place_of(Path::new("out"), path), Path::new(place));
        }
    }

    #[test]
    fn names_are_matched_as_a_shell_does() {
        let matches = |pattern: &str, name| Pattern::new(pattern).unwrap().matches_with(name, OPTIONS);
        assert!(matches("*.log", "app.log") && !matches("*.log", ".hidden.log"));
        assert!(matches("-*", "-rf") && matches("a?[0-9]", "ab3"));
    }
}
