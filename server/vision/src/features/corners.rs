//! Corners: FAST-9 (Rosten and Drummond, "Machine learning for high-speed corner detection", ECCV 2006) with
//! suppression of neighbours, ranked by Harris' measure (Harris and Stephens, 1988), spread over the picture.

use image::GrayImage;

/// Pixels from the border without corners: a keypoint's surroundings must be inside the picture.
pub(super) const MARGIN: usize = 18;

/// The picture is divided into squares of this side, and no square gets more than a few times its share.
const SQUARE: usize = 40;
const MOST_PER_SQUARE: f64 = 3.0;

pub(super) struct Corner {
    pub x: usize,
    pub y: usize,
    /// The place between the pixels.
    pub sub_x: f32,
    pub sub_y: f32,
    strength: f32,
}

/// The circle of 16 pixels around a corner, clockwise from the top.
const CIRCLE: [(i32, i32); 16] = [
    (0, -3),
    (1, -3),
    (2, -2),
    (3, -1),
    (3, 0),
    (3, 1),
    (2, 2),
    (1, 3),
    (0, 3),
    (-1, 3),
    (-2, 2),
    (-3, 1),
    (-3, 0),
    (-3, -1),
    (-2, -2),
    (-1, -3),
];

/// The strongest corners, at most `count`, where `allowed(x, y)`.
pub(super) fn find(
    picture: &GrayImage,
    contrast: u8,
    count: usize,
    allowed: &dyn Fn(usize, usize) -> bool,
) -> Vec<Corner> {
    let (width, height) = (picture.width() as usize, picture.height() as usize);
    if width <= 2 * MARGIN || height <= 2 * MARGIN || count == 0 {
        return Vec::new();
    }
    let pixels = picture.as_raw();
    let mut corners = Vec::new();
    for (x, y) in peaks(pixels, width, height, contrast) {
        if allowed(x, y) {
            let strength = harris(pixels, width, x, y);
            if strength > 0.0 {
                corners.push(Corner { x, y, sub_x: x as f32, sub_y: y as f32, strength });
            }
        }
    }
    let mut kept = spread(corners, width, height, count);
    for corner in &mut kept {
        refine(pixels, width, corner);
    }
    kept
}

/// FAST corners whose score is the greatest among their eight neighbours.
fn peaks(pixels: &[u8], width: usize, height: usize, contrast: u8) -> Vec<(usize, usize)> {
    let offsets = CIRCLE.map(|(dx, dy)| dy as isize * width as isize + dx as isize);
    let mut flags = vec![0_u8; width];
    // Scores of the row above, the middle one and the one below, in turns.
    let mut scores = [vec![0_u8; width], vec![0_u8; width], vec![0_u8; width]];
    let mut places: [Vec<usize>; 3] = Default::default();
    let mut peaks = Vec::new();
    for y in MARGIN - 1..=height - MARGIN {
        let now = y % 3;
        for &x in &places[now] {
            scores[now][x] = 0;
        }
        places[now].clear();
        flag_row(pixels, width, y, contrast, &mut flags);
        for x in MARGIN - 1..=width - MARGIN {
            if flags[x] != 0 {
                let score = score(pixels, y * width + x, &offsets, contrast);
                if score > 0 {
                    scores[now][x] = score;
                    places[now].push(x);
                }
            }
        }
        if y > MARGIN {
            let (above, middle) = ((y + 1) % 3, (y + 2) % 3);
            for &x in &places[middle] {
                let s = scores[middle][x];
                let greatest = s > scores[middle][x - 1]
                    && s >= scores[middle][x + 1]
                    && (x - 1..=x + 1).all(|i| s > scores[above][i] && s >= scores[now][i]);
                if greatest && x >= MARGIN && x < width - MARGIN {
                    peaks.push((x, y - 1));
                }
            }
        }
    }
    peaks
}

/// Marks what may be a corner: of the four pixels at the compass points two are brighter or two are darker, as nine
/// in a row out of sixteen have it. Written so that the compiler does many pixels at once.
fn flag_row(pixels: &[u8], width: usize, y: usize, contrast: u8, flags: &mut [u8]) {
    let row = |y: usize| &pixels[y * width..(y + 1) * width];
    let (above, below, here) = (row(y - 3), row(y + 3), row(y));
    let n = width - 6;
    let (north, south) = (&above[3..3 + n], &below[3..3 + n]);
    let (west, east, centre) = (&here[..n], &here[6..6 + n], &here[3..3 + n]);
    let flags = &mut flags[3..3 + n];
    for i in 0..n {
        let low = centre[i].saturating_sub(contrast);
        let high = centre[i].saturating_add(contrast);
        let brighter =
            u8::from(north[i] > high) + u8::from(south[i] > high) + u8::from(west[i] > high) + u8::from(east[i] > high);
        let darker =
            u8::from(north[i] < low) + u8::from(south[i] < low) + u8::from(west[i] < low) + u8::from(east[i] < low);
        flags[i] = u8::from(brighter >= 2) | u8::from(darker >= 2);
    }
}

/// The greatest contrast at which nine pixels in a row on the circle are all brighter or all darker; 0 for no corner.
fn score(pixels: &[u8], at: usize, offsets: &[isize; 16], contrast: u8) -> u8 {
    let centre = i16::from(pixels[at]);
    let limit = i16::from(contrast);
    let ring = offsets.map(|o| i16::from(pixels[at.wrapping_add_signed(o)]) - centre);
    let (mut brighter, mut darker) = (0_u32, 0_u32);
    for (i, &d) in ring.iter().enumerate() {
        brighter |= u32::from(d > limit) << i;
        darker |= u32::from(d < -limit) << i;
    }
    let best = if has_nine(brighter) {
        best_arc(&ring)
    } else if has_nine(darker) {
        best_arc(&ring.map(|d| -d))
    } else {
        return 0;
    };
    best.clamp(0, 255) as u8
}

fn has_nine(mask: u32) -> bool {
    let ring = mask | (mask << 16);
    let two = ring & (ring >> 1);
    let four = two & (two >> 2);
    let eight = four & (four >> 4);
    eight & (ring >> 8) & 0xffff != 0
}

fn best_arc(ring: &[i16; 16]) -> i16 {
    let mut best = 0;
    for start in 0..16 {
        let least = (0..9).map(|k| ring[(start + k) & 15]).min().unwrap_or(0);
        best = best.max(least);
    }
    best
}

/// Harris' measure over 7 x 7 pixels, `det - 0.04 trace^2`, of central differences.
fn harris(pixels: &[u8], width: usize, x: usize, y: usize) -> f32 {
    let (mut xx, mut yy, mut xy) = (0_i32, 0_i32, 0_i32);
    for row in y - 3..=y + 3 {
        let from = row * width + x - 3;
        let (above, here, below) =
            (&pixels[from - width - 1..][..9], &pixels[from - 1..][..9], &pixels[from + width - 1..][..9]);
        for i in 1..8 {
            let p = |row: &[u8], i: usize| i32::from(row[i]);
            let dx = 2 * (p(here, i + 1) - p(here, i - 1)) + p(above, i + 1) - p(above, i - 1) + p(below, i + 1)
                - p(below, i - 1);
            let dy =
                2 * (p(below, i) - p(above, i)) + p(below, i - 1) - p(above, i - 1) + p(below, i + 1) - p(above, i + 1);
            xx += dx * dx;
            yy += dy * dy;
            xy += dx * dy;
        }
    }
    let scale = 1.0 / (49.0 * 64.0 * 255.0);
    let (a, b, c) = (xx as f32 * scale, yy as f32 * scale, xy as f32 * scale);
    a * b - c * c - 0.04 * (a + b) * (a + b)
}

/// The strongest ones, after the weaker ones in crowded squares have been left out.
fn spread(mut corners: Vec<Corner>, width: usize, height: usize, count: usize) -> Vec<Corner> {
    corners.sort_unstable_by(|a, b| b.strength.total_cmp(&a.strength).then((a.y, a.x).cmp(&(b.y, b.x))));
    if corners.len() <= count {
        return corners;
    }
    let across = width.div_ceil(SQUARE);
    let squares = across * height.div_ceil(SQUARE);
    let most = (MOST_PER_SQUARE * count as f64 / squares as f64).ceil() as usize;
    let mut taken = vec![0_usize; squares];
    let (mut kept, mut crowded) = (Vec::with_capacity(count), Vec::new());
    for corner in corners {
        let square = &mut taken[corner.y / SQUARE * across + corner.x / SQUARE];
        *square += 1;
        if *square <= most {
            kept.push(corner);
            if kept.len() == count {
                return kept;
            }
        } else {
            crowded.push(corner);
        }
    }
    let room = count - kept.len();
    kept.extend(crowded.into_iter().take(room));
    kept
}

/// Moves a corner between the pixels: the top of a parabola through Harris' measure in x and in y.
fn refine(pixels: &[u8], width: usize, corner: &mut Corner) {
    let at = |dx: isize, dy: isize| {
        harris(pixels, width, corner.x.wrapping_add_signed(dx), corner.y.wrapping_add_signed(dy))
    };
    let top = |before: f32, after: f32| {
        let bend = before - 2.0 * corner.strength + after;
        if bend < -1e-12 { ((before - after) / (2.0 * bend)).clamp(-0.5, 0.5) } else { 0.0 }
    };
    let (dx, dy) = (top(at(-1, 0), at(1, 0)), top(at(0, -1), at(0, 1)));
    corner.sub_x += dx;
    corner.sub_y += dy;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nine_in_a_row_are_found_wherever_they_start() {
        for start in 0..16 {
            let mut mask = 0_u32;
            for k in 0..9 {
                mask |= 1 << ((start + k) % 16);
            }
            assert!(has_nine(mask), "from {start}");
            assert!(!has_nine(mask & !(1 << ((start + 4) % 16))), "broken, from {start}");
        }
    }

    #[test]
    fn the_corners_of_a_square_are_found() {
        let picture = GrayImage::from_fn(120, 120, |x, y| {
            image::Luma([if (40..80).contains(&x) && (40..80).contains(&y) { 220 } else { 30 }])
        });
        let corners = find(&picture, 20, 50, &|_, _| true);
        for (x, y) in [(40, 40), (79, 40), (40, 79), (79, 79)] {
            assert!(corners.iter().any(|c| c.x.abs_diff(x) <= 2 && c.y.abs_diff(y) <= 2), "{x}, {y}");
        }
    }

    #[test]
    fn a_crowded_place_does_not_take_all() {
        let picture = GrayImage::from_fn(400, 400, |x, y| {
            let busy = x < 80 && y < 80;
            let dot = if busy { (x * 7 + y * 13) % 11 < 3 } else { x % 20 < 4 && y % 20 < 4 };
            image::Luma([if dot { if busy { 255 } else { 120 } } else { 20 }])
        });
        let corners = find(&picture, 20, 300, &|_, _| true);
        let elsewhere = corners.iter().filter(|c| c.x > 90 || c.y > 90).count();
        assert!(elsewhere > 200, "{elsewhere} of {}", corners.len());
    }
}
