//! Names of the files that the browser loads, as the bundler wrote them: with a hash of their content, so that
//! they may be kept for ever.

/// File names below `/pkg/`. The server provides them in the context of a rendering.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AssetNames {
    /// The style sheet.
    pub css: String,
    /// The module that loads `js` and starts `wasm`.
    pub start_js: String,
    /// The glue that wasm-bindgen wrote.
    pub js: String,
    /// What `js` loads the later parts of the WebAssembly with.
    pub loader: String,
    /// The WebAssembly that every page needs.
    pub wasm: String,
    /// The icon of the tab.
    pub icon: String,
    /// The sheet of icons, one `<symbol>` each.
    pub icons: String,
}

impl AssetNames {
    /// Address of a file.
    #[must_use]
    pub fn url(name: &str) -> String {
        format!("/pkg/{name}")
    }
}
