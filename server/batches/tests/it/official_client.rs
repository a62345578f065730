//! The double of Gemini is driven by Google's own client through the life of a batch: what nobody here wrote finds in it
//! what it expects of Google. That it is like Google's service it does not show.

use std::{path::Path, process::Stdio};

use crate::doubles::gemini::{Gemini, KEY};

#[tokio::test]
async fn googles_own_client_takes_the_double_for_gemini() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let python = root.join("target/google-genai/bin/python");
    assert!(python.exists(), "needs google-genai: make google-genai");
    for version in ["v1beta", "v1"] {
        let double = Gemini::start().await;
        let run = tokio::process::Command::new(&python)
            .arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/official_client.py"))
            .args([double.base_url().as_str(), KEY, version])
            .env_clear()
            .stdin(Stdio::null())
            .kill_on_drop(true)
            .output();
        let run = run.await.unwrap();
        let (said, complained) = (String::from_utf8_lossy(&run.stdout), String::from_utf8_lossy(&run.stderr));
        assert!(run.status.success(), "{version}: {said}{complained}");
        assert!(said.ends_with("all as expected\n"), "{version}: {said}");
        // It went all the way: the uploads, the batches and a cancellation were the double's.
        let asked = double.faults.asked();
        assert!(asked.iter().any(|asked| asked.path.contains(":cancel")) && asked.len() > 15, "{version}");
    }
}
