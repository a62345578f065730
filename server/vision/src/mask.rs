//! Where the product is in its picture.
//!
//! Transparent pixels are background. Without them, the colours along the border are the model of the background: when
//! a few colours explain nearly all of the border, everything of such a colour that hangs together with the border is
//! background (a flood fill over a colour model, as in the trimap step of Rother, Kolmogorov, Blake: "GrabCut",
//! SIGGRAPH 2004), and the rest, with its holes filled, is the product. When the border has no such colours, or what
//! would be left is next to nothing, the whole picture is taken, and the answer says so.

use image::{GrayImage, Luma, RgbImage, imageops};
use imageproc::{
    distance_transform::Norm,
    morphology,
    region_labelling::{Connectivity, connected_components},
};
use serde::{Deserialize, Serialize};

use crate::load::Picture;

/// A mask of the size of its picture: 255 for the product, 0 for the background.
#[derive(Clone, Debug)]
pub struct Mask {
    pub picture: GrayImage,
    pub source: MaskSource,
}

/// How a mask came about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum MaskSource {
    /// The picture's own transparency.
    Transparency,
    /// The background was recognised by its colours along the border.
    Border,
    /// No background was recognised: the whole picture is taken for the product.
    WholePicture,
}

impl MaskSource {
    /// A sentence for the operator.
    #[must_use]
    pub fn describe(self) -> &'static str {
        match self {
            Self::Transparency => "The product was told from the background by the picture's transparency.",
            Self::Border => "The product was told from the background by the colours along the border.",
            Self::WholePicture => "No plain background was found; the whole picture is taken for the product.",
        }
    }
}

/// Work is done at no more than this many pixels on a side; the mask is enlarged afterwards.
const WORKING_SIDE: u32 = 512;
/// Least and greatest share of a picture that a product may have; beyond, the background model is wrong.
const LEAST_SHARE: f64 = 0.03;
const GREATEST_SHARE: f64 = 0.985;
/// Share of the border that the background colours must explain.
const BORDER_SHARE: f64 = 0.75;
/// How far (in Cb and Cr, and in brightness) a pixel may be from a background colour.
const COLOUR_RADIUS: i32 = 12;
const BRIGHTNESS_RADIUS: i32 = 22;
/// How much a shadow may darken the background, in brightness, while it keeps its colour.
const SHADOW_DEPTH: i32 = 70;
/// A shadow is soft: the greatest step of brightness from one pixel to the next in it.
const SHADOW_STEP: i32 = 6;
const MOST_COLOURS: usize = 4;

/// Tells the product from its background.
#[must_use]
pub fn find(picture: &Picture) -> Mask {
    let (width, height) = picture.colour.dimensions();
    let longest = width.max(height).max(1);
    let shrink = f64::from(WORKING_SIDE.min(longest)) / f64::from(longest);
    let side = |s: u32| ((f64::from(s) * shrink).round() as u32).max(1);
    let (small_width, small_height) = (side(width), side(height));
    let from_alpha = picture.opacity.as_ref().and_then(|opacity| {
        let small = imageops::resize(opacity, small_width, small_height, imageops::FilterType::Triangle);
        usable(tidy(threshold(&small, 127)))
    });
    let (small, source) = if let Some(mask) = from_alpha {
        (mask, MaskSource::Transparency)
    } else {
        let small = imageops::thumbnail(&picture.colour, small_width, small_height);
        match background(&small).map(|b| tidy(invert(&b))).and_then(usable) {
            Some(mask) => (mask, MaskSource::Border),
            None => (GrayImage::from_pixel(1, 1, Luma([255])), MaskSource::WholePicture),
        }
    };
    let enlarged = imageops::resize(&small, width, height, imageops::FilterType::Triangle);
    Mask { picture: threshold(&enlarged, 127), source }
}

fn usable(mask: GrayImage) -> Option<GrayImage> {
    let set = mask.pixels().filter(|p| p.0[0] > 0).count() as f64;
    let share = set / f64::from(mask.width() * mask.height());
    (LEAST_SHARE..=GREATEST_SHARE).contains(&share).then_some(mask)
}

fn threshold(picture: &GrayImage, limit: u8) -> GrayImage {
    imageproc::map::map_pixels(picture, |p| Luma([if p.0[0] > limit { 255 } else { 0 }]))
}

fn invert(picture: &GrayImage) -> GrayImage {
    imageproc::map::map_pixels(picture, |p| Luma([255 - p.0[0]]))
}

/// Without specks and thin bridges, with holes filled, and only the parts that are not small beside the largest.
fn tidy(mask: GrayImage) -> GrayImage {
    let opened = morphology::open(&mask, Norm::L1, 2);
    keep_large(&fill_holes(&opened))
}

/// Background that does not hang together with the border is part of the product.
fn fill_holes(mask: &GrayImage) -> GrayImage {
    let (width, height) = mask.dimensions();
    // A rim of background around the picture makes all of the outside one region.
    let rimmed = GrayImage::from_fn(width + 2, height + 2, |x, y| {
        let inside = (1..=width).contains(&x) && (1..=height).contains(&y);
        Luma([if inside && mask.get_pixel(x - 1, y - 1).0[0] > 0 { 1 } else { 2 }])
    });
    let regions = connected_components(&rimmed, Connectivity::Four, Luma([1]));
    let outside = regions.get_pixel(0, 0).0[0];
    GrayImage::from_fn(width, height, |x, y| {
        Luma([if regions.get_pixel(x + 1, y + 1).0[0] == outside { 0 } else { 255 }])
    })
}

fn keep_large(mask: &GrayImage) -> GrayImage {
    let regions = connected_components(mask, Connectivity::Eight, Luma([0]));
    let mut sizes: Vec<usize> = Vec::new();
    for region in regions.pixels() {
        let id = region.0[0] as usize;
        if sizes.len() <= id {
            sizes.resize(id + 1, 0);
        }
        sizes[id] += 1;
    }
    let largest = sizes.iter().skip(1).copied().max().unwrap_or(0);
    GrayImage::from_fn(mask.width(), mask.height(), |x, y| {
        let id = regions.get_pixel(x, y).0[0] as usize;
        Luma([if id > 0 && sizes[id] * 5 >= largest { 255 } else { 0 }])
    })
}

/// A colour as brightness and two differences of colour (BT.601).
#[derive(Clone, Copy)]
struct Tone {
    y: i32,
    cb: i32,
    cr: i32,
}

impl Tone {
    fn of([r, g, b]: [u8; 3]) -> Self {
        let (r, g, b) = (i32::from(r), i32::from(g), i32::from(b));
        Self {
            y: (77 * r + 150 * g + 29 * b) >> 8,
            cb: (128 * b - 43 * r - 85 * g) >> 8,
            cr: (128 * r - 107 * g - 21 * b) >> 8,
        }
    }

    fn near(self, other: Self) -> bool {
        (self.y - other.y).abs() <= BRIGHTNESS_RADIUS && self.same_colour(other)
    }

    fn same_colour(self, other: Self) -> bool {
        (self.cb - other.cb).abs() <= COLOUR_RADIUS && (self.cr - other.cr).abs() <= COLOUR_RADIUS
    }

    fn shadow_of(self, light: Self) -> bool {
        self.y <= light.y && light.y - self.y <= SHADOW_DEPTH && self.same_colour(light)
    }
}

/// The background as 255, or nothing when the border has no few colours.
fn background(picture: &RgbImage) -> Option<GrayImage> {
    let (width, height) = picture.dimensions();
    if width < 8 || height < 8 {
        return None;
    }
    let tones: Vec<Tone> = picture.pixels().map(|p| Tone::of(p.0)).collect();
    let at = |x: u32, y: u32| (y * width + x) as usize;
    let border: Vec<usize> = (0..height)
        .flat_map(|y| (0..width).map(move |x| (x, y)))
        .filter(|&(x, y)| x < 2 || y < 2 || x >= width - 2 || y >= height - 2)
        .map(|(x, y)| at(x, y))
        .collect();
    let colours = border_colours(&tones, &border)?;
    let is_ground = |i: usize| colours.iter().any(|c| tones[i].near(*c));
    let is_shadow = |i: usize, from: usize| {
        (tones[i].y - tones[from].y).abs() <= SHADOW_STEP && colours.iter().any(|c| tones[i].shadow_of(*c))
    };
    let mut ground = GrayImage::new(width, height);
    let mut open: Vec<usize> = border.into_iter().filter(|&i| is_ground(i)).collect();
    for &i in &open {
        ground.as_mut()[i] = 255;
    }
    let (w, h) = (width as usize, height as usize);
    while let Some(i) = open.pop() {
        let (x, y) = (i % w, i / w);
        let around =
            [(x > 0).then(|| i - 1), (x + 1 < w).then(|| i + 1), (y > 0).then(|| i - w), (y + 1 < h).then(|| i + w)];
        for next in around.into_iter().flatten() {
            if ground.as_raw()[next] == 0 && (is_ground(next) || is_shadow(next, i)) {
                ground.as_mut()[next] = 255;
                open.push(next);
            }
        }
    }
    Some(ground)
}

/// A few colours that explain nearly all of the border: again and again the one that most of the rest is near to.
fn border_colours(tones: &[Tone], border: &[usize]) -> Option<Vec<Tone>> {
    let mut rest = border.to_vec();
    let mut colours = Vec::new();
    let enough = (border.len() as f64 * (1.0 - BORDER_SHARE)) as usize;
    while rest.len() > enough && colours.len() < MOST_COLOURS {
        let stride = (rest.len() / 64).max(1);
        let support = |c: Tone| rest.iter().filter(|&&i| tones[i].near(c)).count();
        let (count, colour) =
            rest.iter().step_by(stride).map(|&i| (support(tones[i]), tones[i])).max_by_key(|c| c.0)?;
        // Four colours that each explain a scrap of the border are no background.
        if count * 10 < border.len() {
            break;
        }
        colours.push(colour);
        rest.retain(|&i| !tones[i].near(colour));
    }
    (rest.len() <= enough).then_some(colours)
}

#[cfg(test)]
mod tests {
    use super::*;
    use image::Rgb;

    fn shot(ground: impl Fn(u32, u32) -> [u8; 3]) -> Picture {
        Picture::opaque(RgbImage::from_fn(200, 240, |x, y| {
            let inside = (50..150).contains(&x) && (40..200).contains(&y);
            // White text inside the product must not become a hole.
            let text = inside && (80..120).contains(&x) && (100..110).contains(&y);
            Rgb(if text {
                [255, 255, 255]
            } else if inside {
                [180, 40, 30]
            } else {
                ground(x, y)
            })
        }))
    }

    fn share_right(mask: &Mask) -> f64 {
        let right = mask.picture.enumerate_pixels().filter(|(x, y, p)| {
            let inside = (50..150).contains(x) && (40..200).contains(y);
            inside == (p.0[0] > 0)
        });
        right.count() as f64 / (200.0 * 240.0)
    }

    #[test]
    fn a_product_on_white_is_told_from_the_ground() {
        let mask = find(&shot(|_, _| [250, 250, 250]));
        assert_eq!(mask.source, MaskSource::Border);
        assert!(share_right(&mask) > 0.99, "{}", share_right(&mask));
    }

    #[test]
    fn a_product_on_a_coloured_gradient_is_told_from_the_ground() {
        let mask = find(&shot(|_, y| [60, 120, 150 + (y / 6) as u8]));
        assert_eq!(mask.source, MaskSource::Border);
        assert!(share_right(&mask) > 0.98, "{}", share_right(&mask));
    }

    #[test]
    fn a_soft_shadow_is_ground() {
        let mask = find(&shot(|x, y| {
            let distance = (f64::from(x) - 100.0).hypot(f64::from(y) - 205.0);
            [(240.0 - 60.0 * (1.0 - distance / 70.0).max(0.0)) as u8; 3]
        }));
        assert!(share_right(&mask) > 0.97, "{}", share_right(&mask));
    }

    #[test]
    fn transparency_is_the_mask() {
        let mut picture = shot(|_, _| [180, 40, 30]);
        picture.opacity = Some(GrayImage::from_fn(200, 240, |x, y| {
            Luma([if (50..150).contains(&x) && (40..200).contains(&y) { 255 } else { 0 }])
        }));
        let mask = find(&picture);
        assert_eq!(mask.source, MaskSource::Transparency);
        assert!(share_right(&mask) > 0.98);
    }

    #[test]
    fn a_picture_without_a_plain_border_is_taken_as_a_whole() {
        let mut random = crate::sample::Random::new(1);
        let picture = RgbImage::from_fn(100, 100, |_, _| {
            Rgb([random.below(256) as u8, random.below(256) as u8, random.below(256) as u8])
        });
        let mask = find(&Picture::opaque(picture));
        assert_eq!(mask.source, MaskSource::WholePicture);
        assert!(mask.picture.pixels().all(|p| p.0[0] == 255));
    }
}
