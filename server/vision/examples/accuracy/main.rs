//! Measures how well and how fast products are found: `cargo run --release -p belay-vision --example accuracy -- FOLDER`.
//!
//! Makes a set with known truth in FOLDER (once), cuts frames with ffmpeg, looks for all products in two processes, and
//! compares with the truth. With `--python PATH` the same frames go through OpenCV's ORB as well (`opencv.py`).

mod judge;
mod make;
mod work;

use std::{
    env,
    error::Error,
    fs,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::Instant,
};

use judge::{Answer, Judgement};
use vision::sample::{Settings, Truth};

type Result<T> = std::result::Result<T, Box<dyn Error>>;

/// What was asked for on the command line.
struct Asked {
    folder: PathBuf,
    settings: Settings,
    python: Option<PathBuf>,
    details: bool,
}

fn main() -> Result<()> {
    let arguments: Vec<String> = env::args().skip(1).collect();
    if arguments.first().is_some_and(|a| a == "work") {
        return work::run(Path::new(&arguments[1]), arguments[2].parse()?, arguments[3].parse()?);
    }
    let asked = parse(&arguments)?;
    make::set(&asked.folder, &asked.settings)?;
    let truth: Truth = serde_json::from_slice(&fs::read(asked.folder.join("truth.json"))?)?;
    let seconds: f64 = truth.videos.iter().filter_map(|v| v.scenes.last()).map(|s| s.to_s).sum();
    println!("{} products, {} videos, {seconds} s", truth.products.len(), truth.videos.len());
    let started = Instant::now();
    let ours = ours(&asked.folder)?;
    report("belay", &truth, &ours, started.elapsed().as_secs_f64(), seconds, asked.details);
    if let Some(python) = &asked.python {
        let started = Instant::now();
        let theirs = theirs(&asked.folder, python)?;
        report("OpenCV ORB", &truth, &theirs, started.elapsed().as_secs_f64(), seconds, asked.details);
    }
    Ok(())
}

fn parse(arguments: &[String]) -> Result<Asked> {
    let mut asked = Asked { folder: PathBuf::new(), settings: Settings::default(), python: None, details: false };
    let mut rest = arguments.iter();
    while let Some(argument) = rest.next() {
        let mut value = || rest.next().ok_or(format!("{argument} needs a value"));
        match argument.as_str() {
            "--seed" => asked.settings.seed = value()?.parse()?,
            "--videos" => asked.settings.videos = value()?.parse()?,
            "--products" => asked.settings.present = value()?.parse()?,
            "--scenes" => asked.settings.scenes = value()?.parse()?,
            "--python" => asked.python = Some(value()?.into()),
            "--details" => asked.details = true,
            folder => asked.folder = folder.into(),
        }
    }
    if asked.folder.as_os_str().is_empty() {
        return Err(
            "usage: accuracy FOLDER [--seed N] [--videos N] [--products N] [--scenes N] [--python PATH] [--details]"
                .into(),
        );
    }
    Ok(asked)
}

/// Two processes, each with every other video.
fn ours(folder: &Path) -> Result<Answer> {
    let start = |part: &str| {
        Command::new(env::current_exe()?).arg("work").arg(folder).args([part, "2"]).stdout(Stdio::piped()).spawn()
    };
    let workers = [start("0")?, start("1")?];
    let mut all = Answer::default();
    for worker in workers {
        let output = worker.wait_with_output()?;
        if !output.status.success() {
            return Err("a worker failed".into());
        }
        all.add(serde_json::from_slice(&output.stdout)?);
    }
    Ok(all)
}

fn theirs(folder: &Path, python: &Path) -> Result<Answer> {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/accuracy/opencv.py");
    let output = Command::new(python).arg(script).arg(folder).stdout(Stdio::piped()).spawn()?.wait_with_output()?;
    if !output.status.success() {
        return Err("the comparison failed".into());
    }
    Ok(serde_json::from_slice(&output.stdout)?)
}

fn report(who: &str, truth: &Truth, answer: &Answer, elapsed: f64, seconds: f64, details: bool) {
    let Judgement { recall, precision, iou, text } = judge::judge(truth, &answer.sightings);
    if details {
        print!("{text}");
    }
    println!(
        "{who}: recall {recall:.3}, precision {precision:.3}, median overlap {iou:.3}; for a video of 60 s {:.1} s ({:.1} s of one processor), at most {} MB a process, {} keyframes",
        elapsed * 60.0 / seconds,
        answer.processor_s * 60.0 / seconds,
        answer.peak_kb / 1024,
        answer.keyframes,
    );
    for (step, spent) in &answer.spent {
        println!("  {step}: {:.1} ms a keyframe", spent * 1000.0 / answer.keyframes.max(1) as f64);
    }
}
