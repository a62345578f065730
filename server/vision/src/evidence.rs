//! Pictures for people: a frame with what was found drawn on it, and a mask laid over its product shot.

use std::{fs, io, path::Path};

use image::{DynamicImage, ExtendedColorType, GrayImage, ImageEncoder, Rgb, RgbImage, codecs, imageops};

use crate::geometry::Point;

/// Drawn between two dark lines so that it can be seen on any ground.
const LINE: Rgb<u8> = Rgb([64, 224, 120]);
const EDGE: Rgb<u8> = Rgb([16, 24, 20]);

/// How pictures are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Encoding {
    Png,
    /// With this quality, 1 to 100.
    Jpeg(u8),
}

/// Draws an outline on a frame.
pub fn outline(frame: &mut RgbImage, outline: &[Point]) {
    // Two pixels at 480p, four at 1080p.
    let half = (f64::from(frame.width().max(frame.height())) / 500.0).max(1.0);
    for (width, colour) in [(half + 1.0, EDGE), (half, LINE)] {
        for (i, &from) in outline.iter().enumerate() {
            stroke(frame, from, outline[(i + 1) % outline.len()], width, colour);
        }
    }
}

/// A line with smooth edges: each pixel by its distance from the line.
fn stroke(picture: &mut RgbImage, from: Point, to: Point, half: f64, colour: Rgb<u8>) {
    let (width, height) = picture.dimensions();
    let range = |a: f64, b: f64, end: u32| {
        let low = (a.min(b) - half - 1.0).clamp(0.0, f64::from(end)) as u32;
        let high = (a.max(b) + half + 2.0).clamp(0.0, f64::from(end)) as u32;
        low..high
    };
    let (dx, dy) = (to.x - from.x, to.y - from.y);
    let length = (dx * dx + dy * dy).max(1e-9);
    for y in range(from.y, to.y, height) {
        for x in range(from.x, to.x, width) {
            let (px, py) = (f64::from(x) - from.x, f64::from(y) - from.y);
            let along = ((px * dx + py * dy) / length).clamp(0.0, 1.0);
            let distance = (px - along * dx).hypot(py - along * dy);
            let cover = (half + 0.5 - distance).clamp(0.0, 1.0);
            if cover > 0.0 {
                let pixel = picture.get_pixel_mut(x, y);
                for k in 0..3 {
                    let mixed = f64::from(pixel.0[k]) * (1.0 - cover) + f64::from(colour.0[k]) * cover;
                    pixel.0[k] = mixed.round() as u8;
                }
            }
        }
    }
}

/// A small picture of a product shot with the background dimmed, so that an operator sees what the mask keeps.
#[must_use]
pub fn mask_preview(colour: &RgbImage, mask: &GrayImage, longest_side: u32) -> RgbImage {
    let mut shown = colour.clone();
    for (pixel, kept) in shown.pixels_mut().zip(mask.pixels()) {
        if kept.0[0] == 0 {
            let grey = pixel.0.iter().map(|&v| u32::from(v)).sum::<u32>() / 3;
            let dim = ((grey + 3 * 150) / 4) as u8;
            pixel.0 = [dim, dim, dim.saturating_add(12)];
        }
    }
    smaller(&shown, longest_side)
}

/// A picture whose longest side is at most this; never larger than it was.
#[must_use]
pub fn smaller(picture: &RgbImage, longest_side: u32) -> RgbImage {
    let (width, height) = picture.dimensions();
    let longest = width.max(height);
    if longest <= longest_side {
        return picture.clone();
    }
    let side = |s: u32| (u64::from(s) * u64::from(longest_side) / u64::from(longest)).max(1) as u32;
    imageops::thumbnail(picture, side(width), side(height))
}

/// # Errors
/// When the encoder refuses the picture, which it does for an empty one.
pub fn encode(picture: &DynamicImage, encoding: Encoding) -> Result<Vec<u8>, image::ImageError> {
    let mut bytes = Vec::new();
    let (width, height) = (picture.width(), picture.height());
    match encoding {
        Encoding::Png => {
            let colour = ExtendedColorType::from(picture.color());
            codecs::png::PngEncoder::new(&mut bytes).write_image(picture.as_bytes(), width, height, colour)?;
        }
        Encoding::Jpeg(quality) => {
            let rgb = picture.to_rgb8();
            codecs::jpeg::JpegEncoder::new_with_quality(&mut bytes, quality).write_image(
                rgb.as_raw(),
                width,
                height,
                ExtendedColorType::Rgb8,
            )?;
        }
    }
    Ok(bytes)
}

/// Writes a picture in one go, so that a full disk is an error here and leaves no half picture behind.
///
/// # Errors
/// When the picture cannot be encoded or the file cannot be written; what was written of it is removed.
pub fn save(picture: &DynamicImage, encoding: Encoding, path: &Path) -> io::Result<u64> {
    let bytes = encode(picture, encoding).map_err(io::Error::other)?;
    fs::write(path, &bytes).inspect_err(|_| {
        // The error that counts is the first one.
        let _ = fs::remove_file(path);
    })?;
    Ok(bytes.len() as u64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_outline_is_drawn_where_it_is_and_nowhere_else() {
        let mut frame = RgbImage::from_pixel(640, 360, Rgb([100, 100, 100]));
        let corners = [(100.0, 100.0), (300.0, 100.0), (300.0, 250.0), (100.0, 250.0)].map(|(x, y)| Point::new(x, y));
        outline(&mut frame, &corners);
        assert_eq!(*frame.get_pixel(200, 100), LINE);
        assert_eq!(*frame.get_pixel(100, 180), LINE);
        assert_eq!(frame.get_pixel(200, 180).0, [100; 3]);
        assert_eq!(frame.get_pixel(20, 20).0, [100; 3]);
    }

    #[test]
    fn an_outline_that_leaves_the_frame_is_cut_off() {
        let mut frame = RgbImage::new(64, 48);
        let corners = [(-100.0, -50.0), (300.0, 10.0), (20.0, 250.0)].map(|(x, y)| Point::new(x, y));
        outline(&mut frame, &corners);
    }

    #[test]
    fn what_is_saved_can_be_loaded() {
        let folder = tempfile::tempdir().unwrap();
        let frame = RgbImage::from_fn(80, 60, |x, y| Rgb([x as u8 * 3, y as u8 * 4, 90]));
        for (name, encoding) in [("a.png", Encoding::Png), ("a.jpg", Encoding::Jpeg(90))] {
            let path = folder.path().join(name);
            let written = save(&frame.clone().into(), encoding, &path).unwrap();
            assert_eq!(written, path.metadata().unwrap().len());
            let read = crate::load::load(&path, &crate::load::Limits::default()).unwrap();
            assert_eq!(read.colour.dimensions(), (80, 60));
        }
    }
}
