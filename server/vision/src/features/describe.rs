//! What a keypoint looks like: orientation by the intensity centroid (Rosin 1999, as in ORB), and 512 comparisons of
//! brightness in its surroundings (BRIEF: Calonder, Lepetit, Strecha, Fua, ECCV 2010), turned with the orientation.

use std::{f32::consts::TAU, sync::LazyLock};

use image::GrayImage;

use super::Descriptor;
use crate::sample::Random;

const TESTS: usize = 512;
/// Radius of the disc that is compared and whose centroid gives the orientation.
const RADIUS: i32 = 15;
/// Orientations are rounded to this many directions, each with its own turned tests.
const DIRECTIONS: usize = 64;

/// Two places that are compared.
type Test = [i8; 4];

/// All tests in all directions. They are drawn once from a normal distribution (the BRIEF paper's pattern G II) with a
/// fixed seed, so that descriptors stay comparable between runs and machines.
static PATTERNS: LazyLock<Vec<[Test; TESTS]>> = LazyLock::new(|| {
    let upright = draw();
    (0..DIRECTIONS)
        .map(|direction| {
            let (sin, cos) = (TAU * direction as f32 / DIRECTIONS as f32).sin_cos();
            upright.map(|[ax, ay, bx, by]| {
                let turned = |x: f32, y: f32| ((cos * x - sin * y).round() as i8, (sin * x + cos * y).round() as i8);
                let ((ax, ay), (bx, by)) = (turned(ax, ay), turned(bx, by));
                [ax, ay, bx, by]
            })
        })
        .collect()
});

fn draw() -> [[f32; 4]; TESTS] {
    let mut random = Random::new(0x0b51_ef00);
    let mut place = || loop {
        let (x, y) = (random.normal() * 6.5, random.normal() * 6.5);
        if x.hypot(y) < RADIUS as f64 - 1.0 {
            return (x as f32, y as f32);
        }
    };
    std::array::from_fn(|_| {
        loop {
            let ((ax, ay), (bx, by)) = (place(), place());
            // Places that touch say little, and what they say is noise.
            if (ax - bx).hypot(ay - by) > 3.0 {
                return [ax, ay, bx, by];
            }
        }
    })
}

/// Describes keypoints of one picture.
pub(super) struct Describer<'a> {
    sharp: &'a GrayImage,
    smooth: Vec<u8>,
    /// Half the width of the disc in each row below its centre.
    widths: [i32; RADIUS as usize + 1],
}

impl<'a> Describer<'a> {
    pub(super) fn new(picture: &'a GrayImage) -> Self {
        let widths = std::array::from_fn(|row| {
            let row = row as f32;
            ((RADIUS * RADIUS) as f32 - row * row).sqrt().round() as i32
        });
        Self { sharp: picture, smooth: smooth(picture), widths }
    }

    /// The direction from a keypoint to the centroid of its disc, radians. At least 18 pixels from the border.
    pub(super) fn orientation(&self, x: usize, y: usize) -> f32 {
        let width = self.sharp.width() as usize;
        let pixels = self.sharp.as_raw();
        let (mut across, mut down) = (0_i32, 0_i32);
        for row in -RADIUS..=RADIUS {
            let half = self.widths[row.unsigned_abs() as usize];
            let from = y.wrapping_add_signed(row as isize) * width + x - half as usize;
            let line = &pixels[from..from + 2 * half as usize + 1];
            let (mut sum, mut moment) = (0_i32, 0_i32);
            for (i, &p) in line.iter().enumerate() {
                sum += i32::from(p);
                moment += i32::from(p) * (i as i32 - half);
            }
            across += moment;
            down += row * sum;
        }
        (down as f32).atan2(across as f32)
    }

    pub(super) fn describe(&self, x: usize, y: usize, angle: f32) -> Descriptor {
        let direction = (angle / TAU * DIRECTIONS as f32).round() as isize;
        let tests = &PATTERNS[direction.rem_euclid(DIRECTIONS as isize) as usize];
        let width = self.sharp.width() as i32;
        // A window of the picture with the keypoint at a known place: one check of the bounds for all tests.
        let origin = (y - RADIUS as usize) * width as usize + x - RADIUS as usize;
        let window = &self.smooth[origin..];
        let at = |dx: i8, dy: i8| window[((i32::from(dy) + RADIUS) * width + i32::from(dx) + RADIUS) as usize];
        std::array::from_fn(|word| {
            let mut bits = 0_u64;
            for (i, &[ax, ay, bx, by]) in tests[word * 64..word * 64 + 64].iter().enumerate() {
                bits |= u64::from(at(ax, ay) < at(bx, by)) << i;
            }
            bits
        })
    }
}

/// A Gaussian blur of 7 x 7 pixels (sigma 2), without which single pixels would be compared.
fn smooth(picture: &GrayImage) -> Vec<u8> {
    const WEIGHTS: [u16; 7] = [18, 34, 50, 52, 50, 34, 18];
    let (width, height) = (picture.width() as usize, picture.height() as usize);
    let pixels = picture.as_raw();
    let mut across = vec![0_u8; pixels.len()];
    for (row, out) in pixels.chunks_exact(width).zip(across.chunks_exact_mut(width)) {
        out.copy_from_slice(row);
        let n = width.saturating_sub(6);
        let mut sums = vec![128_u16; n];
        for (k, weight) in WEIGHTS.iter().enumerate() {
            for (sum, &p) in sums.iter_mut().zip(&row[k..]) {
                *sum += weight * u16::from(p);
            }
        }
        for (o, sum) in out[3.min(width)..].iter_mut().zip(&sums) {
            *o = (sum >> 8) as u8;
        }
    }
    let mut both = across.clone();
    let mut sums = vec![0_u16; width];
    for y in 3..height.saturating_sub(3) {
        sums.fill(128);
        for (k, weight) in WEIGHTS.iter().enumerate() {
            for (sum, &p) in sums.iter_mut().zip(&across[(y + k - 3) * width..][..width]) {
                *sum += weight * u16::from(p);
            }
        }
        for (o, sum) in both[y * width..][..width].iter_mut().zip(&sums) {
            *o = (sum >> 8) as u8;
        }
    }
    both
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_orientation_points_to_the_bright_side() {
        let picture = GrayImage::from_fn(60, 60, |_, y| image::Luma([if y > 30 { 200 } else { 20 }]));
        let down = Describer::new(&picture).orientation(30, 30);
        assert!((down - std::f32::consts::FRAC_PI_2).abs() < 0.05, "{down}");
    }

    #[test]
    fn smoothing_keeps_the_brightness() {
        let flat = GrayImage::from_pixel(30, 20, image::Luma([137]));
        assert!(smooth(&flat).iter().all(|p| p.abs_diff(137) <= 1));
    }

    #[test]
    fn tests_stay_on_the_disc_in_every_direction() {
        for tests in PATTERNS.iter() {
            for &[ax, ay, bx, by] in tests {
                assert!([ax, ay, bx, by].iter().all(|v| i32::from(*v).abs() <= RADIUS));
            }
        }
    }
}
