//! Keypoints with binary descriptors, over several scales and orientations.
//!
//! The scheme is ORB's (Rublee, Rabaud, Konolige, Bradski: "ORB: an efficient alternative to SIFT or SURF", ICCV
//! 2011): FAST corners on a pyramid, ranked by Harris' measure, oriented by the intensity centroid, described by
//! steered BRIEF tests. Different from the paper: 512 tests instead of 256, and corners are spread over the picture so
//! that one busy corner of a background cannot take all of them.

mod corners;
mod describe;
mod pyramid;

use image::{GrayImage, imageops};
use serde::{Deserialize, Serialize};

use crate::geometry::Point;
use describe::Describer;
pub use pyramid::Pyramid;

/// How many keypoints on how many scales.
#[derive(Clone, Debug)]
pub struct Settings {
    /// At most this many keypoints.
    pub count: usize,
    /// Levels of the pyramid.
    pub levels: usize,
    /// A picture whose longest side is greater is made smaller first, in pixels.
    pub longest_side: u32,
    /// The least difference in brightness of a FAST corner, 1 to 254.
    pub contrast: u8,
}

impl Settings {
    /// For the picture of a product.
    #[must_use]
    pub fn product() -> Self {
        Self { count: 1200, levels: 9, longest_side: 480, contrast: 10 }
    }

    /// For a frame of a video.
    #[must_use]
    pub fn frame() -> Self {
        Self { count: 4000, levels: 7, longest_side: 1280, contrast: 10 }
    }
}

/// Each level of a pyramid is smaller than the one below by this factor.
pub const SCALE_STEP: f64 = 1.2;

/// A corner: where, how large, which way up.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Keypoint {
    /// In pixels of the picture as it was given.
    pub x: f32,
    pub y: f32,
    /// How many pixels of the picture one pixel of the keypoint's level is.
    pub size: f32,
    /// Radians, clockwise on the screen.
    pub angle: f32,
}

impl Keypoint {
    #[must_use]
    pub fn place(&self) -> Point {
        Point::new(f64::from(self.x), f64::from(self.y))
    }
}

/// 512 tests of brightness.
pub type Descriptor = [u64; 8];

/// The keypoints of a picture. `keypoints[i]` is described by `descriptors[i]`.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Features {
    /// Size of the picture that the coordinates refer to.
    pub width: u32,
    pub height: u32,
    pub keypoints: Vec<Keypoint>,
    pub descriptors: Vec<Descriptor>,
}

impl Features {
    /// Finds and describes the keypoints of a picture; with a mask of the same size only where the mask is not 0.
    #[must_use]
    pub fn extract(picture: &GrayImage, mask: Option<&GrayImage>, settings: &Settings) -> Self {
        let (width, height) = picture.dimensions();
        let longest = width.max(height).max(1);
        let shrink = f64::from(settings.longest_side.min(longest)) / f64::from(longest);
        let base = if shrink < 1.0 {
            let side = |s: u32| ((f64::from(s) * shrink).round() as u32).max(1);
            imageops::resize(picture, side(width), side(height), imageops::FilterType::Triangle)
        } else {
            picture.clone()
        };
        let pyramid = Pyramid::build(base, settings.levels);
        let mut features = Self { width, height, ..Self::default() };
        for (level, count) in pyramid.levels.iter().zip(shares(settings)) {
            let size = level.size / shrink;
            let allowed = |x: usize, y: usize| mask.is_none_or(|mask| is_set(mask, x, y, size));
            let corners = corners::find(&level.picture, settings.contrast, count, &allowed);
            let describer = Describer::new(&level.picture);
            for corner in corners {
                let angle = describer.orientation(corner.x, corner.y);
                features.descriptors.push(describer.describe(corner.x, corner.y, angle));
                features.keypoints.push(Keypoint {
                    x: (f64::from(corner.sub_x) * size + (size - 1.0) / 2.0) as f32,
                    y: (f64::from(corner.sub_y) * size + (size - 1.0) / 2.0) as f32,
                    size: size as f32,
                    angle,
                });
            }
        }
        features
    }

    #[must_use]
    pub fn len(&self) -> usize {
        self.keypoints.len()
    }

    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.keypoints.is_empty()
    }

    /// As bytes, to be kept in a file between two steps.
    ///
    /// # Errors
    /// None that is known of; the encoder's type has one.
    pub fn to_bytes(&self) -> Result<Vec<u8>, postcard::Error> {
        postcard::to_stdvec(self)
    }

    /// # Errors
    /// When the bytes are not those of [`Features::to_bytes`].
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, postcard::Error> {
        let features: Self = postcard::from_bytes(bytes)?;
        if features.keypoints.len() == features.descriptors.len() {
            Ok(features)
        } else {
            Err(postcard::Error::DeserializeBadEncoding)
        }
    }
}

/// Keypoints per level, in proportion to the level's side as ORB has it.
fn shares(settings: &Settings) -> Vec<usize> {
    let weights: Vec<f64> = (0..settings.levels).map(|l| SCALE_STEP.powi(-(l as i32))).collect();
    let sum: f64 = weights.iter().sum();
    weights.iter().map(|w| (settings.count as f64 * w / sum).round() as usize).collect()
}

fn is_set(mask: &GrayImage, x: usize, y: usize, size: f64) -> bool {
    let at = |v: usize, end: u32| (((v as f64 + 0.5) * size) as u32).min(end - 1);
    mask.get_pixel(at(x, mask.width()), at(y, mask.height())).0[0] > 0
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sample::noise_picture;

    #[test]
    fn a_turned_picture_has_the_same_descriptors() {
        let picture = noise_picture(7, 240, 240);
        let turned = imageops::rotate90(&picture);
        let settings = Settings { count: 300, levels: 3, ..Settings::frame() };
        let (a, b) = (Features::extract(&picture, None, &settings), Features::extract(&turned, None, &settings));
        let mut same = 0;
        for (k, d) in a.keypoints.iter().zip(&a.descriptors) {
            let expected = Point::new(239.0 - f64::from(k.y), f64::from(k.x));
            let found = b.keypoints.iter().zip(&b.descriptors).any(|(l, e)| {
                let bits: u32 = d.iter().zip(e).map(|(x, y)| (x ^ y).count_ones()).sum();
                l.place().distance(expected) < 2.0 * f64::from(k.size) && bits < 80
            });
            same += usize::from(found);
        }
        assert!(same * 10 >= a.len() * 7, "{same} of {}", a.len());
    }

    #[test]
    fn a_mask_keeps_keypoints_out() {
        let picture = noise_picture(3, 200, 200);
        let mask = GrayImage::from_fn(200, 200, |x, _| image::Luma([if x < 100 { 255 } else { 0 }]));
        let features = Features::extract(&picture, Some(&mask), &Settings::product());
        assert!(features.len() > 20);
        assert!(features.keypoints.iter().all(|k| k.x < 101.0 + k.size));
    }

    #[test]
    fn a_flat_picture_has_no_keypoints() {
        let flat = GrayImage::from_pixel(300, 200, image::Luma([90]));
        assert!(Features::extract(&flat, None, &Settings::frame()).is_empty());
    }

    #[test]
    fn features_survive_being_stored_and_rubbish_is_refused() {
        let features = Features::extract(&noise_picture(5, 160, 120), None, &Settings::frame());
        let bytes = features.to_bytes().unwrap();
        let read = Features::from_bytes(&bytes).unwrap();
        assert_eq!((read.keypoints, read.descriptors), (features.keypoints, features.descriptors));
        assert!(Features::from_bytes(&bytes[..bytes.len() / 2]).is_err());
    }
}
