//! One job: what it does, what it did, how it was stopped. With the question "cancel?" or "delete?" as part of the
//! page where there is no WebAssembly to ask it in a dialog.

use leptos::prelude::*;
use leptos_router::hooks::{use_location, use_params_map, use_query_map};
use serde::{Deserialize, Serialize};

use super::{borrowed, instead, load, not_found, page, query_pairs};
use crate::{
    backend::{Backend, SharedBackend},
    components::{
        about::about,
        actions::buttons,
        artifacts::artifacts,
        batch::batch,
        cancel_dialog::cancel_form,
        cancellation,
        delete_dialog::delete_form,
        icon::{icon, spinning},
        log::{self, LogView},
        matches,
        panel::panel,
        phase,
        progress::{cancelled, legend, progress, tally},
        proof, requests,
        stopping::stopping_panel,
        units::{self, DetailQuery},
    },
    hooks::{
        clock, dom,
        follow::{Subject, actions},
        poll::{Live, keep_current},
        session::{Session, session},
    },
    model::{
        Artifact, Job, JobExtras, JobId, Kind, LogPage, LogQuery, MatchResults, Page, Phase, PhaseProgress, Plan,
        Problem, RequestRow, Unit,
    },
    paths::console,
};

/// Which question stands on the page.
#[derive(Clone, Copy, PartialEq)]
pub(crate) enum Mode {
    View,
    Cancel,
    Delete,
}

/// Everything the page shows, asked for in one go.
#[derive(Clone, Serialize, Deserialize)]
struct First {
    job: Job,
    units: Page<Unit>,
    log: LogPage,
    artifacts: Page<Artifact>,
    stops: Page<Unit>,
    plan: Option<Result<Plan, Problem>>,
    matches: MatchResults,
    extras: JobExtras,
    requests: Page<RequestRow>,
}

pub(crate) fn in_mode(mode: Mode) -> AnyView {
    let params = use_params_map();
    let id = Memo::new(move |_| params.with(|params| params.get("id")).and_then(|id| id.parse::<JobId>().ok()));
    let pairs = query_pairs();
    let path = use_location().pathname;
    let session = session();
    // Another id is another page, though the router keeps this one.
    let shown = move || {
        let Some(id) = id.get() else { return not_found() };
        // The query of the address belongs to the job of the address: while that changes, the page that is left keeps
        // its own, so that nothing of it wakes up on its way out.
        let query = Memo::new(move |last: Option<&DetailQuery>| match last {
            Some(last) if path.with(|path| !path.contains(&id.to_string())) => last.clone(),
            Some(_) | None => pairs.with(|pairs| DetailQuery::from_pairs(borrowed(pairs))),
        });
        let asked = ask(expect_context::<SharedBackend>(), id, query.get_untracked(), mode);
        load(asked, move |first: Result<First, Problem>| match first {
            Ok(first) => loaded(session, mode, query, first),
            Err(problem) => instead(session, &problem),
        })
    };
    shown.into_any()
}

async fn ask(backend: SharedBackend, id: JobId, query: DetailQuery, mode: Mode) -> Result<First, Problem> {
    let job = backend.job(id).await?;
    let stops = async {
        if job.cancellation.is_some() {
            backend.units(id, proof::stops_query(query.stops.clone())).await.unwrap_or_default()
        } else {
            Page::default()
        }
    };
    let is_matching = job.kind == Kind::ProductMatching;
    let matches =
        async { if is_matching { backend.matches(id).await.unwrap_or_default() } else { MatchResults::default() } };
    let is_batch = job.kind.provider_kind().is_some();
    let requests = async {
        if is_batch { backend.requests(id, query.requests.clone()).await.unwrap_or_default() } else { Page::default() }
    };
    let plan = async { if mode == Mode::Delete { Some(backend.plan(id).await) } else { None } };
    let (units, log, artifacts, stops, plan, matches, extras, requests) = futures::join!(
        backend.units(id, query.units.clone()),
        backend.log(id, query.log.clone()),
        backend.artifacts(id, None),
        stops,
        plan,
        matches,
        backend.job_extras(id),
        requests
    );
    Ok(First {
        units: units.unwrap_or_default(),
        log: log.unwrap_or_default(),
        artifacts: artifacts.unwrap_or_default(),
        stops,
        plan,
        matches,
        extras: extras.unwrap_or_default(),
        requests,
        job,
    })
}

/// What the page keeps current.
#[derive(Clone, Copy)]
struct Parts {
    job: Live<Job>,
    units: Live<Page<Unit>>,
    log: Live<LogView>,
    artifacts: Live<Page<Artifact>>,
    stops: Live<Page<Unit>>,
    matches: Live<MatchResults>,
    extras: Live<JobExtras>,
    requests: Live<Page<RequestRow>>,
}

fn keep(session: Session, query: Memo<DetailQuery>, first: First) -> Parts {
    let backend = expect_context::<SharedBackend>();
    let id = first.job.job_id;
    let key = Memo::new(move |_| id);
    let ask = backend.clone();
    let job = keep_current(session, first.job, key, move |id| Some(ask.job(id)), |job: &Job| job.phase.is_moving());
    let value = job.value;
    let moving = move || value.with_untracked(|job| job.phase.is_moving());
    let ask = backend.clone();
    let units_query = Memo::new(move |_| query.with(|query| query.units.clone()));
    let units = keep_current(
        session,
        first.units,
        units_query,
        move |query| Some(ask.units(id, query)),
        move |_: &Page<Unit>| moving(),
    );
    let log = keep_log(session, &backend, id, query, first.log, moving);
    let ask = backend.clone();
    let artifacts = keep_current(
        session,
        first.artifacts,
        key,
        move |id| Some(ask.artifacts(id, None)),
        move |_: &Page<Artifact>| moving(),
    );
    let stops_of = Memo::new(move |_| {
        value
            .with(|job| job.cancellation.is_some())
            .then(|| proof::stops_query(query.with(|query| query.stops.clone())))
    });
    let ask = backend.clone();
    let is_matching = value.with_untracked(|job| job.kind == Kind::ProductMatching);
    let matches = keep_current(
        session,
        first.matches,
        key,
        move |id| is_matching.then(|| ask.matches(id)),
        move |_: &MatchResults| moving(),
    );
    let ask = backend.clone();
    let is_batch = value.with_untracked(|job| job.kind.provider_kind().is_some());
    // A spec never changes; a batch does.
    let extras = keep_current(
        session,
        first.extras,
        key,
        move |id| is_batch.then(|| ask.job_extras(id)),
        move |_: &JobExtras| moving(),
    );
    let ask = backend.clone();
    let requests = keep_current(
        session,
        first.requests,
        Memo::new(move |_| query.with(|query| query.requests.clone())),
        move |query| is_batch.then(|| ask.requests(id, query)),
        move |_: &Page<RequestRow>| moving(),
    );
    let stops = keep_current(
        session,
        first.stops,
        stops_of,
        move |query| query.map(|query| backend.units(id, query)),
        move |_: &Page<Unit>| value.with_untracked(|job| job.phase == Phase::Cancelling),
    );
    Parts { job, units, log, artifacts, stops, matches, extras, requests }
}

/// The log is read on from where it ended; another unit or stream begins anew.
fn keep_log(
    session: Session,
    backend: &SharedBackend,
    id: JobId,
    query: Memo<DetailQuery>,
    first: LogPage,
    moving: impl Fn() -> bool + 'static,
) -> Live<LogView> {
    let log_of = Memo::new(move |_| query.with(|query| query.log.clone()));
    let gathered = StoredValue::new((log_of.get_untracked(), LogView::default().with(first)));
    let view = gathered.with_value(|(_, view)| view.clone());
    let backend = backend.clone();
    let ask = move |query: LogQuery| -> Option<crate::backend::Answer<LogView>> {
        let (of, view) = gathered.get_value();
        let view = if of == query { view } else { LogView::default() };
        let asked = backend.log(id, LogQuery { cursor: view.cursor.clone(), ..query.clone() });
        Some(Box::pin(async move {
            let view = view.with(asked.await?);
            gathered.try_update_value(|kept| *kept = (query, view.clone()));
            Ok(view)
        }))
    };
    keep_current(session, view, log_of, ask, move |_: &LogView| moving())
}

fn loaded(session: Session, mode: Mode, query: Memo<DetailQuery>, first: First) -> AnyView {
    let actions = actions();
    let plan = first.plan.clone();
    let id = first.job.job_id;
    let name = first.job.name.clone();
    let parts = keep(session, query, first);
    watch(session, parts);
    let job = parts.job.value;
    let question = move || match mode {
        Mode::View => None,
        Mode::Cancel => {
            job.with_untracked(|job| job.phase.can_cancel().then(|| cancel_form(session, &Subject::of(job))))
        }
        Mode::Delete => job.with_untracked(|job| {
            (job.phase != Phase::Deleting).then(|| {
                delete_form(session, asked_for("force"), asked_for("keep_files"), &Subject::of(job), plan.clone())
            })
        }),
    };
    // Its unit is the whole batch; what a visitor looks for is in its requests.
    let is_batch = job.with_untracked(|job| job.kind.provider_kind().is_some());
    let gone = Memo::new(move |_| job.with(|job| job.phase == Phase::Deleting));
    let evidence = move || {
        let page = parts.stops.value;
        job.with(|job| page.with(|page| query.with(|query| proof::proof(session, actions, job, page, query))))
    };
    let body = view! {
        {header(session, job, buttons(actions, job))}
        {question()}
        <div class="veiled">
            {move || deleting(gone.get())}
            <div class="stack" inert=move || gone.get()>
                {move || job.with(cancellation::banner)}
                {stopping_panel(session, actions, job)}
                {evidence}
                {phases(session, job)}
                {batch(session, job, parts.extras.value)}
                <div class="split">
                    <div class="stack">
                        {matches::matches(id, parts.matches.value)}
                        {requests::requests(id, query, parts.extras.value, parts.requests.value, parts.artifacts.value)}
                        {(!is_batch).then(|| units::units(session, job, query, parts.units.value))}
                        {log::log(session, id, query, parts.log.value)}
                        {artifacts(id, parts.artifacts.value)}
                    </div>
                    <aside class="stack" aria-label="About this job">
                        {move || {
                            job.with(|job| {
                                job.cancellation.as_ref().map(|asked| cancellation::cancellation(job.phase, asked))
                            })
                        }}
                        {parts.extras.value.with_untracked(|extras| about(job, extras.spec.as_ref()))}
                    </aside>
                </div>
            </div>
        </div>
        {panel(session, actions, job, query)}
    }
    .into_any();
    page(session, name, "page", body)
}

/// The server asks for force by the address, after a 409 to the form, and repeats there what was ticked.
fn asked_for(name: &str) -> bool {
    use_query_map().with_untracked(|map| map.get_str(name) == Some("1"))
}

/// What happens to the page when the job moves, is gone, or something was done with it.
fn watch(session: Session, parts: Parts) {
    let actions = actions();
    let job = parts.job.value;
    let id = job.with_untracked(|job| job.job_id);
    // A proof may come after the phase that waited for it.
    let state = Memo::new(move |_| job.with(|job| (job.phase, job.in_doubt())));
    Effect::new(move |last: Option<(Phase, u64)>| {
        let now = state.get();
        if last.is_some_and(|last| last != now) {
            if last.is_some_and(|(phase, _)| phase != now.0) {
                let name = job.with_untracked(|job| job.name.clone());
                session.announcement.set(format!("{name}: {}", now.0.label()));
            }
            parts.units.refresh();
            parts.log.refresh();
            parts.artifacts.refresh();
            parts.stops.refresh();
            parts.matches.refresh();
            parts.extras.refresh();
            parts.requests.refresh();
        }
        now
    });
    Effect::new(move |_| {
        if let Some(fresh) = actions.fresh.get()
            && fresh.job_id == id
            && job.with_untracked(|job| *job != fresh)
        {
            job.set(fresh);
        }
    });
    Effect::new(move |_| {
        if let Some(problem) = parts.job.problem.get()
            && problem.status == 404
            && !actions.follows(id)
        {
            actions.close();
            actions.say_gone(&problem);
        }
    });
}

fn header(session: Session, job: RwSignal<Job>, buttons: AnyView) -> AnyView {
    let phase = Memo::new(move |_| job.with(|job| job.phase));
    let (id, name, kind, by, created, rerun_of) = job.with_untracked(|job| {
        (job.job_id, job.name.clone(), job.kind, job.created_by.clone(), job.created_at, job.rerun_of)
    });
    let ran = move || {
        job.with(|job| {
            let from = job.started_at?;
            let word = if job.finished_at.is_some() { "ran " } else { "running for " };
            let lasted = clock::lasted(session, from, job.finished_at);
            Some(view! { <span>{icon("clock")}{word}<b>{lasted}</b></span> }.into_any())
        })
    };
    let copy = move |_| {
        dom::copy(&id.to_string());
        session.tell(crate::backend::Tone::Completed, "Job id copied");
    };
    view! {
        <div>
            <nav class="crumbs" aria-label="Breadcrumb">
                <a href=console::JOBS>"Jobs"</a>
                {icon("chevron-right")}
                <span aria-current="page" class="mono">{id.short()}</span>
            </nav>
            <div class="page-head">
                <div class="titles">
                    <div class="title-line">
                        <h1>{name}</h1>
                        {move || phase::large_badge(phase.get())}
                    </div>
                    <div class="meta">
                        <span>{icon(kind.as_str())}<b>{kind.as_str()}</b></span>
                        <span>{icon("user")}<b>{by}</b></span>
                        {ran}
                        <span>"created "<b>{clock::ago(session, created)}</b></span>
                        {rerun_of
                            .map(|first| {
                                view! {
                                    <span>
                                        {icon("rerun")} "runs again "
                                        <a class="link mono" href=console::job(first)>{first.short()}</a>
                                    </span>
                                }
                            })}
                        <span>
                            <span class="mono">{id.to_string()}</span>
                            <button
                                class="copy"
                                type="button"
                                aria-label="Copy job id"
                                hidden=move || !session.mounted.get()
                                on:click=copy
                            >
                                {icon("copy")}
                            </button>
                        </span>
                    </div>
                </div>
                <div class="actions">{buttons}</div>
            </div>
        </div>
    }
    .into_any()
}

/// Laid over the page of a job that is being removed.
fn deleting(gone: bool) -> Option<AnyView> {
    gone.then(|| {
        view! {
            <div class="veil">
                <div class="panel" role="status" data-tone="deleting">
                    {spinning("active")}
                    <p>
                        <b>"Deleting..."</b>
                        <small>"The receipt will say what is gone. The work goes on if you leave."</small>
                    </p>
                    <a class="btn btn-sm" href=console::JOBS>"Back to Jobs"</a>
                </div>
            </div>
        }
        .into_any()
    })
}

fn step(session: Session, kind_noun: &'static str, index: usize, part: &PhaseProgress, job: &Job) -> AnyView {
    let over = part.finished_at.is_some() || job.phase.is_terminal();
    let tone = match (part.started_at, over) {
        (None, _) if job.phase.is_terminal() && part.progress.done() == 0 => "pending",
        (None, _) => "pending",
        (Some(_), false) if job.phase == Phase::Cancelling => "cancelling",
        (Some(_), false) => "active",
        (Some(_), true) => phase::tone(job.phase),
    };
    let tone = if over && part.progress.done() == part.progress.succeeded && part.progress.pending() == 0 {
        "completed"
    } else {
        tone
    };
    let current = (tone == "active" || tone == "cancelling").then_some("step");
    // The phases of a batch have one unit; its requests are counted as a whole.
    let is_batch = job.kind.provider_kind().is_some();
    let lasted = part.started_at.map(|from| clock::lasted(session, from, part.finished_at.or(job.finished_at)));
    view! {
        <li data-tone=tone aria-current=current data-step=index.to_string()>
            <span class="node">{phase::tone_icon(tone)}</span>
            <div class="text">
                <h3>{part.phase.label()}</h3>
                {(!is_batch)
                    .then(|| {
                        view! {
                            <p>
                                <b>{tally(&part.progress, kind_noun)}</b>
                                {cancelled(&part.progress).map(|words| format!(", {words}"))}
                            </p>
                        }
                    })}
                {lasted.map(|lasted| view! { <p>{lasted}</p> })}
            </div>
        </li>
    }
    .into_any()
}

/// Progress: a step for each phase of a kind that has several, the bar, the numbers.
fn phases(session: Session, job: RwSignal<Job>) -> AnyView {
    let steps = move || {
        job.with(|job| {
            let noun = job.kind.unit_nouns().1;
            (job.phases.len() > 1).then(|| {
                let steps = job
                    .phases
                    .iter()
                    .enumerate()
                    .map(|(index, part)| step(session, noun, index, part, job))
                    .collect::<Vec<_>>();
                view! { <ol class="phases">{steps}</ol> }.into_any()
            })
        })
    };
    let bar =
        move || job.with(|job| progress("Progress".to_owned(), job.progress, job.phase, job.kind.unit_nouns().1, true));
    let pace = move || job.with(|job| pace(session, job));
    view! {
        <section class="panel" aria-labelledby="h-phases">
            <h2 id="h-phases" class="sr-only">"Progress"</h2>
            {steps}
            <div class="panel-body">{bar}</div>
            <div class="panel-foot">
                {move || job.with(|job| legend(&job.progress, job.phase))}
                <span>{pace}</span>
            </div>
        </section>
    }
    .into_any()
}

/// How fast it goes or went, from what is over.
fn pace(session: Session, job: &Job) -> Option<String> {
    let from = job.started_at?;
    let until = job.finished_at.unwrap_or_else(|| session.now.get());
    let millis = until.millis_since(from);
    let done = job.progress.succeeded + job.progress.failed;
    if done == 0 || millis < 1_000 {
        return None;
    }
    let rate = done as f64 * 1_000.0 / millis as f64;
    let noun = job.kind.unit_nouns().1;
    Some(if rate >= 1.0 { format!("{rate:.1} {noun}/s") } else { format!("{:.1} {noun}/min", rate * 60.0) })
}
