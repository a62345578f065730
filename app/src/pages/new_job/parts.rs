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
        notice::{alert, notice},
        progress::bar,
    },
    model::FormOptions,
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
pub(super) fn roots_of(options: &FormOptions) -> String {
    options.roots.iter().map(|root| root.path.clone()).collect::<Vec<_>>().join(", ")
}

/// How many units at once; `usual` when nothing is typed.
pub(super) fn parallel_field(form: Form, hint: String, usual: u32, value: String) -> AnyView {
    view! {
        <div class="field">
            <label for="par">"Parallel"</label>
            <input
                class="input"
                id="par"
                name="parallel"
                inputmode="numeric"
                value=value
                placeholder=usual.to_string()
                aria-describedby="par-h"
                aria-invalid=move || form.wrong("parallel").then_some("true")
            />
            <span class="hint" id="par-h">{hint}</span>
        </div>
    }
    .into_any()
}

/// How long a unit may take; `hint` says what happens then.
pub(super) fn time_field(form: Form, hint: &'static str, timeout: String) -> AnyView {
    view! {
        <div class="field">
            <label for="time">"Time limit"</label>
            <div class="input-wrap">
                <input
                    class="input"
                    id="time"
                    name="timeout_s"
                    inputmode="numeric"
                    value=timeout
                    aria-describedby="time-h"
                    aria-invalid=move || form.wrong("timeout_s").then_some("true")
                />
                <span class="suffix">"seconds"</span>
            </div>
            <span class="hint" id="time-h">{hint}</span>
        </div>
    }
    .into_any()
}

/// How a command of one's own is asked for, where it is allowed.
pub(super) struct OwnCommand {
    pub(super) example: &'static str,
    pub(super) hint: AnyView,
}

/// A preset of the form's kind, or a command of one's own.
pub(super) fn command_section(form: Form, options: &FormOptions, own: Option<OwnCommand>, command: String) -> AnyView {
    let chosen = form.preset.get_untracked();
    let presets: Vec<_> = options.presets.iter().filter(|preset| preset.kind == form.kind).cloned().collect();
    let mut choices: Vec<(String, String)> =
        presets.iter().map(|preset| (preset.name.clone(), preset.name.clone())).collect();
    if own.is_some() {
        choices.push((String::new(), "Own command".to_owned()));
    }
    if choices.is_empty() {
        let words = "The configuration names no preset and does not allow free commands: there is nothing to run.";
        return notice("partial", "warning", words.into_any());
    }
    let choices = choices
        .into_iter()
        .map(|(value, words)| {
            let selected = value == chosen;
            view! { <option value=value selected=selected>{words}</option> }.into_any()
        })
        .collect::<Vec<_>>();
    let presets = StoredValue::new(presets);
    let hint = move || {
        let name = form.preset.get();
        presets.with_value(|presets| {
            let preset = presets.iter().find(|preset| preset.name == name)?;
            let description = preset.description.clone().map(|words| words + " ");
            Some(view! { {description}<span class="mono">{preset.command.join(" ")}</span> }.into_any())
        })
    };
    let own = own.map(|own| {
        view! {
            <div class="field wide" hidden=move || form.session.mounted.get() && !form.preset.get().is_empty()>
                <label for="cmd">"Own command "<small>"when no preset is chosen"</small></label>
                <input
                    class="input mono"
                    id="cmd"
                    name="command"
                    value=command
                    autocomplete="off"
                    spellcheck="false"
                    placeholder=own.example
                    aria-describedby="cmd-h"
                    aria-invalid=move || form.wrong("command").then_some("true")
                />
                <span class="hint" id="cmd-h">{own.hint}</span>
            </div>
        }
        .into_any()
    });
    view! {
        <section class="section" aria-labelledby="s-cmd">
            <header>
                <h2 id="s-cmd">"Command"</h2>
                <p>"From the presets of the configuration."</p>
            </header>
            <div class="fields">
                <div class="field wide">
                    <label for="preset">"Preset"</label>
                    <span class="select-wrap">
                        <select
                            class="select"
                            id="preset"
                            name="preset"
                            aria-describedby="preset-h"
                            aria-invalid=move || form.wrong("preset").then_some("true")
                            on:change=move |event| form.preset.set(event_target_value(&event))
                        >
                            {choices}
                        </select>
                        {icon("chevron-down")}
                    </span>
                    <span class="hint" id="preset-h">{hint}</span>
                </div>
                {own}
            </div>
        </section>
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
