//! The hosts of a job at a glance: one field each, which shows how it is and leads to its transcript.

use leptos::prelude::*;

use super::{phase::tone_icon, units::DetailQuery};
use crate::{
    model::{JobId, Page, Unit},
    text,
};

/// The hosts of the shown page.
pub(crate) fn host_grid(id: JobId, query: Memo<DetailQuery>, page: RwSignal<Page<Unit>>) -> AnyView {
    let field = move |unit: Unit| {
        let (index, tone) = (unit.index, text::unit_tone(unit.status));
        let words = format!("{}: {}", unit.name, unit.status.label());
        let log = move || format!("{}#log", query.with(|query| query.with_log_of(Some(index)).url(id)));
        view! {
            <li>
                <a href=log data-noscroll="" data-tone=tone title=words.clone() aria-label=words.clone()>
                    {tone_icon(tone)}
                </a>
            </li>
        }
        .into_any()
    };
    view! {
        <ul class="host-grid" role="list" aria-label="Hosts">
            <For each=move || page.get().items key=|unit| (unit.index, unit.status) let:unit>
                {field(unit)}
            </For>
        </ul>
    }
    .into_any()
}
