//! Taking in a video: ffprobe says what it is, ffmpeg cuts it into frames, and those that are worth a search become
//! keyframes.
//!
//! A video is hostile content. ffmpeg gets it as a file and nothing else: no network, no playlist formats that name
//! other files, only the containers below.

use std::{
    fs,
    io::ErrorKind,
    os::unix::ffi::OsStrExt as _,
    path::Path,
    process::{Command, Stdio},
};

use serde::Deserialize;

use super::{
    super::layout::{self, VIDEO, Video},
    Outcome, pictures, write_json,
};

/// Containers that are read: those that hold their pictures themselves.
const FORMATS: &str =
    "mov,mp4,m4a,3gp,3g2,mj2,matroska,webm,avi,mpeg,mpegts,mpegvideo,asf,flv,ogg,gif,nut,mxf,ivf,h264,hevc";
/// Wider frames are scaled down to this: what is smaller than a hand's breadth there is found all the same.
const MAX_WIDTH: u32 = 1_280;
/// A video that ends this much earlier than its header says is damaged.
const TOLERATED: f64 = 0.9;
/// Longest last words of ffmpeg that are told, characters.
const MAX_WORDS: usize = 300;

/// What to do when ffmpeg is not there.
pub(super) fn missing(program: &str) -> String {
    format!("`{program}` is not installed. On Debian: apt-get install ffmpeg")
}

/// Takes in a video: frames and keyframes below `out`.
pub(super) fn take(path: &Path, name: String, frame_rate: f64, out: &Path) -> Outcome {
    let facts = probe(path)?;
    let frames = out.join("frames");
    crate::data::make_folder(&frames)
        .map_err(|error| format!("frames cannot be written: {}", layout::word_of(&error)))?;
    let words = cut(path, frame_rate, &frames)?;
    let count = count_frames(&frames)?;
    if count == 0 {
        let words = if words.is_empty() { String::new() } else { format!(": {words}") };
        return Err(format!("No picture of the video could be read{words}"));
    }
    let cut_s = count as f64 / frame_rate;
    let duration_s = facts.duration_s.unwrap_or(cut_s);
    if cut_s + 1.0 / frame_rate + 1.0 < duration_s * TOLERATED {
        return Err(format!(
            "The video is damaged or cut off: it says that it lasts {}, but only {} could be read.",
            layout::clock(duration_s),
            layout::clock(cut_s)
        ));
    }
    println!("{count} frames of {}", layout::clock(duration_s));
    let keyframes = pictures::choose_keyframes(&frames, count, frame_rate)?;
    let (width, height) = pictures::size_of(&frames.join(frame_name(0)))?;
    keyframes.iter().try_for_each(|keyframe| keep_keyframe(out, keyframe.frame))?;
    println!("{} keyframes", keyframes.len());
    write_json(out, VIDEO, &Video { name, duration_s, width, height, frames: count, keyframes })
}

/// Name of a frame, counted from 0; ffmpeg begins with 1.
pub(super) fn frame_name(frame: usize) -> String {
    format!("{:06}.jpg", frame + 1)
}

/// A keyframe below the folder of the unit that took its video in.
pub(in super::super) fn keyframe_file(frame: usize) -> String {
    format!("keyframes/{}", frame_name(frame))
}

/// Moves a frame to the keyframes.
fn keep_keyframe(out: &Path, frame: usize) -> Outcome {
    crate::data::make_folder(&out.join("keyframes"))
        .and_then(|()| fs::rename(out.join("frames").join(frame_name(frame)), out.join(keyframe_file(frame))))
        .map_err(|error| format!("a keyframe cannot be stored: {}", layout::word_of(&error)))
}

fn count_frames(frames: &Path) -> Outcome<u64> {
    let entries = fs::read_dir(frames).map_err(|error| format!("frames cannot be read: {error}"))?;
    Ok(entries.count() as u64)
}

/// What the header of a video promises.
struct Facts {
    duration_s: Option<f64>,
}

#[derive(Deserialize)]
struct Probe {
    #[serde(default)]
    streams: Vec<serde_json::Value>,
    #[serde(default)]
    format: Format,
}

#[derive(Default, Deserialize)]
struct Format {
    duration: Option<String>,
}

fn probe(path: &Path) -> Outcome<Facts> {
    if fs::metadata(path).map_err(|error| format!("The video cannot be read: {}", layout::word_of(&error)))?.len() == 0
    {
        return Err("The file is empty.".to_owned());
    }
    let mut command = program("ffprobe");
    command.args(["-select_streams", "v:0", "-show_entries", "stream=codec_name:format=duration", "-of", "json"]);
    command.arg("-i").arg(as_file(path));
    let output = command.output().map_err(|error| not_started("ffprobe", &error))?;
    let words = last_words(&output.stderr);
    if !output.status.success() {
        return Err(format!("This is no video that can be read: {words}"));
    }
    let probe: Probe =
        serde_json::from_slice(&output.stdout).map_err(|error| format!("ffprobe said what cannot be read: {error}"))?;
    if probe.streams.is_empty() {
        return Err("The file has no pictures, only sound or other data.".to_owned());
    }
    let duration_s = probe.format.duration.and_then(|text| text.parse::<f64>().ok()).filter(|seconds| *seconds > 0.0);
    Ok(Facts { duration_s })
}

/// Cuts the video into `frames/000001.jpg` and on. Answers ffmpeg's last words.
fn cut(path: &Path, frame_rate: f64, frames: &Path) -> Outcome<String> {
    let mut command = program("ffmpeg");
    command.args(["-nostdin", "-threads", "1"]).arg("-i").arg(as_file(path));
    command.args(["-map", "0:v:0", "-an", "-sn", "-dn"]);
    command.args(["-vf", &format!("fps={frame_rate}:round=near,scale='min({MAX_WIDTH},iw)':-2")]);
    command.args(["-q:v", "3", "-f", "image2"]).arg(frames.join("%06d.jpg"));
    let output = command.output().map_err(|error| not_started("ffmpeg", &error))?;
    let words = last_words(&output.stderr);
    if words.contains("No space left on device") {
        return Err("no space left on the disk".to_owned());
    }
    Ok(words)
}

fn program(name: &str) -> Command {
    let mut command = Command::new(name);
    command.args(["-hide_banner", "-loglevel", "error", "-protocol_whitelist", "file", "-format_whitelist", FORMATS]);
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

/// `file:PATH`: a name may begin with a dash or look like a protocol.
fn as_file(path: &Path) -> std::ffi::OsString {
    let mut bytes = b"file:".to_vec();
    bytes.extend_from_slice(path.as_os_str().as_bytes());
    std::os::unix::ffi::OsStringExt::from_vec(bytes)
}

pub(super) fn not_started(name: &str, error: &std::io::Error) -> String {
    if error.kind() == ErrorKind::NotFound { missing(name) } else { format!("`{name}` could not be started: {error}") }
}

/// The last line, without the path of the file.
fn last_words(stderr: &[u8]) -> String {
    let text = String::from_utf8_lossy(stderr);
    let line = text.lines().rev().find(|line| !line.trim().is_empty()).unwrap_or_default().trim();
    let words = if line.starts_with("file:") { line.rsplit(": ").next().unwrap_or(line) } else { line };
    words.chars().take(MAX_WORDS).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn last_words_name_no_path() {
        assert_eq!(last_words(b"x\nfile:/a/b: c.mp4: Invalid data found\n\n"), "Invalid data found");
        assert_eq!(last_words(b"[mov] moov atom not found\n"), "[mov] moov atom not found");
        assert_eq!(last_words(b""), "");
    }
}
