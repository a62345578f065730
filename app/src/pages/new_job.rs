//! A new job: a preset (or, where allowed, a command) over uploaded files and files below the configured roots.

use leptos::{ev, html, prelude::*, task::spawn_local};
use wasm_bindgen::JsCast;
use web_sys::HtmlFormElement;

use super::{
    instead, load, page,
    upload::{self, Chosen, Sent, Stop},
};
use crate::{
    backend::{Backend, SharedBackend},
    components::{
        icon::{icon, large},
        modal::modal,
        notice::{alert, notice},
        progress::bar,
    },
    hooks::session::{Session, session},
    model::{ErrorCode, FilesSpec, FormOptions, Kind, NewJob, Problem, Spec, spec::split_words},
    paths::console,
    text,
};

/// `/jobs/new`
pub(crate) fn new_job() -> AnyView {
    let session = session();
    let asked = expect_context::<SharedBackend>().form_options();
    load(asked, move |options: Result<FormOptions, Problem>| match options {
        Ok(options) => loaded(session, options),
        Err(problem) => instead(session, &problem),
    })
}

/// The state of the form in the browser.
#[derive(Clone, Copy)]
struct Form {
    session: Session,
    node: NodeRef<html::Form>,
    files: RwSignal<Vec<Chosen>>,
    next_key: StoredValue<u32>,
    dragging: RwSignal<bool>,
    problem: RwSignal<Option<Problem>>,
    busy: RwSignal<bool>,
    sent: RwSignal<Option<Sent>>,
    stop: StoredValue<Option<Stop>>,
    preset: RwSignal<String>,
}

impl Form {
    fn add(&self, list: Option<web_sys::FileList>) {
        let first = self.next_key.get_value();
        let more = upload::chosen(list, first);
        self.next_key.set_value(first + more.len() as u32);
        self.files.update(|files| files.extend(more));
    }

    /// True when the last answer named this field.
    fn wrong(&self, field: &'static str) -> bool {
        self.problem.with(|problem| {
            let named = problem.as_ref().and_then(|problem| problem.field.as_deref());
            named.is_some_and(|named| named.trim_start_matches("spec.").starts_with(field))
        })
    }

    fn value(&self, name: &str) -> String {
        let form = self.node.get_untracked().map(|form| form.unchecked_into::<HtmlFormElement>());
        let data = form.and_then(|form| web_sys::FormData::new_with_form(&form).ok());
        data.and_then(|data| data.get(name).as_string()).unwrap_or_default().trim().to_owned()
    }

    fn number(&self, name: &'static str) -> Result<Option<u32>, Problem> {
        let typed = self.value(name);
        if typed.is_empty() {
            return Ok(None);
        }
        typed.parse().map(Some).map_err(|_| wrong(name, "This takes a whole number."))
    }

    fn read(&self) -> Result<NewJob, Problem> {
        let preset = Some(self.value("preset")).filter(|preset| !preset.is_empty());
        let command = match (&preset, self.value("command")) {
            (Some(_), _) => None,
            (None, line) if line.is_empty() => None,
            (None, line) => Some(
                split_words(&line).ok_or_else(|| wrong("command", "The command has a quote that is not closed."))?,
            ),
        };
        let inputs = self.value("inputs");
        let inputs = inputs.lines().map(str::trim).filter(|line| !line.is_empty()).map(str::to_owned).collect();
        let spec = FilesSpec {
            preset,
            command,
            inputs,
            parallel: self.number("parallel")?,
            timeout_s: self.number("timeout_s")?,
            grace_s: None,
        };
        Ok(NewJob { name: self.value("name"), kind: Kind::Files, spec: Spec::Files(spec) })
    }

    fn submit(&self) {
        if self.busy.get_untracked() {
            return;
        }
        let job = match self.read() {
            Ok(job) => job,
            Err(problem) => return self.problem.set(Some(problem)),
        };
        let this = *self;
        this.problem.set(None);
        this.busy.set(true);
        let files = this.files.get_untracked();
        if !files.is_empty() {
            this.sent.set(Some(Sent { bytes: 0, total: files.iter().map(|file| file.bytes).sum() }));
        }
        spawn_local(async move {
            let answer = upload::submit(&job, &files, this.sent, this.stop).await;
            this.sent.set(None);
            this.busy.set(false);
            match answer {
                Ok(job) => this.session.go(&format!("{}?panel=1", console::job(job.job_id)), false),
                Err(problem) if problem.is(ErrorCode::Unauthenticated) => this.session.sign_in_again(),
                Err(problem) => this.problem.set(Some(problem)),
            }
        });
    }
}

fn wrong(field: &str, detail: &str) -> Problem {
    Problem {
        status: 422,
        error: ErrorCode::InvalidSpec.as_str().to_owned(),
        detail: detail.to_owned(),
        field: Some(field.to_owned()),
        ..Problem::default()
    }
}

fn loaded(session: Session, options: FormOptions) -> AnyView {
    let typed = session.form();
    let value = |name: &str| typed.as_ref().map(|form| form.value(name).to_owned()).unwrap_or_default();
    let first = options.presets.first().map(|preset| preset.name.clone()).unwrap_or_default();
    let preset = if typed.is_some() { value("preset") } else { first };
    let form = Form {
        session,
        node: NodeRef::new(),
        files: RwSignal::new(Vec::new()),
        next_key: StoredValue::new(0),
        dragging: RwSignal::new(false),
        problem: RwSignal::new(typed.as_ref().map(|form| form.problem.clone())),
        busy: RwSignal::new(false),
        sent: RwSignal::new(None),
        stop: StoredValue::new(None),
        preset: RwSignal::new(preset),
    };
    let submit = move |event: ev::SubmitEvent| {
        event.prevent_default();
        form.submit();
    };
    let body = view! {
        <div>
            <nav class="crumbs" aria-label="Breadcrumb">
                <a href=console::JOBS>"Jobs"</a>
                {icon("chevron-right")}
                <span aria-current="page">"New Job"</span>
            </nav>
            <div class="page-head"><div class="titles"><h1>"New Job"</h1></div></div>
        </div>
        <form
            class="split"
            method="post"
            action=console::NEW_JOB
            enctype="multipart/form-data"
            node_ref=form.node
            on:submit=submit
        >
            <div class="panel">
                {kind_section()}
                {name_section(form, value("name"))}
                {files_section(form, &options, value("inputs"))}
                {command_section(form, &options, value("command"))}
                {limits_section(form, &options, value("parallel"), value("timeout_s"))}
                {foot(form)}
            </div>
            <aside class="stack sticky" aria-label="What will happen">{summary(form, &options)}{how_it_stops()}</aside>
        </form>
        <Show when=move || form.sent.get().is_some()>{uploading(form)}</Show>
    }
    .into_any();
    page(session, "New job", "page", body)
}

fn kind_section() -> AnyView {
    view! {
        <fieldset class="section">
            <legend class="sr-only">"Kind"</legend>
            <header>
                <h2>"Kind"</h2>
                <p>"What is run, and how it is stopped."</p>
            </header>
            <div class="kinds">
                <label>
                    {large("files")}
                    <b>"Files"</b>
                    <small>"A command for each file"</small>
                    <input type="radio" name="kind" value="files" checked />
                </label>
            </div>
        </fieldset>
    }
    .into_any()
}

fn name_section(form: Form, name: String) -> AnyView {
    view! {
        <section class="section" aria-label="Name">
            <div class="fields">
                <div class="field wide">
                    <label for="n">"Name"</label>
                    <input
                        class="input"
                        id="n"
                        name="name"
                        value=name
                        maxlength="200"
                        required
                        autocomplete="off"
                        aria-invalid=move || form.wrong("name").then_some("true")
                    />
                </div>
            </div>
        </section>
    }
    .into_any()
}

fn files_section(form: Form, options: &FormOptions, inputs: String) -> AnyView {
    let limit = options.max_upload_bytes;
    let roots = options.roots.iter().map(|root| root.path.clone()).collect::<Vec<_>>().join(", ");
    let from_roots = (!roots.is_empty()).then(|| {
        view! {
            <div class="fields">
                <div class="field wide">
                    <label for="in">"Files and folders on the server "<small>"one a line"</small></label>
                    <textarea
                        class="textarea mono"
                        id="in"
                        name="inputs"
                        rows="3"
                        spellcheck="false"
                        aria-describedby="in-h"
                        aria-invalid=move || form.wrong("inputs").then_some("true")
                    >
                        {inputs}
                    </textarea>
                    <span class="hint" id="in-h">"Folders with all that is in them. Below "<span class="mono">{roots}</span>"."</span>
                </div>
            </div>
        }
        .into_any()
    });
    view! {
        <section class="section" aria-labelledby="s-in">
            <header>
                <h2 id="s-in">"Files"</h2>
                <p>"The command runs once for each."</p>
            </header>
            <div>{drop_zone(form, limit)}</div>
            {file_list(form)}
            {from_roots}
        </section>
    }
    .into_any()
}

fn drop_zone(form: Form, limit: u64) -> AnyView {
    let over = move |event: ev::DragEvent| {
        event.prevent_default();
        form.dragging.set(true);
    };
    let dropped = move |event: ev::DragEvent| {
        event.prevent_default();
        form.dragging.set(false);
        form.add(event.data_transfer().and_then(|data| data.files()));
    };
    let picked = move |event: ev::Event| {
        let input = event.target().and_then(|target| target.dyn_into::<web_sys::HtmlInputElement>().ok());
        if let Some(input) = input {
            form.add(input.files());
            // What is in the list is sent from there; the same file may be chosen again after it was removed.
            input.set_value("");
        }
    };
    let sum = move || {
        form.files.with(|files| {
            let bytes: u64 = files.iter().map(|file| file.bytes).sum();
            if files.is_empty() {
                format!("up to {}", text::bytes(limit))
            } else {
                format!("{} added, {} of {}", text::count(files.len() as u64), text::bytes(bytes), text::bytes(limit))
            }
        })
    };
    view! {
        <label
            class="drop"
            for="up"
            data-over=move || form.dragging.get().then_some("true")
            on:dragover=over
            on:dragleave=move |_| form.dragging.set(false)
            on:drop=dropped
        >
            {large("upload")}
            <span>"Drop files here or "<span class="link">"choose files"</span></span>
            <small>{sum}</small>
            <input id="up" name="files" type="file" multiple on:change=picked />
        </label>
    }
    .into_any()
}

fn file_list(form: Form) -> AnyView {
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
        <Show when=move || form.files.with(|files| !files.is_empty())>
            <ul class="filelist">
                <For each=move || form.files.get() key=|chosen| chosen.key let:chosen>{line(chosen)}</For>
            </ul>
        </Show>
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
                <div class="field">
                    <label for="par">"Parallel"</label>
                    <input
                        class="input"
                        id="par"
                        name="parallel"
                        inputmode="numeric"
                        value=parallel
                        placeholder=slots.to_string()
                        aria-describedby="par-h"
                        aria-invalid=move || form.wrong("parallel").then_some("true")
                    />
                    <span class="hint" id="par-h">{format!("Files at a time, at most {slots}.")}</span>
                </div>
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

fn foot(form: Form) -> AnyView {
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

fn how_it_stops() -> AnyView {
    let steps = [
        ("Told", "Every worker with a run of this job, at once."),
        ("SIGTERM, then SIGKILL", "The command and all that it started, 5 s grace."),
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
fn uploading(form: Form) -> AnyView {
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
