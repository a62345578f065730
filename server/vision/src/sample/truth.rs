//! What appears where and when, planned before anything is drawn.

use serde::{Deserialize, Serialize};

use super::{Design, Random, Settings};
use crate::geometry::{self, Homography, Point};

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct TruthProduct {
    pub name: String,
    /// Name of the shot's file.
    pub file: String,
    pub appears: bool,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct TruthVideo {
    /// Name of the video's file.
    pub file: String,
    pub scenes: Vec<TruthScene>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct TruthScene {
    pub from_s: f64,
    pub to_s: f64,
    pub sightings: Vec<TruthSighting>,
    pub(super) seed: u64,
    /// Passes of a small blur over the frame.
    pub blur: u32,
    /// Deviation of the noise, of 255.
    pub noise: f64,
}

/// A package in a scene, moving evenly.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct TruthSighting {
    /// Number of the product; none for a distractor.
    pub product: Option<usize>,
    pub(super) design: usize,
    /// The corners of the package's box, from its upper left one clockwise, at the begin and at the end of the scene.
    pub begin: [Point; 4],
    pub end: [Point; 4],
    /// The package's outline in shares of its box.
    pub shape: Vec<Point>,
    pub scale: f64,
    /// Degrees.
    pub turn: f64,
    /// Share of it that is covered.
    pub covered: f64,
}

impl TruthSighting {
    /// The outline in the frame at a share of the scene, 0 to 1.
    #[must_use]
    pub fn outline(&self, share: f64) -> Vec<Point> {
        let corners = self.corners(share);
        let unit = [(0.0, 0.0), (1.0, 0.0), (1.0, 1.0), (0.0, 1.0)].map(|(x, y)| Point::new(x, y));
        let pairs = [0, 1, 2, 3].map(|i| (unit[i], corners[i]));
        Homography::through(&pairs).and_then(|map| map.apply_all(&self.shape)).unwrap_or_else(|| corners.to_vec())
    }

    pub(super) fn corners(&self, share: f64) -> [Point; 4] {
        [0, 1, 2, 3].map(|i| self.begin[i].towards(self.end[i], share))
    }
}

/// Most packages in a scene.
const MOST_IN_SCENE: u64 = 3;

pub(super) fn plan_video(settings: &Settings, designs: &[Design], video: usize, random: &mut Random) -> TruthVideo {
    let scenes = (0..settings.scenes)
        .map(|scene| {
            let mut plan = TruthScene {
                from_s: scene as f64 * settings.scene_s,
                to_s: (scene + 1) as f64 * settings.scene_s,
                sightings: Vec::new(),
                seed: random.bits(),
                blur: random.below(3) as u32,
                noise: random.between(1.0, 6.0),
            };
            let number = video * settings.scenes + scene;
            // Every product has its turn; one scene in eight has none.
            let count = if number % 8 == 7 { 0 } else { 1 + random.below(MOST_IN_SCENE) };
            for place in 0..count as usize {
                let design =
                    if place == 0 { number % settings.present } else { any_design(settings, designs.len(), random) };
                add(&mut plan, settings, designs, design, random);
            }
            plan
        })
        .collect();
    TruthVideo { file: format!("video-{:02}.mp4", video + 1), scenes }
}

/// A product that appears, or now and then a distractor.
fn any_design(settings: &Settings, designs: usize, random: &mut Random) -> usize {
    let distractors = settings.present + settings.absent..designs;
    if !distractors.is_empty() && random.chance(0.3) {
        distractors.start + random.below(distractors.len() as u64) as usize
    } else {
        random.below(settings.present as u64) as usize
    }
}

/// Adds a package where there is room for it; tries a smaller and less turned one when there is none.
fn add(plan: &mut TruthScene, settings: &Settings, designs: &[Design], design: usize, random: &mut Random) {
    if plan.sightings.iter().any(|s| s.design == design) {
        return;
    }
    let (low, high) = (settings.scale.0.ln(), settings.scale.1.ln());
    let wanted = (random.between(low, high).exp(), random.between(-settings.turn, settings.turn));
    for attempt in 0..60 {
        // The first tries are for the pose that was drawn, so that large ones are not left out.
        let (scale, turn) = if attempt < 30 {
            wanted
        } else {
            (random.between(low, wanted.0.ln()).exp(), random.between(-settings.turn, settings.turn))
        };
        let begin = place(settings, &designs[design], scale, turn, random);
        let (dx, dy) = (random.between(-25.0, 25.0), random.between(-15.0, 15.0));
        let end = begin.map(|p| p.moved(dx * settings.scene_s / 4.0, dy * settings.scene_s / 4.0));
        if is_free(plan, settings, &begin) && is_free(plan, settings, &end) {
            plan.sightings.push(TruthSighting {
                product: (design < settings.present + settings.absent).then_some(design),
                design,
                begin,
                end,
                shape: designs[design].shape(),
                scale,
                turn,
                covered: settings.covered,
            });
            return;
        }
    }
}

/// The corners of a package that is turned, and tilted against the camera by up to 25 degrees.
fn place(settings: &Settings, design: &Design, scale: f64, turn: f64, random: &mut Random) -> [Point; 4] {
    let (width, height) = design.size();
    let (w, h) = (width * scale, height * scale);
    let centre = Point::new(
        random.between(0.1, 0.9) * f64::from(settings.width),
        random.between(0.1, 0.9) * f64::from(settings.height),
    );
    let (sin, cos) = turn.to_radians().sin_cos();
    let (pitch, yaw) = (random.between(-25.0, 25.0).to_radians(), random.between(-25.0, 25.0).to_radians());
    // The camera's distance, in pixels: mild perspective.
    let distance = 3.5 * w.max(h);
    [(-0.5, -0.5), (0.5, -0.5), (0.5, 0.5), (-0.5, 0.5)].map(|(a, b)| {
        let (x, y) = (a * w, b * h);
        let (x, depth) = (x * yaw.cos(), x * yaw.sin());
        let (y, depth) = (y * pitch.cos() - depth * pitch.sin(), y * pitch.sin() + depth * pitch.cos());
        let near = distance / (distance + depth);
        let (x, y) = (x * near, y * near);
        centre.moved(x * cos - y * sin, x * sin + y * cos)
    })
}

fn is_free(plan: &TruthScene, settings: &Settings, corners: &[Point; 4]) -> bool {
    let (w, h) = (f64::from(settings.width), f64::from(settings.height));
    let inside = corners.iter().all(|p| p.x > 4.0 && p.y > 4.0 && p.x < w - 4.0 && p.y < h - 4.0);
    inside
        && plan.sightings.iter().all(|other| {
            [&other.begin, &other.end].into_iter().all(|o| geometry::area(&geometry::clip(corners, o)).abs() < 1.0)
        })
}
