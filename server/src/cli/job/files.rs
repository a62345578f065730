//! `belay job artifacts` and `belay job collect`.

use std::{
    fs,
    path::{Path, PathBuf},
};

use app::{
    model::{Artifact, Job, JobId, Page},
    paths::api,
    text,
};
use clap::Args;
use tokio::io::AsyncWriteExt as _;

use super::{Context, follow, status};
use crate::{
    cli::{
        fault::{Exit, Fault, Outcome},
        out::{Cell, Table},
        select::{self, STDIN},
    },
    engine,
};

#[derive(Debug, Args)]
pub(super) struct ArtifactsArgs {
    /// The job
    id: String,
    /// Writes this one, named as the list names it, instead of listing
    path: Option<String>,
    /// To this file; `-` is standard output
    #[arg(short, long, value_name = "FILE", requires = "path", default_value = STDIN)]
    output: PathBuf,
}

#[derive(Debug, Args)]
pub(super) struct CollectArgs {
    /// The job
    id: String,
    /// Into this folder [default: one named like the job's id]
    #[arg(long, value_name = "FOLDER")]
    to: Option<PathBuf>,
    /// Replaces files that are there; else they are left as they are
    #[arg(long)]
    overwrite: bool,
    /// First waits for the end of the job
    #[arg(long)]
    wait: bool,
}

pub(super) async fn artifacts(context: &Context, args: ArtifactsArgs) -> Outcome<Exit> {
    let job = select::job(&context.client, &args.id).await?;
    if let Some(path) = &args.path {
        let target = (args.output != Path::new(STDIN)).then_some(args.output.as_path());
        save(context, job.job_id, path, target).await?;
        return Ok(Exit::Done);
    }
    let artifacts = list(context, job.job_id).await?;
    if context.out.json {
        context.out.json(&artifacts);
        return Ok(Exit::Done);
    }
    let mut table = Table::new(["PATH", "SIZE", "CATEGORY"]);
    for artifact in &artifacts {
        let size = if context.out.people { text::bytes(artifact.bytes) } else { artifact.bytes.to_string() };
        table.row(vec![Cell::new(&*artifact.path), Cell::new(size), Cell::new(artifact.category.as_str())]);
    }
    if artifacts.is_empty() {
        context.out.remark("This job has no files.");
    } else {
        table.print(&context.out);
        context.out.remark(status::sum(&artifacts));
    }
    Ok(Exit::Done)
}

pub(super) async fn collect(context: &Context, args: CollectArgs) -> Outcome<Exit> {
    let mut job = select::job(&context.client, &args.id).await?;
    if args.wait && !job.phase.is_terminal() {
        context.client.be_patient();
        let until_end = follow::until(&context.client, job.job_id, |job| job.phase.is_terminal());
        job = follow::limited(None, until_end).await?;
    }
    let folder = args.to.clone().unwrap_or_else(|| PathBuf::from(job.job_id.to_string()));
    let artifacts = list(context, job.job_id).await?;
    let (mut saved, mut there) = (Vec::new(), 0_u64);
    for artifact in &artifacts {
        let target = place(&folder, &artifact.path)?;
        if target.exists() && !args.overwrite {
            there += 1;
            continue;
        }
        save(context, job.job_id, &artifact.path, Some(&target)).await?;
        if !context.out.json {
            context.out.line(target.display());
        }
        saved.push(artifact.clone());
    }
    if context.out.json {
        context.out.json(&serde_json::json!({ "folder": folder, "saved": saved, "left_as_they_are": there }));
    }
    let left = if there > 0 {
        format!("; {} there already", text::counted(there, ("file was", "files were")))
    } else {
        String::new()
    };
    context.out.note(format_args!("Collected {} in {}{left}.", status::sum(&saved), folder.display()));
    tell_if_more_may_come(context, &job);
    Ok(Exit::Done)
}

fn tell_if_more_may_come(context: &Context, job: &Job) {
    if job.phase.is_moving() {
        context.out.note("The job has not ended: more may come. --wait waits for its end.");
    }
}

async fn list(context: &Context, id: JobId) -> Outcome<Vec<Artifact>> {
    let mut artifacts = Vec::new();
    let mut cursor: Option<String> = None;
    loop {
        let page: Page<Artifact> = context.client.get(&api::artifacts(id, cursor.as_deref())).await?;
        artifacts.extend(page.items);
        cursor = page.next_cursor;
        if cursor.is_none() {
            return Ok(artifacts);
        }
    }
}

/// Where an artifact belongs below a folder. A path that would lead out of it is not followed, whoever sent it.
fn place(folder: &Path, path: &str) -> Outcome<PathBuf> {
    let names = engine::names_of(path)
        .ok_or_else(|| Fault::new(Exit::Refused, format!("The server names a file `{path}` that is no path.")))?;
    Ok(names.into_iter().fold(folder.to_owned(), |place, name| place.join(name)))
}

/// Writes one file, whole or not at all; without a target to standard output.
async fn save(context: &Context, id: JobId, path: &str, target: Option<&Path>) -> Outcome<()> {
    let mut response = context.client.open(&api::artifact(id, path)).await?;
    let broken = |error: reqwest::Error| Fault::new(Exit::Unreachable, format!("`{path}` broke off: {error}."));
    let Some(target) = target else {
        while let Some(chunk) = response.chunk().await.map_err(broken)? {
            context.out.raw(&chunk);
        }
        return Ok(());
    };
    let fault = |error: std::io::Error| Fault::file(target, &error);
    if let Some(folder) = target.parent() {
        fs::create_dir_all(folder).map_err(fault)?;
    }
    let mut name = target.file_name().unwrap_or_default().to_owned();
    name.push(".part");
    let part = target.with_file_name(name);
    let mut file = tokio::fs::File::create(&part).await.map_err(fault)?;
    while let Some(chunk) = response.chunk().await.map_err(broken)? {
        file.write_all(&chunk).await.map_err(fault)?;
    }
    file.flush().await.map_err(fault)?;
    drop(file);
    fs::rename(&part, target).map_err(fault)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_of_the_server_stays_below_the_folder() {
        let place = |path| place(Path::new("out"), path).ok();
        assert_eq!(place("0/look%20book.jpg"), Some(PathBuf::from("out/0/look book.jpg")));
        for path in ["../x", "0/%2e%2e/x", "/etc/passwd", "0%2F..%2Fx", ""] {
            assert_eq!(place(path), None, "{path}");
        }
    }
}
