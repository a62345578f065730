//! Menus are `<details>`, so they open without a script. With one they also close on Escape and on a click
//! elsewhere, and the arrow keys move in them.

use wasm_bindgen::JsCast;
use web_sys::{Element, Event, HtmlElement, KeyboardEvent};

use crate::hooks::dom;

const OPEN: &str = "details.menu[open]";

fn open_menus() -> Vec<HtmlElement> {
    web_sys::window()
        .and_then(|window| window.document()?.document_element())
        .map_or_else(Vec::new, |root| dom::all(&root, OPEN))
}

/// Closes the menu that holds the target of `event`, and gives the focus to what opened it: where it comes back to
/// when a dialog that the menu led to is closed.
pub(crate) fn close_around(event: &Event) {
    if let Some(menu) = dom::closest(event.target(), OPEN) {
        close(&menu);
    }
}

fn close(menu: &HtmlElement) {
    let _ = menu.remove_attribute("open");
    if let Some(summary) = dom::all(menu, "summary").first() {
        let _ = summary.focus();
    }
}

/// Begins to listen; called once, after hydration.
pub(crate) fn enable() {
    dom::on_document("click", |event| {
        let inside = dom::closest(event.target(), "details.menu");
        for menu in open_menus() {
            if inside.as_ref() != Some(&menu) {
                let _ = menu.remove_attribute("open");
            }
        }
    });
    dom::on_document("keydown", |event| {
        if let Some(event) = event.dyn_ref::<KeyboardEvent>() {
            key(event);
        }
    });
}

fn key(event: &KeyboardEvent) {
    let Some(menu) = dom::closest(event.target(), OPEN) else { return };
    let step = match event.key().as_str() {
        "Escape" => {
            event.prevent_default();
            close(&menu);
            return;
        }
        "ArrowDown" => 1,
        "ArrowUp" => -1,
        _ => return,
    };
    event.prevent_default();
    let items = dom::all(menu.unchecked_ref::<Element>(), ".menu-item");
    let focused = dom::focused();
    let at = items.iter().position(|item| Some(item) == focused.as_ref()).map_or(-1, |at| at as isize);
    let count = items.len() as isize;
    if count > 0 {
        let next = if at < 0 && step < 0 { count - 1 } else { (at + step).rem_euclid(count) };
        if let Some(item) = items.get(next as usize) {
            let _ = item.focus();
        }
    }
}
