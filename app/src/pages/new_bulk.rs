//! The question before an action on many jobs, as a page: where the ticked boxes of the list lead without WebAssembly. The
//! selection is in the address.

use leptos::prelude::*;
use leptos_router::hooks::{use_query_map, use_url};

use super::{instead, load, page};
use crate::{
    backend::{Backend, SharedBackend},
    components::{
        bulk_dialog::{
            Typed, confirmation, confirmation_class, consequence, force_words, groups, needing_force, options, title,
        },
        cancel_dialog::once,
        icon::icon,
        notice::alert,
    },
    hooks::session::{Session, session},
    model::{BulkPlan, BulkQuestion, Problem},
    paths::console,
};

/// `/bulk/new`
pub(crate) fn new_bulk() -> AnyView {
    let session = session();
    let map = use_query_map();
    let question = Memo::new(move |_| {
        map.with(|map| BulkQuestion::from_pairs(map.into_iter().map(|(name, value)| (name.as_ref(), value))))
    });
    let url = use_url();
    let address = Memo::new(move |_| url.with(|url| format!("{}?{}", console::NEW_BULK, url.search())));
    let shown = move || match question.get() {
        Err(detail) => {
            instead(session, &Problem { status: 400, title: "Invalid query".to_owned(), detail, ..Problem::default() })
        }
        Ok(question) => {
            let (force, address) = (question.force, address.get_untracked());
            let asked = expect_context::<SharedBackend>().bulk_plan(question.dry_run());
            load(asked, move |plan: Result<BulkPlan, Problem>| match plan {
                Ok(plan) => loaded(session, &plan, force, &address),
                Err(problem) => instead(session, &problem),
            })
        }
    };
    shown.into_any()
}

fn loaded(session: Session, plan: &BulkPlan, force: bool, address: &str) -> AnyView {
    let form = session.form();
    let value = |name| form.as_ref().map(|form| form.value(name).to_owned()).unwrap_or_default();
    let typed = Typed::new(value("reason"), !value("keep_files").is_empty(), String::new());
    let problem = form.as_ref().map(|form| alert(form.problem.detail.clone()));
    let (action, jobs, active) = (plan.action, plan.acts_on(), needing_force(plan));
    let title = title(action, Some(jobs));
    let with_force = (active > 0 && !force)
        .then(|| view! { <p><a class="link" href=format!("{address}&force=true")>{force_words(active)}</a></p> });
    let button = (jobs > 0).then(|| {
        view! { <button class=confirmation_class(action) type="submit">{confirmation(action)}</button> }
    });
    let body = view! {
        <section class="dialog" aria-labelledby="bulk-t">
            <form method="post" action=address.to_owned() on:submit=once()>
                <div class="dialog-body">
                    <header><h1 id="bulk-t">{title.clone()}</h1></header>
                    <p>{consequence(action)}</p>
                    {(jobs > 0).then(|| options(action, typed))}
                    {with_force}
                    {groups(plan, force, typed)}
                    {problem}
                    <input type="hidden" name="shown" value=jobs.to_string() />
                </div>
                <div class="dialog-foot">
                    <a class="btn" href=console::JOBS>{icon("chevron-left")}"Back to the Jobs"</a>
                    {button}
                </div>
            </form>
        </section>
    }
    .into_any();
    page(session, title, "page", body)
}
