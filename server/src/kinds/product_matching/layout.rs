//! What the steps leave for one another and for the console, by folder of a unit's artifacts:
//!
//! ```text
//! images/     product.json   one product image, taken in: upright, not too large
//! masks/      mask.json      its foreground and its features
//! frames/     video.json     the frames of one video that are no keyframes
//! keyframes/                 those that are searched; of another unit: chunk.json, the features of some of them
//! matches/    matches.json   what was found in one chunk
//! evidence/                  a picture a sighting, 000.jpg first
//! results/    results.json, results.csv
//! ```
//!
//! References are indices of the units that took product or video in: those a rerun keeps.

use std::{
    collections::BTreeMap,
    fs, io,
    path::{Path, PathBuf},
};

use app::model::{Keyframe, MatchResults, MatchedProduct, MatchedVideo, Sighting};
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use vision::{
    keyframes,
    sightings::{self, Detection},
};

use super::step::{Step, video::keyframe_file};
use crate::error::{Error, Result};

pub(super) const PRODUCT: &str = "images/product.json";
pub(super) const MASK: &str = "masks/mask.json";
pub(super) const VIDEO: &str = "frames/video.json";
pub(super) const CHUNK: &str = "keyframes/chunk.json";
pub(super) const MATCHES: &str = "matches/matches.json";

/// A product as taken in.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Product {
    pub(super) name: String,
    /// Below the unit's folder.
    pub(super) image: String,
}

/// Foreground and features of a product.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct MaskOf {
    pub(super) product: u64,
    /// Below the unit's folder.
    pub(super) mask: String,
    /// None: there is nothing to match it by.
    pub(super) features: Option<String>,
}

/// A video as taken in.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Video {
    pub(super) name: String,
    pub(super) duration_s: f64,
    pub(super) width: u32,
    pub(super) height: u32,
    pub(super) frames: u64,
    pub(super) keyframes: Vec<keyframes::Keyframe>,
}

/// Features of the keyframes `from..to` of a video.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Chunk {
    pub(super) video: u64,
    pub(super) from: usize,
    pub(super) to: usize,
    /// Below the unit's folder.
    pub(super) features: String,
}

/// What was found in a chunk.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Matches {
    pub(super) video: u64,
    /// Numbers of products are those of the units that took them in.
    pub(super) found: Vec<Detection>,
}

/// The artifacts of a job, by the unit that left them.
#[derive(Clone, Debug, Default)]
pub(super) struct Artifacts {
    root: PathBuf,
    pub(super) products: BTreeMap<u64, Product>,
    pub(super) masks: BTreeMap<u64, MaskOf>,
    pub(super) videos: BTreeMap<u64, Video>,
    pub(super) chunks: BTreeMap<u64, Chunk>,
    matches: BTreeMap<u64, Matches>,
    /// Units that drew evidence, by the video that it is of.
    evidence: BTreeMap<u64, u64>,
}

impl Artifacts {
    /// Reads what lies below the artifacts folder of a job. Blocking.
    ///
    /// # Errors
    /// The folder cannot be read. One that is not there is an empty one; a file that cannot be read is as good as none.
    pub(super) fn read(root: &Path) -> Result<Artifacts> {
        let mut artifacts = Artifacts { root: root.to_owned(), ..Artifacts::default() };
        let entries = match fs::read_dir(root) {
            Ok(entries) => entries,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(artifacts),
            Err(error) => return Err(Error::from(error)),
        };
        for entry in entries {
            let entry = entry?;
            if let Some(unit) = entry.file_name().to_str().and_then(|name| name.parse().ok()) {
                artifacts.read_unit(unit, &entry.path());
            }
        }
        Ok(artifacts)
    }

    fn read_unit(&mut self, unit: u64, folder: &Path) {
        if let Some(product) = load(&folder.join(PRODUCT)) {
            self.products.insert(unit, product);
        }
        if let Some(mask) = load(&folder.join(MASK)) {
            self.masks.insert(unit, mask);
        }
        if let Some(video) = load(&folder.join(VIDEO)) {
            self.videos.insert(unit, video);
        }
        if let Some(chunk) = load(&folder.join(CHUNK)) {
            self.chunks.insert(unit, chunk);
        }
        if let Some(matches) = load(&folder.join(MATCHES)) {
            self.matches.insert(unit, matches);
        }
        if let Some(video) = load(&folder.join(EVIDENCE)) {
            self.evidence.insert(video, unit);
        }
    }

    /// A file of a unit.
    pub(super) fn path(&self, unit: u64, file: &str) -> PathBuf {
        self.root.join(unit.to_string()).join(file)
    }

    /// The keyframes `from..to` of a video.
    pub(super) fn keyframes(&self, video: u64, from: usize, to: usize) -> Option<&[keyframes::Keyframe]> {
        self.videos.get(&video)?.keyframes.get(from..to)
    }

    // ---- the units of each phase: names and steps ----

    pub(super) fn feature_steps(&self, chunk_s: f64) -> Vec<(String, Step)> {
        let products = self
            .products
            .iter()
            .map(|(unit, product)| (product.name.clone(), Step::ProductFeatures { product: *unit }));
        let chunks = self.videos.iter().flat_map(|(unit, video)| {
            chunks(&video.keyframes, chunk_s)
                .into_iter()
                .map(move |(from, to)| (chunk_name(video, from, to), Step::KeyframeFeatures { video: *unit, from, to }))
        });
        products.chain(chunks).collect()
    }

    /// None without a product that can be matched.
    pub(super) fn matching_steps(&self) -> Vec<(String, Step)> {
        if self.masks.values().all(|mask| mask.features.is_none()) {
            return Vec::new();
        }
        let step = |(unit, chunk): (&u64, &Chunk)| {
            let video = self.videos.get(&chunk.video)?;
            Some((chunk_name(video, chunk.from, chunk.to), Step::Match { chunk: *unit }))
        };
        self.chunks.iter().filter_map(step).collect()
    }

    /// One a video in which something was found, and the results. `first` is the index of the first of them.
    pub(super) fn evidence_steps(&self, first: u64) -> Vec<(String, Step)> {
        let seen: Vec<u64> = self.videos.keys().copied().filter(|video| !self.sightings(*video).is_empty()).collect();
        let of_video = seen.iter().map(|video| (self.videos[video].name.clone(), Step::Evidence { video: *video }));
        let evidence = seen.iter().zip(first..).map(|(video, unit)| (*video, unit)).collect();
        of_video.chain([("results".to_owned(), Step::Results { evidence })]).collect()
    }

    /// What decides over the results of matching: the same products.
    pub(super) fn matchable(&self) -> String {
        let featured = self.masks.values().filter(|mask| mask.features.is_some());
        let products: Vec<String> = featured.map(|mask| mask.product.to_string()).collect();
        products.join(",")
    }

    // ---- results ----

    /// The sightings of a video, by time.
    pub(super) fn sightings(&self, video: u64) -> Vec<sightings::Sighting> {
        let found = self.matches.values().filter(|matches| matches.video == video).flat_map(|matches| &matches.found);
        sightings::join(&found.cloned().collect::<Vec<_>>())
    }

    /// Everything that is known so far.
    pub(super) fn results(&self) -> MatchResults {
        self.results_with(&self.evidence)
    }

    /// The same, with the evidence of these units, by video.
    pub(super) fn results_with(&self, evidence: &BTreeMap<u64, u64>) -> MatchResults {
        let mut sightings = Vec::new();
        let mut seen: BTreeMap<u64, u64> = BTreeMap::new();
        for (unit, video) in &self.videos {
            for (index, seen_at) in self.sightings(*unit).into_iter().enumerate() {
                let by = seen_at.product as u64;
                let Some(product) = self.products.get(&by) else { continue };
                *seen.entry(by).or_default() += 1;
                let drawn = evidence.get(unit).map(|by| format!("{by}/{}", picture(index)));
                sightings.push(sighting(product, video, &seen_at, drawn));
            }
        }
        MatchResults { products: self.matched_products(&seen), videos: self.matched_videos(), sightings }
    }

    fn matched_products(&self, seen: &BTreeMap<u64, u64>) -> Vec<MatchedProduct> {
        let mask_of = |product: u64| {
            let (unit, mask) = self.masks.iter().find(|(_, mask)| mask.product == product)?;
            Some(format!("{unit}/{}", mask.mask))
        };
        let matched = |(unit, product): (&u64, &Product)| MatchedProduct {
            unit: *unit,
            name: product.name.clone(),
            image: format!("{unit}/{}", product.image),
            mask: mask_of(*unit),
            sightings: seen.get(unit).copied().unwrap_or_default(),
        };
        self.products.iter().map(matched).collect()
    }

    fn matched_videos(&self) -> Vec<MatchedVideo> {
        let matched = |(unit, video): (&u64, &Video)| MatchedVideo {
            unit: *unit,
            name: video.name.clone(),
            duration_s: video.duration_s,
            width: video.width,
            height: video.height,
            frames: video.frames,
            keyframes: video
                .keyframes
                .iter()
                .map(|keyframe| Keyframe {
                    at_s: keyframe.from_s,
                    path: format!("{unit}/{}", keyframe_file(keyframe.frame)),
                })
                .collect(),
        };
        self.videos.iter().map(matched).collect()
    }
}

/// Says of which video a unit drew the evidence.
pub(super) const EVIDENCE: &str = "evidence/video.json";

/// The picture of a sighting.
pub(super) fn picture(index: usize) -> String {
    format!("evidence/{index:03}.jpg")
}

fn sighting(product: &Product, video: &Video, seen: &sightings::Sighting, evidence: Option<String>) -> Sighting {
    let (width, height) = (f64::from(video.width.max(1)), f64::from(video.height.max(1)));
    Sighting {
        product: product.name.clone(),
        video: video.name.clone(),
        from_s: seen.from_s,
        to_s: seen.to_s,
        best_s: seen.best_s,
        score: seen.score,
        outline: seen.outline.iter().map(|corner| [corner.x / width, corner.y / height]).collect(),
        evidence,
    }
}

/// Ranges of keyframes of at most `chunk_s` seconds each.
fn chunks(keyframes: &[keyframes::Keyframe], chunk_s: f64) -> Vec<(usize, usize)> {
    let mut ranges: Vec<(usize, usize)> = Vec::new();
    for (index, keyframe) in keyframes.iter().enumerate() {
        match ranges.last_mut() {
            Some((from, to)) if keyframe.from_s - keyframes[*from].from_s < chunk_s => *to = index + 1,
            Some(_) | None => ranges.push((index, index + 1)),
        }
    }
    ranges
}

fn chunk_name(video: &Video, from: usize, to: usize) -> String {
    let at = |index: usize| video.keyframes.get(index).map_or(video.duration_s, |keyframe| keyframe.from_s);
    format!("{} {}–{}", video.name, clock(at(from)), clock(at(to)))
}

/// `1:02:05`, `2:05`
pub(super) fn clock(seconds: f64) -> String {
    let seconds = seconds.max(0.0) as u64;
    let (hours, minutes, seconds) = (seconds / 3_600, seconds / 60 % 60, seconds % 60);
    if hours > 0 { format!("{hours}:{minutes:02}:{seconds:02}") } else { format!("{minutes}:{seconds:02}") }
}

/// Several byte strings in one file: each with its length before it, 8 bytes, little-endian.
pub(super) fn pack(parts: &[Vec<u8>]) -> Vec<u8> {
    parts.iter().flat_map(|part| (part.len() as u64).to_le_bytes().into_iter().chain(part.iter().copied())).collect()
}

/// The same back; `None` when something is missing.
pub(super) fn unpack(mut bytes: &[u8]) -> Option<Vec<&[u8]>> {
    let mut parts = Vec::new();
    while !bytes.is_empty() {
        let (length, rest) = bytes.split_first_chunk::<8>()?;
        let (part, rest) = rest.split_at_checked(usize::try_from(u64::from_le_bytes(*length)).ok()?)?;
        parts.push(part);
        bytes = rest;
    }
    Some(parts)
}

/// The system's word for people, without its number.
pub(super) fn word_of(error: &io::Error) -> String {
    if error.kind() == io::ErrorKind::StorageFull {
        return "no space left on the disk".to_owned();
    }
    let text = error.to_string();
    text.split(" (os error").next().unwrap_or(&text).to_owned()
}

fn load<T: DeserializeOwned>(path: &Path) -> Option<T> {
    serde_json::from_slice(&fs::read(path).ok()?).ok()
}

/// The same files under another folder, by hard link where the file system can, so that either may be removed alone.
pub(super) fn link_tree(from: &Path, to: &Path) -> io::Result<()> {
    crate::data::make_folder(to)?;
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        let place = to.join(entry.file_name());
        if entry.file_type()?.is_dir() {
            link_tree(&entry.path(), &place)?;
        } else if fs::hard_link(entry.path(), &place).is_err() {
            fs::copy(entry.path(), &place)?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn keyframes(count: usize, gap_s: f64) -> Vec<keyframes::Keyframe> {
        let keyframe = |frame: usize| {
            let from_s = frame as f64 * gap_s;
            keyframes::Keyframe { frame, from_s, to_s: from_s + gap_s, scene: 0 }
        };
        (0..count).map(keyframe).collect()
    }

    #[test]
    fn a_long_video_is_searched_in_chunks_of_a_minute() {
        assert_eq!(chunks(&keyframes(130, 1.0), 60.0), [(0, 60), (60, 120), (120, 130)]);
        assert_eq!(chunks(&keyframes(1, 1.0), 60.0), [(0, 1)]);
        assert_eq!(chunks(&keyframes(3, 90.0), 60.0), [(0, 1), (1, 2), (2, 3)]);
        assert!(chunks(&[], 60.0).is_empty());
    }

    #[test]
    fn what_is_packed_is_unpacked() {
        let parts = [b"abc".to_vec(), Vec::new(), vec![7; 300]];
        let packed = pack(&parts);
        assert_eq!(unpack(&packed).unwrap(), parts);
        assert!(unpack(&packed[..packed.len() - 1]).is_none());
    }

    #[test]
    fn times_are_told_as_a_player_does() {
        assert_eq!([0.0, 65.9, 3_725.0].map(clock), ["0:00", "1:05", "1:02:05"]);
    }
}
