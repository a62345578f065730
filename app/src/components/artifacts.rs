//! Files of a job: pictures as pictures, the rest as a list to download.

use leptos::prelude::*;

use super::icon::icon;
use crate::{
    model::{Artifact, JobId, Page},
    paths::api,
    text,
};

fn picture(id: JobId, artifact: &Artifact) -> AnyView {
    let url = api::artifact(id, &artifact.path);
    let address = url.clone();
    view! {
        <a href=address rel="external" target="_blank">
            <img class="frame" src=url alt=artifact.name.clone() loading="lazy" decoding="async" />
            <span class="cap">
                <b>{artifact.name.clone()}</b>
                <data value=artifact.bytes.to_string()>{text::bytes(artifact.bytes)}</data>
                <span>{artifact.category.label()}</span>
            </span>
        </a>
    }
    .into_any()
}

fn file(id: JobId, artifact: &Artifact) -> AnyView {
    let unit = artifact.unit.map(|unit| format!("unit {unit}"));
    view! {
        <li>
            {icon("file")}
            <span>
                <span class="clip">{artifact.name.clone()}</span>
                <small class="muted">{unit.unwrap_or_else(|| artifact.category.label().to_owned())}</small>
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

/// The panel; nothing while there are no files.
pub(crate) fn artifacts(id: JobId, page: RwSignal<Page<Artifact>>) -> AnyView {
    let body = move || {
        page.with(|page| {
            let (images, files): (Vec<_>, Vec<_>) = page.items.iter().partition(|artifact| artifact.image);
            let pictures = images.into_iter().map(|artifact| picture(id, artifact)).collect::<Vec<_>>();
            let files = files.into_iter().map(|artifact| file(id, artifact)).collect::<Vec<_>>();
            let count = text::count(page.items.len() as u64);
            let count = if page.next_cursor.is_some() { format!("first {count}") } else { count };
            (!page.items.is_empty()).then(|| {
                view! {
                    <section class="panel" aria-labelledby="h-files">
                        <div class="panel-head">
                            <h2 id="h-files">"Files"</h2>
                            <span class="count">{count}</span>
                        </div>
                        {(!pictures.is_empty()).then(|| view! { <div class="gallery">{pictures}</div> })}
                        {(!files.is_empty())
                            .then(|| view! { <div class="panel-body"><ul class="filelist">{files}</ul></div> })}
                    </section>
                }
                .into_any()
            })
        })
    };
    body.into_any()
}
