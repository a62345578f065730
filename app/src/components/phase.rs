//! A phase as people see it: colour, icon and word, always all three.

use leptos::prelude::*;

use super::icon::{icon, spinning};
use crate::{
    model::{Phase, UnitStatus},
    text,
};

/// The tone of a phase: the value of `data-tone`, and the name of its icon.
pub(crate) const fn tone(phase: Phase) -> &'static str {
    match phase {
        Phase::Pending => "pending",
        Phase::Collection
        | Phase::FeatureExtraction
        | Phase::Matching
        | Phase::Evidence
        | Phase::InProgress
        | Phase::Validating
        | Phase::Finalizing => "active",
        Phase::Cancelling => "cancelling",
        Phase::Deleting => "deleting",
        Phase::Completed => "completed",
        Phase::Partial => "partial",
        Phase::Failed => "failed",
        Phase::Cancelled => "cancelled",
    }
}

/// The icon of a tone; the two that stand for work in progress turn.
pub(crate) fn tone_icon(tone: &'static str) -> AnyView {
    if tone == "active" || tone == "cancelling" { spinning(tone) } else { icon(tone) }
}

/// The badge of a phase.
pub(crate) fn badge(phase: Phase) -> AnyView {
    badge_as(phase, "badge")
}

/// The badge beside a title.
pub(crate) fn large_badge(phase: Phase) -> AnyView {
    badge_as(phase, "badge badge-lg")
}

fn badge_as(phase: Phase, class: &'static str) -> AnyView {
    let tone = tone(phase);
    view! { <span class=class data-tone=tone>{tone_icon(tone)}{phase.label()}</span> }.into_any()
}

/// Icon and word of a unit's status.
pub(crate) fn unit_status(status: UnitStatus) -> AnyView {
    let tone = text::unit_tone(status);
    view! { <span class="status" data-tone=tone>{tone_icon(tone)}<span>{status.label()}</span></span> }.into_any()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_badge_has_tone_icon_and_word() {
        let html = Owner::new().with(|| badge(Phase::Cancelled).to_html());
        assert!(html.contains("data-tone=\"cancelled\""), "{html}");
        assert!(html.contains("#i-cancelled"), "{html}");
        assert!(html.contains("Cancelled"), "{html}");
    }

    #[test]
    fn only_work_in_progress_turns() {
        Owner::new().with(|| {
            for phase in Phase::ALL {
                let turns = badge(phase).to_html().contains("icon spin");
                assert_eq!(turns, matches!(tone(phase), "active" | "cancelling"), "{phase}");
            }
        });
    }
}
