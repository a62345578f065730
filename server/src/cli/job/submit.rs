//! `belay job submit`: a job of any kind, its files uploaded where they are not below a root of the server.

use std::path::{Path, PathBuf};

use app::{
    model::{Job, Kind},
    paths::api,
};
use clap::Args;
use futures::TryStreamExt as _;
use indicatif::{ProgressBar, ProgressStyle};
use reqwest::multipart::{Form, Part};
use serde_json::{Map, Value, json};
use tokio_util::io::ReaderStream;

use super::{Context, follow, parse_duration};
use crate::cli::{
    fault::{Exit, Fault, Outcome},
    filter, out,
};

#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  belay job submit --preset sha256 --upload a.tif --upload b.tif\n  \
    belay job submit --name Thumbnails --input photos -- magick {file} -resize 256 {out}/{name}\n  \
    belay job submit --kind product_matching --product shots --video films/tour.mp4\n  \
    belay job submit --kind openai_batch --provider openai --upload requests.jsonl\n  \
    belay job submit --kind files --spec @spec.json --wait")]
pub(super) struct SubmitArgs {
    /// Name of the job [default: what it runs]
    #[arg(long)]
    name: Option<String>,
    /// What sort of job
    #[arg(long, default_value = "files", value_parser = filter::parse_kind)]
    kind: Kind,
    /// The spec as JSON, from a file with `@FILE`; the options below are put into it
    #[arg(long, value_name = "JSON")]
    spec: Option<String>,
    /// files: a command of the configuration
    #[arg(long, value_name = "NAME", conflicts_with = "command")]
    preset: Option<String>,
    /// files, batches: a file (files: or folder) on the server, absolute or relative to a root; `./…` means this folder
    #[arg(long = "input", value_name = "PATH")]
    inputs: Vec<String>,
    /// files, batches: a file of this machine to upload
    #[arg(long = "upload", value_name = "FILE")]
    uploads: Vec<PathBuf>,
    /// openai_batch, gemini_batch: a provider of the configuration
    #[arg(long, value_name = "NAME")]
    provider: Option<String>,
    /// gemini_batch: the model, which the requests do not name
    #[arg(long, value_name = "NAME")]
    model: Option<String>,
    /// product_matching: images or folders of them, on the server
    #[arg(long = "product", value_name = "PATH")]
    products: Vec<String>,
    /// product_matching: videos or folders of them, on the server
    #[arg(long = "video", value_name = "PATH")]
    videos: Vec<String>,
    /// product_matching: an image of this machine to upload
    #[arg(long = "upload-product", value_name = "FILE")]
    product_uploads: Vec<PathBuf>,
    /// product_matching: a video of this machine to upload
    #[arg(long = "upload-video", value_name = "FILE")]
    video_uploads: Vec<PathBuf>,
    /// product_matching: frames a second that are looked at
    #[arg(long, value_name = "NUMBER")]
    frame_rate: Option<f64>,
    /// Units at once
    #[arg(long, value_name = "NUMBER")]
    parallel: Option<u32>,
    /// files: time after which a unit is stopped and counts as failed
    #[arg(long, value_name = "TIME", value_parser = parse_duration)]
    timeout: Option<std::time::Duration>,
    /// Time between SIGTERM and SIGKILL when the job is stopped
    #[arg(long, value_name = "TIME", value_parser = parse_duration)]
    grace: Option<std::time::Duration>,
    /// The same key makes the same job, not a second one
    #[arg(long, value_name = "KEY")]
    idempotency_key: Option<String>,
    /// Follows the job to its end, and ends as it does
    #[arg(long)]
    wait: bool,
    /// files: program and arguments, no shell; {file}, {name}, {stem}, {out} are replaced
    #[arg(last = true)]
    command: Vec<String>,
}

pub(super) async fn run(context: &Context, args: SubmitArgs) -> Outcome<Exit> {
    let body = json!({ "name": args.name(), "kind": args.kind, "spec": args.spec()? });
    let key = args.idempotency_key.clone().unwrap_or_else(new_key);
    let uploads = args.uploads()?;
    let job: Job = if uploads.is_empty() {
        context.client.post(api::JOBS, &body, Some(&key)).await?
    } else {
        let bar = upload_bar(&uploads);
        let form = || form(&body, &uploads, &bar);
        let job = context.client.post_form(api::JOBS, form, &key).await;
        bar.finish_and_clear();
        job?
    };
    tell(context, &job);
    if !args.wait {
        return Ok(Exit::Done);
    }
    context.client.be_patient();
    Ok(follow::exit_of(follow::limited(None, follow::show_to_end(context, job.job_id)).await?.phase))
}

/// Lets the server know a repeated request again.
pub(super) fn new_key() -> String {
    uuid::Uuid::now_v7().to_string()
}

/// The id for programs, a sentence for people.
pub(super) fn tell(context: &Context, job: &Job) {
    if context.out.json {
        context.out.json(job);
    } else if context.out.people {
        let name = out::clean(&job.name);
        // How many requests a batch has is known when it is checked again, before it is sent.
        let units = match job.kind.provider_kind() {
            None => format!(" with {}", app::text::counted(job.progress.total, job.kind.unit_nouns())),
            Some(_) => String::new(),
        };
        context.out.line(format_args!("Submitted {name}{units}: {}", job.job_id));
    } else {
        context.out.line(job.job_id);
    }
}

impl SubmitArgs {
    fn name(&self) -> String {
        let program = self.command.first().and_then(|program| program.rsplit('/').next());
        let named = self.name.as_deref().or(self.preset.as_deref()).or(self.provider.as_deref()).or(program);
        named.unwrap_or(self.kind.as_str()).to_owned()
    }

    /// The given JSON with what the options say. Whether it makes sense is the server's to tell.
    fn spec(&self) -> Outcome<Value> {
        let mut spec = match &self.spec {
            None => Map::new(),
            Some(given) => read_spec(given)?,
        };
        let mut set = |name: &str, value: Option<Value>| -> Outcome<()> {
            let Some(value) = value else { return Ok(()) };
            match spec.insert(name.to_owned(), value) {
                None => Ok(()),
                Some(_) => Err(Fault::usage(format!("`{name}` is in --spec and in an option: give it once."))),
            }
        };
        let list =
            |values: &[String]| (!values.is_empty()).then(|| values.iter().map(|path| on_server(path)).collect());
        let seconds = |time: Option<std::time::Duration>| time.map(|time| Value::from(time.as_secs()));
        set("preset", self.preset.clone().map(Value::from))?;
        set("command", (!self.command.is_empty()).then(|| Value::from(self.command.clone())))?;
        match (self.kind.provider_kind(), self.inputs.as_slice()) {
            // A batch takes one file; more of them are the server's to refuse.
            (Some(_), [input]) => set("input", Some(on_server(input)))?,
            (Some(_) | None, _) => set("inputs", list(&self.inputs))?,
        }
        set("provider", self.provider.clone().map(Value::from))?;
        set("model", self.model.clone().map(Value::from))?;
        set("products", list(&self.products))?;
        set("videos", list(&self.videos))?;
        set("frame_rate", self.frame_rate.map(Value::from))?;
        set("parallel", self.parallel.map(Value::from))?;
        set("timeout_s", seconds(self.timeout))?;
        set("grace_s", seconds(self.grace))?;
        Ok(Value::Object(spec))
    }

    /// The files to send: part, path, bytes.
    fn uploads(&self) -> Outcome<Vec<Upload>> {
        let parts = [("files", &self.uploads), ("products", &self.product_uploads), ("videos", &self.video_uploads)];
        let mut uploads = Vec::new();
        for (part, paths) in parts {
            for path in paths {
                let metadata = std::fs::metadata(path).map_err(|error| no_upload(path, &error.to_string()))?;
                if !metadata.is_file() {
                    return Err(no_upload(path, "it is no file"));
                }
                uploads.push(Upload { part, path: path.clone(), bytes: metadata.len() });
            }
        }
        Ok(uploads)
    }
}

fn no_upload(path: &Path, why: &str) -> Fault {
    Fault::usage(format!("`{}` cannot be uploaded: {why}.", path.display()))
}

fn read_spec(given: &str) -> Outcome<Map<String, Value>> {
    let text = match given.strip_prefix('@') {
        None => given.to_owned(),
        Some(path) => std::fs::read_to_string(path).map_err(|error| Fault::usage(format!("`{path}`: {error}")))?,
    };
    serde_json::from_str(&text).map_err(|error| Fault::usage(format!("--spec is no JSON object: {error}.")))
}

/// A path for the server. One that begins with `./` or `../` is meant from here.
fn on_server(path: &str) -> Value {
    let is_from_here = path == "." || path == ".." || path.starts_with("./") || path.starts_with("../");
    let absolute = is_from_here.then(|| std::fs::canonicalize(path).ok()).flatten();
    Value::from(absolute.map_or_else(|| path.to_owned(), |path| path.to_string_lossy().into_owned()))
}

struct Upload {
    part: &'static str,
    path: PathBuf,
    bytes: u64,
}

fn upload_bar(uploads: &[Upload]) -> ProgressBar {
    let bar = ProgressBar::new(uploads.iter().map(|upload| upload.bytes).sum());
    let style = ProgressStyle::with_template("Uploading [{bar:30}] {bytes}/{total_bytes} {eta}");
    bar.set_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()).progress_chars("=> "));
    bar
}

/// A fresh body; a second try begins from the start.
fn form(body: &Value, uploads: &[Upload], bar: &ProgressBar) -> Outcome<Form> {
    bar.set_position(0);
    let mut form = Form::new().text("job", body.to_string());
    for upload in uploads {
        let file = std::fs::File::open(&upload.path).map_err(|error| no_upload(&upload.path, &error.to_string()))?;
        let bar = bar.clone();
        let stream = ReaderStream::with_capacity(tokio::fs::File::from_std(file), 64 << 10)
            .inspect_ok(move |chunk| bar.inc(chunk.len() as u64));
        let name = upload.path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
        let part = Part::stream_with_length(reqwest::Body::wrap_stream(stream), upload.bytes).file_name(name);
        form = form.part(upload.part, part);
    }
    Ok(form)
}
