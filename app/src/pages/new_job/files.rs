//! The form of kind `files`: a preset or a command over files.

use leptos::prelude::*;

use super::{
    Form, lines,
    parts::{
        OwnCommand, command_section, drop_zone, file_list, how_it_stops, parallel_field, paths_field, roots_of,
        time_field,
    },
};
use crate::{
    model::{FilesSpec, FormOptions, Problem, Spec},
    text,
};

/// Reads what was typed.
pub(super) fn read(form: &Form) -> Result<Spec, Problem> {
    let (preset, command) = form.preset_or_command()?;
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
        {command_section(form, options, own_command(options), typed("command"))}
        {limits_section(form, options, typed("parallel"), typed("timeout_s"))}
    }
    .into_any()
}

fn own_command(options: &FormOptions) -> Option<OwnCommand> {
    options.allow_free_commands.then(|| OwnCommand {
        example: "sha256sum {file}",
        hint: view! {
            "No shell. Replaced: " <span class="mono">"{file} {name} {stem} {out}"</span>
            ". What is written below " <span class="mono">"{out}"</span> " is kept."
        }
        .into_any(),
    })
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

fn limits_section(form: Form, options: &FormOptions, parallel: String, timeout: String) -> AnyView {
    let slots = options.slots;
    view! {
        <section class="section" aria-labelledby="s-how">
            <header>
                <h2 id="s-how">"Limits"</h2>
                <p>"Empty: as many at once as the worker can, as long as it takes."</p>
            </header>
            <div class="fields">
                {parallel_field(form, format!("Files at a time, at most {slots}."), slots, parallel)}
                {time_field(form, "A file that takes longer is stopped and counts as failed.", timeout)}
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
