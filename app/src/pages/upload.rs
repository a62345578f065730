//! Sends a new job, or a question, with its files, and tells how far the upload is. `fetch` cannot do that yet; XMLHttpRequest can.

use std::{cell::RefCell, rc::Rc};

use futures::channel::oneshot;
use leptos::prelude::*;
use send_wrapper::SendWrapper;
use serde::de::DeserializeOwned;
use wasm_bindgen::{JsCast, JsValue, closure::Closure};
use web_sys::{Event, File, FileList, FormData, ProgressEvent, XmlHttpRequest};

use crate::{
    client::{self, NETWORK, problem_of},
    hooks::dom,
    model::{CheckRequest, CheckedInput, Job, NewJob, Problem},
    paths::api,
};

/// A file that was chosen or dropped.
#[derive(Clone)]
pub(super) struct Chosen {
    /// Tells it from others of the same name.
    pub(super) key: u32,
    /// The multipart part that it is sent in.
    pub(super) part: &'static str,
    pub(super) name: String,
    pub(super) bytes: u64,
    file: SendWrapper<File>,
}

/// The files of a list, for `part`, numbered from `first`.
pub(super) fn chosen(part: &'static str, list: Option<FileList>, first: u32) -> Vec<Chosen> {
    let Some(list) = list else { return Vec::new() };
    (0..list.length())
        .filter_map(|index| {
            let file = list.item(index)?;
            Some(Chosen {
                key: first + index,
                part,
                name: file.name(),
                bytes: file.size() as u64,
                file: SendWrapper::new(file),
            })
        })
        .collect()
}

/// An upload under way.
#[derive(Clone, Copy, Default, PartialEq)]
pub(super) struct Sent {
    pub(super) bytes: u64,
    pub(super) total: u64,
}

/// Stops the upload it belongs to.
#[derive(Clone)]
pub(super) struct Stop(SendWrapper<XmlHttpRequest>);

impl Stop {
    pub(super) fn now(&self) {
        let _ = self.0.abort();
    }
}

/// Keeps the handlers of a request alive, and the page asking before it is left, until it is dropped.
struct Handlers {
    request: XmlHttpRequest,
    _progress: Closure<dyn FnMut(ProgressEvent)>,
    _end: Closure<dyn FnMut(Event)>,
    leaving: Closure<dyn FnMut(Event)>,
}

impl Drop for Handlers {
    fn drop(&mut self) {
        self.request.set_onloadend(None);
        if let Ok(upload) = self.request.upload() {
            upload.set_onprogress(None);
        }
        if let Some(window) = web_sys::window() {
            let _ = window.remove_event_listener_with_callback("beforeunload", self.leaving.as_ref().unchecked_ref());
        }
    }
}

fn failed(detail: &str) -> Problem {
    Problem { detail: detail.to_owned(), error: NETWORK.to_owned(), ..Problem::default() }
}

/// Submits `job` with `files`. `sent` follows the upload, `stop` can end it.
pub(super) async fn submit(
    job: &NewJob,
    files: &[Chosen],
    sent: RwSignal<Option<Sent>>,
    stop: StoredValue<Option<Stop>>,
) -> Result<Job, Problem> {
    post(api::JOBS, "job", &serde_json::to_string(job).unwrap_or_default(), files, sent, stop).await
}

/// Has a file of requests looked into; as [`submit`].
pub(super) async fn check(
    request: &CheckRequest,
    files: &[Chosen],
    sent: RwSignal<Option<Sent>>,
    stop: StoredValue<Option<Stop>>,
) -> Result<CheckedInput, Problem> {
    if files.is_empty() {
        return client::check_batch(request).await;
    }
    post(api::CHECK_BATCH, "check", &serde_json::to_string(request).unwrap_or_default(), files, sent, stop).await
}

/// Posts the text as part `name`, and the files in theirs.
async fn post<T: DeserializeOwned>(
    url: &str,
    name: &str,
    text: &str,
    files: &[Chosen],
    sent: RwSignal<Option<Sent>>,
    stop: StoredValue<Option<Stop>>,
) -> Result<T, Problem> {
    let request = send(url, name, text, files, sent).map_err(|_| failed("The upload could not be started."))?;
    let (handlers, ended) = request;
    stop.set_value(Some(Stop(SendWrapper::new(handlers.request.clone()))));
    let _ = ended.await;
    stop.set_value(None);
    let status = handlers.request.status().unwrap_or(0);
    let body = handlers.request.response_text().ok().flatten().unwrap_or_default();
    match status {
        0 => Err(failed("The upload did not reach the server. Please try again.")),
        200..=299 => serde_json::from_str(&body).map_err(|_| failed("The server's answer could not be read.")),
        status => Err(problem_of(status, &body)),
    }
}

fn send(
    url: &str,
    name: &str,
    text: &str,
    files: &[Chosen],
    sent: RwSignal<Option<Sent>>,
) -> Result<(Handlers, oneshot::Receiver<()>), JsValue> {
    let form = FormData::new()?;
    form.append_with_str(name, text)?;
    for chosen in files {
        form.append_with_blob_and_filename(chosen.part, &chosen.file, &chosen.name)?;
    }
    let request = XmlHttpRequest::new()?;
    request.open("POST", url)?;
    request.set_request_header("accept", "application/json")?;
    // A second submit of the same press, whatever sends it, makes no second job.
    request.set_request_header("idempotency-key", &format!("{:x}", (dom::random() * 9e15) as u64))?;

    let progress = Closure::<dyn FnMut(ProgressEvent)>::new(move |event: ProgressEvent| {
        sent.set(Some(Sent { bytes: event.loaded() as u64, total: event.total() as u64 }));
    });
    request.upload()?.set_onprogress(Some(progress.as_ref().unchecked_ref()));
    let (tell, ended) = oneshot::channel();
    let tell = Rc::new(RefCell::new(Some(tell)));
    let end = Closure::<dyn FnMut(Event)>::new(move |_| {
        if let Some(tell) = tell.borrow_mut().take() {
            let _ = tell.send(());
        }
    });
    request.set_onloadend(Some(end.as_ref().unchecked_ref()));
    let leaving = Closure::<dyn FnMut(Event)>::new(|event: Event| event.prevent_default());
    if let (Some(window), false) = (web_sys::window(), files.is_empty()) {
        window.add_event_listener_with_callback("beforeunload", leaving.as_ref().unchecked_ref())?;
    }
    request.send_with_opt_form_data(Some(&form))?;
    Ok((Handlers { request, _progress: progress, _end: end, leaving }, ended))
}
