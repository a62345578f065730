//! The providers, spoken to over HTTP on loopback.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a helper of a test fails as the test does; clippy excepts only the test functions themselves"
)]

#[path = "../doubles/mod.rs"]
mod doubles;
mod gemini;
mod official_client;
mod openai;
mod openai_manners;
mod tls;

use std::{fs, os::unix::fs::PermissionsExt as _, path::PathBuf, sync::Arc};

use batches::{Batch, Create, Provider, Settings, Shape};

/// A provider, and a folder with what it needs.
struct Scene {
    folder: tempfile::TempDir,
    provider: Arc<dyn Provider>,
}

/// A provider at an address, with a key in a file.
fn settings(folder: &tempfile::TempDir, shape: Shape, base_url: &str, key: &str) -> Settings {
    let path = folder.path().join("key");
    fs::write(&path, format!("{key}\n")).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
    Settings { base_url: Some(base_url.to_owned()), key_file: Some(path), ..Settings::of(shape) }
}

impl Scene {
    fn new(shape: Shape, base_url: &str, key: &str) -> Scene {
        let folder = tempfile::tempdir().unwrap();
        let provider = batches::connect(&settings(&folder, shape, base_url, key)).unwrap();
        Scene { folder, provider }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn text(&self, name: &str) -> String {
        fs::read_to_string(self.path(name)).unwrap()
    }

    /// A file of requests for this shape.
    fn requests(&self, shape: Shape, count: usize) -> PathBuf {
        let line = |index: usize| match shape {
            Shape::Openai => format!(
                "{{\"custom_id\":\"r{index}\",\"method\":\"POST\",\"url\":\"/v1/chat/completions\",\"body\":{{\"model\":\"gpt-4o-mini\",\"messages\":[]}}}}\n"
            ),
            Shape::Gemini => {
                format!("{{\"key\":\"r{index}\",\"request\":{{\"contents\":[{{\"parts\":[{{\"text\":\"Hi\"}}]}}]}}}}\n")
            }
        };
        let path = self.path("requests.jsonl");
        fs::write(&path, (0..count).map(line).collect::<String>()).unwrap();
        path
    }

    /// Uploads requests and makes a batch of them.
    async fn create(&self, shape: Shape, count: usize, tag: &str) -> batches::Result<Batch> {
        let file = self.provider.upload(&self.requests(shape, count), &format!("{tag}.jsonl")).await?;
        self.provider.create(&order(shape, &file.id, tag)).await
    }

    /// Looks until the batch has ended.
    async fn ended(&self, id: &str) -> Batch {
        for _ in 0..20 {
            let batch = self.provider.get(id).await.unwrap();
            if batch.state.is_terminal() {
                return batch;
            }
        }
        panic!("{id} does not end");
    }
}

fn order(shape: Shape, input_file: &str, tag: &str) -> Create {
    let (endpoint, model) = match shape {
        Shape::Openai => (Some("/v1/chat/completions"), None),
        Shape::Gemini => (None, Some("models/gemini-2.5-flash")),
    };
    Create {
        input_file: input_file.to_owned(),
        endpoint: endpoint.map(str::to_owned),
        model: model.map(str::to_owned),
        tag: tag.to_owned(),
        display_name: "Lamps & more".to_owned(),
    }
}
