//! Steps that look at pictures. What is done with them is in the crate `vision`.

use std::path::Path;

use image::{DynamicImage, RgbImage};
use vision::{
    evidence::{self, Encoding},
    features::{Features, Settings},
    geometry::Point,
    keyframes::{self, Keyframe, Rules, Signature},
    load::{self, Limits, Picture},
    mask,
    matching::{self, Index},
    product::Product as Prepared,
    sightings::{Detection, Sighting},
};

use super::{
    super::layout::{self, Artifacts, CHUNK, Chunk, EVIDENCE, MASK, MATCHES, MaskOf, Matches, PRODUCT, Product},
    Outcome, video, write_file, write_json,
};

/// Longest side of a product image as it is kept, pixels.
const LONGEST_SIDE: u32 = 1_280;
/// Quality of pictures of evidence, 1 to 100.
const QUALITY: u8 = 88;

/// Takes in a product image: upright, not too large.
pub(super) fn take_product(input: &Path, name: String, out: &Path) -> Outcome {
    let picture = load::load(input, &Limits::default()).map_err(sentence)?;
    let opacity = picture.opacity.is_some();
    let picture = smaller(picture);
    let (width, height) = (picture.width(), picture.height());
    println!("{width} x {height} pixels{}", if opacity { ", with transparency" } else { "" });
    let image = "images/product.png".to_owned();
    save(&picture, Encoding::Png, out, &image)?;
    write_json(out, PRODUCT, &Product { name, image })
}

/// With its transparency, which tells product from background.
fn smaller(picture: Picture) -> DynamicImage {
    let Picture { colour, opacity } = picture;
    let whole = match opacity {
        None => DynamicImage::ImageRgb8(colour),
        Some(opacity) => {
            DynamicImage::ImageRgba8(image::RgbaImage::from_fn(colour.width(), colour.height(), |x, y| {
                let [red, green, blue] = colour.get_pixel(x, y).0;
                image::Rgba([red, green, blue, opacity.get_pixel(x, y).0[0]])
            }))
        }
    };
    if whole.width().max(whole.height()) <= LONGEST_SIDE {
        return whole;
    }
    whole.resize(LONGEST_SIDE, LONGEST_SIDE, image::imageops::FilterType::Triangle)
}

/// Finds the foreground of a product and its features. The mask is left also when there is nothing to match by.
pub(super) fn product_features(artifacts: &Artifacts, product: u64, out: &Path) -> Outcome {
    let taken = artifacts.products.get(&product).ok_or("the image was not taken in")?;
    let picture = load::load(&artifacts.path(product, &taken.image), &Limits::default()).map_err(sentence)?;
    let found = mask::find(&picture);
    println!("{}", found.source.describe());
    let file = "masks/mask.png".to_owned();
    save(&DynamicImage::ImageLuma8(found.picture.clone()), Encoding::Png, out, &file)?;
    let prepared = Prepared::with_mask(&picture.colour, &found);
    let features = prepared.as_ref().ok().map(|_| "masks/features.bin".to_owned());
    write_json(out, MASK, &MaskOf { product, mask: file, features: features.clone() })?;
    let prepared = prepared.map_err(sentence)?;
    println!("{} keypoints", prepared.features.len());
    let bytes = prepared.to_bytes().map_err(sentence)?;
    write_file(out, &features.unwrap_or_default(), &bytes)
}

/// Chooses keyframes among `count` frames.
pub(super) fn choose_keyframes(frames: &Path, count: u64, frame_rate: f64) -> Outcome<Vec<Keyframe>> {
    let signatures = (0..count as usize).map(|frame| {
        let picture = open_frame(&frames.join(video::frame_name(frame)))?;
        Ok(Signature::of(&picture))
    });
    let signatures = signatures.collect::<Outcome<Vec<_>>>()?;
    Ok(keyframes::choose(&signatures, 1.0 / frame_rate, &Rules::default()))
}

/// Width and height of a frame.
pub(super) fn size_of(frame: &Path) -> Outcome<(u32, u32)> {
    image::image_dimensions(frame).map_err(|error| format!("a frame cannot be read: {error}"))
}

/// Computes the features of the keyframes `from..to` of a video.
pub(super) fn keyframe_features(artifacts: &Artifacts, unit: u64, from: usize, to: usize, out: &Path) -> Outcome {
    let keyframes = artifacts.keyframes(unit, from, to).ok_or("the video was not taken in")?;
    let mut points = 0;
    let mut all = Vec::with_capacity(keyframes.len());
    for keyframe in keyframes {
        let picture = open_frame(&artifacts.path(unit, &video::keyframe_file(keyframe.frame)))?;
        let grey = DynamicImage::ImageRgb8(picture).into_luma8();
        let features = Features::extract(&grey, None, &Settings::frame());
        points += features.len();
        all.push(features.to_bytes().map_err(sentence)?);
    }
    println!("{points} keypoints in {} keyframes", all.len());
    let features = "keyframes/features.bin".to_owned();
    write_file(out, &features, &layout::pack(&all))?;
    write_json(out, CHUNK, &Chunk { video: unit, from, to, features })
}

/// Looks for every product in the keyframes of a chunk.
pub(super) fn look_for_products(artifacts: &Artifacts, unit: u64, out: &Path) -> Outcome {
    let chunk = artifacts.chunks.get(&unit).ok_or("the keyframes have no features")?;
    let keyframes = artifacts.keyframes(chunk.video, chunk.from, chunk.to).ok_or("the video was not taken in")?;
    let products = read_products(artifacts)?;
    let bytes = read(&artifacts.path(unit, &chunk.features))?;
    let packed = layout::unpack(&bytes).ok_or("the features of the keyframes are damaged")?;
    let mut found = Vec::new();
    for (keyframe, features) in keyframes.iter().zip(packed) {
        let features = Features::from_bytes(features).map_err(sentence)?;
        let index = Index::new(&features);
        let picture = open_frame(&artifacts.path(chunk.video, &video::keyframe_file(keyframe.frame)))?;
        for (product, prepared) in &products {
            for find in matching::find(prepared, &index, &picture) {
                let name = artifacts.products.get(product).map_or("", |product| product.name.as_str());
                println!(
                    "{name}: {} keypoints at {}, score {:.2}",
                    find.keypoints,
                    layout::clock(keyframe.from_s),
                    find.score
                );
                found.push(Detection { product: *product as usize, keyframe: keyframe.clone(), find });
            }
        }
    }
    write_json(out, MATCHES, &Matches { video: chunk.video, found })
}

fn read_products(artifacts: &Artifacts) -> Outcome<Vec<(u64, Prepared)>> {
    let featured =
        artifacts.masks.iter().filter_map(|(unit, mask)| Some((unit, mask.product, mask.features.as_ref()?)));
    featured
        .map(|(unit, product, features)| {
            let bytes = read(&artifacts.path(*unit, features))?;
            Ok((product, Prepared::from_bytes(&bytes).map_err(sentence)?))
        })
        .collect()
}

/// Draws the sightings of a video, each on its best frame.
pub(super) fn draw_evidence(artifacts: &Artifacts, unit: u64, out: &Path) -> Outcome {
    for (index, sighting) in artifacts.sightings(unit).iter().enumerate() {
        let mut frame = open_frame(&artifacts.path(unit, &video::keyframe_file(sighting.best_frame)))?;
        draw(&mut frame, sighting);
        save(&DynamicImage::ImageRgb8(frame), Encoding::Jpeg(QUALITY), out, &layout::picture(index))?;
    }
    write_json(out, EVIDENCE, &unit)
}

fn draw(frame: &mut RgbImage, sighting: &Sighting) {
    let outline: &[Point] = &sighting.outline;
    evidence::outline(frame, outline);
}

fn open_frame(path: &Path) -> Outcome<RgbImage> {
    let picture = load::load(path, &Limits::default()).map_err(|error| format!("a frame cannot be read: {error}"))?;
    Ok(picture.colour)
}

pub(super) fn save(picture: &DynamicImage, encoding: Encoding, out: &Path, path: &str) -> Outcome {
    let bytes = evidence::encode(picture, encoding).map_err(|error| format!("{path} cannot be written: {error}"))?;
    write_file(out, path, &bytes)
}

fn read(path: &Path) -> Outcome<Vec<u8>> {
    std::fs::read(path).map_err(|error| format!("what came before cannot be read: {}", layout::word_of(&error)))
}

/// The words of an error, as a sentence that begins large.
fn sentence(error: impl std::error::Error) -> String {
    let text = error.to_string();
    let mut letters = text.chars();
    letters.next().map(|first| first.to_uppercase().chain(letters).collect()).unwrap_or_default()
}
