//! Checks a spec of kind `product_matching`, and finds what it names.

use std::{
    collections::HashSet,
    ffi::{OsStr, OsString},
    os::unix::ffi::{OsStrExt as _, OsStringExt as _},
    path::{Path, PathBuf},
};

use app::model::{ErrorCode, ProductMatchingSpec};
use percent_encoding::{NON_ALPHANUMERIC, percent_decode, utf8_percent_encode};
use serde_json::Value;

use super::{manifest, step::sample};
use crate::{
    error::{Error, Result},
    kinds::{
        Upload,
        confines::{self, Confines, Found, MAX_FILES},
        fields,
    },
};

/// Fewest and most frames a second.
const FRAME_RATES: std::ops::RangeInclusive<f64> = 0.1..=10.0;
/// Most products of a job: every one is looked for in every keyframe.
const MAX_PRODUCTS: usize = 2_000;
/// Endings of files that are taken out of folders; a file that is named itself may have any.
const IMAGES: [&str; 5] = ["png", "jpg", "jpeg", "webp", "csv"];
const VIDEOS: [&str; 14] =
    ["mp4", "m4v", "mov", "mkv", "webm", "avi", "mpg", "mpeg", "ts", "mts", "m2ts", "wmv", "flv", "ogv"];

/// Part of a multipart body.
const PRODUCTS: &str = "products";
const VIDEOS_PART: &str = "videos";

/// Reads a spec; every error names its field.
pub(super) fn parse(spec: Value) -> Result<ProductMatchingSpec> {
    let mut fields = fields::Fields::of(spec)?;
    let spec = ProductMatchingSpec {
        products: fields.take("products", "a list of paths")?.unwrap_or_default(),
        videos: fields.take("videos", "a list of paths")?.unwrap_or_default(),
        sample: fields.take("sample", "true or false")?.unwrap_or_default(),
        frame_rate: fields.take("frame_rate", "a number from 0.1 to 10")?,
        parallel: fields.take("parallel", "a whole number from 1 to 1,024")?,
        grace_s: fields.take("grace_s", "a whole number of seconds from 0 to 3,600")?,
    };
    fields.finish("Kind `product_matching` takes products, videos, sample, frame_rate, parallel and grace_s.")?;
    Ok(spec)
}

/// Checks everything but the files.
pub(super) fn check(spec: &ProductMatchingSpec) -> Result<()> {
    if spec.frame_rate.is_some_and(|rate| !FRAME_RATES.contains(&rate)) {
        return Err(Error::invalid_spec(
            "spec.frame_rate",
            "`spec.frame_rate` must be from 0.1 to 10 frames a second.",
        ));
    }
    fields::check_range("parallel", spec.parallel, 1, fields::MAX_PARALLEL, "")?;
    fields::check_range("grace_s", spec.grace_s, 0, fields::MAX_GRACE_S, " seconds")
}

/// What an input is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Role {
    Product,
    Video,
    /// Of the generated set; the path is a number.
    SampleProduct,
    SampleVideo,
}

impl Role {
    const ALL: [Role; 4] = [Role::Product, Role::Video, Role::SampleProduct, Role::SampleVideo];
    const fn as_str(self) -> &'static str {
        match self {
            Role::Product => "product",
            Role::Video => "video",
            Role::SampleProduct => "sample_product",
            Role::SampleVideo => "sample_video",
        }
    }
}

/// A file to be taken in: the unit of the first phase.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Input {
    pub(super) role: Role,
    /// Unique in its job.
    pub(super) name: String,
    pub(super) path: PathBuf,
}

impl Input {
    /// `role:name:path`; the name percent-encoded, the path byte for byte.
    pub(super) fn encode(&self) -> OsString {
        let mut bytes =
            format!("{}:{}:", self.role.as_str(), utf8_percent_encode(&self.name, NON_ALPHANUMERIC)).into_bytes();
        bytes.extend_from_slice(self.path.as_os_str().as_bytes());
        OsString::from_vec(bytes)
    }

    pub(super) fn decode(input: &OsStr) -> Option<Input> {
        let mut parts = input.as_bytes().splitn(3, |byte| *byte == b':');
        let word = parts.next()?;
        let role = Role::ALL.into_iter().find(|role| role.as_str().as_bytes() == word)?;
        let name = percent_decode(parts.next()?).decode_utf8().ok()?.into_owned();
        Some(Input { role, name, path: PathBuf::from(OsStr::from_bytes(parts.next()?)) })
    }
}

/// The path in an encoded input.
pub(super) fn path_of(input: &OsStr) -> &Path {
    let path = input.as_bytes().splitn(3, |byte| *byte == b':').nth(2).unwrap_or_default();
    Path::new(OsStr::from_bytes(path))
}

/// Everything that the job takes in, products first. Blocking.
pub(super) fn inputs(spec: &ProductMatchingSpec, uploads: &[Upload], confines: &Confines) -> Result<Vec<Input>> {
    let uploaded = |part: &str| {
        let of_part = uploads.iter().filter(|upload| upload.part == part);
        of_part
            .map(|upload| Found { name: upload.name.clone().into(), path: upload.path.clone(), in_folder: false })
            .collect::<Vec<_>>()
    };
    if let Some(stray) = uploads.iter().find(|upload| upload.part != PRODUCTS && upload.part != VIDEOS_PART) {
        let detail = format!("Kind `product_matching` takes uploads as `products` and `videos`, not `{}`.", stray.part);
        return Err(Error::invalid_spec(&stray.part, detail));
    }
    if spec.sample {
        return sample_inputs(spec, uploads);
    }
    let mut products = of_kind(confines::find("spec.products", &spec.products, confines)?, &IMAGES);
    products.extend(uploaded(PRODUCTS));
    let mut videos = of_kind(confines::find("spec.videos", &spec.videos, confines)?, &VIDEOS);
    videos.extend(uploaded(VIDEOS_PART));

    let mut names = HashSet::new();
    let mut inputs: Vec<Input> = manifest::products(products, uploads, confines)?
        .into_iter()
        .map(|(name, path)| Input { role: Role::Product, name: unique(&mut names, name), path })
        .collect();
    if inputs.is_empty() {
        return Err(missing("spec.products", "product images"));
    }
    if inputs.len() > MAX_PRODUCTS {
        return Err(Error::invalid_spec(
            "spec.products",
            "A job takes at most 2,000 product images; split it into several.",
        ));
    }
    if videos.is_empty() {
        return Err(missing("spec.videos", "videos"));
    }
    if inputs.len() + videos.len() > MAX_FILES {
        return Err(confines::too_many("spec.videos"));
    }
    inputs.extend(videos.into_iter().map(|file| {
        let name = unique(&mut names, file.name.to_string_lossy().into_owned());
        Input { role: Role::Video, name, path: file.path }
    }));
    Ok(inputs)
}

/// The generated set stands alone: its truth is known.
fn sample_inputs(spec: &ProductMatchingSpec, uploads: &[Upload]) -> Result<Vec<Input>> {
    if !(spec.products.is_empty() && spec.videos.is_empty() && uploads.is_empty()) {
        let detail = "Give either `sample` or files, not both.";
        return Err(Error::invalid_spec("spec.sample", detail));
    }
    let truth = sample::set().truth;
    let numbered =
        |role: Role| move |(number, name): (usize, String)| Input { role, name, path: number.to_string().into() };
    let products =
        truth.products.into_iter().map(|product| product.name).enumerate().map(numbered(Role::SampleProduct));
    let videos = truth.videos.into_iter().map(|video| video.file).enumerate().map(numbered(Role::SampleVideo));
    Ok(products.chain(videos).collect())
}

/// Leaves out what a folder holds beside images or videos. What the spec names itself stays, whatever its name.
fn of_kind(found: Vec<Found>, endings: &[&str]) -> Vec<Found> {
    let fits = |file: &Found| {
        let ending = file.path.extension().map(|ending| ending.to_string_lossy().to_ascii_lowercase());
        ending.is_some_and(|ending| endings.contains(&ending.as_str()))
    };
    found.into_iter().filter(|file| !file.in_folder || fits(file)).collect()
}

fn unique(names: &mut HashSet<String>, name: String) -> String {
    let mut candidate = name.clone();
    let mut count = 1;
    while !names.insert(candidate.clone()) {
        count += 1;
        candidate = format!("{name} ({count})");
    }
    candidate
}

fn missing(field: &str, what: &str) -> Error {
    Error::Invalid {
        code: ErrorCode::InvalidSpec,
        field: Some(field.to_owned()),
        detail: format!("There are no {what} to work on."),
        hint: Some(format!("Give `{field}`, or upload files in parts `{}`.", field.trim_start_matches("spec."))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_input_comes_back_byte_for_byte() {
        let path = PathBuf::from(OsStr::from_bytes(b"/in/a:b\xff/c.png"));
        let input = Input { role: Role::Product, name: "Lamp: \"fjord\" (2)".to_owned(), path: path.clone() };
        let encoded = input.encode();
        assert_eq!(path_of(&encoded), path);
        assert_eq!(Input::decode(&encoded), Some(input));
        assert_eq!(Input::decode(OsStr::new("nonsense")), None);
    }

    #[test]
    fn names_are_unique() {
        let mut names = HashSet::new();
        let given = ["a.png", "a.png", "b", "a.png"].map(|name| unique(&mut names, name.to_owned()));
        assert_eq!(given, ["a.png", "a.png (2)", "b", "a.png (3)"]);
    }

    #[test]
    fn the_frame_rate_has_bounds() {
        let with = |rate| check(&ProductMatchingSpec { frame_rate: Some(rate), ..ProductMatchingSpec::default() });
        assert!(with(0.1).is_ok() && with(10.0).is_ok());
        assert!(with(0.0).is_err() && with(10.1).is_err() && with(f64::NAN).is_err());
    }
}
