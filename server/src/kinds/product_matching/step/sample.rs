//! The generated set: products and videos that nobody has to have, with the truth beside them.

use std::{
    io::Write as _,
    path::Path,
    process::{Command, Stdio},
};

use image::DynamicImage;
use serde::Serialize;
use vision::{
    evidence::Encoding,
    sample::{Set, Settings, TruthVideo},
};

use super::{
    super::layout::{PRODUCT, Product},
    Outcome, pictures, video, write_json,
};

/// The truth of a generated video, in the folder of the unit that took it in.
pub(super) const TRUTH: &str = "frames/truth.json";
/// The generated video, in the scratch folder of the step.
const FILE: &str = "sample.mp4";

#[derive(Serialize)]
struct Truth<'a> {
    /// Names by number.
    products: Vec<&'a str>,
    video: &'a TruthVideo,
}

/// The set: small enough to be watched, with two products that never appear and two things that only look like one.
pub(in super::super) fn set() -> Set {
    let small = Settings { present: 6, absent: 2, distractors: 2, videos: 2, scenes: 5, ..Settings::default() };
    // Drawing is most of the work: a frame of it takes as long as searching one.
    Set::new(Settings { scene_s: 2.0, frames_per_s: 6, ..small })
}

/// Draws a product shot.
pub(super) fn take_product(product: usize, name: String, out: &Path) -> Outcome {
    let shot = set().shot(product);
    let image = "images/product.png".to_owned();
    pictures::save(&DynamicImage::ImageRgb8(shot), Encoding::Png, out, &image)?;
    write_json(out, PRODUCT, &Product { name, image })
}

/// Draws a video, has it compressed, and takes it in like any other.
pub(super) fn take_video(number: usize, name: String, frame_rate: f64, out: &Path) -> Outcome {
    let set = set();
    let Settings { width, height, frames_per_s, .. } = set.settings;
    let mut ffmpeg = Command::new("ffmpeg");
    ffmpeg.args(["-nostdin", "-hide_banner", "-loglevel", "error", "-y", "-f", "rawvideo", "-pix_fmt", "rgb24"]);
    ffmpeg.args(["-s", &format!("{width}x{height}"), "-r", &frames_per_s.to_string(), "-i", "pipe:0"]);
    ffmpeg.args(["-pix_fmt", "yuv420p", "-b:v", "2500k", "-threads", "1", FILE]);
    let mut child = ffmpeg.stdin(Stdio::piped()).spawn().map_err(|error| video::not_started("ffmpeg", &error))?;
    let drawn = match child.stdin.take() {
        Some(mut pipe) => set.write_video(number, &mut pipe).and_then(|()| pipe.flush()),
        None => Ok(()),
    };
    let ended = child.wait().map_err(|error| format!("ffmpeg was lost: {error}"))?;
    if !ended.success() || drawn.is_err() {
        return Err(format!("The sample video could not be made: ffmpeg ended with {ended}"));
    }
    video::take(Path::new(FILE), name, frame_rate, out)?;
    let products = set.truth.products.iter().map(|product| product.name.as_str()).collect();
    write_json(out, TRUTH, &Truth { products, video: &set.truth.videos[number] })
}
