//! One process of the measurement: all products in every n-th video.

use std::{collections::BTreeMap, fs, path::Path};

use image::DynamicImage;
use vision::{
    features::{Features, Settings},
    keyframes::{self, Keyframe, Signature},
    load::{self, Limits, Picture},
    matching::{self, Index},
    product::Product,
    sample::Truth,
    sightings::{self, Detection},
};

use crate::{
    Result,
    judge::{Answer, Seen},
    make::CUT_RATE,
};

struct Clock {
    spent: BTreeMap<String, f64>,
}

impl Clock {
    fn time<T>(&mut self, step: &str, work: impl FnOnce() -> T) -> T {
        let started = processor_s();
        let result = work();
        *self.spent.entry(step.to_owned()).or_default() += processor_s() - started;
        result
    }
}

pub(crate) fn run(folder: &Path, part: usize, parts: usize) -> Result<()> {
    let truth: Truth = serde_json::from_slice(&fs::read(folder.join("truth.json"))?)?;
    let mut clock = Clock { spent: BTreeMap::new() };
    let mut products = Vec::new();
    for product in &truth.products {
        let picture = load::load(&folder.join("products").join(&product.file), &Limits::default())?;
        products.push(clock.time("prepare products", || Product::prepare(&picture))?.0);
    }
    let mut answer = Answer::default();
    for video in (part..truth.videos.len()).step_by(parts) {
        let frames = folder.join("frames").join(video.to_string());
        let keys = choose(&frames, &mut clock)?;
        fs::write(frames.join("keyframes.json"), serde_json::to_vec(&keys)?)?;
        answer.keyframes += keys.len();
        let mut detections = Vec::new();
        for keyframe in keys {
            let picture = clock.time("decode", || frame(&frames, keyframe.frame))?;
            let grey = DynamicImage::ImageRgb8(picture.colour.clone()).into_luma8();
            let features = clock.time("features", || Features::extract(&grey, None, &Settings::frame()));
            let index = Index::new(&features);
            clock.time("match", || {
                for (number, product) in products.iter().enumerate() {
                    for find in matching::find(product, &index, &picture.colour) {
                        detections.push(Detection { product: number, keyframe: keyframe.clone(), find });
                    }
                }
            });
        }
        answer.sightings.extend(sightings::join(&detections).into_iter().map(|s| Seen {
            video,
            product: s.product,
            best_s: s.best_s,
            score: s.score,
            outline: s.outline,
        }));
    }
    answer.spent = clock.spent;
    answer.processor_s = processor_s();
    answer.peak_kb = peak_kb();
    println!("{}", serde_json::to_string(&answer)?);
    Ok(())
}

fn frame(folder: &Path, number: usize) -> Result<Picture> {
    Ok(load::load(&folder.join(format!("{:05}.jpg", number + 1)), &Limits::default())?)
}

fn choose(folder: &Path, clock: &mut Clock) -> Result<Vec<Keyframe>> {
    let mut signatures = Vec::new();
    while folder.join(format!("{:05}.jpg", signatures.len() + 1)).exists() {
        let picture = clock.time("decode all frames", || frame(folder, signatures.len()))?;
        signatures.push(clock.time("signatures", || Signature::of(&picture.colour)));
    }
    Ok(keyframes::choose(&signatures, 1.0 / CUT_RATE, &keyframes::Rules::default()))
}

/// Seconds that this thread has run, so that other work on the machine does not count.
fn processor_s() -> f64 {
    let text = fs::read_to_string("/proc/thread-self/schedstat").unwrap_or_default();
    text.split_whitespace().next().and_then(|ns| ns.parse::<f64>().ok()).unwrap_or_default() / 1e9
}

fn peak_kb() -> u64 {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|l| l.strip_prefix("VmHWM:"));
    line.and_then(|l| l.split_whitespace().next()?.parse().ok()).unwrap_or_default()
}
