//! Many batches at a provider that are followed at once. The provider is a few lines here: only the server is measured.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use axum::{
    Json, Router,
    extract::{Path, State},
    routing::{get, post},
};
use serde_json::{Value, json};

use crate::{machine::Machine, table::Table};

const BATCHES: u64 = 1_000;
/// They are an hour old, so that they are asked for as seldom as most of their lives.
const AGE_S: u64 = 3_600;
const MEASURED: Duration = Duration::from_secs(60);

#[derive(Default)]
struct Provider {
    made: AtomicU64,
    looks: AtomicU64,
}

fn batch(id: &str) -> Json<Value> {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_secs();
    Json(json!({
        "id": id, "object": "batch", "endpoint": "/v1/chat/completions", "input_file_id": "file-1",
        "completion_window": "24h", "status": "in_progress", "created_at": now - AGE_S, "expires_at": now + 86_400,
        "request_counts": {"total": 1, "completed": 0, "failed": 0},
    }))
}

async fn create(State(provider): State<Arc<Provider>>) -> Json<Value> {
    batch(&format!("batch_{}", provider.made.fetch_add(1, Ordering::Relaxed)))
}

async fn look(State(provider): State<Arc<Provider>>, Path(id): Path<String>) -> Json<Value> {
    provider.looks.fetch_add(1, Ordering::Relaxed);
    batch(&id)
}

async fn none() -> Json<Value> {
    Json(json!({"object": "list", "data": [], "has_more": false}))
}

async fn file(body: axum::body::Bytes) -> Json<Value> {
    Json(json!({"id": "file-1", "object": "file", "bytes": body.len(), "purpose": "batch"}))
}

/// Processor time of a process so far.
fn used(pid: u32) -> Duration {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
    let fields: Vec<&str> = stat.rsplit_once(')').unwrap().1.split_whitespace().collect();
    let ticks: u64 = fields[11].parse::<u64>().unwrap() + fields[12].parse::<u64>().unwrap();
    Duration::from_millis(ticks * 10)
}

pub(crate) fn following_a_thousand(table: &mut Table) {
    let provider = Arc::new(Provider::default());
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    listener.set_nonblocking(true).unwrap();
    let address = listener.local_addr().unwrap();
    let router = Router::new()
        .route("/v1/files", post(file).get(none))
        .route("/v1/batches", post(create).get(none))
        .route("/v1/batches/{id}", get(look))
        .with_state(provider.clone());
    // Ends with the program.
    std::thread::spawn(move || {
        crate::machine::block_on(async move {
            let listener = tokio::net::TcpListener::from_std(listener).unwrap();
            axum::serve(listener, router).await.unwrap();
        });
    });
    let folder = tempfile::tempdir().unwrap();
    let key = folder.path().join("key");
    std::fs::write(&key, "sk-bench").unwrap();
    std::fs::set_permissions(&key, std::os::unix::fs::PermissionsExt::from_mode(0o600)).unwrap();
    let line = r#"{"custom_id":"a","method":"POST","url":"/v1/chat/completions","body":{"model":"gpt-4o-mini","messages":[]}}"#;
    std::fs::write(folder.path().join("r.jsonl"), line).unwrap();
    let config = format!(
        "[files]\nroots = [{:?}]\n[providers.openai]\nbase_url = \"http://{address}/v1\"\napi_key_file = {key:?}\n",
        folder.path()
    );
    let machine = Machine::start_where(&config);
    let mut line = machine.line();
    let begin = Instant::now();
    let spec = json!({"provider": "openai", "input": "r.jsonl"});
    for index in 0..BATCHES {
        let body = json!({"name": format!("batch {index}"), "kind": "openai_batch", "spec": spec});
        let reply = line.post("/api/jobs", &body);
        assert_eq!(reply.status, 201, "{}", reply.json());
    }
    while provider.looks.load(Ordering::Relaxed) < BATCHES {
        assert!(begin.elapsed() < Duration::from_secs(300), "{} batches", provider.made.load(Ordering::Relaxed));
        std::thread::sleep(Duration::from_millis(100));
    }
    assert_eq!(provider.made.load(Ordering::Relaxed), BATCHES, "each once");
    let (before, looks) = (used(machine.pid()), provider.looks.load(Ordering::Relaxed));
    std::thread::sleep(MEASURED);
    let share = (used(machine.pid()) - before).as_secs_f64() / MEASURED.as_secs_f64() * 100.0;
    let looks = (provider.looks.load(Ordering::Relaxed) - looks) as f64 / MEASURED.as_secs_f64();
    let measured = format!("{share:.1} % of a core, {looks:.0} looks a second");
    table.add("following 1,000 batches that are an hour old", "< 2 %", measured, share < 2.0);
}
