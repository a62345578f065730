//! What a `product_matching` job has found so far: products, videos, and where the one is seen in the other.

use serde::{Deserialize, Serialize};

/// Answer of `GET /api/jobs/{job_id}/matches`, and the content of `results.json`. Paths are those of artifacts: what
/// follows `/artifacts/` in the URL.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "ssr", derive(utoipa::ToSchema))]
pub struct MatchResults {
    /// In the order of the spec.
    pub products: Vec<MatchedProduct>,
    /// In the order of the spec.
    pub videos: Vec<MatchedVideo>,
    /// By video, then by time.
    pub sightings: Vec<Sighting>,
}

/// A product image.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "ssr", derive(utoipa::ToSchema))]
pub struct MatchedProduct {
    /// Index of the unit that took it in.
    pub unit: u64,
    pub name: String,
    /// The image as taken in: upright, at most 1,280 pixels a side.
    pub image: String,
    /// Its foreground, white on black; `null` until it was computed.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub mask: Option<String>,
    /// Sightings in all videos.
    pub sightings: u64,
}

/// A video.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "ssr", derive(utoipa::ToSchema))]
pub struct MatchedVideo {
    /// Index of the unit that took it in.
    pub unit: u64,
    pub name: String,
    /// Seconds.
    pub duration_s: f64,
    /// Pixels of a frame as cut.
    pub width: u32,
    pub height: u32,
    /// Frames that were cut, keyframes included.
    pub frames: u64,
    pub keyframes: Vec<Keyframe>,
}

/// A frame that is searched.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "ssr", derive(utoipa::ToSchema))]
pub struct Keyframe {
    /// Seconds from the beginning of the video.
    pub at_s: f64,
    pub path: String,
}

/// One product in one scene of one video.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "ssr", derive(utoipa::ToSchema))]
pub struct Sighting {
    pub product: String,
    pub video: String,
    /// First and last keyframe in which it is seen, seconds.
    pub from_s: f64,
    pub to_s: f64,
    /// The keyframe in which it is seen best, seconds.
    pub best_s: f64,
    /// How sure, 0 to 1.
    pub score: f64,
    /// Outline of the product in the best frame, clockwise, as fractions of the frame's width
    /// and height (they may lie outside).
    pub outline: Vec<[f64; 2]>,
    /// The best frame with the outline drawn; `null` until it was.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub evidence: Option<String>,
}
