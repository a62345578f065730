//! Watches the browser bundle, which the server embeds: a new bundle makes a new server.

use std::{env, fs, io, path::Path};

fn main() -> io::Result<()> {
    let site = Path::new(env!("CARGO_MANIFEST_DIR")).join("../target/site");
    // Without the folder cargo would run this, and compile the server, at every build.
    fs::create_dir_all(&site)?;
    println!("cargo::rerun-if-changed={}", site.display());
    if !site.join("manifest.txt").exists() && env::var("PROFILE").is_ok_and(|profile| profile == "release") {
        println!(
            "cargo::warning=no browser bundle in target/site: the console will have no styles (make build makes one)"
        );
    }
    Ok(())
}
