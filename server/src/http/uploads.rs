//! Multipart bodies: text fields kept, files streamed to the new job's own folder.

use std::path::{Path, PathBuf};

use app::model::{ErrorCode, JobId};
use axum::extract::{FromRequest as _, Multipart, Request, multipart::Field};
use sha2::{Digest, Sha256};
use tokio::{
    fs::{File, OpenOptions},
    io::AsyncWriteExt as _,
};

use super::{
    body,
    problem::{Answer, Failure},
};
use crate::{engine::Engine, error::Error, kinds::Upload, secret};

/// The part that holds the job as JSON.
pub(crate) const JOB_PART: &str = "job";

/// The part that holds files of a `files` job.
pub(crate) const FILES_PART: &str = "files";

/// The parts that hold files of other kinds; their files get a folder of that name.
const OTHER_PARTS: [&str; 2] = ["products", "videos"];

fn holds_files(part: &str) -> bool {
    part == FILES_PART || OTHER_PARTS.contains(&part)
}

/// Most files a request.
const MAX_FILES: usize = 100_000;

/// Room for boundaries, part headers and text fields beside the files.
const ENVELOPE: u64 = 16 << 20;

/// A job's id and its folder for uploads. Both go when nothing comes of the submit, also when its caller hangs up.
pub(crate) struct Reservation {
    engine: Engine,
    pub(crate) job_id: JobId,
    folder: PathBuf,
    kept: bool,
}

impl Reservation {
    pub(crate) async fn new(engine: &Engine) -> Answer<Self> {
        let (job_id, folder) = engine.reserve().await?;
        Ok(Reservation { engine: engine.clone(), job_id, folder, kept: false })
    }

    /// Where its files are, each part's but those of `files` in a folder of their own.
    pub(crate) fn folder(&self) -> &Path {
        &self.folder
    }

    /// The job was handed to the engine, and its folder with it.
    pub(crate) fn keep(mut self) {
        self.kept = true;
    }

    /// Removes the folder now.
    pub(crate) async fn discard(mut self) {
        self.kept = true;
        self.engine.discard(self.job_id).await;
    }
}

impl Drop for Reservation {
    fn drop(&mut self) {
        if !self.kept {
            let (engine, job_id) = (self.engine.clone(), self.job_id);
            tokio::spawn(async move { engine.discard(job_id).await });
        }
    }
}

/// What a multipart body held.
#[derive(Debug, Default)]
pub(crate) struct Intake {
    /// Text fields, in order.
    pub(crate) fields: Vec<(String, String)>,
    pub(crate) uploads: Vec<Upload>,
    /// SHA-256 over names and contents, hexadecimal: the same whatever boundary the client chose.
    pub(crate) hash: String,
}

impl Intake {
    pub(crate) fn field(&self, name: &str) -> Option<&str> {
        self.fields.iter().find(|(field, _)| field == name).map(|(_, value)| value.as_str())
    }
}

/// Reserves a job and reads a multipart request into its folder. Of one that is refused nothing stays.
pub(crate) async fn take_in(engine: &Engine, request: Request, max_bytes: u64) -> Answer<(Reservation, Intake)> {
    if body::content_length(request.headers()).is_some_and(|length| length > max_bytes.saturating_add(ENVELOPE)) {
        return Err(too_large(max_bytes));
    }
    let reservation = Reservation::new(engine).await?;
    match receive(request, &reservation, max_bytes).await {
        Ok(intake) => Ok((reservation, intake)),
        Err(failure) => {
            reservation.discard().await;
            Err(failure)
        }
    }
}

async fn receive(request: Request, reservation: &Reservation, max_bytes: u64) -> Answer<Intake> {
    let mut multipart = Multipart::from_request(request, &())
        .await
        .map_err(|_| Failure::invalid_body("The multipart body has no usable boundary."))?;
    let mut intake = Intake::default();
    let mut hash = Sha256::new();
    let mut room = Room { files: max_bytes, text: body::MAX_JSON };
    while let Some(field) = multipart.next_field().await.map_err(|_| cut_off())? {
        let part = field.name().unwrap_or_default().to_owned();
        hash.update(part.as_bytes());
        hash.update([0]);
        match field.file_name().map(str::to_owned) {
            // `job` may come as a file: `curl -F job=@job.json`.
            Some(file_name) if part != JOB_PART => {
                let Some(name) = safe_name(&file_name) else {
                    skip_empty(field).await?;
                    continue;
                };
                hash.update(name.as_bytes());
                hash.update([0]);
                if !holds_files(&part) {
                    let detail = "Files come in parts named `files`, or `products` and `videos` for product matching.";
                    return Err(Failure::invalid_spec(&part, detail));
                }
                if intake.uploads.iter().any(|upload| upload.part == part && upload.name == name) {
                    return Err(Failure::invalid_spec(&part, format!("Two files are named `{name}`."))
                        .hint("Rename one of them: the name is how a unit is told from another."));
                }
                if intake.uploads.len() >= MAX_FILES {
                    return Err(Failure::invalid_spec(FILES_PART, format!("A job takes at most {MAX_FILES} files.")));
                }
                let path = place(&reservation.folder, &part).await?.join(&name);
                let bytes = store(field, &path, &mut hash, &mut room.files).await?;
                intake.uploads.push(Upload { part, name, path, bytes });
            }
            // multer gives no name for one that is not UTF-8.
            None if holds_files(&part) => skip_empty(field).await?,
            Some(_) | None => {
                let text = read_text(field, &mut room.text).await?;
                hash.update(text.as_bytes());
                hash.update([0]);
                intake.fields.push((part, text));
            }
        }
    }
    intake.hash = secret::hex(&hash.finalize());
    Ok(intake)
}

/// The folder for files of a part.
async fn place(folder: &Path, part: &str) -> Answer<PathBuf> {
    if part == FILES_PART {
        return Ok(folder.to_owned());
    }
    let below = folder.join(part);
    match tokio::fs::create_dir(&below).await {
        Err(error) if error.kind() != std::io::ErrorKind::AlreadyExists => Err(Error::from(error).into()),
        Ok(()) | Err(_) => Ok(below),
    }
}

/// Bytes that may still come.
struct Room {
    files: u64,
    text: u64,
}

/// The body ended, or broke, before its closing boundary.
fn cut_off() -> Failure {
    Failure::invalid_body("The upload ended before it was complete. Nothing was stored.")
}

fn too_large(max_bytes: u64) -> Failure {
    body::too_large(max_bytes)
        .field(FILES_PART)
        .hint("files.max_upload_bytes in belay.toml sets the limit. Large files can be read from a configured root.")
}

/// Writes a part to a new file. Answers its size.
async fn store(mut field: Field<'_>, path: &Path, hash: &mut Sha256, room: &mut u64) -> Answer<u64> {
    let mut file = create(path).await?;
    let mut bytes = 0_u64;
    while let Some(chunk) = field.chunk().await.map_err(|_| cut_off())? {
        let size = chunk.len() as u64;
        *room = room.checked_sub(size).ok_or_else(|| {
            Failure::new(ErrorCode::BodyTooLarge, "The files of this job are larger than allowed here.")
                .field(FILES_PART)
                .hint("files.max_upload_bytes in belay.toml sets the limit.")
        })?;
        hash.update(&chunk);
        file.write_all(&chunk).await.map_err(Error::from)?;
        bytes += size;
    }
    file.flush().await.map_err(Error::from)?;
    hash.update(bytes.to_le_bytes());
    Ok(bytes)
}

async fn create(path: &Path) -> Answer<File> {
    Ok(OpenOptions::new().write(true).create_new(true).open(path).await.map_err(Error::from)?)
}

async fn read_text(mut field: Field<'_>, room: &mut u64) -> Answer<String> {
    let mut bytes = Vec::new();
    while let Some(chunk) = field.chunk().await.map_err(|_| cut_off())? {
        *room = room
            .checked_sub(chunk.len() as u64)
            .ok_or_else(|| Failure::new(ErrorCode::BodyTooLarge, "The text fields are larger than 1 MiB."))?;
        bytes.extend_from_slice(&chunk);
    }
    String::from_utf8(bytes).map_err(|_| Failure::invalid_body("A text field is not UTF-8."))
}

/// A browser sends a part without name and content when no file was chosen.
async fn skip_empty(mut field: Field<'_>) -> Answer<()> {
    while let Some(chunk) = field.chunk().await.map_err(|_| cut_off())? {
        if !chunk.is_empty() {
            return Err(Failure::invalid_spec(FILES_PART, "A file has no usable name."));
        }
    }
    Ok(())
}

/// A client's file name made safe: the last component, no control characters, not `.` or `..`, at most 255 bytes.
/// Browsers write `"` and line ends as `%22`, `%0D`, `%0A` (and nothing else in per cent).
fn safe_name(name: &str) -> Option<String> {
    let decoded = name.replace("%22", "\"").replace("%0D", "\r").replace("%0A", "\n");
    let last = decoded.rsplit(['/', '\\']).next().unwrap_or_default();
    let plain: String = last.chars().map(|c| if c.is_control() { '_' } else { c }).collect();
    let plain = plain.trim();
    if plain.is_empty() || plain == "." || plain == ".." {
        return None;
    }
    let mut end = plain.len().min(255);
    while !plain.is_char_boundary(end) {
        end -= 1;
    }
    plain.get(..end).map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_name_cannot_leave_its_folder() {
        for (given, safe) in [
            ("a.txt", Some("a.txt")),
            ("../../etc/passwd", Some("passwd")),
            ("C:\\fake\\look book.jpg", Some("look book.jpg")),
            ("new%0Aline.txt", Some("new_line.txt")),
            ("say %22hi%22.txt", Some("say \"hi\".txt")),
            ("50%25.txt", Some("50%25.txt")),
            ("-rf", Some("-rf")),
            ("..", None),
            ("a/", None),
            ("", None),
        ] {
            assert_eq!(safe_name(given).as_deref(), safe, "{given}");
        }
        assert_eq!(safe_name(&"é".repeat(200)).unwrap().len(), 254);
    }
}
