//! The form of kind `product_matching`: product images and videos.

use leptos::prelude::*;

use super::{
    Form, lines,
    parts::{drop_zone, file_list, how_it_stops, parallel_field, paths_field, roots_of},
    wrong,
};
use crate::{
    model::{FormOptions, Problem, ProductMatchingSpec, Spec},
    text,
};

/// Multipart part and the end of field names.
const PRODUCTS: &str = "products";
const VIDEOS: &str = "videos";

/// Reads what was typed.
pub(super) fn read(form: &Form) -> Result<Spec, Problem> {
    let frame_rate = match form.value("frame_rate") {
        typed if typed.is_empty() => None,
        typed => Some(typed.parse().map_err(|_| wrong("frame_rate", "This takes a number from 0.1 to 10."))?),
    };
    Ok(Spec::ProductMatching(ProductMatchingSpec {
        products: lines(&form.value("product_paths")),
        videos: lines(&form.value("video_paths")),
        sample: !form.value("sample").is_empty(),
        frame_rate,
        parallel: form.number("parallel")?,
        grace_s: None,
    }))
}

/// The sections between name and foot.
pub(super) fn sections(form: Form, options: &FormOptions, typed: &dyn Fn(&str) -> String) -> AnyView {
    view! {
        {sample(typed("sample"))}
        {inputs(form, options, PRODUCTS, typed("product_paths"))}
        {inputs(form, options, VIDEOS, typed("video_paths"))}
        {how(form, options, typed)}
    }
    .into_any()
}

fn sample(ticked: String) -> AnyView {
    view! {
        <section class="section" aria-label="Try it">
            <label class="choice">
                <input class="check" type="checkbox" name="sample" value="1" checked=!ticked.is_empty() />
                <span>"Try product matching with a generated sample: 8 products, 2 short videos. No files are needed."</span>
            </label>
        </section>
    }
    .into_any()
}

fn inputs(form: Form, options: &FormOptions, part: &'static str, paths: String) -> AnyView {
    let is_products = part == PRODUCTS;
    let (title, words, accept, name, label) = if is_products {
        let words = "PNG, JPEG or WebP, up to 2,000. A CSV with lines \u{201c}product,image\u{201d} gives them names.";
        ("Product images", words, ".png,.jpg,.jpeg,.webp,.csv", "product_paths", "Product images on the server")
    } else {
        ("Videos", "Whatever ffmpeg reads.", "video/*,.mkv", "video_paths", "Videos on the server")
    };
    let heading = if is_products { "s-products" } else { "s-videos" };
    let input = if is_products { "up-products" } else { "up-videos" };
    let from_roots = paths_field(form, name, label, &roots_of(options), paths, part);
    view! {
        <section class="section" aria-labelledby=heading>
            <header>
                <h2 id=heading>{title}</h2>
                <p>{words}</p>
            </header>
            <div>{drop_zone(form, part, input, accept, options.max_upload_bytes)}</div>
            {file_list(form, part)}
            <div class="fields">{from_roots}</div>
        </section>
    }
    .into_any()
}

fn how(form: Form, options: &FormOptions, typed: &dyn Fn(&str) -> String) -> AnyView {
    let (rate, parallel) = (typed("frame_rate"), typed("parallel"));
    let slots = options.slots;
    view! {
        <section class="section" aria-labelledby="s-how">
            <header>
                <h2 id="s-how">"Matching"</h2>
                <p>"The defaults suit most catalogues."</p>
            </header>
            <div class="fields">
                <div class="field">
                    <label for="rate">"Frames a second"</label>
                    <input
                        class="input"
                        id="rate"
                        name="frame_rate"
                        inputmode="decimal"
                        value=rate
                        placeholder="2"
                        aria-describedby="rate-h"
                        aria-invalid=move || form.wrong("frame_rate").then_some("true")
                    />
                    <span class="hint" id="rate-h">"More finds what is seen only for a moment, and takes longer."</span>
                </div>
                {parallel_field(form, format!("Units at a time, at most {slots}."), slots, parallel)}
            </div>
        </section>
    }
    .into_any()
}

/// What stands beside the form.
pub(super) fn aside(form: Form, options: &FormOptions) -> AnyView {
    let slots = options.slots;
    let count = move |part: &'static str| {
        let files = form.files.with(|files| files.iter().filter(|file| file.part == part).count());
        format!("{} uploaded, and those below the roots", text::count(files as u64))
    };
    view! {
        <section class="panel" aria-labelledby="h-will">
            <div class="panel-head"><h2 id="h-will">"What will run"</h2></div>
            <div class="panel-body stack">
                <dl class="facts">
                    <dt>"Phases"</dt>
                    <dd>"Collection, feature extraction, matching, evidence"</dd>
                    <dt>"Products"</dt>
                    <dd>{move || count(PRODUCTS)}</dd>
                    <dt>"Videos"</dt>
                    <dd>{move || count(VIDEOS)}</dd>
                    <dt>"Slots"</dt>
                    <dd>{format!("{slots} on this worker")}</dd>
                </dl>
            </div>
        </section>
        {how_it_stops("The matcher and ffmpeg as a tree, 2 s grace.")}
    }
    .into_any()
}
