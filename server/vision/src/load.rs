//! Pictures from files, under limits, with errors that an operator can act on.

use std::{
    fs::File,
    io::{self, BufReader, Cursor, Read},
    path::Path,
};

use image::{
    DynamicImage, GrayImage, ImageDecoder, ImageError, ImageFormat, ImageReader, RgbImage, metadata::Orientation,
};

/// What a picture may be at most. Size and dimensions are looked at before anything is decoded.
#[derive(Clone, Debug)]
pub struct Limits {
    /// Size of the file.
    pub bytes: u64,
    /// Longest side in pixels.
    pub side: u32,
    /// Width times height.
    pub pixels: u64,
    /// What the decoder may allocate.
    pub memory: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Self { bytes: 256 << 20, side: 12_000, pixels: 64_000_000, memory: 600 << 20 }
    }
}

/// A decoded picture, upright, with 8 bits a channel.
#[derive(Clone, Debug)]
pub struct Picture {
    pub colour: RgbImage,
    /// Opacity, where the file has a channel for it and something is transparent.
    pub opacity: Option<GrayImage>,
}

impl Picture {
    #[must_use]
    pub fn opaque(colour: RgbImage) -> Self {
        Self { colour, opacity: None }
    }
}

/// Why a picture cannot be used. Each message is a sentence that goes after the name of the file and a colon.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    #[error("the file cannot be read ({0})")]
    Unreadable(#[from] io::Error),
    #[error("the file is empty (0 bytes)")]
    Empty,
    #[error("the file has {megabytes} MB; at most {limit} MB are read")]
    FileTooLarge { megabytes: u64, limit: u64 },
    #[error("this is not a PNG, JPEG or WebP image")]
    NotAnImage,
    #[error("the image has {width} x {height} pixels; at most {side} on a side and {megapixels} megapixels are read")]
    TooManyPixels { width: u32, height: u32, side: u32, megapixels: u64 },
    #[error("the image has {width} x {height} pixels; at least {least} x {least} are needed")]
    TooSmall { width: u32, height: u32, least: u32 },
    #[error("the image ends too early; the file seems to be cut off")]
    Truncated,
    #[error("the image needs more memory than is allowed")]
    Memory,
    #[error("the image is damaged or of a rare kind ({0})")]
    Damaged(String),
}

/// Less than this on a side is no picture of anything.
const LEAST_SIDE: u32 = 32;

/// Reads a PNG, JPEG or WebP file. The orientation from its EXIF data is applied; of an animation the first frame is
/// taken; grey, 16-bit and CMYK become RGB with 8 bits.
///
/// # Errors
/// Everything that [`LoadError`] names. Nothing is decoded before size and dimensions are known to be in the limits.
pub fn load(path: &Path, limits: &Limits) -> Result<Picture, LoadError> {
    let file = File::open(path)?;
    let size = file.metadata()?.len();
    check_size(size, limits)?;
    let mut bytes = Vec::with_capacity(usize::try_from(size).unwrap_or_default());
    BufReader::new(file.take(limits.bytes + 1)).read_to_end(&mut bytes)?;
    decode(&bytes, limits)
}

/// The same for a picture that is in memory.
///
/// # Errors
/// As [`load`].
pub fn decode(bytes: &[u8], limits: &Limits) -> Result<Picture, LoadError> {
    check_size(bytes.len() as u64, limits)?;
    let reader = ImageReader::new(Cursor::new(bytes)).with_guessed_format()?;
    let format = reader.format().filter(is_supported).ok_or(LoadError::NotAnImage)?;
    let mut decoder = reader.into_decoder().map_err(explain)?;
    let (width, height) = decoder.dimensions();
    check_dimensions(width, height, limits)?;
    if (format == ImageFormat::Jpeg && !has_jpeg_end(bytes)) || (format == ImageFormat::WebP && !is_webp_whole(bytes)) {
        return Err(LoadError::Truncated);
    }
    let mut allowed = image::Limits::no_limits();
    allowed.max_alloc = Some(limits.memory);
    // Each pixel of the decoder's output and of our RGB is in memory at once.
    if decoder.total_bytes().saturating_add(u64::from(width) * u64::from(height) * 3) > limits.memory {
        return Err(LoadError::Memory);
    }
    decoder.set_limits(allowed).map_err(explain)?;
    // Without (readable) EXIF data a picture is as it is.
    let orientation = decoder.orientation().unwrap_or(Orientation::NoTransforms);
    let mut image = DynamicImage::from_decoder(decoder).map_err(explain)?;
    image.apply_orientation(orientation);
    Ok(split(image))
}

fn check_size(bytes: u64, limits: &Limits) -> Result<(), LoadError> {
    if bytes == 0 {
        return Err(LoadError::Empty);
    }
    if bytes > limits.bytes {
        return Err(LoadError::FileTooLarge { megabytes: bytes.div_ceil(1 << 20), limit: limits.bytes >> 20 });
    }
    Ok(())
}

fn check_dimensions(width: u32, height: u32, limits: &Limits) -> Result<(), LoadError> {
    if width.max(height) > limits.side || u64::from(width) * u64::from(height) > limits.pixels {
        let megapixels = limits.pixels / 1_000_000;
        return Err(LoadError::TooManyPixels { width, height, side: limits.side, megapixels });
    }
    if width.min(height) < LEAST_SIDE {
        return Err(LoadError::TooSmall { width, height, least: LEAST_SIDE });
    }
    Ok(())
}

fn is_supported(format: &ImageFormat) -> bool {
    matches!(format, ImageFormat::Png | ImageFormat::Jpeg | ImageFormat::WebP)
}

/// The JPEG decoder fills what is missing with grey and says nothing, so the end marker is looked for. A few programs
/// write something after it.
fn has_jpeg_end(bytes: &[u8]) -> bool {
    let tail = &bytes[bytes.len().saturating_sub(1 << 16)..];
    tail.windows(2).any(|pair| pair == [0xff, 0xd9])
}

/// A WebP file says its size in its head; the decoder only calls what is missing corrupt.
fn is_webp_whole(bytes: &[u8]) -> bool {
    let size = bytes.get(4..8).and_then(|size| size.try_into().ok()).map_or(0, u32::from_le_bytes);
    bytes.len() as u64 >= u64::from(size) + 8
}

fn explain(error: ImageError) -> LoadError {
    match error {
        ImageError::IoError(e) if e.kind() == io::ErrorKind::UnexpectedEof => LoadError::Truncated,
        ImageError::Limits(_) => LoadError::Memory,
        ImageError::IoError(e) => LoadError::Unreadable(e),
        // Decoders wrap the early end as a fault of the format, and its kind is only in their words.
        other => {
            let text = other.to_string();
            let lower = text.to_lowercase();
            let cut = ["unexpected end", "unexpectedeof", "failed to fill", "exhausted", "early", "no more bytes"];
            if cut.iter().any(|words| lower.contains(words)) { LoadError::Truncated } else { LoadError::Damaged(text) }
        }
    }
}

fn split(image: DynamicImage) -> Picture {
    if !image.color().has_alpha() {
        return Picture::opaque(image.into_rgb8());
    }
    let rgba = image.into_rgba8();
    let (width, height) = rgba.dimensions();
    let opacity = GrayImage::from_fn(width, height, |x, y| image::Luma([rgba.get_pixel(x, y).0[3]]));
    let colour = DynamicImage::ImageRgba8(rgba).into_rgb8();
    let opacity = opacity.pixels().any(|p| p.0[0] < 255).then_some(opacity);
    Picture { colour, opacity }
}
