//! The job as it was asked for, and when it began and ended.

use leptos::prelude::*;

use crate::{
    model::{BatchSpec, FilesSpec, HostsSpec, Job, PhaseClass, ProductMatchingSpec, Spec},
    text,
};

/// Inputs that are seen at once.
const SEEN: usize = 3;
/// Inputs that can be unfolded; the API has them all.
const UNFOLDED: usize = 500;

/// A term and what it is.
pub(crate) fn fact(term: &'static str, value: String) -> AnyView {
    view! { <dt>{term}</dt><dd>{value}</dd> }.into_any()
}

fn command(preset: Option<&String>, command: Option<&Vec<String>>) -> Option<AnyView> {
    let (term, words) = match (preset, command) {
        (Some(preset), _) => ("Preset", preset.clone()),
        (None, command) => ("Command", command?.join(" ")),
    };
    Some(view! { <dt>{term}</dt><dd class="mono">{words}</dd> }.into_any())
}

fn paths(paths: &[String]) -> Vec<AnyView> {
    paths.iter().map(|path| view! { <li>{path.clone()}</li> }.into_any()).collect()
}

/// The first few paths; the others behind a word, and not without end either.
fn folded(term: &'static str, all: &[String]) -> AnyView {
    // One more than is seen is no reason to unfold anything.
    let (seen, rest) = if all.len() <= SEEN + 1 { (all, [].as_slice()) } else { all.split_at(SEEN) };
    let shown = rest.get(..UNFOLDED).unwrap_or(rest);
    let unseen = rest.len() - shown.len();
    let label = format!("More {}", term.to_ascii_lowercase());
    let more = (!rest.is_empty()).then(|| {
        view! {
            <details class="more">
                <summary>{format!("and {} more", text::count(rest.len() as u64))}</summary>
                <ul class="paths scroll" tabindex="0" role="list" aria-label=label>
                    {paths(shown)}
                    {(unseen > 0).then(|| view! { <li>{format!("… {} more in the API", text::count(unseen as u64))}</li> })}
                </ul>
            </details>
        }
    });
    view! { <dt>{term}</dt><dd><ul class="paths">{paths(seen)}</ul>{more}</dd> }.into_any()
}

fn seconds(term: &'static str, seconds: Option<u32>) -> Option<AnyView> {
    seconds.map(|seconds| fact(term, text::duration(i64::from(seconds) * 1_000)))
}

fn files(job: &Job, spec: &FilesSpec) -> AnyView {
    let inputs = if spec.inputs.is_empty() {
        fact("Inputs", format!("{} uploaded", text::counted(job.progress.total, job.kind.unit_nouns())))
    } else {
        folded("Inputs", &spec.inputs)
    };
    view! {
        {command(spec.preset.as_ref(), spec.command.as_ref())}
        {inputs}
        {spec.parallel.map(|parallel| fact("Parallel", format!("{parallel} at a time")))}
        {seconds("Time limit", spec.timeout_s)}
        {seconds("Grace", spec.grace_s)}
    }
    .into_any()
}

fn matching(spec: &ProductMatchingSpec) -> AnyView {
    view! {
        {(!spec.products.is_empty()).then(|| folded("Products", &spec.products))}
        {(!spec.videos.is_empty()).then(|| folded("Videos", &spec.videos))}
        {spec.frame_rate.map(|rate| fact("Frames a second", rate.to_string()))}
    }
    .into_any()
}

fn hosts(spec: &HostsSpec) -> AnyView {
    view! {
        {command(spec.preset.as_ref(), spec.command.as_ref())}
        {folded("Hosts", &spec.hosts)}
        {spec.parallel.map(|parallel| fact("Parallel", format!("{parallel} at a time")))}
        {seconds("Time limit", spec.timeout_s)}
        {seconds("Grace", spec.grace_s)}
        {(!spec.collect.is_empty()).then(|| folded("Fetched", &spec.collect))}
    }
    .into_any()
}

fn batch(spec: &BatchSpec) -> AnyView {
    view! {
        {fact("Provider", spec.provider.clone())}
        {spec.input.clone().map(|input| fact("Requests", input))}
        {spec.model.clone().map(|model| fact("Model", model))}
        {spec.adopted.clone().map(|id| fact("Adopted", id))}
    }
    .into_any()
}

/// What was asked for: it never changes.
fn asked(job: &Job, spec: Option<&Spec>) -> Option<AnyView> {
    spec.map(|spec| match spec {
        Spec::Files(spec) => files(job, spec),
        Spec::ProductMatching(spec) => matching(spec),
        Spec::Hosts(spec) => hosts(spec),
        Spec::Batch(spec) => batch(spec),
    })
}

fn so_far(job: &Job) -> AnyView {
    let finished = job
        .finished_at
        .filter(|_| job.phase.class() == PhaseClass::Terminal)
        .map(|at| view! { <dt>"Ended"</dt><dd><time datetime=at.to_string()>{text::date(at)}</time></dd> }.into_any());
    view! {
        <dt>"Created"</dt>
        <dd><time datetime=job.created_at.to_string()>{text::date(job.created_at)}</time></dd>
        {finished}
        {job.bytes.map(|bytes| fact("On disk", text::bytes(bytes)))}
        {job.detail.clone().map(|detail| fact("How it ended", detail))}
    }
    .into_any()
}

/// The panel.
pub(crate) fn about(job: RwSignal<Job>, spec: Option<&Spec>) -> AnyView {
    view! {
        <section class="panel" aria-labelledby="h-about">
            <div class="panel-head">
                <h2 id="h-about">"Job"</h2>
            </div>
            <div class="panel-body">
                <dl class="facts">{job.with_untracked(|job| asked(job, spec))}{move || job.with(so_far)}</dl>
            </div>
        </section>
    }
    .into_any()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{Allowed, JobId, Kind, Phase, Progress, Timestamp};

    fn html(count: usize) -> String {
        let spec = FilesSpec { inputs: (0..count).map(|n| format!("a/{n}.tif")).collect(), ..FilesSpec::default() };
        let job = Job {
            job_id: JobId(1),
            name: "x".to_owned(),
            kind: Kind::Files,
            phase: Phase::InProgress,
            created_at: Timestamp(0),
            created_by: "mara".to_owned(),
            started_at: None,
            finished_at: None,
            progress: Progress { total: 7, ..Progress::default() },
            cancellation: None,
            allowed: Allowed::for_operator(Phase::InProgress),
            rerun_of: None,
            detail: None,
            batch: None,
            spec: None,
            phases: Vec::new(),
            waiting: Vec::new(),
            bytes: None,
            unconfirmed: 0,
        };
        Owner::new().with(|| files(&job, &spec).to_html())
    }

    #[test]
    fn many_inputs_are_folded_and_never_a_wall() {
        assert!(html(0).contains("7 files uploaded"));
        let few = html(4);
        assert!(few.contains("a/3.tif") && !few.contains("more"), "{few}");
        let some = html(36);
        assert!(some.contains("and 33 more") && some.contains("a/35.tif"), "{some}");
        let many = html(20_003);
        assert!(many.contains("and 20,000 more") && many.contains("19,500 more in the API"), "{}", many.len());
        assert_eq!(many.matches("a/").count(), 503);
    }
}
