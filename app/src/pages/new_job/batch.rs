//! The form of kinds `openai_batch` and `gemini_batch`: a provider of the configuration, a file of requests, and what is in it
//! before anything is sent.

use leptos::{prelude::*, task::spawn_local};

use super::{
    super::upload,
    Form,
    parts::{drop_zone, file_list, roots_of},
};
use crate::{
    components::{
        icon::{icon, spinning},
        notice::notice,
    },
    model::{BatchSpec, CheckRequest, CheckedInput, FormOptions, Kind, ProviderInfo, Spec},
    paths::console,
    text,
};

/// Faults that are listed at once.
const SEEN: usize = 20;

fn typed(form: &Form, name: &str) -> Option<String> {
    Some(form.value(name)).filter(|value| !value.is_empty())
}

/// Reads what was typed.
pub(super) fn read(form: &Form) -> Spec {
    Spec::Batch(BatchSpec {
        provider: form.value("provider"),
        input: typed(form, "input"),
        model: typed(form, "model"),
        adopted: None,
    })
}

/// Providers that take batches of this kind.
fn providers(options: &FormOptions, kind: Kind) -> Vec<&ProviderInfo> {
    options.providers.iter().filter(|provider| provider.kind.job_kind() == kind).collect()
}

/// The sections between name and foot.
pub(super) fn sections(form: Form, options: &FormOptions, typed: &dyn Fn(&str) -> String) -> AnyView {
    let known = providers(options, form.kind);
    if known.is_empty() {
        let words = "The configuration names no provider for batches of this kind.";
        return notice("partial", "warning", words.into_any());
    }
    let chosen = typed("provider");
    let without_key = known
        .iter()
        .filter_map(|provider| Some((provider.name.clone(), provider.key_fault.clone()?)))
        .map(|(name, fault)| notice("partial", "key", format!("{name}: {fault}").into_any()))
        .collect::<Vec<_>>();
    let choices = known
        .into_iter()
        .map(|provider| {
            let name = provider.name.clone();
            view! { <option value=name.clone() selected=name == chosen>{name.clone()}</option> }.into_any()
        })
        .collect::<Vec<_>>();
    let model = (form.kind == Kind::GeminiBatch).then(|| {
        view! {
            <div class="field">
                <label for="model">"Model"</label>
                <input
                    class="input mono"
                    id="model"
                    name="model"
                    value=typed("model")
                    autocomplete="off"
                    aria-invalid=move || form.wrong("model").then_some("true")
                />
            </div>
        }
        .into_any()
    });
    view! {
        <section class="section" aria-labelledby="s-provider" on:input=move |_| form.checked.set(None)>
            <header>
                <h2 id="s-provider">"Provider"</h2>
                <p>"Who answers the requests, and is paid for it."</p>
            </header>
            {without_key}
            <div class="fields">
                <div class="field">
                    <label for="provider">"Provider"</label>
                    <span class="select-wrap">
                        <select class="select" id="provider" name="provider">{choices}</select>
                        {icon("chevron-down")}
                    </span>
                    <a class="link hint" href=console::PROVIDERS>"What they have already"</a>
                </div>
                {model}
            </div>
        </section>
        <section class="section" aria-labelledby="s-batch" on:input=move |_| form.checked.set(None)>
            <header>
                <h2 id="s-batch">"Requests"</h2>
                <p>"A JSONL file, one request a line. It is checked line by line before anything is sent."</p>
            </header>
            <div>{drop_zone(form, "files", "up", ".jsonl,.ndjson", options.max_upload_bytes)}</div>
            {file_list(form, "files")}
            {path_field(form, &roots_of(options), typed("input"))}
        </section>
    }
    .into_any()
}

fn path_field(form: Form, roots: &str, value: String) -> Option<AnyView> {
    let roots = roots.to_owned();
    (!roots.is_empty()).then(|| {
        view! {
            <div class="fields">
                <div class="field wide">
                    <label for="input">"File on the server "<small>"when none is uploaded"</small></label>
                    <input
                        class="input mono"
                        id="input"
                        name="input"
                        value=value
                        autocomplete="off"
                        spellcheck="false"
                        placeholder="requests.jsonl"
                        aria-describedby="input-h"
                        aria-invalid=move || form.wrong("input").then_some("true")
                    />
                    <span class="hint" id="input-h">"Below "<span class="mono">{roots}</span>"."</span>
                </div>
            </div>
        }
        .into_any()
    })
}

/// What stands beside the form.
pub(super) fn aside(form: Form, options: &FormOptions) -> AnyView {
    let hours = providers(options, form.kind).first().map(|provider| provider.deadline_hours);
    let deadline =
        hours.map_or_else(|| "By the provider".to_owned(), |hours| format!("After {hours} h, by the provider"));
    view! {
        {checked_panel(form)}
        <section class="panel" aria-labelledby="h-will">
            <div class="panel-head"><h2 id="h-will">"What will run"</h2></div>
            <div class="panel-body stack">
                <dl class="facts">
                    <dt>"Where"</dt>
                    <dd>"At the provider, as one batch"</dd>
                    <dt>"Given up"</dt>
                    <dd>{deadline}</dd>
                    <dt>"Stopped"</dt>
                    <dd>"When the provider says so; that may take ten minutes"</dd>
                </dl>
            </div>
        </section>
    }
    .into_any()
}

/// Looks into the file without sending it on. Without WebAssembly a job whose file has faults is refused with them.
fn checked_panel(form: Form) -> AnyView {
    // The dialog of an upload would say that a job starts.
    let sent = RwSignal::new(None);
    // Its own: that of the form belongs to the upload that its dialog stops.
    let stop = StoredValue::new(None);
    let (busy, found) = (RwSignal::new(false), form.checked);
    let asked = move || CheckRequest {
        provider: form.value("provider"),
        input: typed(&form, "input"),
        model: typed(&form, "model"),
    };
    let chosen = move || form.files.with_untracked(|files| files.iter().map(|file| file.key).collect::<Vec<_>>());
    Effect::new(move |_| {
        form.files.track();
        found.set(None);
    });
    let check = move |_| {
        if busy.get_untracked() {
            return;
        }
        let (request, keys) = (asked(), chosen());
        busy.set(true);
        form.problem.set(None);
        let files = form.files.get_untracked();
        spawn_local(async move {
            match upload::check(&request, &files, sent, stop).await {
                // Something else is chosen by now.
                Ok(_) if form.files.is_disposed() || asked() != request || chosen() != keys => {}
                Ok(checked) => {
                    let words = match checked.fault_count {
                        0 => format!("{} can be sent", text::counted(checked.requests, ("request", "requests"))),
                        faults => text::counted(faults, ("fault found", "faults found")),
                    };
                    form.session.announcement.set(words);
                    found.set(Some(checked));
                }
                Err(problem) => {
                    found.set(None);
                    form.problem.set(Some(problem));
                }
            }
            busy.set(false);
        });
    };
    let button = move || if busy.get() { spinning("active") } else { icon("search") };
    view! {
        <section class="panel" aria-labelledby="h-check" hidden=move || !form.session.mounted.get()>
            <div class="panel-head">
                <h2 id="h-check">"The file"</h2>
                <button class="btn btn-sm push" type="button" disabled=move || busy.get() on:click=check>
                    {button}
                    "Check File"
                </button>
            </div>
            <div class="panel-body stack">
                {move || match found.get() {
                    Some(checked) => checked_view(&checked),
                    None => view! { <p class="muted">"Not checked yet. Nothing is sent by checking."</p> }.into_any(),
                }}
            </div>
        </section>
    }
    .into_any()
}

fn checked_view(checked: &CheckedInput) -> AnyView {
    let verdict = match checked.fault_count {
        0 => notice("completed", "completed", "It can be sent.".into_any()),
        count => {
            let words = format!("It cannot be sent: {}.", text::counted(count, ("fault", "faults")));
            notice("failed", "failed", words.into_any())
        }
    };
    let faults = checked
        .faults
        .iter()
        .take(SEEN)
        .map(|fault| {
            let line = fault.line.map(|line| format!("Line {}: ", text::count(line)));
            view! { <li>{line}{fault.message.clone()}</li> }.into_any()
        })
        .collect::<Vec<_>>();
    let unseen = checked.fault_count.saturating_sub(faults.len() as u64);
    let more = (unseen > 0).then(|| view! { <li>{format!("… and {} more", text::count(unseen))}</li> });
    let listed = (checked.fault_count > 0).then(|| {
        view! { <ul class="faults scroll" tabindex="0" role="list" aria-label="Faults by line">{faults}{more}</ul> }
    });
    let unknown = || "unknown".to_owned();
    let facts = [
        ("Requests", text::count(checked.requests)),
        ("Size", text::bytes(checked.bytes)),
        ("Model", checked.model.clone().unwrap_or_else(unknown)),
        ("Endpoint", checked.endpoint.clone().unwrap_or_else(unknown)),
        ("Input tokens, estimated", text::count(checked.estimated_input_tokens)),
        ("Output tokens, at most", checked.max_output_tokens.map_or_else(unknown, text::count)),
        ("Cost, estimated", checked.estimate.as_ref().map_or_else(unknown, text::dollar_range)),
    ];
    let facts =
        facts.into_iter().map(|(term, value)| view! { <dt>{term}</dt><dd>{value}</dd> }.into_any()).collect::<Vec<_>>();
    view! { {verdict}{listed}<dl class="facts">{facts}</dl> }.into_any()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{CostRange, LineFault};

    #[test]
    fn a_checked_file_shows_its_faults_by_line_and_never_a_cost_that_is_not_known() {
        let fault = |line: u64| LineFault { line: Some(line), message: "not JSON".to_owned() };
        let checked = CheckedInput {
            requests: 12_400,
            faults: (1..=100).map(fault).collect(),
            fault_count: 1_234,
            ..CheckedInput::default()
        };
        let html = Owner::new().with(|| checked_view(&checked).to_html());
        for words in ["12,400", "It cannot be sent: 1,234 faults.", "Line 20: ", "… and 1,214 more", "unknown"] {
            assert!(html.contains(words), "{words}: {html}");
        }
        assert!(!html.contains("Line 21: ") && !html.contains('$'), "{html}");
        let rate = "prices of 2026-09-01".to_owned();
        let good =
            CheckedInput { estimate: Some(CostRange { low: 1.5, high: 12.25, rate }), ..CheckedInput::default() };
        let html = Owner::new().with(|| checked_view(&good).to_html());
        assert!(html.contains("It can be sent.") && html.contains("$1.50 to $12.25"), "{html}");
    }
}
