//! Where the browser starts: takes over the page that the server rendered.
//!
//! Built for `wasm32-unknown-unknown` only (`bundle` does that); on any other target this crate is empty.
#![cfg(target_arch = "wasm32")]

use wasm_bindgen::prelude::wasm_bindgen;

/// Makes the page live. Called once by the start module, after the WebAssembly is loaded.
#[wasm_bindgen]
pub fn hydrate() {
    console_error_panic_hook::set_once();
    wasm_bindgen_futures::spawn_local(async {
        if app::arrive().await {
            leptos::mount::hydrate_body(app::App);
        }
    });
}
