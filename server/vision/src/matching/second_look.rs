//! The second look: is what is in the frame at that place really this product?
//!
//! The frame is laid back onto the product's reference picture, and both are compared in small windows by normalised
//! cross-correlation of brightness (Lewis, "Fast normalized cross-correlation", 1995), which does not mind exposure,
//! and by colour, after the light of the scene has been taken out. Windows may be off by two pixels; where they fit
//! best improves the map (a step of registration by blocks), and then they are compared again.

use image::RgbImage;

use super::{
    Find,
    pose::{self, Pose},
};
use crate::{
    geometry::{Homography, Point},
    product::{Product, Reference},
};

/// Side of a window and distance from one to the next, in pixels of the reference.
const WINDOW: usize = 14;
const STRIDE: usize = 7;
/// How far a window is looked for, first and at the end.
const REACH: isize = 3;
const LAST_REACH: isize = 1;
/// A window with less deviation of brightness than this has nothing to correlate.
const LEAST_DEVIATION: f32 = 5.0;
/// A window counts fully from this deviation on.
const FULL_DEVIATION: f32 = 18.0;
/// Correlation that says nothing, and that says all.
const NO_CORRELATION: f32 = 0.35;
const FULL_CORRELATION: f32 = 0.8;
/// Difference in colour (Cb, Cr) that is overlooked, and that is another colour.
const SAME_COLOUR: f32 = 14.0;
const OTHER_COLOUR: f32 = 40.0;
/// When no more than this share fits at first, improving the map is in vain.
const HOPELESS: f32 = 0.15;
/// With this many keypoints the pose is beyond doubt.
const MANY_KEYPOINTS: f64 = 20.0;

/// Three planes: brightness, Cb, Cr, each pixel as a number.
struct Planes {
    width: usize,
    height: usize,
    y: Vec<f32>,
    cb: Vec<f32>,
    cr: Vec<f32>,
    /// Whether there is something to compare.
    set: Vec<bool>,
}

impl Planes {
    fn new(width: usize, height: usize) -> Self {
        let zeros = || vec![0.0; width * height];
        Self { width, height, y: zeros(), cb: zeros(), cr: zeros(), set: vec![false; width * height] }
    }

    fn put(&mut self, i: usize, [r, g, b]: [f32; 3]) {
        self.y[i] = 0.299 * r + 0.587 * g + 0.114 * b;
        self.cb[i] = 0.564 * (b - self.y[i]);
        self.cr[i] = 0.713 * (r - self.y[i]);
        self.set[i] = true;
    }

    fn of_reference(reference: &Reference) -> Self {
        let mut planes = Self::new(reference.width as usize, reference.height as usize);
        for (i, pixel) in reference.rgb.chunks_exact(3).enumerate() {
            planes.put(i, [pixel[0], pixel[1], pixel[2]].map(f32::from));
            planes.set[i] = reference.mask[i] != 0;
        }
        planes
    }

    /// The frame as the reference would show it; what is outside the frame is not set.
    fn of_frame(picture: &RgbImage, reference: &Reference, map: &Homography) -> Self {
        let mut planes = Self::new(reference.width as usize, reference.height as usize);
        let to_frame = map.after(&to_shot(reference));
        // A pixel of the reference covers several of the frame: their mean.
        let middle = Point::new(f64::from(reference.width) / 2.0, f64::from(reference.height) / 2.0);
        let grown = to_frame.derivative(middle).map_or(1.0, |[[a, b], [c, d]]| (a * d - b * c).abs().sqrt());
        let taps = (grown.round() as usize).clamp(1, 3);
        for y in 0..planes.height {
            for x in 0..planes.width {
                let at = Point::new(x as f64, y as f64);
                let i = y * planes.width + x;
                if let Some(middle) = to_frame.apply(at)
                    && let Some(beside) = to_frame.apply(at.moved(1.0, 0.0))
                    && let Some(below) = to_frame.apply(at.moved(0.0, 1.0))
                    && let Some(colour) = mean(picture, middle, beside, below, taps)
                {
                    planes.put(i, colour);
                }
            }
        }
        planes
    }

    /// A blur over 3 x 3 pixels: details that the frame's own blur and compression took are not compared.
    fn softened(mut self) -> Self {
        for plane in [&mut self.y, &mut self.cb, &mut self.cr] {
            *plane = soften(plane, self.width, self.height);
        }
        self
    }
}

fn soften(plane: &[f32], width: usize, height: usize) -> Vec<f32> {
    let mut out = plane.to_vec();
    for y in 1..height.saturating_sub(1) {
        for x in 1..width.saturating_sub(1) {
            let i = y * width + x;
            let row = |i: usize| plane[i - 1] + 2.0 * plane[i] + plane[i + 1];
            out[i] = (row(i - width) + 2.0 * row(i) + row(i + width)) / 16.0;
        }
    }
    out
}

/// The mean colour over one pixel of the reference: a small parallelogram of the frame.
fn mean(picture: &RgbImage, middle: Point, beside: Point, below: Point, taps: usize) -> Option<[f32; 3]> {
    let (right, down) = (beside.moved(-middle.x, -middle.y), below.moved(-middle.x, -middle.y));
    let offset = |k: usize| (k as f64 + 0.5) / taps as f64 - 0.5;
    let mut sum = [0.0; 3];
    for v in (0..taps).map(offset) {
        for u in (0..taps).map(offset) {
            let colour = bilinear(picture, middle.moved(u * right.x + v * down.x, u * right.y + v * down.y))?;
            (0..3).for_each(|k| sum[k] += colour[k]);
        }
    }
    Some(sum.map(|v| v / (taps * taps) as f32))
}

fn to_shot(reference: &Reference) -> Homography {
    Homography::affine([reference.step, 0.0, reference.left, 0.0, reference.step, reference.top])
}

fn bilinear(picture: &RgbImage, p: Point) -> Option<[f32; 3]> {
    let (width, height) = (picture.width() as usize, picture.height() as usize);
    if p.x < 0.0 || p.y < 0.0 || p.x >= (width - 1) as f64 || p.y >= (height - 1) as f64 {
        return None;
    }
    let (x, y) = (p.x as usize, p.y as usize);
    let (u, v) = ((p.x - x as f64) as f32, (p.y - y as f64) as f32);
    let first = (y * width + x) * 3;
    let raw = picture.as_raw();
    let (above, below) = (&raw[first..first + 6], &raw[first + width * 3..first + width * 3 + 6]);
    Some(std::array::from_fn(|k| {
        let mix = |row: &[u8]| f32::from(row[k]) * (1.0 - u) + f32::from(row[k + 3]) * u;
        mix(above) * (1.0 - v) + mix(below) * v
    }))
}

/// A window of the reference and how well the frame fits there.
struct Window {
    x: usize,
    y: usize,
    /// How much it counts, 0 to 1.
    weight: f32,
    /// How well it fits, 0 to 1.
    fit: f32,
    correlation: f32,
    shift: (isize, isize),
}

/// Judges a pose by the pixels; `None` when next to nothing fits or nothing can be compared.
pub(super) fn judge(product: &Product, pose: Pose, picture: &RgbImage) -> Option<Find> {
    let reference = Planes::of_reference(&product.reference).softened();
    let seen = Planes::of_frame(picture, &product.reference, &pose.map).softened();
    let mut windows = compare(&reference, &seen, REACH);
    let mut map = pose.map;
    if share_that_fits(&windows) < HOPELESS {
        return None;
    }
    let (width, height) = picture.dimensions();
    let better = register(product, &pose, &windows);
    if let Some(better) = better.filter(|map| pose::is_plausible_map(product, map, width, height)) {
        map = better;
        let seen = Planes::of_frame(picture, &product.reference, &map).softened();
        windows = compare(&reference, &seen, LAST_REACH);
    }
    let confirmed = f64::from(share_that_fits(&windows));
    let contradicted = f64::from(contradicted(&windows));
    let support = (pose.pairs.len() as f64 / MANY_KEYPOINTS).min(1.0);
    let score = (confirmed * (0.6 + 0.4 * support) - 0.5 * contradicted).clamp(0.0, 1.0);
    let outline = map.apply_all(&product.outline)?;
    Some(Find { outline, map, score, keypoints: pose.pairs.len(), confirmed, contradicted })
}

fn share_that_fits(windows: &[Window]) -> f32 {
    let whole: f32 = windows.iter().map(|w| w.weight).sum();
    if whole > 0.0 { windows.iter().map(|w| w.weight * w.fit).sum::<f32>() / whole } else { 0.0 }
}

fn compare(reference: &Planes, seen: &Planes, reach: isize) -> Vec<Window> {
    let light = Light::between(reference, seen);
    let mut windows = Vec::new();
    for y in (0..reference.height.saturating_sub(WINDOW - 1)).step_by(STRIDE) {
        for x in (0..reference.width.saturating_sub(WINDOW - 1)).step_by(STRIDE) {
            windows.extend(compare_window(reference, seen, &light, (x, y), reach));
        }
    }
    windows
}

fn compare_window(
    reference: &Planes,
    seen: &Planes,
    light: &Light,
    (x, y): (usize, usize),
    reach: isize,
) -> Option<Window> {
    let rows =
        |x: usize, y: usize, width: usize| (y..y + WINDOW).map(move |row| row * width + x..row * width + x + WINDOW);
    let mut patch = [0.0_f32; WINDOW * WINDOW];
    let mut set = 0;
    for (range, out) in rows(x, y, reference.width).zip(patch.chunks_exact_mut(WINDOW)) {
        set += reference.set[range.clone()].iter().filter(|s| **s).count();
        out.copy_from_slice(&reference.y[range]);
    }
    if set * 5 < WINDOW * WINDOW * 4 {
        return None;
    }
    let deviation = centre_and_scale(&mut patch);
    let mut best = (-1.0_f32, (0, 0));
    for dy in -reach..=reach {
        for dx in -reach..=reach {
            let (sx, sy) = (x as isize + dx, y as isize + dy);
            if sx < 0 || sy < 0 || sx as usize + WINDOW > seen.width || sy as usize + WINDOW > seen.height {
                continue;
            }
            let (mut sum, mut squares, mut product) = (0.0_f32, 0.0_f32, 0.0_f32);
            for (range, row) in rows(sx as usize, sy as usize, seen.width).zip(patch.chunks_exact(WINDOW)) {
                for (&s, &p) in seen.y[range].iter().zip(row) {
                    sum += s;
                    squares += s * s;
                    product += s * p;
                }
            }
            let n = (WINDOW * WINDOW) as f32;
            let spread = (squares - sum * sum / n).max(0.0).sqrt();
            // The frame must show something too; rounding alone correlates with anything.
            let correlation = if spread > 1.5 * n.sqrt() { product / spread } else { 0.0 };
            if correlation > best.0 {
                best = (correlation, (dx, dy));
            }
        }
    }
    let colour = light.agreement(reference, seen, rows(x, y, reference.width))?;
    let textured = ((deviation - LEAST_DEVIATION) / (FULL_DEVIATION - LEAST_DEVIATION)).clamp(0.0, 1.0);
    let agreement = ((best.0 - NO_CORRELATION) / (FULL_CORRELATION - NO_CORRELATION)).clamp(0.0, 1.0);
    Some(Window { x, y, weight: textured, fit: agreement * colour, correlation: best.0, shift: best.1 })
}

/// Takes out the mean and brings the length to 1; the standard deviation is the answer.
fn centre_and_scale(patch: &mut [f32]) -> f32 {
    let n = patch.len() as f32;
    let mean = patch.iter().sum::<f32>() / n;
    patch.iter_mut().for_each(|p| *p -= mean);
    let length = patch.iter().map(|p| p * p).sum::<f32>().sqrt();
    if length > 0.0 {
        patch.iter_mut().for_each(|p| *p /= length);
    }
    length / n.sqrt()
}

/// The light of the scene: what it does to brightness and to the two differences of colour, by medians, so that what
/// covers a part of the product does not count.
struct Light {
    gain: f32,
    cb: f32,
    cr: f32,
}

impl Light {
    fn between(reference: &Planes, seen: &Planes) -> Self {
        let both = || (0..reference.y.len()).filter(|&i| reference.set[i] && seen.set[i]);
        let median = |mut values: Vec<f32>, or: f32| {
            let middle = values.len() / 2;
            if values.is_empty() { or } else { *values.select_nth_unstable_by(middle, f32::total_cmp).1 }
        };
        let gain = median(both().filter(|&i| reference.y[i] > 20.0).map(|i| seen.y[i] / reference.y[i]).collect(), 1.0);
        let gain = gain.clamp(0.4, 2.0);
        let shift = |a: &[f32], b: &[f32]| median(both().map(|i| b[i] - gain * a[i]).collect(), 0.0).clamp(-20.0, 20.0);
        Self { gain, cb: shift(&reference.cb, &seen.cb), cr: shift(&reference.cr, &seen.cr) }
    }

    /// How much the colours of a window are those that the product has under this light, 0 to 1; `None` when a part
    /// of the window is outside the frame.
    fn agreement(
        &self,
        reference: &Planes,
        seen: &Planes,
        rows: impl Iterator<Item = std::ops::Range<usize>>,
    ) -> Option<f32> {
        let (mut cb, mut cr, mut count) = (0.0, 0.0, 0.0_f32);
        for i in rows.flatten() {
            if !reference.set[i] {
                continue;
            }
            if !seen.set[i] {
                return None;
            }
            cb += seen.cb[i] - self.gain * reference.cb[i] - self.cb;
            cr += seen.cr[i] - self.gain * reference.cr[i] - self.cr;
            count += 1.0;
        }
        let difference = (cb / count).hypot(cr / count) / self.gain;
        Some(1.0 - ((difference - SAME_COLOUR) / (OTHER_COLOUR - SAME_COLOUR)).clamp(0.0, 1.0))
    }
}

/// The map that also explains where the windows fit best.
fn register(product: &Product, pose: &Pose, windows: &[Window]) -> Option<Homography> {
    const SURE: f32 = 0.7;
    let to_shot = to_shot(&product.reference);
    let half = (WINDOW as f64 - 1.0) / 2.0;
    let mut pairs = Vec::new();
    for window in windows.iter().filter(|w| w.correlation > SURE && w.weight > 0.3) {
        let here = Point::new(window.x as f64 + half, window.y as f64 + half);
        let there = here.moved(window.shift.0 as f64, window.shift.1 as f64);
        let at_edge = window.shift.0.abs() == REACH || window.shift.1.abs() == REACH;
        if !at_edge {
            pairs.push((to_shot.apply(here)?, pose.map.apply(to_shot.apply(there)?)?, f64::from(window.correlation)));
        }
    }
    const LEAST_WINDOWS: usize = 12;
    if pairs.len() < LEAST_WINDOWS { None } else { Homography::fit(&pairs) }
}

/// The share of windows, by weight, that do not fit although most of their neighbours do. What covers a product covers
/// a whole region of it; a misfit in the midst of fits is a detail that is different.
fn contradicted(windows: &[Window]) -> f32 {
    let whole: f32 = windows.iter().map(|w| w.weight).sum();
    let misfits = windows.iter().filter(|w| w.weight > 0.3 && w.fit < 0.2);
    let in_the_midst = misfits.filter(|w| {
        let around = windows.iter().filter(|o| {
            let (dx, dy) = (o.x.abs_diff(w.x), o.y.abs_diff(w.y));
            dx.max(dy) <= 2 * STRIDE && dx + dy > 0 && o.weight > 0.3
        });
        let (fits, all) = around.fold((0, 0), |(fits, all), o| (fits + usize::from(o.fit > 0.5), all + 1));
        fits * 2 >= all && all > 0
    });
    in_the_midst.map(|w| w.weight).sum::<f32>() / whole
}
