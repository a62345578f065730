//! What is known of a product: all that matching needs, small enough to be kept in a file.

use image::{DynamicImage, GrayImage, RgbImage, imageops};
use serde::{Deserialize, Serialize};

use crate::{
    features::{Features, Settings},
    geometry::{self, Point},
    load::Picture,
    mask::{self, Mask, MaskSource},
};

/// A product shot, prepared for matching.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Product {
    /// Keypoints on the product, in pixels of the shot.
    pub features: Features,
    /// The product's convex outline in the shot, clockwise.
    pub outline: Vec<Point>,
    pub mask_source: MaskSource,
    /// A small upright picture of the product that a find is compared with.
    pub reference: Reference,
}

/// A small picture of the product, its box alone.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Reference {
    pub width: u32,
    pub height: u32,
    /// The pixel (0, 0) in the shot.
    pub left: f64,
    pub top: f64,
    /// Pixels of the shot in one of these.
    pub step: f64,
    /// Three bytes a pixel, row by row.
    pub rgb: Vec<u8>,
    /// One byte a pixel, not 0 on the product.
    pub mask: Vec<u8>,
}

/// Longest side of the reference.
const REFERENCE_SIDE: f64 = 128.0;
/// With fewer keypoints nothing can be said.
const LEAST_KEYPOINTS: usize = 40;
/// And they must be in this many of the 16 fields of the product's box.
const LEAST_FIELDS: usize = 4;

/// Why a product cannot be looked for.
#[derive(Debug, thiserror::Error)]
pub enum ProductError {
    #[error(
        "the product cannot be matched: it has no texture ({found} distinct points in {fields} of 16 fields; {least} in {least_fields} are needed)"
    )]
    NoTexture { found: usize, fields: usize, least: usize, least_fields: usize },
    #[error("the product cannot be matched: it is only {width} x {height} pixels large in its picture")]
    TooSmall { width: u32, height: u32 },
}

/// Least extent of the product in its shot.
const LEAST_SIDE: f64 = 48.0;
/// Greatest number of corners of an outline.
const OUTLINE_CORNERS: usize = 16;

impl Product {
    /// Finds mask, outline and keypoints of a product shot.
    ///
    /// # Errors
    /// When the product is too small or has too little texture to be recognised. The mask is worth showing even then:
    /// see [`mask::find`].
    pub fn prepare(picture: &Picture) -> Result<(Self, Mask), ProductError> {
        let mask = mask::find(picture);
        let product = Self::with_mask(&picture.colour, &mask)?;
        Ok((product, mask))
    }

    /// The same with a mask that is known.
    ///
    /// # Errors
    /// As [`Product::prepare`].
    pub fn with_mask(colour: &RgbImage, mask: &Mask) -> Result<Self, ProductError> {
        let outline = outline(&mask.picture);
        let (low, high) = geometry::bounds(&outline).unwrap_or_default();
        let (width, height) = (high.x - low.x, high.y - low.y);
        if width.min(height) < LEAST_SIDE {
            return Err(ProductError::TooSmall { width: width as u32, height: height as u32 });
        }
        // The longest side of the product, not of the shot, decides the scale of its keypoints.
        let (shot_width, shot_height) = colour.dimensions();
        let mut settings = Settings::product();
        let share = f64::from(shot_width.max(shot_height)) / width.max(height);
        settings.longest_side = (f64::from(settings.longest_side) * share).round() as u32;
        let grey = DynamicImage::ImageRgb8(colour.clone()).into_luma8();
        debug_assert_eq!(grey.dimensions(), (shot_width, shot_height));
        let features = Features::extract(&grey, Some(&mask.picture), &settings);
        check_texture(&features, low, high)?;
        let reference = Reference::cut(colour, &mask.picture, low, high);
        Ok(Self { features, outline, mask_source: mask.source, reference })
    }

    /// As bytes, to be kept in a file between two steps.
    ///
    /// # Errors
    /// None that is known of; the encoder's type has one.
    pub fn to_bytes(&self) -> Result<Vec<u8>, postcard::Error> {
        postcard::to_stdvec(self)
    }

    /// # Errors
    /// When the bytes are not those of [`Product::to_bytes`].
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, postcard::Error> {
        let product: Self = postcard::from_bytes(bytes)?;
        let r = &product.reference;
        let pixels = r.width as usize * r.height as usize;
        let whole = product.features.keypoints.len() == product.features.descriptors.len()
            && r.rgb.len() == pixels * 3
            && r.mask.len() == pixels
            && product.outline.len() >= 3;
        if whole { Ok(product) } else { Err(postcard::Error::DeserializeBadEncoding) }
    }
}

fn check_texture(features: &Features, low: Point, high: Point) -> Result<(), ProductError> {
    let mut fields = [false; 16];
    for keypoint in &features.keypoints {
        let field = |v: f64, from: f64, to: f64| (((v - from) / (to - from) * 4.0) as usize).min(3);
        let place = keypoint.place();
        fields[field(place.y, low.y, high.y) * 4 + field(place.x, low.x, high.x)] = true;
    }
    let (found, fields) = (features.len(), fields.iter().filter(|f| **f).count());
    if found < LEAST_KEYPOINTS || fields < LEAST_FIELDS {
        return Err(ProductError::NoTexture { found, fields, least: LEAST_KEYPOINTS, least_fields: LEAST_FIELDS });
    }
    Ok(())
}

/// The convex outline of a mask, clockwise, with few corners.
fn outline(mask: &GrayImage) -> Vec<Point> {
    let mut points = Vec::new();
    for (y, row) in mask.rows().enumerate() {
        let set = |p: &image::Luma<u8>| p.0[0] > 0;
        let mut row = row.enumerate().filter(|(_, p)| set(p)).map(|(x, _)| x);
        if let Some(first) = row.next() {
            let last = row.next_back().unwrap_or(first);
            // The pixel's own corners, so that a mask of one pixel has an area of 1.
            let (left, right) = (first as f64 - 0.5, last as f64 + 0.5);
            for y in [y as f64 - 0.5, y as f64 + 0.5] {
                points.extend([Point::new(left, y), Point::new(right, y)]);
            }
        }
    }
    let hull = geometry::hull(&points);
    let whole = geometry::area(&hull).abs();
    geometry::simplify(&hull, OUTLINE_CORNERS, whole * 0.0015)
}

impl Reference {
    fn cut(colour: &RgbImage, mask: &GrayImage, low: Point, high: Point) -> Self {
        let (shot_width, shot_height) = colour.dimensions();
        let left = (low.x + 0.5).max(0.0) as u32;
        let top = (low.y + 0.5).max(0.0) as u32;
        let box_width = ((high.x - low.x).round() as u32).clamp(1, shot_width - left);
        let box_height = ((high.y - low.y).round() as u32).clamp(1, shot_height - top);
        let step = (f64::from(box_width.max(box_height)) / REFERENCE_SIDE).max(0.25);
        let side = |s: u32| ((f64::from(s) / step).round() as u32).max(1);
        let (width, height) = (side(box_width), side(box_height));
        let small = |picture: &RgbImage| imageops::resize(picture, width, height, imageops::FilterType::Triangle);
        let cut = imageops::crop_imm(colour, left, top, box_width, box_height).to_image();
        let cut_mask = imageops::crop_imm(mask, left, top, box_width, box_height).to_image();
        let small_mask = imageops::resize(&cut_mask, width, height, imageops::FilterType::Triangle);
        Self {
            width,
            height,
            left: f64::from(left) + (step - 1.0) / 2.0,
            top: f64::from(top) + (step - 1.0) / 2.0,
            step,
            rgb: small(&cut).into_raw(),
            mask: small_mask.into_raw().into_iter().map(|m| u8::from(m > 200)).collect(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use image::{Luma, Rgb};

    #[test]
    fn a_product_without_texture_is_refused_with_the_reason() {
        let plain = RgbImage::from_fn(300, 300, |x, y| {
            let inside = (80..220).contains(&x) && (60..240).contains(&y);
            Rgb(if inside { [30, 60, 160] } else { [255, 255, 255] })
        });
        let error = Product::prepare(&Picture::opaque(plain)).unwrap_err();
        assert!(error.to_string().starts_with("the product cannot be matched: it has no texture"), "{error}");
    }

    #[test]
    fn the_outline_of_a_rectangle_is_its_four_corners() {
        let mask = GrayImage::from_fn(100, 80, |x, y| {
            Luma([if (20..60).contains(&x) && (10..70).contains(&y) { 255 } else { 0 }])
        });
        let outline = outline(&mask);
        assert_eq!(outline.len(), 4);
        assert!((geometry::area(&outline) - 40.0 * 60.0).abs() < 1e-6);
    }
}
