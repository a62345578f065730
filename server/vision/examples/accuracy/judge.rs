//! Comparing what was found with the truth.

use std::{collections::BTreeMap, fmt::Write};

use serde::{Deserialize, Serialize};
use vision::{
    geometry::{self, Point},
    sample::{Truth, TruthScene, TruthSighting},
};

/// What a program found and what it took.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(crate) struct Answer {
    pub sightings: Vec<Seen>,
    pub keyframes: usize,
    /// Seconds of processor time by step.
    pub spent: BTreeMap<String, f64>,
    /// Seconds of processor time in all.
    pub processor_s: f64,
    pub peak_kb: u64,
}

#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Seen {
    pub video: usize,
    pub product: usize,
    pub best_s: f64,
    pub score: f64,
    pub outline: Vec<Point>,
}

impl Answer {
    pub(crate) fn add(&mut self, other: Self) {
        self.sightings.extend(other.sightings);
        self.keyframes += other.keyframes;
        for (step, spent) in other.spent {
            *self.spent.entry(step).or_default() += spent;
        }
        self.processor_s += other.processor_s;
        self.peak_kb = self.peak_kb.max(other.peak_kb);
    }
}

pub(crate) struct Judgement {
    pub recall: f64,
    pub precision: f64,
    /// Median of the right ones' overlap with the truth.
    pub iou: f64,
    /// What was missed and what was wrong, a line each.
    pub text: String,
}

/// A find is right when the product is there at that time with at least this overlap.
const RIGHT: f64 = 0.5;
/// Frames are cut at most this far from their nominal time.
const CUT_ERROR_S: f64 = 0.25;

pub(crate) fn judge(truth: &Truth, seen: &[Seen]) -> Judgement {
    let mut text = String::new();
    let mut overlaps = Vec::new();
    for s in seen {
        match overlap(truth, s) {
            Some(iou) if iou >= RIGHT => overlaps.push(iou),
            other => {
                let scene = scene_at(truth, s.video, s.best_s);
                let there: Vec<_> = scene.iter().flat_map(|s| &s.sightings).map(|t| t.product).collect();
                // Writing to a string does not fail.
                let _ = writeln!(
                    text,
                    "  wrong: product {} in video {} at {:.1} s, score {:.2}, overlap {other:?}, there are {there:?}",
                    s.product, s.video, s.best_s, s.score
                );
            }
        }
    }
    let (mut found, mut all) = (0, 0);
    for (video, plan) in truth.videos.iter().enumerate() {
        for scene in &plan.scenes {
            for there in scene.sightings.iter().filter(|t| t.product.is_some()) {
                all += 1;
                let hit = seen.iter().any(|s| {
                    s.video == video && is_in(scene, s.best_s) && is_it(scene, there, s).is_some_and(|iou| iou >= RIGHT)
                });
                found += usize::from(hit);
                if !hit {
                    let _ = writeln!(
                        text,
                        "  missed: product {:?} in video {video} from {} s, scale {:.2}, turn {:.0}, blur {}, noise {:.1}",
                        there.product, scene.from_s, there.scale, there.turn, scene.blur, scene.noise
                    );
                }
            }
        }
    }
    overlaps.sort_by(f64::total_cmp);
    let share = |part: usize, whole: usize| if whole == 0 { 1.0 } else { part as f64 / whole as f64 };
    Judgement {
        recall: share(found, all),
        precision: share(overlaps.len(), seen.len()),
        iou: overlaps.get(overlaps.len() / 2).copied().unwrap_or_default(),
        text,
    }
}

fn is_in(scene: &TruthScene, second: f64) -> bool {
    second >= scene.from_s - CUT_ERROR_S && second < scene.to_s + CUT_ERROR_S
}

fn scene_at(truth: &Truth, video: usize, second: f64) -> Option<&TruthScene> {
    truth.videos.get(video)?.scenes.iter().find(|s| second >= s.from_s && second < s.to_s)
}

fn overlap(truth: &Truth, seen: &Seen) -> Option<f64> {
    let scenes = truth.videos.get(seen.video)?.scenes.iter().filter(|s| is_in(s, seen.best_s));
    scenes
        .flat_map(|scene| scene.sightings.iter().filter_map(move |there| is_it(scene, there, seen)))
        .max_by(f64::total_cmp)
}

/// The overlap, if it is the same product.
fn is_it(scene: &TruthScene, there: &TruthSighting, seen: &Seen) -> Option<f64> {
    let share = ((seen.best_s - scene.from_s) / (scene.to_s - scene.from_s)).clamp(0.0, 1.0);
    (there.product == Some(seen.product)).then(|| geometry::iou(&there.outline(share), &geometry::hull(&seen.outline)))
}
