//! Packages: a layout (shape, colours, bands, logo) and details (name, motif, small print). Look-alikes have the same
//! layout and other details, as the flavours of one brand do.

use std::f64::consts::TAU;

use image::{GrayImage, Luma, Rgb, RgbImage, imageops};

use super::{
    Random,
    canvas::{self, Colour, any_colour, colour, disc, polygon, rectangle, star, text, text_width},
};
use crate::geometry::{self, Point};

/// Packages are drawn this many times larger and then made smaller, for smooth edges.
const OVERSAMPLING: f64 = 2.0;

const BRANDS: [&str; 24] = [
    "ALPENA", "BRIOLA", "CASTOR", "DELMAR", "ESKADA", "FJORDA", "GALENA", "HELIOS", "INDIGO", "JUNIPER", "KALINA",
    "LUMERA", "MORAVA", "NORDIA", "OLIVIA", "PERLAN", "QUILLA", "ROSSIO", "SOLARA", "TAVIRA", "URBINO", "VERENA",
    "WESTRA", "ZEPHYR",
];
const FLAVOURS: [&str; 24] = [
    "ALMOND",
    "BASIL",
    "COCOA",
    "DARK TEA",
    "ESPRESSO",
    "FENNEL",
    "GINGER",
    "HAZELNUT",
    "ICED MINT",
    "JASMINE",
    "KIWI",
    "LEMON",
    "MANGO",
    "NUTMEG",
    "ORANGE",
    "PEPPER",
    "QUINCE",
    "ROSEHIP",
    "SESAME",
    "THYME",
    "UMAMI",
    "VANILLA",
    "WALNUT",
    "YUZU",
];

/// What a package looks like, before it is drawn.
#[derive(Clone, Debug)]
pub struct Design {
    layout: u64,
    details: u64,
    /// Hue and brightness of the flavour.
    accent: (f64, f64),
    brand: &'static str,
    flavour: &'static str,
}

/// A drawn package.
pub struct Package {
    pub picture: RgbImage,
    /// 255 on the package.
    pub mask: GrayImage,
    /// The convex outline, clockwise, in pixels.
    pub shape: Vec<Point>,
    ground: Ground,
}

struct Ground {
    colour: Colour,
    shade: f64,
    margin: (u32, u32),
}

impl Design {
    pub(super) fn new(random: &mut Random) -> Self {
        Self {
            layout: random.bits(),
            details: random.bits(),
            accent: any_accent(random),
            brand: random.pick(&BRANDS),
            flavour: random.pick(&FLAVOURS),
        }
    }

    /// The same brand and layout, another flavour: other name, other motif, and for every other one another colour.
    pub(super) fn look_alike(&self, random: &mut Random) -> Self {
        let mut flavour = self.flavour;
        while flavour == self.flavour {
            flavour = random.pick(&FLAVOURS);
        }
        let accent = if random.chance(0.5) { self.accent } else { any_accent(random) };
        Self { details: random.bits(), accent, flavour, ..*self }
    }

    #[must_use]
    pub fn title(&self) -> String {
        format!("{} {}", self.brand, self.flavour)
    }

    /// Size in pixels of the shot.
    pub(super) fn size(&self) -> (f64, f64) {
        let mut random = Random::new(self.layout);
        let long = random.between(340.0, 400.0).round();
        let short = (long * random.between(0.62, 0.86)).round();
        if random.chance(0.25) { (long, short) } else { (short, long) }
    }

    /// The convex outline in shares of width and height.
    pub(super) fn shape(&self) -> Vec<Point> {
        let mut random = Random::new(self.layout ^ 0x51);
        let corners: &[(f64, f64)] = match random.below(5) {
            0 => &[(0.08, 0.0), (0.92, 0.0), (1.0, 1.0), (0.0, 1.0)],
            1 => &[(0.1, 0.0), (0.9, 0.0), (1.0, 0.08), (1.0, 0.92), (0.9, 1.0), (0.1, 1.0), (0.0, 0.92), (0.0, 0.08)],
            2 => &[(0.2, 0.0), (0.8, 0.0), (1.0, 0.16), (1.0, 1.0), (0.0, 1.0), (0.0, 0.16)],
            _ => &[(0.0, 0.0), (1.0, 0.0), (1.0, 1.0), (0.0, 1.0)],
        };
        corners.iter().map(|&(x, y)| Point::new(x, y)).collect()
    }

    #[must_use]
    pub fn render(&self) -> Package {
        let (width, height) = self.size();
        let (w, h) = (width * OVERSAMPLING, height * OVERSAMPLING);
        let mut layout = Random::new(self.layout ^ 0xa7);
        let mut details = Random::new(self.details);
        let hue = layout.unit();
        let light = layout.chance(0.5);
        let base = colour(hue, if light { 0.25 } else { 0.75 }, if light { 0.93 } else { 0.5 });
        let ink = if light { colour(hue + 0.05, 0.8, 0.25) } else { [245, 242, 230] };
        let accent = colour(self.accent.0, 0.8, self.accent.1);
        let mut picture = RgbImage::from_pixel(w as u32, h as u32, Rgb(base));
        bands(&mut picture, &mut layout, hue, (w, h));
        motif(&mut picture, &mut layout, &mut details, (w, h), accent);
        logo(&mut picture, &mut layout, (w, h), ink, self.brand);
        name(&mut picture, &mut layout, (w, h), self.flavour, accent);
        small_print(&mut picture, &mut layout, &mut details, (w, h), ink);
        let small = imageops::resize(&picture, width as u32, height as u32, imageops::FilterType::Triangle);
        let shape: Vec<Point> =
            self.shape().iter().map(|p| Point::new(p.x * width - 0.5, p.y * height - 0.5)).collect();
        let inside = |x: u32, y: u32| geometry::contains(&shape, Point::new(f64::from(x), f64::from(y)));
        let mask = GrayImage::from_fn(width as u32, height as u32, |x, y| Luma([if inside(x, y) { 255 } else { 0 }]));
        Package { picture: small, mask, shape, ground: Ground::new(&mut Random::new(self.layout ^ 0x77)) }
    }
}

fn any_accent(random: &mut Random) -> (f64, f64) {
    (random.unit(), random.between(0.6, 0.9))
}

/// Bands and a frame that the brand has on all its packages.
fn bands(picture: &mut RgbImage, random: &mut Random, hue: f64, (w, h): (f64, f64)) {
    for _ in 0..=random.below(2) {
        let from = random.between(0.0, 0.8) * h;
        let shade = colour(hue + random.between(-0.15, 0.15), random.between(0.3, 0.9), random.between(0.3, 0.95));
        let slope = random.between(-0.25, 0.25) * h;
        let thick = random.between(0.05, 0.16) * h;
        let corners = [
            Point::new(0.0, from),
            Point::new(w, from + slope),
            Point::new(w, from + slope + thick),
            Point::new(0.0, from + thick),
        ];
        polygon(picture, &corners, shade);
    }
    if random.chance(0.5) {
        let (rim, shade) = (0.025 * w, colour(hue + 0.5, 0.6, 0.8));
        rectangle(picture, Point::new(rim, rim), Point::new(w - rim, rim * 1.6), shade);
        rectangle(picture, Point::new(rim, h - rim * 1.6), Point::new(w - rim, h - rim), shade);
    }
}

/// The picture on the package: its place is the layout's, what it shows the details'.
fn motif(picture: &mut RgbImage, layout: &mut Random, details: &mut Random, (w, h): (f64, f64), accent: Colour) {
    let centre = Point::new(w * layout.between(0.35, 0.65), h * layout.between(0.5, 0.65));
    let reach = w.min(h) * layout.between(0.26, 0.36);
    disc(picture, centre, reach * 1.1, colour(layout.unit(), 0.15, 0.95));
    let kind = details.below(3);
    for _ in 0..details.below(8) + 9 {
        let (sin, cos) = (details.unit() * TAU).sin_cos();
        let away = details.unit().sqrt() * reach * 0.85;
        let at = centre.moved(away * cos, away * sin);
        let size = reach * details.between(0.1, 0.3);
        let shade = if details.chance(0.5) { accent } else { any_colour(details) };
        match kind {
            0 => disc(picture, at, size, shade),
            1 => polygon(
                picture,
                &star(at, size * 1.3, 3 + details.below(4) as usize, 0.45, details.unit() * TAU),
                shade,
            ),
            _ => {
                polygon(picture, &star(at, size * 1.2, 2 + details.below(2) as usize, 0.6, details.unit() * TAU), shade)
            }
        }
        disc(picture, at.moved(size * 0.2, -size * 0.2), size * 0.25, any_colour(details));
    }
}

fn logo(picture: &mut RgbImage, layout: &mut Random, (w, _): (f64, f64), ink: Colour, brand: &str) {
    let at = Point::new(w * layout.between(0.18, 0.26), w * layout.between(0.13, 0.17));
    let radius = w * layout.between(0.07, 0.1);
    let points = 3 + layout.below(6) as usize;
    polygon(picture, &star(at, radius, points, layout.between(0.4, 0.9), layout.unit()), ink);
    disc(picture, at, radius * 0.35, any_colour(layout));
    let dot = w * 0.5 / text_width(brand);
    text(picture, Point::new(at.x + radius * 1.5, at.y - 3.5 * dot), dot, brand, ink);
}

/// The flavour in large letters on a plate.
fn name(picture: &mut RgbImage, layout: &mut Random, (w, h): (f64, f64), flavour: &str, accent: Colour) {
    let dot = (w * 0.72 / text_width(flavour)).min(w * 0.024);
    let width = text_width(flavour) * dot;
    let at = Point::new((w - width) / 2.0, h * layout.between(0.3, 0.36));
    rectangle(picture, at.moved(-3.0 * dot, -2.0 * dot), at.moved(width + 3.0 * dot, 9.0 * dot), accent);
    let dark = accent.iter().map(|&c| u32::from(c)).sum::<u32>() < 400;
    text(picture, at, dot, flavour, if dark { [255; 3] } else { [20; 3] });
}

/// Lines of small letters and a bar code.
fn small_print(picture: &mut RgbImage, layout: &mut Random, details: &mut Random, (w, h): (f64, f64), ink: Colour) {
    let dot = w * 0.0062;
    let top = h * layout.between(0.82, 0.86);
    for line in 0..4 {
        let words: String = (0..26)
            .map(|_| if details.chance(0.18) { ' ' } else { char::from(b'A' + details.below(26) as u8) })
            .collect();
        text(picture, Point::new(w * 0.06, top + f64::from(line) * dot * 9.0), dot, &words, ink);
    }
    let left = w * 0.68;
    rectangle(picture, Point::new(left - 6.0, top - 4.0), Point::new(w * 0.95, top + h * 0.1), [255; 3]);
    let mut x = left;
    while x < w * 0.92 {
        let bar = w * 0.005 * (1 + details.below(3)) as f64;
        rectangle(picture, Point::new(x, top), Point::new(x + bar, top + h * 0.08), [15; 3]);
        x += bar + w * 0.005 * (1 + details.below(3)) as f64;
    }
}

impl Ground {
    fn new(random: &mut Random) -> Self {
        let white = random.chance(0.6);
        Self {
            colour: if white { [250, 250, 250] } else { colour(random.unit(), 0.35, 0.85) },
            shade: random.between(0.0, 0.3),
            margin: (30 + random.below(50) as u32, 30 + random.below(50) as u32),
        }
    }
}

impl Package {
    /// The package on its ground with a soft shadow, as a shop would show it.
    #[must_use]
    pub fn shot(&self) -> RgbImage {
        let (mx, my) = self.ground.margin;
        let (width, height) = self.picture.dimensions();
        let (w, h) = (f64::from(width), f64::from(height));
        RgbImage::from_fn(width + 2 * mx, height + 2 * my, |x, y| {
            let (px, py) = (x.wrapping_sub(mx), y.wrapping_sub(my));
            if px < width && py < height && self.mask.get_pixel(px, py).0[0] > 0 {
                return *self.picture.get_pixel(px, py);
            }
            // The shadow lies around the foot of the package.
            let (dx, dy) =
                ((f64::from(x) - f64::from(mx) - w / 2.0) / (w * 0.6), (f64::from(y) - f64::from(my) - h) / 28.0);
            let shadow = (1.0 - dx.hypot(dy)).max(0.0) * self.ground.shade;
            Rgb(self.ground.colour.map(|c| (f64::from(c) * (1.0 - shadow)) as u8))
        })
    }
}

/// Things that are no packages, for backgrounds and in front of products.
pub(super) fn clutter(picture: &mut RgbImage, random: &mut Random, low: Point, high: Point, count: usize) {
    for _ in 0..count {
        let at = Point::new(random.between(low.x, high.x), random.between(low.y, high.y));
        let size = random.between(6.0, 70.0);
        let shade = any_colour(random);
        match random.below(6) {
            0 => disc(picture, at, size * 0.7, shade),
            1 => rectangle(picture, at, at.moved(size * random.between(0.4, 2.5), size), shade),
            2 => {
                let words: String =
                    (0..3 + random.below(8)).map(|_| char::from(b'A' + random.below(26) as u8)).collect();
                text(picture, at, random.between(1.0, 5.0), &words, shade);
            }
            3 => polygon(
                picture,
                &star(at, size, 3 + random.below(5) as usize, random.between(0.3, 1.0), random.unit()),
                shade,
            ),
            4 => {
                let turn = random.unit() * TAU;
                let (sin, cos) = turn.sin_cos();
                let (long, thin) = (size * 3.0, random.between(1.0, 6.0));
                let corners = [(-1.0, -1.0), (1.0, -1.0), (1.0, 1.0), (-1.0, 1.0)]
                    .map(|(a, b)| at.moved(a * long * cos - b * thin * sin, a * long * sin + b * thin * cos));
                polygon(picture, &corners, shade);
            }
            _ => {
                let (step, other) = (random.between(4.0, 14.0), any_colour(random));
                let side = size * 1.5;
                rectangle(picture, at, at.moved(side, side), shade);
                canvas::fill(picture, at, at.moved(side, side), other, |p| {
                    (((p.x - at.x) / step) as i64 + ((p.y - at.y) / step) as i64) % 2 == 0
                });
            }
        }
    }
}
