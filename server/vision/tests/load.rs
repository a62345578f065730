//! Pictures as they come: good ones of every kind, and bad ones with an error that says what is wrong.

use std::{fs, io::Cursor, path::Path};

use image::{DynamicImage, ImageBuffer, ImageFormat, Luma, Rgb, RgbImage, Rgba};
use vision::load::{self, Limits, LoadError, Picture};

fn picture() -> RgbImage {
    RgbImage::from_fn(60, 40, |x, y| Rgb([(x * 4) as u8, (y * 6) as u8, 120]))
}

#[expect(clippy::unwrap_used, reason = "a fixture that cannot be made is a failed test")]
fn encoded(image: &DynamicImage, format: ImageFormat) -> Vec<u8> {
    let mut bytes = Cursor::new(Vec::new());
    image.write_to(&mut bytes, format).unwrap();
    bytes.into_inner()
}

fn decode(bytes: &[u8]) -> Result<Picture, LoadError> {
    load::decode(bytes, &Limits::default())
}

#[expect(clippy::unwrap_used, reason = "a fixture that cannot be made is a failed test")]
fn fixture(name: &str) -> Vec<u8> {
    fs::read(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/pictures").join(name)).unwrap()
}

#[test]
fn png_jpeg_and_webp_are_read() {
    for format in [ImageFormat::Png, ImageFormat::Jpeg, ImageFormat::WebP] {
        let read = decode(&encoded(&picture().into(), format)).unwrap();
        assert_eq!(read.colour.dimensions(), (60, 40), "{format:?}");
        let difference = read.colour.get_pixel(30, 20).0[0].abs_diff(120);
        assert!(difference < 12, "{format:?}");
        assert!(read.opacity.is_none());
    }
}

#[test]
fn grey_and_16_bits_become_colour_of_8_bits() {
    let deep: ImageBuffer<Luma<u16>, Vec<u16>> = ImageBuffer::from_pixel(50, 50, Luma([0x8000]));
    let read = decode(&encoded(&DynamicImage::ImageLuma16(deep), ImageFormat::Png)).unwrap();
    assert!(read.colour.pixels().all(|p| p.0 == [128; 3]));
}

#[test]
fn transparency_is_kept_and_an_opaque_channel_is_none() {
    let clear = ImageBuffer::from_fn(50, 50, |x, _| Rgba([9, 9, 9, if x < 25 { 0 } else { 255 }]));
    let read = decode(&encoded(&DynamicImage::ImageRgba8(clear), ImageFormat::Png)).unwrap();
    let opacity = read.opacity.unwrap();
    assert_eq!((opacity.get_pixel(3, 3).0[0], opacity.get_pixel(40, 3).0[0]), (0, 255));
    let solid = ImageBuffer::from_pixel(50, 50, Rgba([9, 9, 9, 255]));
    assert!(decode(&encoded(&DynamicImage::ImageRgba8(solid), ImageFormat::Png)).unwrap().opacity.is_none());
}

#[test]
fn the_orientation_of_a_photograph_is_honoured() {
    // Stored 64 wide and 48 high with "turn by 90 degrees"; the red corner is the upper left one when upright.
    let read = decode(&fixture("turned.jpg")).unwrap();
    assert_eq!(read.colour.dimensions(), (48, 64));
    let [r, g, b] = read.colour.get_pixel(3, 3).0;
    assert!(r > 180 && g < 80 && b < 80, "{r} {g} {b}");
}

#[test]
fn a_jpeg_in_the_colours_of_a_press_is_read() {
    let read = decode(&fixture("cmyk.jpg")).unwrap();
    let [r, g, b] = read.colour.get_pixel(20, 20).0;
    assert!(r > 170 && g < 90 && b < 90, "{r} {g} {b}");
}

#[test]
fn of_an_animation_the_first_picture_is_taken() {
    for name in ["animated.webp", "animated.png"] {
        let [r, g, b] = decode(&fixture(name)).unwrap().colour.get_pixel(20, 20).0;
        assert!(r > 180 && g < 80 && b < 80, "{name}: {r} {g} {b}");
    }
}

#[test]
fn an_empty_file_and_a_text_are_refused() {
    assert_eq!(decode(b"").unwrap_err().to_string(), "the file is empty (0 bytes)");
    assert_eq!(decode(b"hello, this is text").unwrap_err().to_string(), "this is not a PNG, JPEG or WebP image");
    assert!(matches!(decode(b"GIF89a\x10\x00\x10\x00"), Err(LoadError::NotAnImage)));
}

/// A PNG that says it is 30,000 pixels wide and high, and has no pixels.
fn lying_png() -> Vec<u8> {
    let mut bytes = encoded(&picture().into(), ImageFormat::Png);
    bytes[16..20].copy_from_slice(&30_000_u32.to_be_bytes());
    bytes[20..24].copy_from_slice(&30_000_u32.to_be_bytes());
    let sum = crc(&bytes[12..29]);
    bytes[29..33].copy_from_slice(&sum.to_be_bytes());
    bytes
}

fn crc(bytes: &[u8]) -> u32 {
    let step = |mut c: u32| {
        (0..8).for_each(|_| c = if c & 1 == 1 { 0xedb8_8320 ^ (c >> 1) } else { c >> 1 });
        c
    };
    !bytes.iter().fold(!0, |sum, &b| step((sum ^ u32::from(b)) & 0xff) ^ (sum >> 8))
}

#[test]
fn a_huge_picture_is_refused_before_it_is_decoded() {
    let error = decode(&lying_png()).unwrap_err();
    assert_eq!(
        error.to_string(),
        "the image has 30000 x 30000 pixels; at most 12000 on a side and 64 megapixels are read"
    );
}

#[test]
fn limits_of_file_and_size_are_kept() {
    let bytes = encoded(&picture().into(), ImageFormat::Png);
    let small = Limits { bytes: 10, ..Limits::default() };
    assert!(matches!(load::decode(&bytes, &small), Err(LoadError::FileTooLarge { .. })));
    let tiny = encoded(&RgbImage::new(20, 20).into(), ImageFormat::Png);
    assert!(matches!(decode(&tiny), Err(LoadError::TooSmall { width: 20, height: 20, .. })));
    let tight = Limits { memory: 1000, ..Limits::default() };
    assert!(matches!(load::decode(&bytes, &tight), Err(LoadError::Memory)));
}

#[test]
fn a_file_that_is_cut_off_is_refused() {
    for format in [ImageFormat::Png, ImageFormat::Jpeg, ImageFormat::WebP] {
        let bytes = encoded(&noisy().into(), format);
        let error = decode(&bytes[..bytes.len() * 2 / 3]).unwrap_err();
        assert!(matches!(error, LoadError::Truncated), "{format:?}: {error}");
    }
}

fn noisy() -> RgbImage {
    let grey = vision::sample::noise_picture(4, 200, 150);
    DynamicImage::ImageLuma8(grey).into_rgb8()
}

#[test]
fn a_file_that_is_not_there_says_so() {
    let error = load::load(Path::new("/nowhere/a.png"), &Limits::default()).unwrap_err();
    assert!(error.to_string().starts_with("the file cannot be read"), "{error}");
}
