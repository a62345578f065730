//! Drawing the frames of a scene.

use image::{DynamicImage, GrayImage, Rgb, RgbImage, imageops};

use super::{
    Design, Random, Settings,
    canvas::any_colour,
    noise_picture,
    package::{Package, clutter},
    truth::{TruthScene, TruthSighting},
};
use crate::geometry::{self, Homography, Point};

/// Everything that is drawn in a scene.
pub struct Stage {
    background: RgbImage,
    actors: Vec<Actor>,
    width: u32,
    height: u32,
    blur: u32,
    noise: Vec<i8>,
    seed: u64,
}

/// A package with what covers it.
struct Actor {
    truth: TruthSighting,
    /// The package at about the size that it is seen at, so that each pixel is taken from its surroundings.
    picture: RgbImage,
    mask: GrayImage,
    /// Texture of what covers it, and where that is, in shares of the package's box.
    cover: RgbImage,
    cover_shape: Vec<Point>,
    light: [f64; 3],
    /// Brighter to one side.
    slope: f64,
}

/// The background is larger than the frame, and the camera pans over it.
const PAN: u32 = 40;

impl Stage {
    pub(super) fn build(settings: &Settings, scene: &TruthScene, designs: &[Design]) -> Self {
        let mut random = Random::new(scene.seed);
        let (width, height) = (settings.width + PAN, settings.height + PAN);
        let from = any_colour(&mut random);
        let to = any_colour(&mut random);
        let mut background = RgbImage::from_fn(width, height, |x, y| {
            let share = (f64::from(x) + f64::from(y)) / f64::from(width + height);
            Rgb([0, 1, 2].map(|k| (f64::from(from[k]) * (1.0 - share) + f64::from(to[k]) * share) as u8))
        });
        let count = 60 + random.below(200) as usize;
        let far = Point::new(f64::from(width), f64::from(height));
        clutter(&mut background, &mut random, Point::new(-30.0, -30.0), far, count);
        grain(&mut background, &mut random);
        let actors = scene.sightings.iter().map(|s| Actor::new(s, &designs[s.design].render(), &mut random)).collect();
        let noise = (0..1 << 16).map(|_| (random.normal() * scene.noise).clamp(-60.0, 60.0) as i8).collect();
        Self {
            background,
            actors,
            width: settings.width,
            height: settings.height,
            blur: scene.blur,
            noise,
            seed: scene.seed,
        }
    }

    /// The frame at a share of the scene, 0 to 1. `number` makes its noise differ from other frames'.
    pub(super) fn draw(&self, share: f64, number: u64) -> RgbImage {
        let pan = (share.clamp(0.0, 1.0) * f64::from(PAN - 1)) as u32;
        let mut frame = imageops::crop_imm(&self.background, pan, pan / 2, self.width, self.height).to_image();
        for actor in &self.actors {
            actor.draw(&mut frame, share);
        }
        for _ in 0..self.blur {
            soften(&mut frame);
        }
        self.add_noise(&mut frame, number);
        frame
    }

    fn add_noise(&self, frame: &mut RgbImage, number: u64) {
        let mut random = Random::new(self.seed ^ number);
        let row_bytes = self.width as usize * 3;
        for row in frame.chunks_exact_mut(row_bytes) {
            let start = random.below((self.noise.len() - row_bytes.min(1 << 15)) as u64) as usize;
            for (value, noise) in row.iter_mut().zip(&self.noise[start..]) {
                *value = value.saturating_add_signed(*noise);
            }
        }
    }
}

/// Fine texture over everything, as walls, cloth and leaves have it.
fn grain(picture: &mut RgbImage, random: &mut Random) {
    let texture = noise_picture(random.bits(), picture.width(), picture.height());
    let depth = random.between(0.1, 0.6);
    for (pixel, grey) in picture.pixels_mut().zip(texture.pixels()) {
        let lit = 1.0 + depth * (f64::from(grey.0[0]) / 128.0 - 1.0);
        pixel.0 = pixel.0.map(|v| (f64::from(v) * lit).clamp(0.0, 255.0) as u8);
    }
}

impl Actor {
    fn new(truth: &TruthSighting, package: &Package, random: &mut Random) -> Self {
        let (width, height) = package.picture.dimensions();
        let (picture, mask) = if truth.scale < 0.9 {
            let side = |s: u32| ((f64::from(s) * truth.scale).round() as u32).max(1);
            let filter = imageops::FilterType::Triangle;
            let mask = imageops::resize(&package.mask, side(width), side(height), filter);
            (imageops::resize(&package.picture, side(width), side(height), filter), mask)
        } else {
            (package.picture.clone(), package.mask.clone())
        };
        let mut cover = RgbImage::from_pixel(128, 128, Rgb(any_colour(random)));
        clutter(&mut cover, random, Point::default(), Point::new(128.0, 128.0), 8);
        let gain = random.between(0.65, 1.15);
        Self {
            cover_shape: cover_shape(&truth.shape, truth.covered, random),
            truth: truth.clone(),
            picture,
            mask,
            cover,
            light: [0; 3].map(|_| gain * random.between(0.94, 1.06)),
            slope: random.between(-0.15, 0.15),
        }
    }

    fn draw(&self, frame: &mut RgbImage, share: f64) {
        let corners = self.truth.corners(share);
        let unit = [(0.0, 0.0), (1.0, 0.0), (1.0, 1.0), (0.0, 1.0)].map(|(x, y)| Point::new(x, y));
        let pairs = [0, 1, 2, 3].map(|i| (corners[i], unit[i]));
        let Some(to_unit) = Homography::through(&pairs) else { return };
        let Some((low, high)) = geometry::bounds(&corners) else { return };
        let range =
            |a: f64, b: f64, end: u32| (a.floor().max(0.0) as u32).min(end)..(b.ceil().max(0.0) as u32).min(end);
        let (rows, columns) = (range(low.y, high.y, frame.height()), range(low.x, high.x, frame.width()));
        for y in rows {
            for x in columns.clone() {
                let Some(at) = to_unit.apply(Point::new(f64::from(x), f64::from(y))) else { continue };
                if at.x < 0.0 || at.y < 0.0 || at.x > 1.0 || at.y > 1.0 {
                    continue;
                }
                let opacity = sample_grey(&self.mask, at) / 255.0;
                if opacity < 0.02 {
                    continue;
                }
                let seen = if geometry::contains(&self.cover_shape, at) {
                    sample(&self.cover, at)
                } else {
                    let lit = 1.0 + self.slope * (at.x * 2.0 - 1.0);
                    let colour = sample(&self.picture, at);
                    [0, 1, 2].map(|k| colour[k] * self.light[k] * lit)
                };
                let pixel = frame.get_pixel_mut(x, y);
                for (value, seen) in pixel.0.iter_mut().zip(seen) {
                    *value = (f64::from(*value) * (1.0 - opacity) + seen * opacity).clamp(0.0, 255.0) as u8;
                }
            }
        }
    }
}

/// A shape that covers the wanted share: everything on one side of a line, or a bar across the package.
fn cover_shape(shape: &[Point], covered: f64, random: &mut Random) -> Vec<Point> {
    if covered <= 0.0 {
        return Vec::new();
    }
    let (sin, cos) = (random.unit() * std::f64::consts::TAU).sin_cos();
    let bar_at = random.chance(0.4).then(|| random.between(-0.15, 0.15));
    let cover = |size: f64| {
        let (from, to) = bar_at.map_or((2.0 - size, 4.0), |middle| (middle - size, middle + size));
        [(from, -4.0), (to, -4.0), (to, 4.0), (from, 4.0)]
            .map(|(along, across)| Point::new(0.5 + along * cos - across * sin, 0.5 + along * sin + across * cos))
    };
    let whole = geometry::area(shape).abs();
    let (mut low, mut high) = (0.0, 3.0);
    for _ in 0..40 {
        let middle = (low + high) / 2.0;
        let share = geometry::area(&geometry::clip(shape, &cover(middle))).abs() / whole;
        if share > covered { high = middle } else { low = middle }
    }
    cover(high).to_vec()
}

fn sample(picture: &RgbImage, at: Point) -> [f64; 3] {
    let (x, y, u, v) = taps(picture.dimensions(), at);
    let (x2, y2) = ((x + 1).min(picture.width() - 1), (y + 1).min(picture.height() - 1));
    let [a, b, c, d] = [(x, y), (x2, y), (x, y2), (x2, y2)].map(|(x, y)| picture.get_pixel(x, y).0);
    [0, 1, 2].map(|k| {
        let [a, b, c, d] = [a[k], b[k], c[k], d[k]].map(f64::from);
        (a * (1.0 - u) + b * u) * (1.0 - v) + (c * (1.0 - u) + d * u) * v
    })
}

fn sample_grey(picture: &GrayImage, at: Point) -> f64 {
    let (x, y, u, v) = taps(picture.dimensions(), at);
    let (x2, y2) = ((x + 1).min(picture.width() - 1), (y + 1).min(picture.height() - 1));
    let [a, b, c, d] = [(x, y), (x2, y), (x, y2), (x2, y2)].map(|(x, y)| f64::from(picture.get_pixel(x, y).0[0]));
    (a * (1.0 - u) + b * u) * (1.0 - v) + (c * (1.0 - u) + d * u) * v
}

/// The pixel up and to the left of a place given in shares, and the weights of its neighbours.
fn taps((width, height): (u32, u32), at: Point) -> (u32, u32, f64, f64) {
    let split = |share: f64, end: u32| {
        let v = (share * f64::from(end) - 0.5).clamp(0.0, f64::from(end - 1));
        (v as u32, v.fract())
    };
    let ((x, u), (y, v)) = (split(at.x, width), split(at.y, height));
    (x, y, u, v)
}

/// A blur with the weights 1, 2, 1 in both directions.
fn soften(frame: &mut RgbImage) {
    let (width, height) = (frame.width() as usize * 3, frame.height() as usize);
    let mix = |a: u8, b: u8, c: u8| ((u16::from(a) + 2 * u16::from(b) + u16::from(c) + 2) / 4) as u8;
    let source = frame.as_raw().clone();
    let mut across = source.clone();
    for (row, out) in source.chunks_exact(width).zip(across.chunks_exact_mut(width)) {
        for i in 3..width - 3 {
            out[i] = mix(row[i - 3], row[i], row[i + 3]);
        }
    }
    let out: &mut [u8] = frame.as_mut();
    out.copy_from_slice(&across);
    for y in 1..height - 1 {
        let (above, here, below) =
            (&across[(y - 1) * width..][..width], &across[y * width..][..width], &across[(y + 1) * width..][..width]);
        for (i, o) in out[y * width..][..width].iter_mut().enumerate() {
            *o = mix(above[i], here[i], below[i]);
        }
    }
}

/// A frame after a round trip through JPEG, for tests without a video encoder.
#[must_use]
pub fn compressed(frame: &RgbImage, quality: u8) -> RgbImage {
    let encoding = crate::evidence::Encoding::Jpeg(quality);
    let bytes = crate::evidence::encode(&DynamicImage::ImageRgb8(frame.clone()), encoding).unwrap_or_default();
    image::load_from_memory(&bytes).map_or_else(|_| frame.clone(), DynamicImage::into_rgb8)
}
