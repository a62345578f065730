//! From finds in single keyframes to sightings: which product is seen in which video, from when to when.

use serde::{Deserialize, Serialize};

use crate::{
    geometry::{self, Point},
    keyframes::Keyframe,
    matching::{DECISION, Find},
};

/// A product found in a keyframe.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Detection {
    /// Number of the product.
    pub product: usize,
    pub keyframe: Keyframe,
    pub find: Find,
}

/// A product seen in a scene of a video.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Sighting {
    /// Number of the product.
    pub product: usize,
    pub from_s: f64,
    pub to_s: f64,
    /// Number of the frame where it is seen best, and when that is.
    pub best_frame: usize,
    pub best_s: f64,
    /// Its outline there, in pixels.
    pub outline: Vec<Point>,
    /// Its score there, 0 to 1.
    pub score: f64,
    /// In how many keyframes it was found.
    pub keyframes: usize,
}

/// Two products cannot be in the same place. From this overlap on they are rivals for it.
const SAME_PLACE: f64 = 0.4;
/// The rival must be surer by this, else both stay: the same product may be listed under two names.
const SURER: f64 = 0.08;
/// A find at the edge of doubt counts when another keyframe of the scene shows the product as well.
const DOUBT: f64 = 0.08;
/// A product that is out of sight for longer than this is seen again, in seconds.
const LONGEST_ABSENCE_S: f64 = 3.0;

/// All sightings of one video, by time, from all finds in it. The finds of all products must be given together, since
/// look-alikes are rivals for one place.
#[must_use]
pub fn join(detections: &[Detection]) -> Vec<Sighting> {
    let mut left: Vec<&Detection> =
        detections.iter().filter(|d| d.find.score >= DECISION - DOUBT && !has_rival(d, detections)).collect();
    left.sort_by(|a, b| {
        let key = |d: &Detection| (d.product, d.keyframe.scene, d.keyframe.frame);
        key(a).cmp(&key(b)).then(b.find.score.total_cmp(&a.find.score))
    });
    let mut sightings: Vec<Sighting> = left
        .chunk_by(|a, b| {
            a.product == b.product
                && a.keyframe.scene == b.keyframe.scene
                && b.keyframe.from_s - a.keyframe.to_s <= LONGEST_ABSENCE_S
        })
        .filter_map(sighting)
        .collect();
    sightings.sort_by(|a, b| a.from_s.total_cmp(&b.from_s).then(a.product.cmp(&b.product)));
    sightings
}

fn has_rival(detection: &Detection, all: &[Detection]) -> bool {
    all.iter().any(|other| {
        other.keyframe.frame == detection.keyframe.frame
            && other.product != detection.product
            && other.find.score >= detection.find.score + SURER
            && geometry::iou(&other.find.outline, &detection.find.outline) >= SAME_PLACE
    })
}

/// One sighting from the finds of a product in a scene; `None` when none of them is sure.
fn sighting(group: &[&Detection]) -> Option<Sighting> {
    let best = group.iter().max_by(|a, b| a.find.score.total_cmp(&b.find.score))?;
    let (first, last) = (group.first()?, group.last()?);
    let frames = group.chunk_by(|a, b| a.keyframe.frame == b.keyframe.frame).count();
    let sure = best.find.score >= DECISION;
    sure.then(|| Sighting {
        product: best.product,
        from_s: first.keyframe.from_s,
        to_s: last.keyframe.to_s,
        best_frame: best.keyframe.frame,
        best_s: best.keyframe.from_s,
        outline: best.find.outline.clone(),
        score: best.find.score,
        keyframes: frames,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::geometry::Homography;

    fn detection(product: usize, second: usize, scene: usize, score: f64, x: f64) -> Detection {
        let outline =
            [(0.0, 0.0), (100.0, 0.0), (100.0, 150.0), (0.0, 150.0)].map(|(a, b)| Point::new(x + a, b)).to_vec();
        let from_s = second as f64;
        Detection {
            product,
            keyframe: Keyframe { frame: second * 2, from_s, to_s: from_s + 1.0, scene },
            find: Find {
                outline,
                map: Homography::identity(),
                score,
                keypoints: 30,
                confirmed: score,
                contradicted: 0.0,
            },
        }
    }

    #[test]
    fn finds_of_a_scene_become_one_sighting_with_the_best_frame() {
        let all = [detection(0, 2, 0, 0.7, 0.0), detection(0, 3, 0, 0.9, 5.0), detection(0, 5, 0, 0.46, 9.0)];
        let sightings = join(&all);
        assert_eq!(sightings.len(), 1);
        let s = &sightings[0];
        assert_eq!((s.from_s, s.to_s, s.best_frame, s.keyframes), (2.0, 6.0, 6, 3));
    }

    #[test]
    fn another_scene_or_a_long_absence_is_another_sighting() {
        let all = [detection(0, 2, 0, 0.7, 0.0), detection(0, 3, 1, 0.9, 5.0), detection(0, 9, 1, 0.9, 5.0)];
        assert_eq!(join(&all).len(), 3);
    }

    #[test]
    fn of_two_products_in_one_place_the_surer_one_stays() {
        let all = [detection(0, 1, 0, 0.9, 0.0), detection(1, 1, 0, 0.6, 4.0), detection(2, 1, 0, 0.6, 400.0)];
        assert_eq!(join(&all).iter().map(|s| s.product).collect::<Vec<_>>(), [0, 2]);
    }

    #[test]
    fn doubtful_finds_alone_are_no_sighting() {
        assert!(join(&[detection(0, 1, 0, 0.45, 0.0), detection(0, 2, 0, 0.44, 0.0)]).is_empty());
    }
}
