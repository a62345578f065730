//! From the paths of a spec to files, for all kinds that read files of this machine. Only regular files below a configured root are taken; a link or `..` that leads
//! out is refused, and links inside a folder are left aside.

use std::{
    ffi::OsString,
    fs, io,
    path::{Component, Path, PathBuf},
};

use app::model::ErrorCode;

use crate::error::{Error, Result};

/// Most files of a job.
pub(super) const MAX_FILES: usize = 100_000;

/// A file that a job may take.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Found {
    /// Its name; of a file found in a folder of the spec, its path below that folder.
    pub(super) name: OsString,
    /// Absolute, without links.
    pub(super) path: PathBuf,
    /// Found in a folder that was named, not named itself.
    pub(super) in_folder: bool,
}

/// The folders from which files may be taken, and the one from which they may not.
pub(super) struct Confines {
    /// As configured, and as they really are.
    roots: Vec<(PathBuf, PathBuf)>,
    /// The data folder: its files are the server's own.
    forbidden: PathBuf,
}

impl Confines {
    /// Roots that are not there (now) are left out. Blocking.
    pub(super) fn new(roots: &[PathBuf], forbidden: PathBuf) -> Self {
        let roots = roots.iter().filter_map(|root| match root.canonicalize() {
            Ok(real) => Some((root.clone(), real)),
            Err(error) => {
                tracing::warn!(root = %root.display(), %error, "a configured root cannot be used");
                None
            }
        });
        Confines { roots: roots.collect(), forbidden }
    }

    /// Looks at a file again when its turn has come: it may have gone, or become a link, since the job was submitted.
    /// Uploads below `inputs` are the job's own. Answers its real path, or a sentence. Blocking.
    pub(super) fn look_again(&self, input: &Path, inputs: &Path) -> std::result::Result<PathBuf, String> {
        let name = input.file_name().unwrap_or(input.as_os_str()).to_string_lossy();
        let real = input.canonicalize().map_err(|error| match error.kind() {
            io::ErrorKind::NotFound | io::ErrorKind::NotADirectory => format!("the file is gone: {name}"),
            io::ErrorKind::PermissionDenied => format!("the file cannot be read: {name}: permission denied"),
            _ => format!("the file cannot be read: {name}: {error}"),
        })?;
        if !real.is_file() {
            return Err(format!("no longer a file: {name}"));
        }
        if real.starts_with(inputs) || (real == input && self.contain(&real)) {
            return Ok(real);
        }
        Err(format!("the file is a link now, or outside the allowed folders: {name}"))
    }

    /// True when a file lies below a root and is not the server's own.
    pub(super) fn contain(&self, real: &Path) -> bool {
        !real.starts_with(&self.forbidden) && self.roots.iter().any(|(_, root)| real.starts_with(root))
    }
}

/// The files that `paths` name: files and folders in their order, folders sorted. `field` of the spec is named by a
/// refusal. Blocking.
pub(super) fn find(field: &str, paths: &[String], confines: &Confines) -> Result<Vec<Found>> {
    let mut search = Search { field, confines, found: Vec::new() };
    for path in paths {
        search.take(path)?;
    }
    Ok(search.found)
}

/// The refusal of one file too many.
pub(super) fn too_many(field: &str) -> Error {
    Error::invalid_spec(field, "A job takes at most 100,000 files; split it into several.")
}

struct Search<'a> {
    field: &'a str,
    confines: &'a Confines,
    found: Vec<Found>,
}

impl Search<'_> {
    fn take(&mut self, input: &str) -> Result<()> {
        let path = self.locate(input)?;
        let meta = fs::symlink_metadata(&path).map_err(|error| self.unreadable(input, &error))?;
        if meta.is_dir() {
            self.walk(input, &path, &path)
        } else if meta.is_file() {
            let name = path.file_name().unwrap_or(path.as_os_str()).to_owned();
            self.push(Found { name, path, in_folder: false })
        } else {
            Err(self.bad_input(format!("`{input}` is neither a file nor a folder.")))
        }
    }

    fn push(&mut self, file: Found) -> Result<()> {
        if self.found.len() == MAX_FILES {
            return Err(too_many(self.field));
        }
        self.found.push(file);
        Ok(())
    }

    /// The real path of an input. The answer about a path outside the roots does not tell whether it is there.
    fn locate(&self, input: &str) -> Result<PathBuf> {
        if input.is_empty() || input.contains('\0') {
            return Err(self.bad_input(format!("`{}` has an empty path, or one with the NUL character.", self.field)));
        }
        if self.confines.roots.is_empty() {
            return Err(Error::Invalid {
                code: ErrorCode::InvalidSpec,
                field: Some(self.field.to_owned()),
                detail: "There is no folder from which jobs may take files.".to_owned(),
                hint: Some("Set `roots` under `[files]` in belay.toml, or upload the files.".to_owned()),
            });
        }
        let path = Path::new(input);
        let candidates: Vec<PathBuf> = if path.is_absolute() {
            vec![path.to_owned()]
        } else {
            self.confines.roots.iter().map(|(_, real)| real.join(path)).collect()
        };
        let mut inside = candidates.iter().filter(|candidate| {
            let flat = flatten(candidate);
            self.confines.roots.iter().any(|(root, real)| flat.starts_with(root) || flat.starts_with(real))
        });
        let mut missing: Option<io::Error> = None;
        let mut any_inside = false;
        for candidate in &mut inside {
            any_inside = true;
            match candidate.canonicalize() {
                Ok(real) if self.confines.contain(&real) => return Ok(real),
                Ok(_) => return Err(self.outside(input)),
                Err(error) => missing = missing.or(Some(error)),
            }
        }
        match missing {
            Some(error) if any_inside => Err(self.unreadable(input, &error)),
            _ => Err(self.outside(input)),
        }
    }

    fn walk(&mut self, input: &str, top: &Path, folder: &Path) -> Result<()> {
        let mut entries = list(folder).map_err(|error| {
            let below = folder.strip_prefix(top).unwrap_or(folder);
            self.unreadable(&Path::new(input).join(below).to_string_lossy(), &error)
        })?;
        entries.sort_unstable_by(|(left, _), (right, _)| left.cmp(right));
        for (name, file_type) in entries {
            let path = folder.join(&name);
            if path.starts_with(&self.confines.forbidden) {
                continue;
            }
            if file_type.is_dir() {
                self.walk(input, top, &path)?;
            } else if file_type.is_file() {
                let below = path.strip_prefix(top).unwrap_or(&path);
                let name = below.as_os_str().to_owned();
                self.push(Found { name, path, in_folder: true })?;
            }
        }
        Ok(())
    }

    fn bad_input(&self, detail: String) -> Error {
        Error::invalid_spec(self.field, detail)
    }

    fn outside(&self, input: &str) -> Error {
        Error::Invalid {
            code: ErrorCode::InvalidSpec,
            field: Some(self.field.to_owned()),
            detail: format!("`{input}` is outside the folders from which jobs may take files."),
            hint: Some("Links and `..` must not lead out of a configured root.".to_owned()),
        }
    }

    fn unreadable(&self, input: &str, error: &io::Error) -> Error {
        match error.kind() {
            io::ErrorKind::NotFound | io::ErrorKind::NotADirectory => {
                self.bad_input(format!("There is no file or folder `{input}`."))
            }
            io::ErrorKind::PermissionDenied => self.bad_input(format!("`{input}` cannot be read: permission denied.")),
            _ => self.bad_input(format!("`{input}` cannot be read: {error}.")),
        }
    }
}

fn list(folder: &Path) -> io::Result<Vec<(OsString, fs::FileType)>> {
    fs::read_dir(folder)?.map(|entry| entry.and_then(|entry| Ok((entry.file_name(), entry.file_type()?)))).collect()
}

/// `a/./b/../c` -> `a/c`, by the text alone.
fn flatten(path: &Path) -> PathBuf {
    let mut flat = PathBuf::new();
    for component in path.components() {
        match component {
            Component::CurDir => {}
            Component::ParentDir => {
                flat.pop();
            }
            Component::RootDir | Component::Prefix(_) | Component::Normal(_) => flat.push(component),
        }
    }
    flat
}

#[cfg(test)]
mod tests {
    use std::os::unix::{ffi::OsStrExt as _, fs::symlink};

    use super::*;

    struct Place {
        _folder: tempfile::TempDir,
        root: PathBuf,
        confines: Confines,
    }

    fn place() -> Place {
        let folder = tempfile::tempdir().unwrap();
        let base = folder.path().canonicalize().unwrap();
        let root = base.join("root");
        fs::create_dir_all(root.join("sub")).unwrap();
        fs::create_dir_all(root.join("data")).unwrap();
        fs::write(base.join("secret"), "s").unwrap();
        fs::write(root.join("data/belay.db"), "d").unwrap();
        fs::write(root.join("b.txt"), "b").unwrap();
        fs::write(root.join("sub/a.txt"), "a").unwrap();
        symlink(base.join("secret"), root.join("link-out")).unwrap();
        symlink(&base, root.join("sub/up")).unwrap();
        symlink(root.join("b.txt"), root.join("sub/link-in")).unwrap();
        let confines = Confines::new(std::slice::from_ref(&root), root.join("data"));
        Place { _folder: folder, root, confines }
    }

    fn names(place: &Place, inputs: &[&str]) -> Result<Vec<String>> {
        let inputs: Vec<String> = inputs.iter().map(|input| (*input).to_owned()).collect();
        let found = find("spec.inputs", &inputs, &place.confines)?;
        Ok(found.into_iter().map(|file| file.name.to_string_lossy().into_owned()).collect())
    }

    #[test]
    fn folders_are_taken_recursively_in_order_without_links_and_without_the_data_folder() {
        let place = place();
        assert_eq!(names(&place, &["."]).unwrap(), ["b.txt", "sub/a.txt"]);
        assert_eq!(names(&place, &["sub", "b.txt", "b.txt"]).unwrap(), ["a.txt", "b.txt", "b.txt"]);
        let absolute = place.root.join("b.txt");
        assert_eq!(names(&place, &[absolute.to_str().unwrap()]).unwrap(), ["b.txt"]);
        assert_eq!(names(&place, &["sub/../b.txt"]).unwrap(), ["b.txt"]);
    }

    #[test]
    fn nothing_leads_out_of_a_root() {
        let place = place();
        let secret = place.root.with_file_name("secret");
        let inputs = ["link-out", "../secret", "sub/../../secret", "sub/up", "sub/up/secret", "/etc/passwd", "data"];
        for input in inputs.into_iter().chain([secret.to_str().unwrap(), "data/belay.db", "../no-such-file"]) {
            let error = names(&place, &[input]).unwrap_err().to_string();
            assert!(error.contains("outside the folders"), "{input}: {error}");
        }
    }

    #[test]
    fn a_missing_file_is_named() {
        let error = names(&place(), &["sub/none.txt"]).unwrap_err().to_string();
        assert_eq!(error, "There is no file or folder `sub/none.txt`.");
    }

    #[test]
    fn names_that_are_not_utf_8_keep_their_bytes() {
        let place = place();
        let name = std::ffi::OsStr::from_bytes(b"-\xff\n x");
        fs::write(place.root.join("sub").join(name), "x").unwrap();
        let found = find("spec.inputs", &["sub".to_owned()], &place.confines).unwrap();
        assert_eq!((found[0].name.as_os_str(), found[0].path.file_name()), (name, Some(name)));
    }
}
