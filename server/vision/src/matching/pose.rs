//! Where in the frame the product would have to be for as many pairs as possible to be right.
//!
//! 1. Each pair by itself says place, scale and turn (a keypoint has all of them); the pairs that agree with it are
//!    counted. That is RANSAC (Fischler and Bolles, 1981) with samples of one pair, and so few of them that all are
//!    tried (as in Philbin et al., "Object retrieval with large vocabularies and fast spatial matching", CVPR 2007).
//! 2. The best ones are improved by an affine map, then by homographies through samples of four pairs, judged by
//!    truncated squared errors (MSAC: Torr and Zisserman, 2000) and fitted again to what they explain (LO-RANSAC:
//!    Chum, Matas, Kittler, 2003).
//! 3. With the map known, keypoints are paired once more, now by place; that finds many that the ratio test had lost.
//! 4. The projected outline must be that of a flat thing seen by a camera: convex, not mirrored, not too slanted.

use std::f64::consts::{PI, TAU};

use super::{
    Index,
    hamming::{self, Pair},
};
use crate::{
    features::Keypoint,
    geometry::{self, Homography, Point},
    product::Product,
    sample::Random,
};

/// A place of the product in a frame, and what speaks for it.
#[derive(Clone, Debug)]
pub(super) struct Pose {
    pub map: Homography,
    /// Pairs that the map explains, from the shot to the frame.
    pub pairs: Vec<(Point, Point)>,
}

/// Fewer agreeing pairs than this are chance.
const LEAST_VOTES: usize = 5;
/// Fewer explained pairs than this at the end are chance.
const LEAST_PAIRS: usize = 8;
/// Below this number of pairs a homography has too much freedom, and the affine map stays.
const PAIRS_FOR_HOMOGRAPHY: usize = 12;
/// How many of the best first guesses are followed.
const GUESSES: usize = 4;
const SAMPLES: usize = 120;
/// First guesses: pairs may be off by this share of the product's diagonal in the frame.
const LOOSE: f64 = 0.12;
const CLOSER: f64 = 0.05;
/// Turn and scale (natural logarithm) may be off by this from pair to pair.
const TURN: f64 = 0.5;
const GROWTH: f64 = 0.45;
/// At the end a pair may be off by this many pixels of its own level.
const TIGHT: f64 = 2.5;
/// Bits of 512 in which keypoints may differ that are paired by place.
const MOST_BITS_BY_PLACE: u16 = 170;

/// The places where the product may be, the one with the most pairs first.
pub(super) fn search(product: &Product, frame: &Index<'_>, pairs: &[Pair]) -> Vec<Pose> {
    let links: Vec<Link> = pairs.iter().map(|pair| Link::new(product, frame, pair)).collect();
    let mut poses: Vec<Pose> = guesses(product, &links)
        .into_iter()
        .filter_map(|guess| improve(product, frame, &links, &guess))
        .filter(|pose| is_plausible(product, pose, frame))
        .collect();
    poses.sort_by_key(|pose| std::cmp::Reverse(pose.pairs.len()));
    let most = poses.first().map_or(0, |pose| pose.pairs.len());
    poses.retain(|pose| pose.pairs.len() * 4 >= most);
    poses
}

/// A pair, with what it alone says.
struct Link {
    from: Point,
    to: Point,
    to_size: f64,
    turn: f64,
    growth: f64,
}

impl Link {
    fn new(product: &Product, frame: &Index<'_>, pair: &Pair) -> Self {
        Self::between(&product.features.keypoints[pair.from], &frame.features.keypoints[pair.to])
    }

    fn between(from: &Keypoint, to: &Keypoint) -> Self {
        Self {
            from: from.place(),
            to: to.place(),
            to_size: f64::from(to.size),
            turn: f64::from(to.angle - from.angle),
            growth: f64::from(to.size / from.size),
        }
    }

    fn map(&self) -> Homography {
        Homography::similarity(self.growth, self.turn, self.from, self.to)
    }

    fn agrees(&self, turn: f64, growth: f64) -> bool {
        angle_between(self.turn, turn).abs() < TURN && (self.growth / growth).ln().abs() < GROWTH
    }
}

fn angle_between(a: f64, b: f64) -> f64 {
    (a - b + PI).rem_euclid(TAU) - PI
}

fn diagonal(product: &Product) -> f64 {
    geometry::bounds(&product.outline).map_or(0.0, |(low, high)| low.distance(high))
}

fn centre(product: &Product) -> Point {
    geometry::bounds(&product.outline).map_or(Point::default(), |(low, high)| low.towards(high, 0.5))
}

/// The maps of the single pairs that most others agree with, each another place than the ones before.
fn guesses(product: &Product, links: &[Link]) -> Vec<Homography> {
    let (diagonal, centre) = (diagonal(product), centre(product));
    let mut votes: Vec<(usize, &Link, Homography)> = links
        .iter()
        .map(|link| {
            let map = link.map();
            let reach = (LOOSE * diagonal * link.growth).powi(2);
            let count = links
                .iter()
                .filter(|other| other.agrees(link.turn, link.growth))
                .filter(|other| map.apply(other.from).is_some_and(|p| p.distance_squared(other.to) < reach))
                .count();
            (count, link, map)
        })
        .filter(|vote| vote.0 >= LEAST_VOTES)
        .collect();
    votes.sort_by_key(|vote| std::cmp::Reverse(vote.0));
    let mut chosen: Vec<(Point, f64, Homography)> = Vec::new();
    for (_, link, map) in votes {
        let Some(place) = map.apply(centre) else { continue };
        let known = chosen.iter().any(|(other, growth, _)| {
            other.distance(place) < 0.2 * diagonal * link.growth && (growth / link.growth).ln().abs() < GROWTH
        });
        if !known {
            chosen.push((place, link.growth, map));
            if chosen.len() == GUESSES {
                break;
            }
        }
    }
    chosen.into_iter().map(|(_, _, map)| map).collect()
}

fn improve(product: &Product, frame: &Index<'_>, links: &[Link], guess: &Homography) -> Option<Pose> {
    let mut map = *guess;
    for share in [LOOSE, 0.08, CLOSER] {
        let reach = share * diagonal(product) * growth(&map, centre(product))?;
        let near = within(&map, links, |_| reach);
        if near.len() < LEAST_VOTES {
            return None;
        }
        map = Homography::fit_affine(&weighted(&near))?;
    }
    let reach = CLOSER * diagonal(product) * growth(&map, centre(product))?;
    let near = within(&map, links, |_| reach);
    map = consensus(map, &near);
    for _ in 0..2 {
        let by_place = pair_by_place(product, frame, &map);
        map = polish(map, &by_place)?;
    }
    let explained = within_owned(&map, pair_by_place(product, frame, &map));
    (explained.len() >= LEAST_PAIRS)
        .then(|| Pose { map, pairs: explained.iter().map(|link| (link.from, link.to)).collect() })
}

/// How many times larger the product is in the frame, around a point.
fn growth(map: &Homography, at: Point) -> Option<f64> {
    let [[a, b], [c, d]] = map.derivative(at)?;
    let grown = a * d - b * c;
    (grown > 1e-6).then(|| grown.sqrt())
}

fn within<'a>(map: &Homography, links: &'a [Link], reach: impl Fn(&Link) -> f64) -> Vec<&'a Link> {
    links.iter().filter(|link| error(map, link) < reach(link).powi(2)).collect()
}

fn within_owned(map: &Homography, links: Vec<Link>) -> Vec<Link> {
    links.into_iter().filter(|link| error(map, link) < tight(link).powi(2)).collect()
}

fn tight(link: &Link) -> f64 {
    TIGHT * link.to_size
}

fn error(map: &Homography, link: &Link) -> f64 {
    map.apply(link.from).map_or(f64::INFINITY, |p| p.distance_squared(link.to))
}

/// A fine level says the place more exactly than a coarse one.
fn weighted(links: &[&Link]) -> Vec<(Point, Point, f64)> {
    links.iter().map(|link| (link.from, link.to, 1.0 / link.to_size.powi(2))).collect()
}

/// A map from weighted pairs.
type Fit = fn(&[(Point, Point, f64)]) -> Option<Homography>;

/// MSAC's cost: errors count up to the limit.
fn cost(map: &Homography, links: &[&Link]) -> f64 {
    links.iter().map(|link| (error(map, link) / tight(link).powi(2)).min(1.0)).sum()
}

/// The best homography through four of the pairs, or the affine map where none is better.
fn consensus(affine: Homography, links: &[&Link]) -> Homography {
    let mut best = (cost(&affine, links), affine);
    let refit = |map: &Homography, fit: Fit| {
        let explained: Vec<&Link> = links.iter().copied().filter(|l| error(map, l) < tight(l).powi(2)).collect();
        fit(&weighted(&explained)).map(|map| (cost(&map, links), map))
    };
    if let Some(better) = refit(&affine, Homography::fit_affine).filter(|b| b.0 < best.0) {
        best = better;
    }
    if links.len() < PAIRS_FOR_HOMOGRAPHY {
        return best.1;
    }
    let mut random = Random::new(links.len() as u64);
    for _ in 0..SAMPLES {
        let sample = [0; 4].map(|_| links[random.below(links.len() as u64) as usize]);
        let Some(map) = Homography::through(&sample.map(|link| (link.from, link.to))) else { continue };
        let now = cost(&map, links);
        // One pair more is not worth the greater freedom.
        if now + 1.0 < best.0 {
            best = (now, map);
            if let Some(better) = refit(&map, Homography::fit).filter(|b| b.0 < best.0) {
                best = better;
            }
        }
    }
    best.1
}

/// For each keypoint of the product the one in the frame that looks most like it among those where it should be.
fn pair_by_place(product: &Product, frame: &Index<'_>, map: &Homography) -> Vec<Link> {
    let Some([[a, b], [c, d]]) = map.derivative(centre(product)) else { return Vec::new() };
    let (turn, growth) = ((c - b).atan2(a + d), (a * d - b * c).abs().sqrt());
    let mut links = Vec::new();
    for (keypoint, descriptor) in product.features.keypoints.iter().zip(&product.features.descriptors) {
        let Some(place) = map.apply(keypoint.place()) else { continue };
        // A keypoint is found again on the level that makes up for the scale, give or take one.
        let size = f64::from(keypoint.size) * growth;
        if size < 0.6 {
            continue;
        }
        let best = frame
            .near(place, 1.5 * TIGHT * size.max(1.0))
            .map(|i| (i, Link::between(keypoint, &frame.features.keypoints[i])))
            .filter(|(_, link)| link.agrees(turn, growth))
            .map(|(i, link)| (hamming::distance(descriptor, &frame.features.descriptors[i]), link))
            .min_by_key(|(distance, _)| *distance);
        if let Some((distance, link)) = best
            && distance <= MOST_BITS_BY_PLACE
        {
            links.push(link);
        }
    }
    links
}

/// Least squares over what the map explains, a few times.
fn polish(mut map: Homography, links: &[Link]) -> Option<Homography> {
    for _ in 0..3 {
        let near = within(&map, links, tight);
        if near.len() < LEAST_VOTES {
            return None;
        }
        map = if near.len() < PAIRS_FOR_HOMOGRAPHY {
            Homography::fit_affine(&weighted(&near))?
        } else {
            Homography::fit(&weighted(&near))?
        };
    }
    Some(map)
}

/// Whether a flat thing can look like that: bounds on slant, perspective, size and place.
pub(super) fn is_plausible_map(product: &Product, map: &Homography, width: u32, height: u32) -> bool {
    const MOST_SLANT: f64 = 2.6;
    const MOST_PERSPECTIVE: f64 = 2.5;
    const LEAST_EXTENT: f64 = 24.0;
    let Some(projected) = map.apply_all(&product.outline) else { return false };
    if geometry::area(&projected) <= 0.0 || !geometry::is_convex(&projected, 0.02) {
        return false;
    }
    let Some([[a, b], [c, d]]) = map.derivative(centre(product)) else { return false };
    // The singular values of the linear part: how much the longest and the shortest way is stretched.
    let (sum, product_of) = ((a * a + b * b + c * c + d * d) / 2.0, (a * d - b * c).powi(2));
    let root = (sum * sum - product_of).max(0.0).sqrt();
    if product_of <= 0.0 || (sum + root) / (sum - root).max(1e-12) > MOST_SLANT * MOST_SLANT {
        return false;
    }
    let growths: Option<Vec<f64>> = product.outline.iter().map(|&p| growth(map, p)).collect();
    let Some(growths) = growths else { return false };
    let (least, most) = growths.iter().fold((f64::MAX, 0.0_f64), |(l, m), &g| (l.min(g), m.max(g)));
    if most / least > MOST_PERSPECTIVE {
        return false;
    }
    let inside = geometry::clip(&projected, &frame_corners(width, height));
    let area = geometry::area(&projected).abs();
    area.sqrt() >= LEAST_EXTENT && geometry::area(&inside).abs() >= 0.4 * area
}

fn frame_corners(width: u32, height: u32) -> [Point; 4] {
    let (w, h) = (f64::from(width), f64::from(height));
    [Point::new(0.0, 0.0), Point::new(w, 0.0), Point::new(w, h), Point::new(0.0, h)]
}

fn is_plausible(product: &Product, pose: &Pose, frame: &Index<'_>) -> bool {
    is_plausible_map(product, &pose.map, frame.features.width, frame.features.height)
}
