//! The steps: what the program does in the child process of one unit. A step reads its [`Task`], leaves its result in
//! `out` and ends with 0; when it cannot, it writes one sentence for the operator and ends with 1. It is single-threaded
//! and keeps the default of every signal, so that a SIGTERM ends it at once.

mod pictures;
pub(super) mod sample;
pub(super) mod video;

use std::{
    collections::BTreeMap,
    ffi::OsString,
    fs,
    io::Write as _,
    path::{Path, PathBuf},
    process::ExitCode,
};

use serde::{Deserialize, Serialize};

use super::layout::{self, Artifacts};
use crate::{
    error::{Error, Result},
    kinds::{files::command, trees::WHY},
};

/// The first argument that makes the program carry out a step.
pub const STEP_ARGUMENT: &str = "__product-matching-step";
/// The task, in the folder that the step is started in.
const TASK: &str = "task.json";
/// Environment variable with the file to be taken in: its name may be no UTF-8.
const INPUT: &str = "BELAY_FILE";

/// Why a step cannot be done: one sentence for the operator.
pub(super) type Outcome<T = ()> = std::result::Result<T, String>;

/// One step. Numbers are units: see [`layout`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "step", rename_all = "snake_case")]
pub(super) enum Step {
    TakeProduct {
        name: String,
    },
    TakeVideo {
        name: String,
        frame_rate: f64,
    },
    SampleProduct {
        name: String,
        product: usize,
    },
    SampleVideo {
        name: String,
        video: usize,
        frame_rate: f64,
    },
    ProductFeatures {
        product: u64,
    },
    KeyframeFeatures {
        video: u64,
        from: usize,
        to: usize,
    },
    Match {
        chunk: u64,
    },
    Evidence {
        video: u64,
    },
    /// With the unit that drew the evidence of each video. Pairs: serde reads no numbers as keys within a tagged enum.
    Results {
        evidence: Vec<(u64, u64)>,
    },
}

/// A step and where it finds and leaves things.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Task {
    /// What the units before left.
    pub(super) artifacts: PathBuf,
    /// Where the result goes.
    pub(super) out: PathBuf,
    pub(super) step: Step,
}

impl Task {
    pub(super) fn write(&self, work: &Path) -> Result<()> {
        let text = serde_json::to_vec(self).map_err(|error| Error::internal("a task could not be written", error))?;
        Ok(fs::write(work.join(TASK), text)?)
    }

    fn read() -> Outcome<Task> {
        let text = fs::read(TASK).map_err(|error| format!("the task cannot be read: {error}"))?;
        serde_json::from_slice(&text).map_err(|error| format!("the task cannot be read: {error}"))
    }
}

/// The whole environment of a step.
pub(super) fn environment(input: &Path, scratch: &Path) -> Vec<(OsString, OsString)> {
    vec![
        ("PATH".into(), command::search_path()),
        ("LANG".into(), "C.UTF-8".into()),
        ("TMPDIR".into(), scratch.into()),
        (INPUT.into(), input.into()),
    ]
}

/// Where ffmpeg is; else what to do about it.
pub(super) fn find_ffmpeg() -> Outcome {
    for program in ["ffmpeg", "ffprobe"] {
        if !std::env::split_paths(&command::search_path()).any(|folder| folder.join(program).is_file()) {
            return Err(video::missing(program));
        }
    }
    Ok(())
}

/// Carries out the step in whose folder the process was started. For the child process only.
#[must_use]
pub fn step_main() -> ExitCode {
    match carry_out() {
        Ok(()) => ExitCode::SUCCESS,
        Err(why) => {
            eprintln!("{why}");
            // On a full disk the log has it all the same.
            let _ = fs::write(WHY, why);
            ExitCode::FAILURE
        }
    }
}

fn carry_out() -> Outcome {
    let Task { artifacts, out, step } = Task::read()?;
    let input = || std::env::var_os(INPUT).map(PathBuf::from).unwrap_or_default();
    let artifacts = Artifacts::read(&artifacts).map_err(|error| format!("what came before cannot be read: {error}"))?;
    match step {
        Step::TakeProduct { name } => pictures::take_product(&input(), name, &out),
        Step::TakeVideo { name, frame_rate } => video::take(&input(), name, frame_rate, &out),
        Step::SampleProduct { name, product } => sample::take_product(product, name, &out),
        Step::SampleVideo { name, video, frame_rate } => sample::take_video(video, name, frame_rate, &out),
        Step::ProductFeatures { product } => pictures::product_features(&artifacts, product, &out),
        Step::KeyframeFeatures { video, from, to } => pictures::keyframe_features(&artifacts, video, from, to, &out),
        Step::Match { chunk } => pictures::look_for_products(&artifacts, chunk, &out),
        Step::Evidence { video } => pictures::draw_evidence(&artifacts, video, &out),
        Step::Results { evidence } => write_results(&artifacts, &evidence.into_iter().collect(), &out),
    }
}

fn write_results(artifacts: &Artifacts, evidence: &BTreeMap<u64, u64>, out: &Path) -> Outcome {
    let results = artifacts.results_with(evidence);
    write_json(out, "results/results.json", &results)?;
    let failed = |error: csv::Error| format!("the results cannot be written: {error}");
    let mut table = csv::Writer::from_path(out.join("results/results.csv")).map_err(failed)?;
    table.write_record(["product", "video", "from_s", "to_s", "best_s", "score", "evidence"]).map_err(failed)?;
    for sighting in &results.sightings {
        let numbers = [sighting.from_s, sighting.to_s, sighting.best_s].map(|seconds| format!("{seconds:.2}"));
        let [from, to, best] = &numbers;
        let score = format!("{:.3}", sighting.score);
        let evidence = sighting.evidence.as_deref().unwrap_or_default();
        table.write_record([&sighting.product, &sighting.video, from, to, best, &score, evidence]).map_err(failed)?;
    }
    for product in results.products.iter().filter(|product| product.sightings == 0) {
        table.write_record([product.name.as_str(), "", "", "", "", "", ""]).map_err(failed)?;
    }
    table.flush().map_err(|error| format!("the results cannot be written: {error}"))?;
    let _ = writeln!(
        std::io::stdout(),
        "{} sightings of {} products in {} videos",
        results.sightings.len(),
        results.products.iter().filter(|product| product.sightings > 0).count(),
        results.videos.len()
    );
    Ok(())
}

/// Writes `out/path`, with the folders that it needs.
pub(super) fn write_json<T: Serialize>(out: &Path, path: &str, value: &T) -> Outcome {
    let text = serde_json::to_vec_pretty(value).map_err(|error| format!("{path} cannot be written: {error}"))?;
    write_file(out, path, &text)
}

/// The same for bytes.
pub(super) fn write_file(out: &Path, path: &str, bytes: &[u8]) -> Outcome {
    let place = out.join(path);
    let folder = place.parent().unwrap_or(out);
    crate::data::make_folder(folder)
        .and_then(|()| fs::write(&place, bytes))
        .map_err(|error| format!("{path} cannot be written: {}", layout::word_of(&error)))
}
