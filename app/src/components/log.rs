//! What the runs wrote: the latest lines of all units, or the log of one, read on as it grows.

use leptos::{html, prelude::*};

use super::{icon::icon, units::DetailQuery};
use crate::{
    hooks::session::Session,
    model::{JobId, LogLine, LogPage, LogQuery, LogStream},
    paths::api,
    text,
};

/// Lines that are kept on the page.
const SHOWN: usize = 500;

/// The lines on the page, gathered from one answer or several.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct LogView {
    /// Lines before `cursor`: they do not change any more.
    settled: Vec<LogLine>,
    /// The last answer, which has no cursor of its own yet.
    latest: Vec<LogLine>,
    /// Where the next question begins.
    pub(crate) cursor: Option<String>,
    /// Lines before these are not shown.
    truncated: bool,
}

impl LogView {
    /// These lines with one answer more.
    pub(crate) fn with(mut self, page: LogPage) -> Self {
        self.truncated |= page.truncated && self.settled.is_empty();
        match page.next_cursor {
            Some(cursor) => {
                self.settled.extend(page.items);
                self.latest.clear();
                self.cursor = Some(cursor);
            }
            None => self.latest = page.items,
        }
        if self.settled.len() > SHOWN {
            self.settled.drain(..self.settled.len() - SHOWN);
            self.truncated = true;
        }
        self
    }

    fn lines(&self) -> impl Iterator<Item = &LogLine> {
        self.settled.iter().chain(&self.latest)
    }

    fn is_empty(&self) -> bool {
        self.settled.is_empty() && self.latest.is_empty()
    }
}

fn line(id: JobId, query: &DetailQuery, line: &LogLine) -> AnyView {
    let source = line.stream.as_str();
    let mark = (line.stream != LogStream::Stdout).then_some(source);
    let url = format!("{}#log", query.with_log_of(Some(line.unit)).url(id));
    view! {
        <li data-stream=mark>
            <a href=url data-noscroll="" aria-label=format!("Log of unit {}", line.unit)>{line.unit}</a>
            <time datetime=line.at.to_string()>{text::clock_millis(line.at)}</time>
            <b>{source}</b>
            <span>{line.text.clone()}</span>
        </li>
    }
    .into_any()
}

fn lines(id: JobId, query: &DetailQuery, view: &LogView) -> AnyView {
    if view.is_empty() {
        let words = match query.log.stream {
            Some(stream) => format!("Nothing on {} so far.", stream.as_str()),
            None => "Nothing written so far.".to_owned(),
        };
        return view! { <p class="muted log-empty">{words}</p> }.into_any();
    }
    let lines = view.lines().map(|each| line(id, query, each)).collect::<Vec<_>>();
    view! { <ol>{lines}</ol> }.into_any()
}

/// Everything, or one stream of it: links, so that the choice is in the address.
fn streams(id: JobId, query: &DetailQuery) -> AnyView {
    let choice = |stream: Option<LogStream>| {
        let url = query.with_log(LogQuery { stream, ..query.log.clone() }).url(id);
        let current = (query.log.stream == stream).then_some("true");
        let word = stream.map_or("All", LogStream::as_str);
        view! { <a href=format!("{url}#log") data-noscroll="" aria-current=current>{word}</a> }.into_any()
    };
    let choices = [None, Some(LogStream::Stdout), Some(LogStream::Stderr)].map(choice).into_iter().collect::<Vec<_>>();
    view! { <nav class="seg push" aria-label="Stream">{choices}</nav> }.into_any()
}

fn download(id: JobId, query: &LogQuery) -> AnyView {
    let url = api::log_file(id, query);
    view! {
        <a class="btn btn-quiet btn-icon btn-sm" href=url download="" aria-label="Download the log" title="Download the log">
            {icon("download")}
        </a>
    }
    .into_any()
}

/// The panel.
pub(crate) fn log(session: Session, id: JobId, query: Memo<DetailQuery>, view: RwSignal<LogView>) -> AnyView {
    let follow = RwSignal::new(true);
    let node = NodeRef::<html::Div>::new();
    Effect::new(move |_| {
        view.track();
        if let (true, Some(node)) = (follow.get(), node.get()) {
            node.set_scroll_top(node.scroll_height());
        }
    });
    let of = move || {
        query.with(|query| query.log.unit).map(|unit| {
            let all = format!("{}#log", query.with(|query| query.with_log_of(None)).url(id));
            view! {
                <span class="count">{format!("unit {unit}")}</span>
                <a class="btn btn-sm btn-quiet" href=all data-noscroll="">{icon("close")}"All units"</a>
            }
            .into_any()
        })
    };
    let count = move || {
        view.with(|view| {
            let earlier = if view.truncated && !view.is_empty() { "last " } else { "" };
            format!("{earlier}{}", text::counted(view.lines().count() as u64, ("line", "lines")))
        })
    };
    view! {
        <section class="panel" aria-labelledby="log">
            <div class="panel-head">
                <h2 id="log">"Log"</h2>
                <span class="count">{count}</span>
                {of}
                {move || streams(id, &query.get())}
                <label class="switch-line" hidden=move || !session.mounted.get()>
                    <input
                        class="switch"
                        type="checkbox"
                        role="switch"
                        prop:checked=move || follow.get()
                        on:change=move |event| follow.set(event_target_checked(&event))
                    />
                    "Follow"
                </label>
                {move || query.with(|query| download(id, &query.log))}
            </div>
            <div node_ref=node class="scroll log" tabindex="0" role="log" aria-labelledby="log" aria-live="off">
                {move || view.with(|view| lines(id, &query.get(), view))}
            </div>
        </section>
    }
    .into_any()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Timestamp;

    fn page(texts: &[&str], next_cursor: Option<&str>) -> LogPage {
        let line =
            |text: &&str| LogLine { at: Timestamp(0), stream: LogStream::Stdout, unit: 0, text: (*text).to_owned() };
        LogPage {
            items: texts.iter().map(line).collect(),
            next_cursor: next_cursor.map(str::to_owned),
            truncated: false,
        }
    }

    #[test]
    fn an_answer_without_a_cursor_replaces_the_last_one() {
        let view = LogView::default().with(page(&["a", "b"], None)).with(page(&["b", "c"], None));
        assert_eq!(view.lines().map(|line| line.text.as_str()).collect::<Vec<_>>(), ["b", "c"]);
    }

    #[test]
    fn an_answer_with_a_cursor_is_added() {
        let view = LogView::default().with(page(&["a"], Some("1"))).with(page(&["b"], Some("2")));
        assert_eq!(view.cursor.as_deref(), Some("2"));
        assert_eq!(view.lines().count(), 2);
        let many = vec!["x"; SHOWN];
        let view = view.with(page(&many, Some("3")));
        assert_eq!(view.lines().count(), SHOWN);
        assert!(view.truncated);
    }
}
