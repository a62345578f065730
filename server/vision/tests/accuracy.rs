//! How well products are found, on a set with fixed seeds that is small enough for every run of the tests. Frames go
//! through JPEG instead of a video encoder. The large set with a real encoder is the example `accuracy`.

use image::DynamicImage;
use vision::{
    features::{Features, Settings as FeatureSettings},
    geometry,
    keyframes::Keyframe,
    load::Picture,
    matching::{self, Index},
    product::Product,
    sample::{self, Set, Settings},
    sightings::{self, Detection, Sighting},
};

/// Frames of each scene that are looked at, and their distance in seconds.
const LOOKS: usize = 2;
const LOOK_S: f64 = 2.0;

fn set() -> Set {
    Set::new(Settings { seed: 77, present: 8, absent: 5, distractors: 3, videos: 2, scenes: 8, ..Settings::default() })
}

/// All sightings of a video.
fn look(set: &Set, products: &[Product], video: usize) -> Vec<Sighting> {
    let mut detections = Vec::new();
    for scene in 0..set.settings.scenes {
        let stage = set.stage(video, scene);
        for look in 0..LOOKS {
            let frame = look * (set.frames_per_scene() - 1);
            let picture = sample::compressed(&set.frame(&stage, frame), 60);
            let from_s = scene as f64 * set.settings.scene_s + look as f64 * LOOK_S;
            let keyframe = Keyframe { frame: scene * LOOKS + look, from_s, to_s: from_s + LOOK_S, scene };
            let grey = DynamicImage::ImageRgb8(picture.clone()).into_luma8();
            let features = Features::extract(&grey, None, &FeatureSettings::frame());
            let index = Index::new(&features);
            for (product, prepared) in products.iter().enumerate() {
                let finds = matching::find(prepared, &index, &picture);
                detections.extend(finds.into_iter().map(|find| Detection {
                    product,
                    keyframe: keyframe.clone(),
                    find,
                }));
            }
        }
    }
    sightings::join(&detections)
}

#[test]
fn products_are_found_where_they_are_and_nowhere_else() {
    let set = set();
    let products: Vec<Product> =
        (0..set.truth.products.len()).map(|i| Product::prepare(&Picture::opaque(set.shot(i))).unwrap().0).collect();
    let (mut there, mut found, mut said, mut overlaps) = (0, 0, 0, Vec::new());
    for (number, video) in set.truth.videos.iter().enumerate() {
        let seen = look(&set, &products, number);
        said += seen.len();
        for (scene, plan) in video.scenes.iter().enumerate() {
            for truth in plan.sightings.iter().filter(|t| t.product.is_some()) {
                there += 1;
                let outline = |s: &Sighting| truth.outline(if s.best_frame == scene * LOOKS { 0.0 } else { 1.0 });
                let best = seen
                    .iter()
                    .filter(|s| Some(s.product) == truth.product && s.best_frame / LOOKS == scene)
                    .map(|s| geometry::iou(&geometry::hull(&s.outline), &outline(s)))
                    .max_by(f64::total_cmp);
                if let Some(iou) = best.filter(|iou| *iou >= 0.5) {
                    found += 1;
                    overlaps.push(iou);
                }
            }
        }
    }
    overlaps.sort_by(f64::total_cmp);
    let (recall, precision) = (f64::from(found) / f64::from(there), f64::from(found) / said as f64);
    let median = overlaps[overlaps.len() / 2];
    println!("{there} to be seen: recall {recall:.3}, precision {precision:.3}, median overlap {median:.3}");
    assert!(there >= 15);
    assert!(recall >= 0.92, "recall {recall}");
    assert!(precision >= 0.97, "precision {precision}");
    assert!(median >= 0.75, "overlap {median}");
}

#[test]
fn a_frame_without_products_has_none() {
    let set = Set::new(Settings { present: 3, absent: 0, distractors: 0, videos: 1, scenes: 8, ..Settings::default() });
    assert!(set.truth.videos[0].scenes[7].sightings.is_empty());
    let frame = set.frame(&set.stage(0, 7), 0);
    let grey = DynamicImage::ImageRgb8(frame.clone()).into_luma8();
    let features = Features::extract(&grey, None, &FeatureSettings::frame());
    let index = Index::new(&features);
    for i in 0..3 {
        let product = Product::prepare(&Picture::opaque(set.shot(i))).unwrap().0;
        let finds = matching::find(&product, &index, &frame);
        assert!(finds.iter().all(|f| f.score < matching::DECISION), "product {i}: {finds:?}");
    }
}

#[test]
fn a_stored_product_is_found_as_before() {
    let set = set();
    let product = Product::prepare(&Picture::opaque(set.shot(0))).unwrap().0;
    let bytes = product.to_bytes().unwrap();
    let read = Product::from_bytes(&bytes).unwrap();
    assert_eq!(read.features.descriptors, product.features.descriptors);
    assert!(bytes.len() < 400_000, "{} bytes", bytes.len());
    assert!(Product::from_bytes(&bytes[..bytes.len() - 10]).is_err());
    assert!(Product::from_bytes(b"").is_err());
}
