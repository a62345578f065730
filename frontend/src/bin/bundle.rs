//! Builds what the browser loads into `target/site`, from where the server embeds it.
//!
//! The frontend is compiled to WebAssembly by cargo, given its JavaScript by wasm-bindgen (the library, so the version is the one in
//! the lock file and nothing is downloaded), and put beside the style sheet and the icons. Every file carries a hash of its content in
//! its name, so it may be cached for ever, and lies there three times: as it is, as Brotli, as gzip. `manifest.txt` maps what a file
//! is for to its name.
//!
//! Files that did not change are not touched: cargo rebuilds the server only for a new manifest.

use std::{
    collections::BTreeSet,
    env, fs,
    io::Write,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, Result, bail, ensure};
use flate2::{Compression, write::GzEncoder};
use lightningcss::{
    bundler::{Bundler, FileProvider},
    stylesheet::{MinifyOptions, ParserOptions, PrinterOptions},
};
use sha2::{Digest, Sha256};
use wasm_bindgen_cli_support::Bindgen;

/// What a first visit should load at most, in bytes after Brotli. The page itself comes on top; both together have 250 kB.
const GOAL: usize = 240_000;

/// What no build may exceed. To be lowered towards the goal, never raised.
const CEILING: usize = 480_000;

fn main() -> Result<()> {
    let root = workspace_root()?;
    let module = compile(&root)?;
    let (js, wasm) = bind(&module)?;

    let mut site = Site::default();
    let js = site.add("js", "belay", "js", js.into_bytes())?;
    let wasm = site.add("wasm", "belay_bg", "wasm", wasm)?;
    site.add("start_js", "belay-start", "js", start_module(&js, &wasm).into_bytes())?;
    site.add("css", "belay", "css", style_sheet(&root.join("style/main.css"))?.into_bytes())?;
    site.add("icons", "icons", "svg", compact_svg(&root.join("style/icons.svg"))?.into_bytes())?;
    site.add("icon", "mark", "svg", compact_svg(&root.join("style/mark.svg"))?.into_bytes())?;

    site.write(&root.join("target/site"))?;
    print!("{}", site.table());
    let total = site.total();
    if total > GOAL {
        println!("the bundle is {} bytes over its goal of {GOAL} bytes after Brotli", total - GOAL);
    }
    ensure!(total <= CEILING, "the bundle is {total} bytes after Brotli, {CEILING} are allowed");
    Ok(())
}

fn workspace_root() -> Result<PathBuf> {
    let frontend = Path::new(env!("CARGO_MANIFEST_DIR"));
    Ok(frontend.parent().context("the frontend has no parent folder")?.to_path_buf())
}

/// Compiles the frontend and returns the path of the module.
fn compile(root: &Path) -> Result<PathBuf> {
    let target_dir = env::var_os("CARGO_TARGET_DIR").map_or_else(|| root.join("target"), |dir| root.join(dir));
    let status = Command::new(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()))
        .args(["build", "--package", "belay-frontend", "--lib"])
        .args(["--target", "wasm32-unknown-unknown", "--profile", "wasm-release", "--target-dir"])
        .arg(&target_dir)
        .current_dir(root)
        .status()
        .context("cargo could not be started")?;
    ensure!(
        status.success(),
        "the frontend did not compile (is the target there? rustup target add wasm32-unknown-unknown)"
    );
    Ok(target_dir.join("wasm32-unknown-unknown/wasm-release/frontend.wasm"))
}

/// Runs wasm-bindgen: the glue and the final module.
fn bind(module: &Path) -> Result<(String, Vec<u8>)> {
    let mut output = Bindgen::new()
        .input_path(module)
        .out_name("belay")
        .web(true)?
        .typescript(false)
        .demangle(false)
        .omit_default_module_path(true)
        .remove_name_section(true)
        .remove_producers_section(true)
        .generate_output()
        .context("wasm-bindgen refused the module")?;
    // Snippets would be further files that the glue imports by unhashed names.
    let inline = output.snippets().iter().filter(|(_, snippets)| !snippets.is_empty()).map(|(name, _)| name);
    if let Some(name) = inline.chain(output.local_modules().keys()).next() {
        bail!("a dependency brings JavaScript of its own ({name}); the bundle has no place for it");
    }
    let wasm = output.wasm_mut().emit_wasm();
    Ok((output.js().to_owned(), wasm))
}

/// The module that a page loads. A file of its own, because the content security policy has no inline scripts.
fn start_module(js: &str, wasm: &str) -> String {
    format!(
        "import init,{{hydrate}} from './{js}';\n\
         await init({{module_or_path:new URL('./{wasm}',import.meta.url)}});\n\
         hydrate();\n"
    )
}

/// The style sheet with all its imports. No browser targets: with them `light-dark()` would be replaced by a polyfill of variables,
/// and every browser that runs the console knows it, layers and nesting.
fn style_sheet(main: &Path) -> Result<String> {
    let files = FileProvider::new();
    let mut bundler = Bundler::new(&files, None, ParserOptions::default());
    let mut sheet = bundler.bundle(main).map_err(|error| anyhow::anyhow!("{}: {error}", main.display()))?;
    sheet.minify(MinifyOptions::default()).map_err(|error| anyhow::anyhow!("{}: {error}", main.display()))?;
    Ok(sheet.to_css(PrinterOptions { minify: true, ..PrinterOptions::default() })?.code)
}

/// A drawing without comments and indentation.
fn compact_svg(path: &Path) -> Result<String> {
    let text = fs::read_to_string(path).with_context(|| path.display().to_string())?;
    let mut out = String::with_capacity(text.len());
    let mut rest = text.as_str();
    while let Some((before, after)) = rest.split_once("<!--") {
        out.push_str(before);
        rest = after.split_once("-->").with_context(|| format!("{}: a comment has no end", path.display()))?.1;
    }
    out.push_str(rest);
    Ok(out.lines().map(str::trim).filter(|line| !line.is_empty()).collect::<Vec<_>>().join("\n"))
}

/// One file of the bundle, in all its encodings.
struct File {
    /// What it is for: the field of `app::assets::AssetNames`.
    role: &'static str,
    name: String,
    plain: Vec<u8>,
    brotli: Vec<u8>,
    gzip: Vec<u8>,
}

#[derive(Default)]
struct Site {
    files: Vec<File>,
}

impl Site {
    /// Takes a file in, compresses it, and returns its hashed name.
    fn add(&mut self, role: &'static str, stem: &str, extension: &str, plain: Vec<u8>) -> Result<String> {
        let name = format!("{stem}.{}.{extension}", content_hash(&plain));
        let (brotli, gzip) = (brotli(&plain)?, gzip(&plain)?);
        self.files.push(File { role, name: name.clone(), plain, brotli, gzip });
        Ok(name)
    }

    /// Writes everything below `folder` and removes what earlier builds left there. The manifest comes last.
    fn write(&self, folder: &Path) -> Result<()> {
        let pkg = folder.join("pkg");
        fs::create_dir_all(&pkg)?;
        let mut names = BTreeSet::new();
        for file in &self.files {
            for (suffix, bytes) in [("", &file.plain), (".br", &file.brotli), (".gz", &file.gzip)] {
                let name = format!("{}{suffix}", file.name);
                write_if_changed(&pkg.join(&name), bytes)?;
                names.insert(name);
            }
        }
        for entry in fs::read_dir(&pkg)? {
            let entry = entry?;
            if !entry.file_name().to_str().is_some_and(|name| names.contains(name)) {
                fs::remove_file(entry.path())?;
            }
        }
        let manifest: String = self.files.iter().map(|file| format!("{} {}\n", file.role, file.name)).collect();
        write_if_changed(&folder.join("manifest.txt"), manifest.as_bytes())
    }

    /// Bytes of a first visit after Brotli.
    fn total(&self) -> usize {
        self.files.iter().map(|file| file.brotli.len()).sum()
    }

    fn table(&self) -> String {
        let mut out = format!("{:<36}{:>10}{:>10}{:>10}\n", "bundle", "bytes", "gzip", "brotli");
        for file in &self.files {
            let (plain, gzip, brotli) = (file.plain.len(), file.gzip.len(), file.brotli.len());
            out.push_str(&format!("{:<36}{plain:>10}{gzip:>10}{brotli:>10}\n", file.name));
        }
        let plain: usize = self.files.iter().map(|file| file.plain.len()).sum();
        let gzip: usize = self.files.iter().map(|file| file.gzip.len()).sum();
        out.push_str(&format!("{:<36}{plain:>10}{gzip:>10}{:>10}\n", "total", self.total()));
        out
    }
}

/// The first 64 bits of the SHA-256, as 16 hexadecimal digits: enough to tell builds apart.
fn content_hash(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().take(8).map(|byte| format!("{byte:02x}")).collect()
}

fn brotli(bytes: &[u8]) -> Result<Vec<u8>> {
    let mut out = Vec::new();
    // Quality 11, window 2^22: the best that every browser unpacks.
    let mut encoder = brotli::CompressorWriter::new(&mut out, 64 * 1024, 11, 22);
    encoder.write_all(bytes)?;
    encoder.flush()?;
    drop(encoder);
    Ok(out)
}

fn gzip(bytes: &[u8]) -> Result<Vec<u8>> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::best());
    encoder.write_all(bytes)?;
    Ok(encoder.finish()?)
}

fn write_if_changed(path: &Path, bytes: &[u8]) -> Result<()> {
    if fs::read(path).is_ok_and(|old| old == bytes) {
        return Ok(());
    }
    fs::write(path, bytes).with_context(|| path.display().to_string())
}
