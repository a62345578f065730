//! The set on disk: shots, videos through a real encoder, frames cut from them.

use std::{
    fs,
    io::{self, BufWriter},
    path::Path,
    process::{Command, Stdio},
};

use vision::sample::{Set, Settings};

use crate::Result;

/// Frames a second that are cut out.
pub(crate) const CUT_RATE: f64 = 2.0;

/// Makes what is missing. A set of other settings in the same folder is an error.
pub(crate) fn set(folder: &Path, settings: &Settings) -> Result<()> {
    let settings_file = folder.join("settings.json");
    let wanted = serde_json::to_string(settings)?;
    if let Ok(present) = fs::read_to_string(&settings_file) {
        if present == wanted {
            return Ok(());
        }
        return Err(format!("{} has a set of other settings", folder.display()).into());
    }
    fs::create_dir_all(folder.join("products"))?;
    let set = Set::new(settings.clone());
    for (i, product) in set.truth.products.iter().enumerate() {
        set.shot(i).save(folder.join("products").join(&product.file))?;
    }
    for (i, video) in set.truth.videos.iter().enumerate() {
        let path = folder.join(&video.file);
        encode(&set, i, &path)?;
        cut(&path, &folder.join("frames").join(i.to_string()))?;
        eprintln!("made {}", path.display());
    }
    fs::write(folder.join("truth.json"), serde_json::to_vec(&set.truth)?)?;
    fs::write(settings_file, wanted)?;
    Ok(())
}

/// H.264 at 2.5 Mbit/s, as a broadcaster or a phone would have it.
fn encode(set: &Set, video: usize, path: &Path) -> Result<()> {
    let Settings { width, height, frames_per_s, .. } = set.settings;
    let mut ffmpeg = Command::new("ffmpeg")
        .args(["-v", "error", "-y", "-f", "rawvideo", "-pix_fmt", "rgb24"])
        .args(["-s", &format!("{width}x{height}"), "-r", &frames_per_s.to_string(), "-i", "-"])
        .args(["-c:v", "libx264", "-preset", "veryfast", "-b:v", "2500k", "-maxrate", "2500k", "-bufsize", "5000k"])
        .args(["-pix_fmt", "yuv420p"])
        .arg(path)
        .stdin(Stdio::piped())
        .spawn()?;
    let pipe = ffmpeg.stdin.take().ok_or_else(|| io::Error::other("no pipe to ffmpeg"))?;
    set.write_video(video, &mut BufWriter::new(pipe))?;
    if ffmpeg.wait()?.success() { Ok(()) } else { Err("ffmpeg could not encode the video".into()) }
}

fn cut(video: &Path, folder: &Path) -> Result<()> {
    fs::create_dir_all(folder)?;
    let status = Command::new("ffmpeg")
        .args(["-v", "error", "-y", "-i"])
        .arg(video)
        .args(["-vf", &format!("fps={CUT_RATE}"), "-q:v", "2"])
        .arg(folder.join("%05d.jpg"))
        .status()?;
    if status.success() { Ok(()) } else { Err("ffmpeg could not cut the video".into()) }
}
