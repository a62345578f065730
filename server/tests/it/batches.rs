//! Batches at a provider: sent once, followed, stopped when the provider says so, collected, and cleaned up.

mod cli;
mod crashes;
mod gemini;
mod life;
mod lost;
mod manners;
mod orphans;
mod provider;

use serde_json::{Value, json};

use crate::{
    batches::provider::{Aimock, KEY, Way},
    harness::Server,
};

/// A server with a provider behind a way.
struct Place {
    server: Server,
    way: Way,
    _aimock: Aimock,
}

impl Place {
    async fn new() -> Place {
        Place::with(&[]).await
    }

    /// With more arguments for the provider.
    async fn with(more: &[&str]) -> Place {
        Place::looking_for(3, more).await
    }

    /// A batch whose creation got no answer is looked for so many seconds.
    async fn looking_for(lost_create_s: u32, more: &[&str]) -> Place {
        let aimock = Aimock::start(more).await;
        let way = Way::to(&aimock).await;
        let folder = tempfile::tempdir().unwrap().keep();
        let key = folder.join("key");
        std::fs::write(&key, KEY).unwrap();
        std::fs::set_permissions(&key, std::os::unix::fs::PermissionsExt::from_mode(0o600)).unwrap();
        let config = format!(
            "[providers.openai]\nbase_url = \"{}\"\napi_key_file = \"{}\"\nlost_create_s = {lost_create_s}\n[providers.openai.prices.\"gpt-4o-mini\"]\n\
             input = 1.0\noutput = 2.0\n",
            way.base_url,
            key.display()
        );
        Place { server: Server::start_where(&config).await, way, _aimock: aimock }
    }

    /// A job over a file of `count` requests below the root. Answers its id.
    async fn submit(&self, count: usize) -> String {
        std::fs::write(self.server.root().join("requests.jsonl"), requests(count)).unwrap();
        let spec = json!({"provider": "openai", "input": "requests.jsonl"});
        let body = json!({"name": "summaries", "kind": "openai_batch", "spec": spec});
        let answer = self.server.post("/api/jobs", &body).await;
        assert_eq!(answer.status, 201, "{}", answer.text());
        answer.body["job_id"].as_str().unwrap().to_owned()
    }

    async fn rows(&self, id: &str) -> Vec<Value> {
        let answer = self.server.get(&format!("/api/jobs/{id}/requests")).await;
        assert_eq!(answer.status, 200, "{}", answer.text());
        answer.body["items"].as_array().unwrap().clone()
    }
}

/// A line for each request, as OpenAI takes it.
fn requests(count: usize) -> String {
    let line = |index: usize| {
        let body = json!({
            "model": "gpt-4o-mini", "max_tokens": 10, "messages": [{"role": "user", "content": format!("Say {index}")}],
        });
        let request =
            json!({"custom_id": format!("r-{index}"), "method": "POST", "url": "/v1/chat/completions", "body": body});
        format!("{request}\n")
    };
    (0..count).map(line).collect()
}
