//! Manifests: a CSV among the product files that gives products names of their own, `product,image` a line. RFC 4180
//! quoting; the header is optional; an image is named relative to the manifest, or is one of the uploads.

use std::{
    fs,
    path::{Path, PathBuf},
};

use crate::{
    error::{Error, Result},
    kinds::{
        Upload,
        confines::{Confines, Found},
    },
};

/// Largest manifest, bytes.
const MAX_BYTES: u64 = 4 << 20;

/// Names and images of all products: files under their own name, and the lines of manifests. An image that a manifest
/// names is no product of its own. Blocking.
pub(super) fn products(files: Vec<Found>, uploads: &[Upload], confines: &Confines) -> Result<Vec<(String, PathBuf)>> {
    let (manifests, images): (Vec<Found>, Vec<Found>) = files.into_iter().partition(is_manifest);
    let mut named = Vec::new();
    for manifest in manifests {
        named.extend(read(&manifest, uploads, confines)?);
    }
    let own = images.into_iter().filter(|image| named.iter().all(|(_, path)| *path != image.path));
    let own: Vec<_> = own.map(|image| (stem(&image.name), image.path)).collect();
    named.extend(own);
    Ok(named)
}

fn is_manifest(file: &Found) -> bool {
    file.path.extension().is_some_and(|ending| ending.eq_ignore_ascii_case("csv"))
}

/// `shelf/lamp.png` -> `shelf/lamp`
fn stem(name: &std::ffi::OsStr) -> String {
    Path::new(name).with_extension("").to_string_lossy().into_owned()
}

fn read(manifest: &Found, uploads: &[Upload], confines: &Confines) -> Result<Vec<(String, PathBuf)>> {
    let shown = manifest.name.to_string_lossy().into_owned();
    let refuse = |detail: String| Error::invalid_spec("spec.products", format!("Manifest `{shown}`: {detail}"));
    let unreadable = |error: std::io::Error| refuse(format!("it cannot be read: {error}."));
    if fs::metadata(&manifest.path).map_err(unreadable)?.len() > MAX_BYTES {
        return Err(refuse("it is larger than 4 MiB.".to_owned()));
    }
    let text = fs::read_to_string(&manifest.path).map_err(unreadable)?;
    let mut reader = csv::ReaderBuilder::new()
        .has_headers(false)
        .flexible(true)
        .trim(csv::Trim::All)
        .from_reader(text.trim_start_matches('\u{feff}').as_bytes());
    let mut lines = Vec::new();
    for record in reader.records() {
        let record = record.map_err(|error| refuse(format!("{error}.")))?;
        let line = record.position().map_or(0, csv::Position::line);
        let (Some(product), Some(image), 2) = (record.get(0), record.get(1), record.len()) else {
            return Err(refuse(format!("line {line} has {} fields; it takes two, `product,image`.", record.len())));
        };
        if lines.is_empty() && product.eq_ignore_ascii_case("product") && image.eq_ignore_ascii_case("image") {
            continue;
        }
        if product.is_empty() || product.chars().any(char::is_control) || product.chars().count() > 200 {
            return Err(refuse(format!("line {line}: a product has a name of 1 to 200 characters.")));
        }
        let path = locate(manifest, image, uploads, confines)
            .ok_or_else(|| refuse(format!("line {line} names `{image}`, which is not there.")))?;
        lines.push((product.to_owned(), path));
    }
    if lines.is_empty() {
        return Err(refuse("it names no product.".to_owned()));
    }
    Ok(lines)
}

fn locate(manifest: &Found, image: &str, uploads: &[Upload], confines: &Confines) -> Option<PathBuf> {
    if uploads.iter().any(|upload| upload.path == manifest.path) {
        let name = image.rsplit(['/', '\\']).next()?;
        return uploads
            .iter()
            .find(|upload| upload.part == "products" && upload.name == name)
            .map(|upload| upload.path.clone());
    }
    let path = manifest.path.parent()?.join(image).canonicalize().ok()?;
    (path.is_file() && confines.contain(&path)).then_some(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn place(manifest: &str) -> (tempfile::TempDir, Vec<Found>, Confines) {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path().canonicalize().unwrap();
        for (name, text) in [("list.csv", manifest), ("a.png", "a"), ("b c.png", "b"), ("free.png", "f")] {
            fs::write(root.join(name), text).unwrap();
        }
        let files = ["a.png", "free.png", "list.csv"].map(|name| Found {
            name: name.into(),
            path: root.join(name),
            in_folder: true,
        });
        let confines = Confines::new(std::slice::from_ref(&root), root.join("data"));
        (folder, files.to_vec(), confines)
    }

    fn names(manifest: &str) -> Result<Vec<String>> {
        let (_folder, files, confines) = place(manifest);
        Ok(products(files, &[], &confines)?.into_iter().map(|(name, _)| name).collect())
    }

    #[test]
    fn a_manifest_names_products_and_other_images_keep_their_own_name() {
        let named = names("product,image\n\"Lamp, \"\"Fjord\"\"\", a.png\nChair,b c.png\n").unwrap();
        assert_eq!(named, ["Lamp, \"Fjord\"", "Chair", "free"]);
    }

    #[test]
    fn a_fault_of_a_manifest_is_told_with_its_line() {
        for (manifest, told) in [
            ("Lamp,none.png\n", "line 1 names `none.png`, which is not there"),
            ("product,image\nLamp,../secret\n", "line 2 names `../secret`"),
            ("Lamp\n", "line 1 has 1 fields"),
            (",a.png\n", "1 to 200 characters"),
            ("product,image\n", "names no product"),
        ] {
            let error = names(manifest).unwrap_err().to_string();
            assert!(error.contains(told), "{manifest:?}: {error}");
        }
    }
}
