//! Which frames are worth looking at: the first of each scene, and then one whenever the picture has changed or a
//! while has passed.
//!
//! Scene changes are found by comparing neighbouring frames in two ways that fail differently: histograms of colour,
//! which do not mind motion, and small grey pictures, which do not mind that the colours stay (both in Boreczky and
//! Rowe, "Comparison of video shot boundary detection techniques", 1996).

use image::{RgbImage, imageops};
use serde::{Deserialize, Serialize};

/// What is kept of a frame for comparing.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Signature {
    /// Shares of the pixels in 4 x 4 x 4 boxes of colour.
    histogram: Vec<f32>,
    /// Brightness, [`GRID`] by [`GRID`].
    grid: Vec<f32>,
}

const GRID: u32 = 24;
const BOXES: u8 = 4;

impl Signature {
    #[must_use]
    pub fn of(frame: &RgbImage) -> Self {
        let small = imageops::thumbnail(frame, GRID * 4, GRID * 4);
        let mut histogram = vec![0.0; usize::from(BOXES).pow(3)];
        let share = 1.0 / (small.width() * small.height()) as f32;
        for pixel in small.pixels() {
            let [r, g, b] = pixel.0.map(|v| usize::from(v / (255 / BOXES + 1)));
            histogram[(r * usize::from(BOXES) + g) * usize::from(BOXES) + b] += share;
        }
        let tiny = imageops::thumbnail(&small, GRID, GRID);
        let grid = tiny.pixels().map(|p| 0.299 * f32::from(p[0]) + 0.587 * f32::from(p[1]) + 0.114 * f32::from(p[2]));
        Self { histogram, grid: grid.collect() }
    }

    /// How different two frames are, 0 (the same) to 1 (nothing in common).
    #[must_use]
    pub fn difference(&self, other: &Self) -> f32 {
        let common: f32 = self.histogram.iter().zip(&other.histogram).map(|(a, b)| a.min(*b)).sum();
        let colours = (1.0 - common).clamp(0.0, 1.0);
        let n = self.grid.len().max(1) as f32;
        let apart: f32 = self.grid.iter().zip(&other.grid).map(|(a, b)| (a - b).abs()).sum();
        let places = (apart / n / 64.0).min(1.0);
        (colours + places) / 2.0
    }
}

/// When a frame becomes a keyframe.
#[derive(Clone, Debug)]
pub struct Rules {
    /// From this difference between neighbouring frames on a new scene begins.
    pub cut: f32,
    /// From this difference to the last keyframe on there is something new to see.
    pub change: f32,
    /// At the latest after this time, in seconds.
    pub gap_s: f64,
}

impl Default for Rules {
    fn default() -> Self {
        Self { cut: 0.30, change: 0.16, gap_s: 1.0 }
    }
}

/// A frame that is looked at. It stands for the time until the next one.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Keyframe {
    /// Number of the frame, from 0.
    pub frame: usize,
    pub from_s: f64,
    pub to_s: f64,
    /// Number of the scene, from 0.
    pub scene: usize,
}

/// Chooses among frames that follow each other every `interval_s` seconds.
#[must_use]
pub fn choose(frames: &[Signature], interval_s: f64, rules: &Rules) -> Vec<Keyframe> {
    let mut chosen: Vec<Keyframe> = Vec::new();
    let mut scene = 0;
    for (i, signature) in frames.iter().enumerate() {
        let now = i as f64 * interval_s;
        let is_cut = i > 0 && signature.difference(&frames[i - 1]) >= rules.cut;
        scene += usize::from(is_cut);
        let is_new = chosen.last().is_none_or(|last| {
            is_cut
                || signature.difference(&frames[last.frame]) >= rules.change
                // Times are multiples of the interval; half of it keeps rounding out.
                || now - last.from_s > rules.gap_s - interval_s / 2.0
        });
        if is_new {
            if let Some(last) = chosen.last_mut() {
                last.to_s = now;
            }
            chosen.push(Keyframe { frame: i, from_s: now, to_s: now + interval_s, scene });
        }
    }
    if let Some(last) = chosen.last_mut() {
        last.to_s = frames.len() as f64 * interval_s;
    }
    chosen
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sample::noise_picture;
    use image::{DynamicImage, Rgb};

    fn still(seed: u64) -> Signature {
        let grey = noise_picture(seed, 320, 180);
        let tint = Rgb([(seed * 67 % 200) as u8, (seed * 31 % 180) as u8, (seed * 97 % 220) as u8]);
        let mut colour = DynamicImage::ImageLuma8(grey).into_rgb8();
        colour.pixels_mut().for_each(|p| (0..3).for_each(|k| p.0[k] = p.0[k] / 2 + tint.0[k] / 2));
        Signature::of(&colour)
    }

    #[test]
    fn a_still_scene_has_a_keyframe_per_gap_and_no_cut() {
        let frames = vec![still(1); 12];
        let keys = choose(&frames, 0.5, &Rules { gap_s: 2.0, ..Rules::default() });
        assert_eq!(keys.iter().map(|k| k.frame).collect::<Vec<_>>(), [0, 4, 8]);
        assert!(keys.iter().all(|k| k.scene == 0));
        assert!((keys[2].to_s - 6.0).abs() < 1e-9);
    }

    #[test]
    fn a_cut_begins_a_scene_with_a_keyframe() {
        let frames = [vec![still(1); 3], vec![still(2); 3]].concat();
        let keys = choose(&frames, 0.5, &Rules { gap_s: 10.0, ..Rules::default() });
        assert_eq!(keys.iter().map(|k| (k.frame, k.scene)).collect::<Vec<_>>(), [(0, 0), (3, 1)]);
        assert!((keys[0].to_s - 1.5).abs() < 1e-9);
    }

    #[test]
    fn no_frames_have_no_keyframes() {
        assert!(choose(&[], 0.5, &Rules::default()).is_empty());
    }
}
