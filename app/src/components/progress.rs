//! Bars: one coloured part for each way in which units are over or under way.

use leptos::prelude::*;

use crate::{
    model::{Phase, Progress},
    text,
};

/// The whole of a bar, in hundredths of a percent. (Whole numbers: what formats a fraction is 3 kB to load.)
const WHOLE: u64 = 10_000;
/// A part that is not zero is never thinner.
const THINNEST: u64 = 140;

/// Class, start and width of each part that is not zero, in percent.
fn parts(counts: &[(&'static str, u64)], total: u64) -> Vec<(&'static str, String, String)> {
    let percent = |part: u64| format!("{}.{:02}%", part / 100, part % 100);
    let mut start = 0;
    let shown = counts.iter().filter(|(_, count)| *count > 0 && total > 0);
    shown
        .map(|(class, count)| {
            let share = (u128::from(*count) * u128::from(WHOLE) + u128::from(total) / 2) / u128::from(total);
            let width = u64::try_from(share).unwrap_or(WHOLE).max(THINNEST).min(WHOLE - start);
            let part = (*class, percent(start), percent(width));
            start += width;
            part
        })
        .collect()
}

/// The bar alone.
pub(crate) fn bar(counts: &[(&'static str, u64)], total: u64, large: bool) -> AnyView {
    let rects = parts(counts, total)
        .into_iter()
        .map(|(class, x, width)| view! { <rect class=class x=x y="-2" width=width height="20" /> }.into_any())
        .collect::<Vec<_>>();
    let class = if large { "bar bar-lg" } else { "bar" };
    view! { <svg class=class aria-hidden="true" preserveAspectRatio="none">{rects}</svg> }.into_any()
}

/// The parts of a job's bar.
pub(crate) fn of_job(progress: &Progress, phase: Phase) -> Vec<(&'static str, u64)> {
    let running = if phase == Phase::Cancelling { "stopping" } else { "running" };
    vec![
        ("succeeded", progress.succeeded),
        ("failed", progress.failed),
        (running, progress.running),
        ("cancelled", progress.cancelled),
    ]
}

/// `19 / 36 files`: those that finished, of all. Cancelled ones are not progress, see [`cancelled`].
pub(crate) fn tally(progress: &Progress, noun: &str) -> String {
    let unit = if noun.is_empty() { String::new() } else { format!(" {noun}") };
    format!("{} / {}{unit}", text::count(progress.finished()), text::count(progress.total))
}

/// `17 cancelled`, when there are any.
pub(crate) fn cancelled(progress: &Progress) -> Option<String> {
    (progress.cancelled > 0).then(|| format!("{} cancelled", text::count(progress.cancelled)))
}

/// Bar with `25 / 100 files` and percent. `noun` empty: numbers alone.
pub(crate) fn progress(label: String, progress: Progress, phase: Phase, noun: &'static str, large: bool) -> AnyView {
    let numbers = tally(&progress, noun);
    let stopped = cancelled(&progress);
    let spoken = [Some(numbers.replace(" / ", " of ")), stopped.clone(), Some(format!("{} %", progress.percent()))];
    let spoken = spoken.into_iter().flatten().collect::<Vec<_>>().join(", ");
    view! {
        <div
            class="progress"
            role="progressbar"
            aria-label=label
            aria-valuemin="0"
            aria-valuemax=progress.total.to_string()
            aria-valuenow=progress.finished().to_string()
            aria-valuetext=spoken
        >
            <div class="progress-text">
                <b>{numbers}</b>
                {stopped.map(|words| view! { <small>", "{words}</small> })}
                <span>{format!("{} %", progress.percent())}</span>
            </div>
            {bar(&of_job(&progress, phase), progress.total, large)}
        </div>
    }
    .into_any()
}

/// The numbers behind a bar, in its colours.
pub(crate) fn legend(progress: &Progress, phase: Phase) -> AnyView {
    let running = if phase == Phase::Cancelling { ("cancelling", "stopping") } else { ("active", "running") };
    let lines = [
        ("completed", progress.succeeded, "succeeded"),
        ("failed", progress.failed, "failed"),
        (running.0, progress.running, running.1),
        ("cancelled", progress.cancelled, "cancelled"),
        ("pending", progress.pending(), "pending"),
    ];
    let lines = lines
        .into_iter()
        .filter(|(_, count, _)| *count > 0)
        .map(|(tone, count, word)| view! { <li data-tone=tone><b>{text::count(count)}</b>" "{word}</li> }.into_any())
        .collect::<Vec<_>>();
    view! { <ul class="legend">{lines}</ul> }.into_any()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_part_that_is_not_zero_can_be_seen_and_the_bar_never_overflows() {
        let shown = parts(&[("succeeded", 99_999), ("failed", 1), ("running", 0)], 100_000);
        assert_eq!(shown.len(), 2);
        assert_eq!(shown[0], ("succeeded", "0.00%".to_owned(), "100.00%".to_owned()));
        let few = parts(&[("failed", 1)], 100_000);
        assert_eq!(few[0].2, "1.40%");
        assert!(parts(&[("failed", 1)], 0).is_empty());
    }

    #[test]
    fn a_bar_says_in_words_what_it_shows() {
        let value = Progress { total: 1_640, succeeded: 675, failed: 14, cancelled: 0, running: 28 };
        let html =
            Owner::new().with(|| progress("Progress".to_owned(), value, Phase::InProgress, "files", true).to_html());
        assert!(html.contains("aria-valuetext=\"689 of 1,640 files, 42 %\""), "{html}");
        assert!(html.contains("689 / 1,640 files"), "{html}");
        assert!(!html.contains("cancelled"), "{html}");
    }

    #[test]
    fn cancelled_units_are_told_apart_from_finished_ones() {
        let value = Progress { total: 36, succeeded: 17, failed: 2, cancelled: 17, running: 0 };
        let html =
            Owner::new().with(|| progress("Progress".to_owned(), value, Phase::Cancelled, "files", true).to_html());
        assert!(html.contains("aria-valuetext=\"19 of 36 files, 17 cancelled, 52 %\""), "{html}");
        assert!(html.contains("aria-valuenow=\"19\""), "{html}");
        assert!(html.contains("class=\"cancelled\""), "{html}");
    }
}
