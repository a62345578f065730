//! What the forms of all kinds have in common: files that are dropped or chosen, the foot, the upload under way.

use leptos::{ev, prelude::*};
use wasm_bindgen::JsCast;

use super::{
    super::upload::{Chosen, Stop},
    Form,
};
use crate::{
    components::{
        icon::{icon, large},
        modal::modal,
        notice::alert,
        progress::bar,
    },
    paths::console,
    text,
};

/// Where files of one multipart part are dropped or chosen; `id` is that of its input, `limit` bytes a job.
pub(super) fn drop_zone(form: Form, part: &'static str, id: &'static str, accept: &'static str, limit: u64) -> AnyView {
    let over = move |event: ev::DragEvent| {
        event.prevent_default();
        form.dragging.set(Some(part));
    };
    let dropped = move |event: ev::DragEvent| {
        event.prevent_default();
        form.dragging.set(None);
        form.add(part, event.data_transfer().and_then(|data| data.files()));
    };
    let picked = move |event: ev::Event| {
        let input = event.target().and_then(|target| target.dyn_into::<web_sys::HtmlInputElement>().ok());
        if let Some(input) = input {
            form.add(part, input.files());
            // What is in the list is sent from there; the same file may be chosen again after it was removed.
            input.set_value("");
        }
    };
    let sum = move || {
        form.files.with(|files| {
            let (mut count, mut bytes) = (0, 0);
            for file in files.iter().filter(|file| file.part == part) {
                (count, bytes) = (count + 1, bytes + file.bytes);
            }
            if count == 0 {
                format!("up to {}", text::bytes(limit))
            } else {
                format!("{} added, {} of {}", text::count(count), text::bytes(bytes), text::bytes(limit))
            }
        })
    };
    view! {
        <label
            class="drop"
            for=id
            data-over=move || (form.dragging.get() == Some(part)).then_some("true")
            on:dragover=over
            on:dragleave=move |_| form.dragging.set(None)
            on:drop=dropped
        >
            {large("upload")}
            <span>"Drop files here or "<span class="link">"choose files"</span></span>
            <small>{sum}</small>
            <input id=id name=part type="file" accept=accept multiple on:change=picked />
        </label>
    }
    .into_any()
}

/// The files of a part, each with a way to take it out again.
pub(super) fn file_list(form: Form, part: &'static str) -> AnyView {
    let of_part =
        move || form.files.with(|files| files.iter().filter(|file| file.part == part).cloned().collect::<Vec<_>>());
    let line = move |chosen: Chosen| {
        let key = chosen.key;
        view! {
            <li>
                {icon("file")}
                <span><span class="clip">{chosen.name.clone()}</span></span>
                <data value=chosen.bytes.to_string()>{text::bytes(chosen.bytes)}</data>
                <button
                    class="btn btn-quiet btn-icon btn-sm"
                    type="button"
                    aria-label=format!("Remove {}", chosen.name)
                    on:click=move |_| form.files.update(|files| files.retain(|file| file.key != key))
                >
                    {icon("close")}
                </button>
            </li>
        }
        .into_any()
    };
    view! {
        <Show when=move || !of_part().is_empty()>
            <ul class="filelist">
                <For each=of_part key=|chosen| chosen.key let:chosen>{line(chosen)}</For>
            </ul>
        </Show>
    }
    .into_any()
}

/// Paths on the server, one a line; nothing where the configuration names no root.
pub(super) fn paths_field(
    form: Form,
    name: &'static str,
    label: &'static str,
    roots: &str,
    value: String,
    field: &'static str,
) -> Option<AnyView> {
    let roots = roots.to_owned();
    let hint = format!("{name}-h");
    (!roots.is_empty()).then(|| {
        view! {
            <div class="field wide">
                <label for=name>{label}" "<small>"one a line"</small></label>
                <textarea
                    class="textarea mono"
                    id=name
                    name=name
                    rows="3"
                    spellcheck="false"
                    aria-describedby=hint.clone()
                    aria-invalid=move || form.wrong(field).then_some("true")
                >
                    {value}
                </textarea>
                <span class="hint" id=hint>"Folders with all that is in them. Below "<span class="mono">{roots}</span>"."</span>
            </div>
        }
        .into_any()
    })
}

/// The roots as words.
pub(super) fn roots_of(options: &crate::model::FormOptions) -> String {
    options.roots.iter().map(|root| root.path.clone()).collect::<Vec<_>>().join(", ")
}

/// How many units at once.
pub(super) fn parallel_field(form: Form, what: &'static str, slots: u32, value: String) -> AnyView {
    view! {
        <div class="field">
            <label for="par">"Parallel"</label>
            <input
                class="input"
                id="par"
                name="parallel"
                inputmode="numeric"
                value=value
                placeholder=slots.to_string()
                aria-describedby="par-h"
                aria-invalid=move || form.wrong("parallel").then_some("true")
            />
            <span class="hint" id="par-h">{format!("{what} at a time, at most {slots}.")}</span>
        </div>
    }
    .into_any()
}

pub(super) fn foot(form: Form) -> AnyView {
    view! {
        {move || form.problem.get().map(|problem| view! { <div class="panel-body">{alert(problem.detail)}</div> })}
        <div class="form-foot">
            <p></p>
            <a class="btn" href=console::JOBS>"Discard"</a>
            <button
                class="btn btn-primary"
                type="submit"
                disabled=move || form.busy.get()
                aria-busy=move || form.busy.get().then_some("true")
            >
                {icon("play")}
                "Start Job"
            </button>
        </div>
    }
    .into_any()
}

/// How a stop goes, and what counts as one; `told` says who gets the signals.
pub(super) fn how_it_stops(told: &'static str) -> AnyView {
    let steps = [
        ("Told", "Every worker with a run of this job, at once."),
        ("SIGTERM, then SIGKILL", told),
        ("Searched", "Descendants, also those that left the group or became daemons."),
        ("Proven", "0 processes left, or it is called unconfirmed."),
    ];
    let steps = steps
        .into_iter()
        .map(|(title, words)| view! { <li data-tone="proof"><b>{title}</b><span>{words}</span></li> }.into_any())
        .collect::<Vec<_>>();
    view! {
        <section class="panel" aria-labelledby="h-stop">
            <div class="panel-head"><h2 id="h-stop">"How it is stopped"</h2></div>
            <div class="panel-body"><ol class="steps">{steps}</ol></div>
        </section>
    }
    .into_any()
}

/// While files are sent the page behind is inert: leaving it by a link is not possible, by other ways it asks.
pub(super) fn uploading(form: Form) -> AnyView {
    let sent = move || form.sent.get().unwrap_or_default();
    let words = move || format!("{} of {}", text::bytes(sent().bytes), text::bytes(sent().total));
    let percent = move || (sent().bytes * 100).checked_div(sent().total).unwrap_or(0);
    modal(
        "upload",
        Signal::derive(|| true),
        || (),
        move |_| {
            view! {
            <div class="dialog-inner">
                <div class="dialog-body">
                    <header><h2 id="upload-t">"Uploading"</h2></header>
                    <p id="upload-d">"The job starts when all files have arrived."</p>
                    <div
                        class="progress"
                        role="progressbar"
                        aria-label="Upload"
                        aria-valuemin="0"
                        aria-valuemax="100"
                        aria-valuenow=move || percent().to_string()
                    >
                        <div class="progress-text"><b>{words}</b><span>{move || format!("{} %", percent())}</span></div>
                        {move || bar(&[("running", sent().bytes)], sent().total, true)}
                    </div>
                </div>
                <div class="dialog-foot">
                    <button
                        class="btn"
                        type="button"
                        autofocus
                        on:click=move |_| form.stop.with_value(|stop| stop.as_ref().map(Stop::now).unwrap_or_default())
                    >
                        "Stop Upload"
                    </button>
                </div>
            </div>
        }
        .into_any()
        },
    )
}
