//! One row of the job list.

use leptos::{ev, prelude::*};

use super::{bulk_bar::rows, icon::icon, menu, phase, progress};
use crate::{
    hooks::{
        clock,
        follow::{Actions, Ask, Subject},
        session::Session,
    },
    model::{Job, JobId, JobList, Phase, PhaseClass},
    paths::console,
    text,
};

/// The row of `id`. Its parts change where they stand: a menu that is open stays open.
pub(crate) fn row(session: Session, actions: Actions, list: RwSignal<JobList>, id: JobId) -> Option<AnyView> {
    let first = list.with_untracked(|list| list.items.iter().find(|job| job.job_id == id).cloned())?;
    let job = Memo::new(move |last: Option<&Job>| {
        let now = list.with(|list| list.items.iter().find(|job| job.job_id == id).cloned());
        now.or_else(|| last.cloned()).unwrap_or_else(|| first.clone())
    });
    let phase = Memo::new(move |_| job.with(|job| job.phase));
    let (name, by, kind, created) =
        job.with_untracked(|job| (job.name.clone(), job.created_by.clone(), job.kind, job.created_at));
    let label = format!("Progress of {name}");
    let bar = move || job.with(|job| progress::progress(label.clone(), job.progress, job.phase, "", false));
    let lasted = move || {
        job.with(|job| match job.started_at {
            Some(from) => clock::lasted(session, from, job.finished_at),
            None => "–".to_owned(),
        })
    };
    let selection = actions.selection;
    let tick = move |event: ev::MouseEvent| {
        selection.tick(&untrack(|| rows(list)), id, event_target_checked(&event), event.shift_key());
    };
    Some(
        view! {
            <tr role="row" data-job-id=id.to_string() data-phase=move || phase.get().as_str()>
                <td role="cell" class="c-check">
                    <label class="check-hit">
                        <input
                            class="check"
                            type="checkbox"
                            name="job"
                            value=id.to_string()
                            autocomplete="off"
                            prop:checked=move || selection.has(id)
                            on:click=tick
                        />
                        <span class="sr-only">{format!("Select {name}")}</span>
                    </label>
                </td>
                <td role="cell" class="c-name">
                    <div class="job-name" data-tone=move || phase::tone(phase.get())>
                        <a href=console::job(id) title=name.clone()>{name.clone()}</a>
                        <span>
                            <span class="mono">{id.short()}</span>
                            {format!(" · by {by}")}
                            {move || job.with(remark)}
                        </span>
                    </div>
                </td>
                <td role="cell" class="c-kind">
                    <span class="kind">{icon(kind.as_str())}<span class="kind-word">{kind.as_str()}</span></span>
                </td>
                <td role="cell" class="c-phase">{move || phase::badge(phase.get())}</td>
                <td role="cell" class="c-progress">{bar}</td>
                <td role="cell" class="c-created">{clock::ago(session, created)}</td>
                <td role="cell" class="c-duration">{lasted}</td>
                <td role="cell" class="c-menu end">
                    <details class="menu" name="row-menu">
                        <summary class="btn btn-quiet btn-icon" aria-label=format!("Actions for {name}")>
                            {icon("dots")}
                        </summary>
                        <div class="menu-list">{move || items(actions, id, phase.get(), job)}</div>
                    </details>
                </td>
            </tr>
        }
        .into_any(),
    )
}

/// What the phase alone does not tell.
fn remark(job: &Job) -> Option<AnyView> {
    if let (Phase::Cancelling, Some(asked)) = (job.phase, &job.cancellation) {
        let runs = asked.stop.stopped + asked.stop.waiting + asked.stop.unconfirmed;
        let words = format!("{} of {runs} stopped…", asked.stop.stopped);
        return Some(view! { " · "<em data-tone="cancelling">{words}</em> }.into_any());
    }
    let words = match &job.cancellation {
        Some(asked) if asked.stop.unconfirmed > 0 => {
            format!("{}, {} unconfirmed", asked.reason, asked.stop.unconfirmed)
        }
        Some(asked) => match asked.cancelled_at {
            Some(at) => format!("{} · proof {}", asked.reason, text::clock(at)),
            None => asked.reason.clone(),
        },
        None => job.detail.clone()?,
    };
    Some(format!(" · {words}").into_any())
}

fn items(actions: Actions, id: JobId, phase: Phase, job: Memo<Job>) -> AnyView {
    let ask = move |ask: Ask| {
        move |event: ev::MouseEvent| {
            event.prevent_default();
            menu::close_around(&event);
            actions.ask(ask, job.with_untracked(Subject::of));
        }
    };
    let busy = move || actions.busy().then_some("true");
    let act = match phase.class() {
        PhaseClass::Pending | PhaseClass::Active => Some(
            view! {
                <a class="menu-item danger" href=console::cancel(id) aria-disabled=busy on:click=ask(Ask::Cancel)>
                    {icon("warning")}
                    "Cancel Job"
                </a>
            }
            .into_any(),
        ),
        PhaseClass::Terminal => Some(
            view! {
                <a class="menu-item danger" href=console::delete(id) aria-disabled=busy on:click=ask(Ask::Delete)>
                    {icon("trash")}
                    "Delete Job"
                </a>
            }
            .into_any(),
        ),
        PhaseClass::Cancelling | PhaseClass::Deleting => None,
    };
    view! { {act}<a class="menu-item" href=console::job(id)>{icon("eye")}"View Details"</a> }.into_any()
}
