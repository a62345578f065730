//! What a job found, as JSON and as CSV.

use std::io::{self, Write};

use serde::{Deserialize, Serialize};

use crate::{geometry::Point, sightings::Sighting};

/// The whole answer: `results.json`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Results {
    pub products: Vec<ProductResult>,
    pub videos: Vec<VideoResult>,
    pub sightings: Vec<SightingResult>,
}

/// A product that was looked for, also one that was not seen.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ProductResult {
    pub name: String,
    /// The file it came from.
    pub image: String,
    pub sightings: usize,
    /// Why it could not be looked for.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub problem: Option<String>,
}

/// A video that was looked at.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct VideoResult {
    pub name: String,
    pub duration_s: f64,
    pub frames: usize,
    pub keyframes: usize,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub problem: Option<String>,
}

/// A product seen in a video.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct SightingResult {
    pub product: String,
    pub video: String,
    pub from_s: f64,
    pub to_s: f64,
    /// When it is seen best.
    pub best_s: f64,
    /// 0 to 1, see `matching::Find::score`.
    pub score: f64,
    /// Corners in pixels of the frame, rounded to a tenth.
    pub outline: Vec<[f64; 2]>,
    /// The picture with the outline drawn, relative to this file.
    pub evidence: String,
}

impl SightingResult {
    #[must_use]
    pub fn new(product: &str, video: &str, sighting: &Sighting, evidence: &str) -> Self {
        let tenth = |v: f64| (v * 10.0).round() / 10.0;
        let thousandth = |v: f64| (v * 1000.0).round() / 1000.0;
        Self {
            product: product.to_owned(),
            video: video.to_owned(),
            from_s: thousandth(sighting.from_s),
            to_s: thousandth(sighting.to_s),
            best_s: thousandth(sighting.best_s),
            score: thousandth(sighting.score),
            outline: sighting.outline.iter().map(|Point { x, y }| [tenth(*x), tenth(*y)]).collect(),
            evidence: evidence.to_owned(),
        }
    }
}

/// Writes the sightings as CSV (RFC 4180), a row each, and a row without times for each product that was not seen.
///
/// # Errors
/// When writing fails.
pub fn write_csv(results: &Results, out: &mut dyn Write) -> io::Result<()> {
    write!(out, "product,video,from_s,to_s,best_s,score,outline,evidence\r\n")?;
    for s in &results.sightings {
        let corners: Vec<String> = s.outline.iter().map(|[x, y]| format!("{x} {y}")).collect();
        let (product, video, evidence) = (field(&s.product), field(&s.video), field(&s.evidence));
        let (from, to, best, score) = (s.from_s, s.to_s, s.best_s, s.score);
        write!(out, "{product},{video},{from},{to},{best},{score},{},{evidence}\r\n", field(&corners.join("; ")))?;
    }
    for product in results.products.iter().filter(|p| p.sightings == 0) {
        write!(out, "{},,,,,,,\r\n", field(&product.name))?;
    }
    out.flush()
}

/// Names are what somebody called a file. In quotes where needed; and a name that a spreadsheet would take for
/// a formula gets an apostrophe, which spreadsheets do not show.
fn field(text: &str) -> String {
    let formula = text.starts_with(['=', '+', '-', '@', '\t', '\r']);
    let text = if formula { format!("'{text}") } else { text.to_owned() };
    if text.contains([',', '"', '\n', '\r']) { format!("\"{}\"", text.replace('"', "\"\"")) } else { text }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn results() -> Results {
        let sighting = Sighting {
            product: 0,
            from_s: 1.0,
            to_s: 2.5,
            best_frame: 3,
            best_s: 1.5,
            outline: vec![Point::new(1.04, 2.0), Point::new(3.0, 4.0), Point::new(5.0, 6.26)],
            score: 0.87654,
            keyframes: 2,
        };
        let product = |name: &str, sightings| ProductResult {
            name: name.into(),
            image: format!("{name}.png"),
            sightings,
            problem: None,
        };
        Results {
            products: vec![product("tea, green \"bio\"", 1), product("=cocoa", 0)],
            videos: vec![VideoResult { name: "a.mp4".into(), duration_s: 3.0, frames: 6, keyframes: 3, problem: None }],
            sightings: vec![SightingResult::new("tea, green \"bio\"", "a.mp4", &sighting, "evidence/1.jpg")],
        }
    }

    #[test]
    fn hostile_names_stay_one_field_and_no_formula() {
        let mut bytes = Vec::new();
        write_csv(&results(), &mut bytes).unwrap();
        let text = String::from_utf8(bytes).unwrap();
        let lines: Vec<_> = text.lines().collect();
        assert_eq!(lines[1], "\"tea, green \"\"bio\"\"\",a.mp4,1,2.5,1.5,0.877,1 2; 3 4; 5 6.3,evidence/1.jpg");
        assert_eq!(lines[2], "'=cocoa,,,,,,,");
    }

    #[test]
    fn json_reads_back_as_it_was() {
        let text = serde_json::to_string(&results()).unwrap();
        assert_eq!(serde_json::from_str::<Results>(&text).unwrap(), results());
        assert!(!text.contains("problem"));
    }
}
