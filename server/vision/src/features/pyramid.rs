//! The same picture at several sizes.

use image::GrayImage;

use super::SCALE_STEP;

/// Levels from fine to coarse.
pub struct Pyramid {
    pub levels: Vec<Level>,
}

pub struct Level {
    pub picture: GrayImage,
    /// Pixels of the finest level in one pixel of this one.
    pub size: f64,
}

/// A level with a shorter side than this has no room for a keypoint's surroundings.
const LEAST_SIDE: u32 = 40;

impl Pyramid {
    #[must_use]
    pub fn build(finest: GrayImage, levels: usize) -> Self {
        let (width, height) = finest.dimensions();
        let mut all = vec![Level { picture: finest, size: 1.0 }];
        for step in 1..levels {
            let size = SCALE_STEP.powi(step as i32);
            let side = |s: u32| (f64::from(s) / size).round() as u32;
            if side(width).min(side(height)) < LEAST_SIDE {
                break;
            }
            let below = &all[step - 1].picture;
            let picture = shrink(below, side(width), side(height));
            all.push(Level { picture, size });
        }
        Self { levels: all }
    }
}

/// Bilinear interpolation with weights of 7 bits; good for factors below 2, where it skips no pixel.
fn shrink(source: &GrayImage, width: u32, height: u32) -> GrayImage {
    let columns = taps(source.width(), width);
    let rows = taps(source.height(), height);
    let stride = source.width() as usize;
    let pixels = source.as_raw();
    let mut blended = vec![0_u16; stride];
    let mut out = Vec::with_capacity((width * height) as usize);
    for &(y, below, weight) in &rows {
        let (a, b) = (&pixels[y * stride..][..stride], &pixels[below * stride..][..stride]);
        for ((blend, &a), &b) in blended.iter_mut().zip(a).zip(b) {
            *blend = u16::from(a) * (128 - weight) + u16::from(b) * weight;
        }
        out.extend(columns.iter().map(|&(x, right, weight)| {
            let (a, b) = (u32::from(blended[x]), u32::from(blended[right]));
            ((a * u32::from(128 - weight) + b * u32::from(weight) + (1 << 13)) >> 14) as u8
        }));
    }
    GrayImage::from_raw(width, height, out).unwrap_or_default()
}

/// For each pixel of the result: the two it lies between, and the second one's weight of 128.
fn taps(from: u32, to: u32) -> Vec<(usize, usize, u16)> {
    let scale = f64::from(from) / f64::from(to);
    let last = f64::from(from - 1);
    (0..to)
        .map(|i| {
            let centre = ((f64::from(i) + 0.5) * scale - 0.5).clamp(0.0, last);
            let first = centre.floor();
            (first as usize, (first + 1.0).min(last) as usize, ((centre - first) * 128.0).round() as u16)
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_level_is_a_fifth_coarser_and_keeps_the_brightness() {
        let ramp = GrayImage::from_fn(300, 200, |x, _| image::Luma([(x * 255 / 299) as u8]));
        let pyramid = Pyramid::build(ramp, 5);
        assert_eq!(pyramid.levels.len(), 5);
        for level in &pyramid.levels {
            assert_eq!(level.picture.width(), (300.0 / level.size).round() as u32);
            let middle = level.picture.get_pixel(level.picture.width() / 2, 5).0[0];
            assert!((126..=130).contains(&middle), "{middle}");
        }
    }

    #[test]
    fn a_small_picture_has_fewer_levels() {
        assert_eq!(Pyramid::build(GrayImage::new(60, 50), 8).levels.len(), 2);
    }
}
