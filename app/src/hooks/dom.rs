//! The few things that are asked of the browser itself. Called in handlers and effects only; in the server
//! nothing here runs.

use js_sys::{Date, Math};
use wasm_bindgen::{JsCast, JsValue};
use web_sys::{Element, HtmlElement};

use crate::model::Timestamp;

/// The browser's clock.
pub(crate) fn browser_now() -> Timestamp {
    Timestamp(Date::now() as i64)
}

/// A number from 0 to 1.
pub(crate) fn random() -> f64 {
    Math::random()
}

/// The tab is in the background.
pub(crate) fn hidden() -> bool {
    web_sys::window().and_then(|window| window.document()).is_some_and(|document| document.hidden())
}

/// Loads another page; nothing of this one lives on.
pub(crate) fn leave_for(url: &str) {
    if let Some(window) = web_sys::window() {
        let _ = window.location().set_href(url);
    }
}

/// Path and query of the page that is shown.
pub(crate) fn here() -> String {
    web_sys::window().map_or_else(String::new, |window| {
        let location = window.location();
        location.pathname().unwrap_or_default() + &location.search().unwrap_or_default()
    })
}

fn root() -> Option<Element> {
    web_sys::window()?.document()?.document_element()
}

/// Sets an attribute of `<html>`, or takes it away.
pub(crate) fn set_root(name: &str, value: Option<&str>) {
    if let Some(root) = root() {
        let _ = match value {
            Some(value) => root.set_attribute(name, value),
            None => root.remove_attribute(name),
        };
    }
}

/// The element with this id.
pub(crate) fn by_id(id: &str) -> Option<HtmlElement> {
    web_sys::window()?.document()?.get_element_by_id(id)?.dyn_into().ok()
}

/// The element that has the focus.
pub(crate) fn focused() -> Option<HtmlElement> {
    web_sys::window()?.document()?.active_element()?.dyn_into().ok()
}

/// Reads what [`remember`] kept.
pub(crate) fn recall(key: &str) -> Option<String> {
    web_sys::window()?.local_storage().ok()??.get_item(key).ok()?
}

/// Keeps a setting of this browser.
pub(crate) fn remember(key: &str, value: &str) {
    if let Some(Ok(Some(storage))) = web_sys::window().map(|window| window.local_storage()) {
        let _ = storage.set_item(key, value);
    }
}

/// Puts a text into the clipboard.
pub(crate) fn copy(text: &str) {
    if let Some(window) = web_sys::window() {
        let _ = window.navigator().clipboard().write_text(text);
    }
}

/// The element inside `root` that holds the target of `event`, found by a selector.
pub(crate) fn closest(target: Option<web_sys::EventTarget>, selector: &str) -> Option<HtmlElement> {
    target?.dyn_into::<Element>().ok()?.closest(selector).ok()??.dyn_into().ok()
}

/// All elements below `root` that a selector names.
pub(crate) fn all(root: &Element, selector: &str) -> Vec<HtmlElement> {
    let Ok(list) = root.query_selector_all(selector) else { return Vec::new() };
    (0..list.length()).filter_map(|index| list.item(index)?.dyn_into().ok()).collect()
}

/// Values of the boxes of this name that are ticked.
pub(crate) fn ticked(name: &str) -> Vec<String> {
    let boxes = root().map_or_else(Vec::new, |root| all(&root, &format!("input[name={name}]:checked")));
    boxes.iter().filter_map(|element| element.get_attribute("value")).collect()
}

/// Calls back for every `name` event of the document, until the page goes away.
pub(crate) fn on_document(name: &str, handler: impl FnMut(web_sys::Event) + 'static) {
    let closure = wasm_bindgen::closure::Closure::<dyn FnMut(web_sys::Event)>::new(handler);
    if let Some(document) = web_sys::window().and_then(|window| window.document()) {
        let _: Result<(), JsValue> = document.add_event_listener_with_callback(name, closure.as_ref().unchecked_ref());
    }
    // One listener for the life of the page.
    closure.forget();
}
