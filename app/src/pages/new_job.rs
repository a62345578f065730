//! A new job: what every kind asks, and the form of the kind that the address names (`?kind=`).

mod batch;
mod files;
mod hosts;
mod matching;
mod parts;

use leptos::{ev, html, prelude::*, task::spawn_local};
use leptos_router::hooks::use_query_map;
use wasm_bindgen::JsCast;
use web_sys::HtmlFormElement;

use super::{
    instead, load, page,
    upload::{self, Chosen, Sent, Stop},
};
use crate::{
    backend::{Backend, SharedBackend},
    components::icon::{icon, large},
    hooks::session::{Session, session},
    model::{CheckedInput, ErrorCode, FormOptions, Kind, NewJob, Problem, split_words},
    paths::console,
};

/// `/jobs/new`
pub(crate) fn new_job() -> AnyView {
    let session = session();
    let asked = expect_context::<SharedBackend>().form_options();
    let query = use_query_map();
    let kind = Memo::new(move |_| query.with(|query| query.get("kind")).and_then(|kind| kind.parse().ok()));
    load(asked, move |options: Result<FormOptions, Problem>| match options {
        // Another kind is another form, though the router keeps the page.
        Ok(options) => (move || loaded(session, kind.get().unwrap_or(Kind::Files), &options)).into_any(),
        Err(problem) => instead(session, &problem),
    })
}

/// The state of the form in the browser.
#[derive(Clone, Copy)]
struct Form {
    session: Session,
    kind: Kind,
    node: NodeRef<html::Form>,
    files: RwSignal<Vec<Chosen>>,
    next_key: StoredValue<u32>,
    /// The part over whose drop zone something is held.
    dragging: RwSignal<Option<&'static str>>,
    problem: RwSignal<Option<Problem>>,
    busy: RwSignal<bool>,
    sent: RwSignal<Option<Sent>>,
    stop: StoredValue<Option<Stop>>,
    /// What a batch's file holds, until another one or another provider is chosen.
    checked: RwSignal<Option<CheckedInput>>,
    preset: RwSignal<String>,
}

impl Form {
    fn add(&self, part: &'static str, list: Option<web_sys::FileList>) {
        let first = self.next_key.get_value();
        let more = upload::chosen(part, list, first);
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

    /// All values under a name, of ticked boxes for instance.
    fn values(&self, name: &str) -> Vec<String> {
        let form = self.node.get_untracked().map(|form| form.unchecked_into::<HtmlFormElement>());
        let data = form.and_then(|form| web_sys::FormData::new_with_form(&form).ok());
        let all = data.map(|data| data.get_all(name)).unwrap_or_default();
        all.iter().filter_map(|value| value.as_string()).collect()
    }

    /// Preset or command, of which a spec takes one.
    fn preset_or_command(&self) -> Result<(Option<String>, Option<Vec<String>>), Problem> {
        let preset = Some(self.value("preset")).filter(|preset| !preset.is_empty());
        let line = self.value("command");
        if preset.is_some() || line.is_empty() {
            return Ok((preset, None));
        }
        let words =
            split_words(&line).ok_or_else(|| wrong("command", "The command has a quote that is not closed."))?;
        Ok((None, Some(words)))
    }

    fn number(&self, name: &'static str) -> Result<Option<u32>, Problem> {
        let typed = self.value(name);
        if typed.is_empty() {
            return Ok(None);
        }
        typed.parse().map(Some).map_err(|_| wrong(name, "This takes a whole number."))
    }

    fn read(&self) -> Result<NewJob, Problem> {
        let spec = match self.kind {
            Kind::Files => files::read(self)?,
            Kind::ProductMatching => matching::read(self)?,
            Kind::Hosts => hosts::read(self)?,
            Kind::OpenaiBatch | Kind::GeminiBatch => batch::read(self),
        };
        Ok(NewJob { name: self.value("name"), kind: self.kind, spec })
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

/// The lines of a text that hold something.
fn lines(text: &str) -> Vec<String> {
    text.lines().map(str::trim).filter(|line| !line.is_empty()).map(str::to_owned).collect()
}

fn loaded(session: Session, kind: Kind, options: &FormOptions) -> AnyView {
    let typed = session.form();
    let value = |name: &str| typed.as_ref().map(|form| form.chosen(name)).unwrap_or_default();
    let first =
        options.presets.iter().find(|preset| preset.kind == kind).map(|preset| preset.name.clone()).unwrap_or_default();
    let preset = if typed.is_some() { value("preset") } else { first };
    let form = Form {
        session,
        kind,
        node: NodeRef::new(),
        files: RwSignal::new(Vec::new()),
        next_key: StoredValue::new(0),
        dragging: RwSignal::new(None),
        problem: RwSignal::new(typed.as_ref().map(|form| form.problem.clone())),
        busy: RwSignal::new(false),
        sent: RwSignal::new(None),
        stop: StoredValue::new(None),
        checked: RwSignal::new(None),
        preset: RwSignal::new(preset),
    };
    let submit = move |event: ev::SubmitEvent| {
        event.prevent_default();
        form.submit();
    };
    let (sections, aside) = match kind {
        Kind::Files => (files::sections(form, options, &value), files::aside(form, options)),
        Kind::ProductMatching => (matching::sections(form, options, &value), matching::aside(form, options)),
        Kind::Hosts => (hosts::sections(form, options, &value), hosts::aside(form, options)),
        Kind::OpenaiBatch | Kind::GeminiBatch => (batch::sections(form, options, &value), batch::aside(form, options)),
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
            action=console::new_job(kind)
            enctype="multipart/form-data"
            node_ref=form.node
            on:submit=submit
        >
            <div class="panel">
                {kind_section(kind)}
                {name_section(form, value("name"))}
                {sections}
                {parts::foot(form)}
            </div>
            <aside class="stack sticky" aria-label="What will happen">{aside}</aside>
        </form>
        <Show when=move || form.sent.get().is_some()>{parts::uploading(form)}</Show>
    }
    .into_any();
    page(session, "New job", "page", body)
}

/// The kinds as links, so that choosing one needs no WebAssembly.
fn kind_section(chosen: Kind) -> AnyView {
    let kinds = Kind::ALL
        .into_iter()
        .map(|kind| {
            let (title, words) = words_of(kind);
            let current = (kind == chosen).then_some("true");
            view! {
                <a href=console::new_job(kind) aria-current=current>
                    {large(kind.as_str())}
                    <b>{title}</b>
                    <small>{words}</small>
                </a>
            }
            .into_any()
        })
        .collect::<Vec<_>>();
    view! {
        <nav class="section" aria-label="Kind">
            <header>
                <h2>"Kind"</h2>
                <p>"What is run, and how it is stopped."</p>
            </header>
            <div class="kinds">{kinds}</div>
            <input type="hidden" name="kind" value=chosen.as_str() />
        </nav>
    }
    .into_any()
}

const fn words_of(kind: Kind) -> (&'static str, &'static str) {
    match kind {
        Kind::Files => ("Files", "A command for each file"),
        Kind::ProductMatching => ("Product matching", "Find products in videos"),
        Kind::Hosts => ("Hosts", "A command on many machines"),
        Kind::OpenaiBatch => ("OpenAI batch", "Requests to a paid batch API"),
        Kind::GeminiBatch => ("Gemini batch", "Requests to a paid batch API"),
    }
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
