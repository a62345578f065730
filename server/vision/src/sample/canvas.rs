//! Filling shapes in a picture.

use image::{Rgb, RgbImage};

use super::{Random, font::glyph};
use crate::geometry::{self, Point};

pub(super) type Colour = [u8; 3];

/// A saturated colour by hue (0 to 1) and brightness (0 to 1).
pub(super) fn colour(hue: f64, saturation: f64, value: f64) -> Colour {
    let channel = |n: f64| {
        let k = (n + hue.rem_euclid(1.0) * 6.0).rem_euclid(6.0);
        let v = value - value * saturation * k.min(4.0 - k).clamp(0.0, 1.0);
        (v * 255.0).round() as u8
    };
    [channel(5.0), channel(3.0), channel(1.0)]
}

pub(super) fn any_colour(random: &mut Random) -> Colour {
    colour(random.unit(), random.between(0.1, 0.9), random.between(0.15, 0.95))
}

/// Fills where `inside` holds, within a box.
pub(super) fn fill(picture: &mut RgbImage, low: Point, high: Point, colour: Colour, inside: impl Fn(Point) -> bool) {
    let range = |a: f64, b: f64, end: u32| (a.floor().max(0.0) as u32).min(end)..(b.ceil().max(0.0) as u32).min(end);
    for y in range(low.y, high.y, picture.height()) {
        for x in range(low.x, high.x, picture.width()) {
            if inside(Point::new(f64::from(x) + 0.5, f64::from(y) + 0.5)) {
                picture.put_pixel(x, y, Rgb(colour));
            }
        }
    }
}

pub(super) fn rectangle(picture: &mut RgbImage, low: Point, high: Point, colour: Colour) {
    fill(picture, low, high, colour, |p| p.x >= low.x && p.y >= low.y && p.x < high.x && p.y < high.y);
}

pub(super) fn disc(picture: &mut RgbImage, centre: Point, radius: f64, colour: Colour) {
    fill(picture, centre.moved(-radius, -radius), centre.moved(radius, radius), colour, |p| {
        p.distance(centre) <= radius
    });
}

pub(super) fn polygon(picture: &mut RgbImage, corners: &[Point], colour: Colour) {
    if let Some((low, high)) = geometry::bounds(corners) {
        fill(picture, low, high, colour, |p| geometry::contains(corners, p));
    }
}

/// A star, or with `depth` 1 a regular polygon.
pub(super) fn star(centre: Point, radius: f64, points: usize, depth: f64, turn: f64) -> Vec<Point> {
    let n = points * 2;
    (0..n)
        .map(|i| {
            let r = if i % 2 == 0 { radius } else { radius * depth };
            let (sin, cos) = (turn + std::f64::consts::TAU * i as f64 / n as f64).sin_cos();
            centre.moved(r * cos, r * sin)
        })
        .collect()
}

/// Text from a place to the right, dots of the given side.
pub(super) fn text(picture: &mut RgbImage, at: Point, dot: f64, words: &str, colour: Colour) {
    for (i, letter) in words.chars().enumerate() {
        for (row, bits) in glyph(letter).into_iter().enumerate() {
            for column in (0..5).filter(|c| bits & (0x10 >> c) != 0) {
                let corner = at.moved((i * 6 + column) as f64 * dot, row as f64 * dot);
                rectangle(picture, corner, corner.moved(dot, dot), colour);
            }
        }
    }
}

/// How wide the text is with dots of side 1.
pub(super) fn text_width(words: &str) -> f64 {
    (words.chars().count() * 6) as f64 - 1.0
}
