//! Builds what the browser loads into `target/site`, from where the server embeds it.
//!
//! The frontend is compiled to WebAssembly by cargo, given its JavaScript by wasm-bindgen (the library, so the version is the one in
//! the lock file and nothing is downloaded), and put beside the style sheet and the icons. Every file carries a hash of its content in
//! its name, so it may be cached for ever, and lies there three times: as it is, as Brotli, as gzip. `manifest.txt` maps what a file
//! is for to its name.
//!
//! Files that did not change are not touched: cargo rebuilds the server only for a new manifest.

use std::{
    collections::{BTreeSet, HashMap, HashSet},
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
use walrus::{ElementItems, Function, FunctionBuilder, FunctionId, Module, TypeId};
use wasm_bindgen_cli_support::{Bindgen, Output};

/// What a first visit should load at most, in bytes after Brotli. The page itself comes on top; both together have 250 kB.
const GOAL: usize = 242_000;

/// What no build may exceed. To be lowered towards the goal.
const CEILING: usize = 244_000;

/// What the modules call each other before their names are known.
const LOADER: &str = "./belay-loader.js";
const GLUE: &str = "./belay.js";

/// The role of files that a first visit does not load.
const LATER: &str = "later";

fn main() -> Result<()> {
    let root = workspace_root()?;
    let module = compile(&root)?;
    let parts = split(&module)?;
    let (js, wasm) = bind(&parts.first)?;

    let mut site = Site::default();
    // A part that cannot be had is told to the operator in words (`app::later`), and is no error of the page.
    let complaint = "console.error(e);";
    ensure!(parts.loader.contains(complaint), "the loader of parts does not complain any more: take this line out");
    let mut loader = parts.loader.replace(complaint, "");
    for (name, wasm) in parts.later {
        let hashed = site.add(LATER, "belay_later", "wasm", wasm)?;
        loader = loader.replace(&format!("./{name}"), &format!("./{hashed}"));
    }
    // The two name each other, so they share the hash of both.
    let hash = content_hash(format!("{js}{loader}").as_bytes());
    let (js_name, loader_name) = (format!("belay.{hash}.js"), format!("belay-loader.{hash}.js"));
    let js = site.add_named("js", js_name.clone(), renamed_import(&js, LOADER, &loader_name).into_bytes())?;
    site.add_named("loader", loader_name, renamed_import(&loader, GLUE, &js_name).into_bytes())?;
    let wasm = site.add("wasm", "belay_bg", "wasm", wasm)?;
    site.add("start_js", "belay-start", "js", start_module(&js, &wasm).into_bytes())?;
    site.add("css", "belay", "css", style_sheet(&root.join("style/main.css"))?.into_bytes())?;
    site.add("icons", "icons", "svg", compact_svg(&root.join("style/icons.svg"))?.into_bytes())?;
    site.add("icon", "mark", "svg", compact_svg(&root.join("style/mark.svg"))?.into_bytes())?;

    site.write(&root.join("target/site"))?;
    print!("{}", site.table());
    let first = site.first_load();
    println!("{:<36}{first:>30}", "first load");
    if first > GOAL {
        println!("the first load is {} bytes over its goal of {GOAL} bytes after Brotli", first - GOAL);
    }
    ensure!(first <= CEILING, "the first load is {first} bytes after Brotli, {CEILING} are allowed");
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
        .args(["rustc", "--package", "belay-frontend", "--lib"])
        .args(["--target", "wasm32-unknown-unknown", "--profile", "wasm-release", "--target-dir"])
        .arg(&target_dir)
        // What the module is split by: names, and where they are used. Neither is in the bundle.
        .args(["--", "-C", "link-arg=--emit-relocs", "-C", "strip=none"])
        .current_dir(root)
        .status()
        .context("cargo could not be started")?;
    ensure!(
        status.success(),
        "the frontend did not compile (is the target there? rustup target add wasm32-unknown-unknown)"
    );
    Ok(target_dir.join("wasm32-unknown-unknown/wasm-release/frontend.wasm"))
}

/// The module in parts.
struct Parts {
    /// What every page needs. Still without glue.
    first: PathBuf,
    /// Names and contents of the others.
    later: Vec<(String, Vec<u8>)>,
    /// Loads them.
    loader: String,
}

/// Cuts the module apart where `app::later` says.
fn split(module: &Path) -> Result<Parts> {
    let folder = module.with_extension("split");
    if folder.exists() {
        fs::remove_dir_all(&folder)?;
    }
    let first = folder.join("first.wasm");
    let whole = fs::read(module)?;
    let mut options = wasm_split_cli_support::Options::new(&whole);
    options.output_dir = &folder;
    options.main_out_path = &first;
    options.link_name = LOADER;
    options.main_module = GLUE;
    let done = wasm_split_cli_support::transform(options)
        .map_err(|error| anyhow::anyhow!("the module cannot be split: {error:?}"))?;
    let mut later = Vec::new();
    for path in done.split_modules {
        let name = path.file_name().and_then(|name| name.to_str()).context("a part without a name")?.to_owned();
        later.push((name, without_custom_sections(&fs::read(&path)?)?));
    }
    Ok(Parts { first, later, loader: fs::read_to_string(folder.join(LOADER))? })
}

/// A module without what only tools read: the names of its functions are half of it. `bind` does the same to the first part.
fn without_custom_sections(module: &[u8]) -> Result<Vec<u8>> {
    let (mut kept, mut rest) = module.split_at_checked(8).context("not a module")?;
    let mut out = kept.to_vec();
    while let Some((&id, mut after)) = rest.split_first() {
        // The length in LEB128: seven bits a byte, the lowest first.
        let (mut length, mut shift) = (0_usize, 0);
        loop {
            let (&byte, next) = after.split_first().context("a section without a length")?;
            after = next;
            length |= usize::from(byte & 0x7f) << shift;
            shift += 7;
            if byte < 0x80 {
                break;
            }
        }
        let header = rest.len() - after.len();
        (kept, rest) = rest.split_at_checked(header + length).context("a section is cut off")?;
        if id != 0 {
            out.extend_from_slice(kept);
        }
    }
    Ok(out)
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
        // The later parts use the stack pointer and the table of the first.
        .keep_lld_exports(true)
        .remove_name_section(true)
        .remove_producers_section(true)
        .generate_output()
        .context("wasm-bindgen refused the module")?;
    // Snippets would be further files that the glue imports by unhashed names.
    let inline = output.snippets().iter().filter(|(_, snippets)| !snippets.is_empty()).map(|(name, _)| name);
    if let Some(name) = inline.chain(output.local_modules().keys()).next() {
        bail!("a dependency brings JavaScript of its own ({name}); the bundle has no place for it");
    }
    drop_unused(output.wasm_mut())?;
    let js = without_streams(&without_comments(&with_short_names(&mut output)))?;
    Ok((js, output.wasm_mut().emit_wasm()))
}

/// Names of what JavaScript would call to read a stream that Rust makes. `server_fn` exports it (wasm-streams); the
/// console makes no streams.
const STREAMS: &str = "intounderlying";

/// What only a server, `hydrate_lazy` or islands call, by a part of its mangled name (leptos 0.8.23). Nothing whose code
/// may be that of something else, too: the linker keeps one of the same functions, under either name. (`hydrate_from_template`
/// is `hydrate_from_server`.)
const UNUSED: [&str; 2] = ["8into_any13hydrate_async", "15generate_routes"];

/// Takes functions that are not used out of the table of functions, and with them what only they need: 10 kB after Brotli.
///
/// Every `into_any()`, and every route, puts them there, so no linker can see that nobody calls them. Should one be called
/// after all, it traps. Direct calls are left as they are.
fn drop_unused(module: &mut Module) -> Result<()> {
    let name_of = |function: &Function| function.name.clone().unwrap_or_default();
    for part in UNUSED {
        let is_there = module.funcs.iter().any(|function| name_of(function).contains(part));
        ensure!(is_there, "no `{part}` in the module: does leptos do it otherwise now?");
    }
    let unused = |name: &str| UNUSED.iter().any(|part| name.contains(part)) && !name.contains("drop_in_place");
    let unused: HashMap<FunctionId, TypeId> = module
        .funcs
        .iter()
        .filter(|function| unused(&name_of(function)))
        .map(|function| (function.id(), function.ty()))
        .collect();
    let traps: HashMap<TypeId, FunctionId> =
        unused.values().collect::<HashSet<_>>().into_iter().map(|kind| (*kind, trap(module, *kind))).collect();
    for element in module.elements.iter_mut() {
        if let ElementItems::Functions(entries) = &mut element.items {
            for entry in entries {
                if let Some(kind) = unused.get(entry) {
                    *entry = traps[kind];
                }
            }
        }
    }
    let streams = module.exports.iter().filter(|export| export.name.contains(STREAMS)).map(|export| export.id());
    for export in streams.collect::<Vec<_>>() {
        module.exports.delete(export);
    }
    walrus::passes::gc::run(module);
    Ok(())
}

/// A function of this type that must not be called.
fn trap(module: &mut Module, kind: TypeId) -> FunctionId {
    let kind = module.types.get(kind);
    let (parameters, results) = (kind.params().to_vec(), kind.results().to_vec());
    let arguments = parameters.iter().map(|parameter| module.locals.add(*parameter)).collect();
    let mut builder = FunctionBuilder::new(&mut module.types, &parameters, &results);
    builder.func_body().unreachable();
    builder.finish(arguments, &mut module.funcs)
}

/// The glue, after what the module imports from it is called `_0`, `_1` and so on, here and there. wasm-bindgen's own names carry
/// hashes, which do not compress: 4 kB.
fn with_short_names(output: &mut Output) -> String {
    let mut js = output.js().to_owned();
    for (number, import) in output.wasm_mut().imports.iter_mut().enumerate() {
        let (long, short) = (format!("\n{}: ", import.name), format!("_{number}"));
        if js.matches(&long).count() == 1 {
            js = js.replacen(&long, &format!("\n{short}: "), 1);
            import.name = short;
        }
    }
    js
}

/// JavaScript of wasm-bindgen without comments and indentation. Neither stands inside a string there.
fn without_comments(js: &str) -> String {
    let mut out = String::with_capacity(js.len());
    let mut inside = false;
    for line in js.lines().map(str::trim) {
        inside |= line.starts_with("/**");
        if !inside && !line.is_empty() && !line.starts_with("//") {
            out.push_str(line);
            out.push('\n');
        }
        inside &= !line.ends_with("*/");
    }
    out
}

/// The glue without the classes around [`STREAMS`]; nothing makes one.
fn without_streams(js: &str) -> Result<String> {
    let mut out = String::with_capacity(js.len());
    let mut inside = false;
    for line in js.lines() {
        inside |= line.starts_with("export class IntoUnderlying");
        if !inside {
            out.push_str(line);
            out.push('\n');
        }
        inside &= !line.starts_with("if (Symbol.dispose)");
    }
    ensure!(!inside, "a class of the glue has no end: does wasm-bindgen write it otherwise now?");
    Ok(out)
}

/// `js` that imports `to` where it imported `from`. The key by which the WebAssembly asks for it stays.
fn renamed_import(js: &str, from: &str, to: &str) -> String {
    js.replace(&format!("from \"{from}\""), &format!("from \"./{to}\""))
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
        self.add_named(role, format!("{stem}.{}.{extension}", content_hash(&plain)), plain)
    }

    /// Takes a file in under a name that carries a hash already.
    fn add_named(&mut self, role: &'static str, name: String, plain: Vec<u8>) -> Result<String> {
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

    /// Bytes of a first visit after Brotli: all but the parts that other pages load later.
    fn first_load(&self) -> usize {
        self.files.iter().filter(|file| file.role != LATER).map(|file| file.brotli.len()).sum()
    }

    fn table(&self) -> String {
        let mut out = format!("{:<36}{:>10}{:>10}{:>10}\n", "bundle", "bytes", "gzip", "brotli");
        for file in &self.files {
            let (plain, gzip, brotli) = (file.plain.len(), file.gzip.len(), file.brotli.len());
            out.push_str(&format!("{:<36}{plain:>10}{gzip:>10}{brotli:>10}\n", file.name));
        }
        let plain: usize = self.files.iter().map(|file| file.plain.len()).sum();
        let gzip: usize = self.files.iter().map(|file| file.gzip.len()).sum();
        let brotli: usize = self.files.iter().map(|file| file.brotli.len()).sum();
        out.push_str(&format!("{:<36}{plain:>10}{gzip:>10}{brotli:>10}\n", "total"));
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
