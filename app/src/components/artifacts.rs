//! Files of a job: pictures as pictures, the rest as a list to download.

use leptos::{ev, prelude::*};

use super::icon::icon;
use crate::{
    model::{Artifact, JobId, Page},
    paths::api,
    text,
};

/// Files, and pictures, that are seen at once; the others unfold.
const SEEN: usize = 8;

/// Where it came from.
fn source(artifact: &Artifact) -> String {
    artifact.unit.map_or_else(|| artifact.category.label().to_owned(), |unit| format!("unit {unit}"))
}

fn picture(id: JobId, artifact: &Artifact) -> AnyView {
    let url = api::artifact(id, &artifact.path);
    let address = url.clone();
    view! {
        <li>
        <a href=address rel="external" target="_blank">
            <img class="frame" src=url alt=artifact.name.clone() loading="lazy" decoding="async" />
            <span class="cap">
                <b>{artifact.name.clone()}</b>
                <data value=artifact.bytes.to_string()>{text::bytes(artifact.bytes)}</data>
                <span>{source(artifact)}</span>
            </span>
        </a>
        </li>
    }
    .into_any()
}

fn file(id: JobId, artifact: &Artifact) -> AnyView {
    view! {
        <li>
            {icon("file")}
            <span>
                <span class="clip">{artifact.name.clone()}</span>
                <small class="muted">{source(artifact)}</small>
            </span>
            <data value=artifact.bytes.to_string()>{text::bytes(artifact.bytes)}</data>
            <a
                class="btn btn-quiet btn-icon btn-sm"
                href=api::artifact(id, &artifact.path)
                download=artifact.name.clone()
                aria-label=format!("Download {}", artifact.name)
            >
                {icon("download")}
            </a>
        </li>
    }
    .into_any()
}

/// The first few in `class`, the rest behind a word. What was unfolded stays so when more files come.
fn folded(class: &'static str, mut parts: Vec<AnyView>, open: RwSignal<bool>) -> Option<AnyView> {
    if parts.is_empty() {
        return None;
    }
    // One or two more are no reason to unfold anything.
    let rest = if parts.len() > SEEN + 2 { parts.split_off(SEEN) } else { Vec::new() };
    let more = (!rest.is_empty()).then(|| {
        let words = format!("and {} more", text::count(rest.len() as u64));
        let toggled = move |event: ev::Event| {
            *open.write_untracked() = event_target::<web_sys::HtmlDetailsElement>(&event).open();
        };
        view! {
            <details class="more" open=open.get_untracked() on:toggle=toggled>
                <summary>{words}</summary>
                <ul class=class role="list">{rest}</ul>
            </details>
        }
    });
    Some(view! { <div class="panel-body"><ul class=class role="list">{parts}</ul>{more}</div> }.into_any())
}

/// The panel; nothing while there are no files.
pub(crate) fn artifacts(id: JobId, page: RwSignal<Page<Artifact>>) -> AnyView {
    let open = (RwSignal::new(false), RwSignal::new(false));
    let body = move || {
        page.with(|page| {
            if page.items.is_empty() {
                return None;
            }
            // They come by path, in which unit 10 stands before unit 2.
            let mut items: Vec<&Artifact> = page.items.iter().collect();
            items.sort_by_key(|artifact| artifact.unit);
            let (images, files): (Vec<_>, Vec<_>) = items.into_iter().partition(|artifact| artifact.image);
            let pictures = images.into_iter().map(|artifact| picture(id, artifact)).collect();
            let files = files.into_iter().map(|artifact| file(id, artifact)).collect();
            let count = text::count(page.items.len() as u64);
            let count = if page.next_cursor.is_some() { format!("first {count}") } else { count };
            Some(
                view! {
                    <section class="panel" aria-labelledby="h-files">
                        <div class="panel-head">
                            <h2 id="h-files">"Files"</h2>
                            <span class="count">{count}</span>
                        </div>
                        {folded("gallery", pictures, open.0)}
                        {folded("filelist", files, open.1)}
                    </section>
                }
                .into_any(),
            )
        })
    };
    body.into_any()
}
