//! The form of kind `files`: a preset or a command over files.

use leptos::prelude::*;

use super::{
    Form, lines,
    parts::{drop_zone, file_list, how_it_stops, parallel_field, paths_field, roots_of},
    wrong,
};
use crate::{
    components::{icon::icon, notice::notice},
    model::{FilesSpec, FormOptions, Problem, Spec, spec::split_words},
    text,
};

/// Reads what was typed.
pub(super) fn read(form: &Form) -> Result<Spec, Problem> {
    let preset = Some(form.value("preset")).filter(|preset| !preset.is_empty());
    let command = match (&preset, form.value("command")) {
        (Some(_), _) => None,
        (None, line) if line.is_empty() => None,
        (None, line) => {
            Some(split_words(&line).ok_or_else(|| wrong("command", "The command has a quote that is not closed."))?)
        }
    };
    Ok(Spec::Files(FilesSpec {
        preset,
        command,
        inputs: lines(&form.value("inputs")),
        parallel: form.number("parallel")?,
        timeout_s: form.number("timeout_s")?,
        grace_s: None,
    }))
}

/// The sections between name and foot.
pub(super) fn sections(form: Form, options: &FormOptions, typed: &dyn Fn(&str) -> String) -> AnyView {
    view! {
        {files_section(form, options, typed("inputs"))}
        {command_section(form, options, typed("command"))}
        {limits_section(form, options, typed("parallel"), typed("timeout_s"))}
    }
    .into_any()
}

/// What stands beside the form.
pub(super) fn aside(form: Form, options: &FormOptions) -> AnyView {
    view! { {summary(form, options)} {how_it_stops("The command and all that it started, 5 s grace.")} }.into_any()
}

fn files_section(form: Form, options: &FormOptions, inputs: String) -> AnyView {
    let limit = options.max_upload_bytes;
    let from_roots =
        paths_field(form, "inputs", "Files and folders on the server", &roots_of(options), inputs, "inputs");
    view! {
        <section class="section" aria-labelledby="s-in">
            <header>
                <h2 id="s-in">"Files"</h2>
                <p>"The command runs once for each."</p>
            </header>
            <div>{drop_zone(form, "files", "up", "", limit)}</div>
            {file_list(form, "files")}
            <div class="fields">{from_roots}</div>
        </section>
    }
    .into_any()
}

fn command_section(form: Form, options: &FormOptions, command: String) -> AnyView {
    let chosen = form.preset.get_untracked();
    let free = options.allow_free_commands;
    let mut choices: Vec<(String, String)> =
        options.presets.iter().map(|preset| (preset.name.clone(), preset.name.clone())).collect();
    if free {
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
    let presets = StoredValue::new(options.presets.clone());
    let hint = move || {
        let name = form.preset.get();
        presets.with_value(|presets| {
            let preset = presets.iter().find(|preset| preset.name == name)?;
            let description = preset.description.clone().map(|words| words + " ");
            Some(view! { {description}<span class="mono">{preset.command.join(" ")}</span> }.into_any())
        })
    };
    let own = free.then(|| {
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
                    placeholder="sha256sum {file}"
                    aria-describedby="cmd-h"
                    aria-invalid=move || form.wrong("command").then_some("true")
                />
                <span class="hint" id="cmd-h">
                    "No shell. Replaced: " <span class="mono">"{file} {name} {stem} {out}"</span>
                    ". What is written below " <span class="mono">"{out}"</span> " is kept."
                </span>
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

fn limits_section(form: Form, options: &FormOptions, parallel: String, timeout: String) -> AnyView {
    let slots = options.slots;
    view! {
        <section class="section" aria-labelledby="s-how">
            <header>
                <h2 id="s-how">"Limits"</h2>
                <p>"Empty: as many at once as the worker can, as long as it takes."</p>
            </header>
            <div class="fields">
                {parallel_field(form, "Files", slots, parallel)}
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
                    <span class="hint" id="time-h">"A file that takes longer is stopped and counts as failed."</span>
                </div>
            </div>
        </section>
    }
    .into_any()
}

fn summary(form: Form, options: &FormOptions) -> AnyView {
    let slots = options.slots;
    let what = move || {
        let preset = form.preset.get();
        if preset.is_empty() { "own command".to_owned() } else { preset }
    };
    let files = move || {
        form.files.with(|files| {
            if files.is_empty() {
                "those below the roots, counted when it starts".to_owned()
            } else {
                format!("{} uploaded, and those below the roots", text::count(files.len() as u64))
            }
        })
    };
    view! {
        <section class="panel" aria-labelledby="h-will">
            <div class="panel-head"><h2 id="h-will">"What will run"</h2></div>
            <div class="panel-body stack">
                <dl class="facts">
                    <dt>"Command"</dt>
                    <dd class="mono">{what}</dd>
                    <dt>"Files"</dt>
                    <dd>{files}</dd>
                    <dt>"Slots"</dt>
                    <dd>{format!("{slots} on this worker")}</dd>
                </dl>
            </div>
        </section>
    }
    .into_any()
}
