//! What a `product_matching` job has found: a gallery of sightings, best first; the products with their masks, also those
//! that were not seen; the keyframes of each video with what was seen when.

use leptos::prelude::*;

use crate::{
    model::{JobId, MatchResults, MatchedProduct, MatchedVideo, Sighting},
    paths::api,
    text,
};

/// Sightings that are shown at once.
const GALLERY: usize = 60;
/// Keyframes of a video that are shown at once.
const STRIP: usize = 120;

/// The panels; nothing before the first product or video was taken in.
pub(crate) fn matches(id: JobId, found: RwSignal<MatchResults>) -> AnyView {
    let body = move || {
        found.with(|found| view! { {sightings(id, found)} {products(id, found)} {videos(id, found)} }.into_any())
    };
    body.into_any()
}

/// `1:02:05.4`, `2:05.4`
fn second(seconds: f64) -> String {
    let tenths = (seconds.max(0.0) * 10.0).round() as u64;
    let (hours, minutes, rest) = (tenths / 36_000, tenths / 600 % 60, tenths % 600);
    let tail = format!("{minutes:02}:{:02}.{}", rest / 10, rest % 10);
    if hours > 0 { format!("{hours}:{tail}") } else { tail }
}

fn sightings(id: JobId, found: &MatchResults) -> Option<AnyView> {
    if found.sightings.is_empty() {
        return None;
    }
    let mut best: Vec<&Sighting> = found.sightings.iter().collect();
    best.sort_by(|left, right| right.score.total_cmp(&left.score));
    let shown = best.len().min(GALLERY);
    let count = if shown < best.len() {
        format!("best {shown} of {}", text::count(best.len() as u64))
    } else {
        text::counted(shown as u64, ("sighting", "sightings"))
    };
    let cards = best.into_iter().take(GALLERY).map(|sighting| card(id, found, sighting)).collect::<Vec<_>>();
    Some(
        view! {
            <section class="panel" aria-labelledby="h-match">
                <div class="panel-head">
                    <h2 id="h-match">"Matches"</h2>
                    <span class="count">{count}", best first"</span>
                </div>
                <div class="gallery">{cards}</div>
            </section>
        }
        .into_any(),
    )
}

/// The best keyframe with the outline over it. It leads to the picture of evidence, or to the keyframe until that is drawn.
fn card(id: JobId, found: &MatchResults, sighting: &Sighting) -> AnyView {
    let video = found.videos.iter().find(|video| video.name == sighting.video);
    let frame = video.and_then(|video| video.keyframes.iter().find(|keyframe| keyframe.at_s == sighting.best_s));
    let frame = frame.map(|keyframe| api::artifact(id, &keyframe.path));
    let drawn = sighting.evidence.as_ref().map(|path| api::artifact(id, path));
    let (width, height) = video.map_or((16.0, 9.0), |video| (f64::from(video.width), f64::from(video.height)));
    let corner = |[x, y]: &[f64; 2]| format!("{:.1},{:.1}", x * width, y * height);
    let outline = sighting.outline.iter().map(corner).collect::<Vec<_>>().join(" ");
    let when = format!("{} · {}", sighting.video, second(sighting.best_s));
    let label = format!("{} outlined in {when}", sighting.product);
    let address = drawn.or_else(|| frame.clone()).unwrap_or_default();
    let span = if sighting.to_s > sighting.from_s {
        format!("{} · {}–{}", sighting.video, second(sighting.from_s), second(sighting.to_s))
    } else {
        when
    };
    view! {
        <a href=address rel="external" target="_blank">
            <svg
                class="frame"
                viewBox=format!("0 0 {width} {height}")
                preserveAspectRatio="xMidYMid slice"
                role="img"
                aria-label=label
            >
                <image href=frame width=width.to_string() height=height.to_string() />
                <polygon class="quad" points=outline />
            </svg>
            <span class="cap">
                <b>{sighting.product.clone()}</b>
                <data value=format!("{:.3}", sighting.score)>{format!("{:.2}", sighting.score)}</data>
                <span>{span}</span>
            </span>
        </a>
    }
    .into_any()
}

fn products(id: JobId, found: &MatchResults) -> Option<AnyView> {
    if found.products.is_empty() {
        return None;
    }
    let seen = found.products.iter().filter(|product| product.sightings > 0).count();
    let count = format!("{seen} of {} seen", text::count(found.products.len() as u64));
    let cards = found.products.iter().map(|product| product_card(id, product)).collect::<Vec<_>>();
    Some(
        view! {
            <section class="panel" aria-labelledby="h-products">
                <div class="panel-head">
                    <h2 id="h-products">"Products"</h2>
                    <span class="count">{count}</span>
                </div>
                <ul class="products">{cards}</ul>
            </section>
        }
        .into_any(),
    )
}

fn product_card(id: JobId, product: &MatchedProduct) -> AnyView {
    let picture = |path: &str, words: &'static str| {
        let url = api::artifact(id, path);
        let address = url.clone();
        view! {
            <a href=address rel="external" target="_blank">
                <img src=url alt=format!("{words} of {}", product.name) loading="lazy" decoding="async" />
            </a>
        }
        .into_any()
    };
    let seen = match product.sightings {
        0 => "not seen".to_owned(),
        count => text::counted(count, ("sighting", "sightings")),
    };
    let tone = if product.sightings > 0 { "completed" } else { "pending" };
    view! {
        <li data-tone=tone>
            <span class="pair">
                {picture(&product.image, "Image")} {product.mask.as_ref().map(|mask| picture(mask, "Mask"))}
            </span>
            <span class="cap"><b>{product.name.clone()}</b><span>{seen}</span></span>
        </li>
    }
    .into_any()
}

fn videos(id: JobId, found: &MatchResults) -> Option<AnyView> {
    if found.videos.is_empty() {
        return None;
    }
    let strips = found.videos.iter().map(|video| strip(id, found, video)).collect::<Vec<_>>();
    Some(
        view! {
            <section class="panel" aria-labelledby="h-videos">
                <div class="panel-head">
                    <h2 id="h-videos">"Videos"</h2>
                    <span class="count">{text::counted(found.videos.len() as u64, ("video", "videos"))}</span>
                </div>
                <div class="strips">{strips}</div>
            </section>
        }
        .into_any(),
    )
}

/// One video: its timeline, and its keyframes with what is seen in each.
fn strip(id: JobId, found: &MatchResults, video: &MatchedVideo) -> AnyView {
    let seen: Vec<&Sighting> = found.sightings.iter().filter(|sighting| sighting.video == video.name).collect();
    let facts = format!(
        "{} · {} · {} · {}×{}",
        second(video.duration_s),
        text::counted(video.frames, ("frame", "frames")),
        text::counted(video.keyframes.len() as u64, ("keyframe", "keyframes")),
        video.width,
        video.height
    );
    let step = video.keyframes.len().div_ceil(STRIP).max(1);
    let frames = video
        .keyframes
        .iter()
        .step_by(step)
        .map(|keyframe| {
            let here =
                seen.iter().filter(|sighting| sighting.from_s <= keyframe.at_s && keyframe.at_s <= sighting.to_s);
            let names = here.map(|sighting| sighting.product.clone()).collect::<Vec<_>>().join(", ");
            let tone = if names.is_empty() { None } else { Some("completed") };
            let url = api::artifact(id, &keyframe.path);
            let address = url.clone();
            let at = second(keyframe.at_s);
            let alt = if names.is_empty() { format!("Keyframe at {at}") } else { format!("Keyframe at {at}: {names}") };
            view! {
                <li data-tone=tone>
                    <a href=address rel="external" target="_blank" title=names>
                        <img src=url alt=alt loading="lazy" decoding="async" />
                        <time>{at}</time>
                    </a>
                </li>
            }
            .into_any()
        })
        .collect::<Vec<_>>();
    view! {
        <section>
            <h3>{video.name.clone()}</h3>
            <p class="muted">{facts}</p>
            {timeline(&seen, video.duration_s)}
            <ol class="strip" tabindex="0" aria-label=format!("Keyframes of {}", video.name)>{frames}</ol>
        </section>
    }
    .into_any()
}

/// A row a product, a bar a sighting.
fn timeline(seen: &[&Sighting], duration_s: f64) -> Option<AnyView> {
    let mut names: Vec<&str> = seen.iter().map(|sighting| sighting.product.as_str()).collect();
    names.sort_unstable();
    names.dedup();
    let length = duration_s.max(0.1);
    let rows = names
        .into_iter()
        .map(|name| {
            let of_name = seen.iter().filter(|sighting| sighting.product == name);
            let (bars, words): (Vec<_>, Vec<_>) = of_name
                .map(|sighting| {
                    let from = (sighting.from_s / length * 1_000.0).clamp(0.0, 1_000.0);
                    let width = ((sighting.to_s - sighting.from_s) / length * 1_000.0).max(8.0);
                    let bar = view! {
                        <rect x=format!("{from:.0}") y="2" width=format!("{width:.0}") height="8" rx="3" />
                    };
                    (bar.into_any(), format!("{} to {}", second(sighting.from_s), second(sighting.to_s)))
                })
                .unzip();
            let label = format!("{name}: {}", words.join(", "));
            view! {
                <li>
                    <span class="clip">{name.to_owned()}</span>
                    <svg viewBox="0 0 1000 12" preserveAspectRatio="none" role="img" aria-label=label>{bars}</svg>
                </li>
            }
            .into_any()
        })
        .collect::<Vec<_>>();
    (!rows.is_empty()).then(|| view! { <ul class="timeline">{rows}</ul> }.into_any())
}

#[cfg(test)]
mod tests {
    use super::second;

    #[test]
    fn a_second_of_a_video_is_told_as_a_player_does() {
        assert_eq!([0.0, 41.2, 125.44, 3_725.96].map(second), ["00:00.0", "00:41.2", "02:05.4", "1:02:06.0"]);
    }
}
