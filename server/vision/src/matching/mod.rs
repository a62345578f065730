//! Whether and where a product is in a frame.
//!
//! First by keypoints: nearest descriptors with ratio test and mutual check, then a pose that explains many of them.
//! Then a second look, at the pixels: the frame is laid back onto the product and compared field by field, because
//! a look-alike shares keypoints of its layout with the product but not everything in between.

mod hamming;
mod pose;
mod second_look;

use image::RgbImage;
use serde::{Deserialize, Serialize};

use crate::{
    features::Features,
    geometry::{self, Homography, Point},
    product::Product,
};
use hamming::{Rules, Table};

/// From this score on a find counts; see [`Find::score`].
pub const DECISION: f64 = 0.5;

/// A product found in a frame.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Find {
    /// The product's outline in the frame, in pixels, clockwise.
    pub outline: Vec<Point>,
    /// From the shot to the frame.
    pub map: Homography,
    /// How surely it is this product, 0 to 1: the share of the product's face that the frame confirms pixel by pixel
    /// (see the second look), lowered where few keypoints support the pose. A product that is seen whole and sharp
    /// scores 0.8 to 1, one of which 30 % are covered 0.55 to 0.75; other things with the same layout
    /// stay below [`DECISION`].
    pub score: f64,
    /// Keypoints that the pose explains.
    pub keypoints: usize,
    /// Share of the product's face that looks the same in the frame.
    pub confirmed: f64,
    /// Share of the product's face that looks different although what is around it looks the same.
    pub contradicted: f64,
}

/// A frame's features, arranged for searching.
pub struct Index<'a> {
    features: &'a Features,
    table: Table,
    /// Numbers of the keypoints in each square of the frame.
    squares: Vec<Vec<u32>>,
    across: usize,
}

const SQUARE: f64 = 16.0;

impl<'a> Index<'a> {
    #[must_use]
    pub fn new(features: &'a Features) -> Self {
        let count = |side: u32| (f64::from(side) / SQUARE) as usize + 1;
        let (across, down) = (count(features.width), count(features.height));
        let mut squares = vec![Vec::new(); across * down];
        for (i, keypoint) in features.keypoints.iter().enumerate() {
            let place = keypoint.place();
            let column = ((place.x / SQUARE).max(0.0) as usize).min(across - 1);
            let row = ((place.y / SQUARE).max(0.0) as usize).min(down - 1);
            squares[row * across + column].push(i as u32);
        }
        Self { features, table: Table::new(&features.descriptors), squares, across }
    }

    /// The keypoints in a square around a place.
    fn near(&self, place: Point, reach: f64) -> impl Iterator<Item = usize> + '_ {
        let down = self.squares.len() / self.across;
        let range = |v: f64, end: usize| {
            let from = ((v - reach) / SQUARE).max(0.0) as usize;
            let to = ((v + reach) / SQUARE).max(-1.0) as isize + 1;
            from.min(end)..(to.max(0) as usize).min(end)
        };
        let columns = range(place.x, self.across);
        range(place.y, down)
            .flat_map(move |row| columns.clone().map(move |column| row * self.across + column))
            .flat_map(|square| &self.squares[square])
            .map(|&i| i as usize)
            .filter(move |&i| {
                let at = self.features.keypoints[i].place();
                (at.x - place.x).abs() <= reach && (at.y - place.y).abs() <= reach
            })
    }
}

/// Looks for a product in a frame. `picture` is the frame that the index was made of. All finds are returned, the
/// surest first, also those below [`DECISION`]; they do not overlap.
#[must_use]
pub fn find(product: &Product, frame: &Index<'_>, picture: &RgbImage) -> Vec<Find> {
    let rules = Rules { ratio: 0.87, most_bits: 150 };
    let pairs = hamming::pairs(product, frame, &rules);
    let mut finds: Vec<Find> = pose::search(product, frame, &pairs)
        .into_iter()
        .filter_map(|pose| second_look::judge(product, pose, picture))
        .collect();
    finds.sort_by(|a, b| b.score.total_cmp(&a.score));
    let mut apart: Vec<Find> = Vec::new();
    for find in finds {
        if apart.iter().all(|other| geometry::iou(&other.outline, &find.outline) < 0.3) {
            apart.push(find);
        }
    }
    apart
}
