//! Pictures and videos whose truth is known: for trying the console, for tests and for measuring.
//!
//! A [`Set`] is made from a seed alone. It has product shots of packages, some of them look-alikes of each other, and
//! videos of cluttered scenes in which packages move, turned, tilted, partly covered, blurred and noisy. Some products
//! never appear, and some things that appear are not among the products although they look like one.

mod canvas;
mod font;
mod package;
mod random;
mod stage;
mod truth;

use std::io::{self, Write};

use image::{GrayImage, Luma, RgbImage};

pub use package::{Design, Package};
pub use random::Random;
pub use stage::{Stage, compressed};
pub use truth::{TruthProduct, TruthScene, TruthSighting, TruthVideo};

use serde::{Deserialize, Serialize};

/// How large a set is and how hard.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Settings {
    pub seed: u64,
    /// Products that appear.
    pub present: usize,
    /// Products that never appear. The first three of them are look-alikes of products that do.
    pub absent: usize,
    /// Things that appear and are no products, each a look-alike of one.
    pub distractors: usize,
    pub videos: usize,
    pub scenes: usize,
    /// How long a scene takes, in seconds.
    pub scene_s: f64,
    pub frames_per_s: u32,
    pub width: u32,
    pub height: u32,
    /// Pixels of the frame per pixel of the shot.
    pub scale: (f64, f64),
    /// Greatest turn either way, in degrees.
    pub turn: f64,
    /// Share of a product that is covered by other things.
    pub covered: f64,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            seed: 1,
            present: 20,
            absent: 5,
            distractors: 3,
            videos: 10,
            scenes: 8,
            scene_s: 4.0,
            frames_per_s: 12,
            width: 1280,
            height: 720,
            scale: (0.4, 1.5),
            turn: 45.0,
            covered: 0.3,
        }
    }
}

/// Products and videos, with the truth.
#[derive(Clone, Debug)]
pub struct Set {
    pub settings: Settings,
    pub truth: Truth,
    designs: Vec<Design>,
}

/// What is seen where. Everything in pixels of the frames and seconds.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Truth {
    pub products: Vec<TruthProduct>,
    pub videos: Vec<TruthVideo>,
}

impl Set {
    /// Decides what appears where. Nothing is drawn yet.
    #[must_use]
    pub fn new(settings: Settings) -> Self {
        let mut random = Random::new(settings.seed);
        let mut designs: Vec<Design> = (0..settings.present).map(|_| Design::new(&mut random)).collect();
        for i in 0..settings.absent {
            let design = if i < 3 { designs[i].look_alike(&mut random) } else { Design::new(&mut random) };
            designs.push(design);
        }
        for i in 0..settings.distractors {
            let design = designs[(3 + i) % settings.present].look_alike(&mut random);
            designs.push(design);
        }
        let products = designs[..settings.present + settings.absent]
            .iter()
            .enumerate()
            .map(|(i, design)| TruthProduct {
                name: design.title(),
                file: format!("{:02}-{}.png", i + 1, design.title().to_lowercase().replace(' ', "-")),
                appears: i < settings.present,
            })
            .collect();
        let videos = (0..settings.videos).map(|i| truth::plan_video(&settings, &designs, i, &mut random)).collect();
        Self { settings, truth: Truth { products, videos }, designs }
    }

    /// The product shot number `product`.
    #[must_use]
    pub fn shot(&self, product: usize) -> RgbImage {
        self.designs[product].render().shot()
    }

    /// What is needed to draw the frames of a scene.
    #[must_use]
    pub fn stage(&self, video: usize, scene: usize) -> Stage {
        Stage::build(&self.settings, &self.truth.videos[video].scenes[scene], &self.designs)
    }

    /// Draws a video as raw pictures, three bytes a pixel, one after the other, as `ffmpeg -f rawvideo -pix_fmt rgb24`
    /// reads them.
    ///
    /// # Errors
    /// When writing fails.
    pub fn write_video(&self, video: usize, out: &mut dyn Write) -> io::Result<()> {
        for scene in 0..self.truth.videos[video].scenes.len() {
            let stage = self.stage(video, scene);
            for frame in 0..self.frames_per_scene() {
                out.write_all(self.frame(&stage, frame).as_raw())?;
            }
        }
        out.flush()
    }

    #[must_use]
    pub fn frames_per_scene(&self) -> usize {
        (self.settings.scene_s * f64::from(self.settings.frames_per_s)).round() as usize
    }

    /// A frame of a scene, by its number in the scene.
    #[must_use]
    pub fn frame(&self, stage: &Stage, frame: usize) -> RgbImage {
        stage.draw(frame as f64 / (self.frames_per_scene().max(2) - 1) as f64, frame as u64)
    }
}

/// Smooth blotches of several sizes, for tests that need texture and nothing else.
#[must_use]
pub fn noise_picture(seed: u64, width: u32, height: u32) -> GrayImage {
    let mut random = Random::new(seed);
    let grids: Vec<Vec<f64>> = (0..3).map(|_| (0..64 * 64).map(|_| random.unit()).collect()).collect();
    let value = |grid: &[f64], x: f64, y: f64| {
        let (column, row) = (x as usize, y as usize);
        let (u, v) = (x.fract(), y.fract());
        let at = |c: usize, r: usize| grid[(r % 64) * 64 + c % 64];
        let mix = |a: f64, b: f64, t: f64| a + (b - a) * t;
        mix(mix(at(column, row), at(column + 1, row), u), mix(at(column, row + 1), at(column + 1, row + 1), u), v)
    };
    GrayImage::from_fn(width, height, |x, y| {
        let (x, y) = (f64::from(x), f64::from(y));
        let sum: f64 =
            grids.iter().zip([5.0, 11.0, 23.0]).map(|(grid, size)| value(grid, x / size, y / size) * 255.0 / 3.0).sum();
        Luma([((sum - 128.0) * 1.8 + 128.0).clamp(0.0, 255.0) as u8])
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn small() -> Settings {
        Settings { present: 4, absent: 3, distractors: 1, videos: 1, scenes: 3, scene_s: 1.0, ..Settings::default() }
    }

    #[test]
    fn the_same_seed_makes_the_same_set() {
        let (a, b) = (Set::new(small()), Set::new(small()));
        assert_eq!(a.truth, b.truth);
        assert_eq!(a.shot(2), b.shot(2));
        assert_eq!(a.frame(&a.stage(0, 1), 3), b.frame(&b.stage(0, 1), 3));
        let other = Set::new(Settings { seed: 2, ..small() });
        assert_ne!(a.shot(0), other.shot(0));
    }

    #[test]
    fn products_that_never_appear_do_not() {
        let set = Set::new(Settings { scenes: 30, ..small() });
        let seen: Vec<usize> =
            set.truth.videos[0].scenes.iter().flat_map(|s| &s.sightings).filter_map(|s| s.product).collect();
        assert!(seen.iter().all(|p| *p < 4));
        assert!((0..4).all(|p| seen.contains(&p)));
    }

    #[test]
    fn a_video_has_as_many_bytes_as_its_frames() {
        let set =
            Set::new(Settings { width: 320, height: 180, scenes: 1, scene_s: 0.25, scale: (0.2, 0.3), ..small() });
        let mut bytes = Vec::new();
        set.write_video(0, &mut bytes).unwrap();
        assert_eq!(bytes.len(), 320 * 180 * 3 * set.frames_per_scene());
    }
}
