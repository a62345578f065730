//! `belay serve`: puts the pieces together, and takes them apart when a signal asks for it.

use std::{
    future::{Future, IntoFuture as _},
    net::{SocketAddr, TcpListener},
    path::Path,
    sync::Arc,
    time::Duration,
};

use anyhow::{Context as _, Result};
use app::model::{Kind, ProviderKind};
use metrics_exporter_prometheus::{Matcher, PrometheusBuilder, PrometheusHandle};
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;
use tracing_subscriber::EnvFilter;

use super::{
    ServeArgs,
    local::{self, Access},
};
use crate::{
    config::Config,
    data::DataFolder,
    engine::{Engine, EngineConfig},
    http::{self, Services},
    kinds::{
        Registry,
        batches::{BatchKind, Providers},
        files::FilesKind,
        hosts::HostsKind,
        product_matching::ProductMatchingKind,
    },
    process::Spawner,
    sample, secret,
    store::{SharedStore, sqlite::SqliteStore},
};

/// File in the data folder that says where the server is reached.
pub(super) const ADDRESS_FILE: &str = "address";

/// How long open requests may take when the server stops.
const LAST_ANSWERS: Duration = Duration::from_secs(3);

/// How long it may take to send the answers of those that were given up then.
const HANG_UP: Duration = Duration::from_secs(1);

pub(super) fn serve(args: ServeArgs) -> Result<()> {
    log_to_stderr()?;
    let config = args.config.as_deref().map(Config::load).transpose()?.unwrap_or_default();
    let bootstrap_token = bootstrap_token()?;
    let data = DataFolder::open(&args.data.folder()?)?;
    let listener = TcpListener::bind(args.listen).with_context(|| format!("cannot listen on {}", args.listen))?;
    listener.set_nonblocking(true).context("cannot use the listening socket")?;
    let files = Files { data, listener };
    let threads = std::thread::available_parallelism().map_or(2, |cores| cores.get().clamp(2, 4));
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(threads)
        .enable_all()
        .build()
        .context("cannot start the runtime")?;
    let done = runtime.block_on(run(files, config, bootstrap_token, args.sample));
    // Whatever still blocks a thread (a file on a dead network share) does not keep the process.
    runtime.shutdown_timeout(Duration::from_secs(1));
    done
}

/// What only one server can hold.
struct Files {
    data: DataFolder,
    listener: TcpListener,
}

async fn run(files: Files, config: Config, bootstrap_token: Option<String>, sample: bool) -> Result<()> {
    let stopping = stop_on_signal()?;
    let metrics = metrics()?;
    let Files { data, listener } = files;
    let listener = tokio::net::TcpListener::from_std(listener).context("cannot use the listening socket")?;
    let listen = listener.local_addr().context("cannot use the listening socket")?;

    let store: SharedStore = Arc::new(SqliteStore::open(&data.database()).await.context("cannot open the database")?);
    let spawner = Spawner::start(&data.runs()).await.context("cannot start the process spawner")?;
    let engine = start_engine(&data, &store, &spawner, &config).await.context("cannot start the engine")?;
    if sample {
        sample::submit_if_empty(&engine, store.as_ref(), &config).await;
    }
    let base_url = http::base_url(listen, &config);
    let link = http::new_sign_in_link(store.as_ref(), &base_url).await.context("cannot make a sign-in link")?;
    remember_address(data.root(), &base_url);
    let local_token = secret::new("local_").context("cannot make a token")?;
    let access = Access::new(http::local_url(listen), local_token.clone(), data.root());
    let last_call = CancellationToken::new();
    let router = http::router(Services {
        engine: engine.clone(),
        store,
        config,
        listen,
        host: host_name(),
        metrics,
        bootstrap_token,
        local_token,
        stopping: stopping.clone(),
        last_call: last_call.clone(),
    });
    let announced = local::announce(access);
    eprintln!("sign in: {link}");
    eprintln!("listening on http://{listen}");

    let service = router.into_make_service_with_connect_info::<SocketAddr>();
    let server = axum::serve(listener, service).with_graceful_shutdown(stopping.clone().cancelled_owned());
    let served = until_stopped(server.into_future(), &stopping, &last_call).await;
    drop(announced);
    engine.shut_down().await;
    spawner.shutdown().await;
    tracing::info!("stopped");
    served.context("the server failed")
}

async fn start_engine(
    data: &DataFolder,
    store: &SharedStore,
    spawner: &Spawner,
    config: &Config,
) -> crate::error::Result<Engine> {
    let slots = config.worker.slots;
    let presets = config.presets_of(Kind::Files);
    let files = FilesKind::new(data.clone(), spawner.clone(), &config.files, presets, slots);
    let matching = ProductMatchingKind::new(data.clone(), spawner.clone(), &config.files, slots);
    let hosts = HostsKind::new(data.clone(), config);
    let providers = Arc::new(Providers::new(config));
    let batches = |speaks| BatchKind::new(speaks, data.clone(), store.clone(), &config.files, providers.clone());
    let openai = batches(ProviderKind::Openai);
    let gemini = batches(ProviderKind::Gemini);
    let registry =
        Registry::new(vec![Arc::new(files), Arc::new(matching), Arc::new(hosts), Arc::new(openai), Arc::new(gemini)]);
    let remote_slots = config.ssh.slots;
    let (data, store) = (data.clone(), store.clone());
    Engine::start(EngineConfig { data, store, registry, slots, remote_slots, providers }).await
}

/// Runs the server until its last answer after a stop. Those that take too long are given up, and told so.
async fn until_stopped(
    server: impl Future<Output = std::io::Result<()>>,
    stopping: &CancellationToken,
    last_call: &CancellationToken,
) -> std::io::Result<()> {
    let too_long = async {
        stopping.cancelled().await;
        tokio::time::sleep(LAST_ANSWERS).await;
        last_call.cancel();
        tokio::time::sleep(HANG_UP).await;
    };
    tokio::select! {
        served = server => served,
        () = too_long => Ok(()),
    }
}

/// The first SIGTERM or SIGINT asks for a stop; the second one ends the process at once.
fn stop_on_signal() -> Result<CancellationToken> {
    let mut terminate = signal(SignalKind::terminate()).context("cannot wait for signals")?;
    let mut interrupt = signal(SignalKind::interrupt()).context("cannot wait for signals")?;
    let stopping = CancellationToken::new();
    let asked = stopping.clone();
    tokio::spawn(async move {
        for first in [true, false] {
            tokio::select! {
                _ = terminate.recv() => {}
                _ = interrupt.recv() => {}
            }
            if first {
                tracing::info!("stopping; a second signal ends at once");
                asked.cancel();
            } else {
                std::process::exit(130);
            }
        }
    });
    Ok(stopping)
}

fn log_to_stderr() -> Result<()> {
    use std::io::IsTerminal as _;
    let filter = match std::env::var("BELAY_LOG") {
        Ok(text) if !text.is_empty() => EnvFilter::try_new(text).context("BELAY_LOG")?,
        Ok(_) | Err(_) => EnvFilter::new("info"),
    };
    let ansi = std::io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none();
    tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).with_ansi(ansi).init();
    Ok(())
}

/// The token of `BELAY_BOOTSTRAP_TOKEN`, or of the file that `BELAY_BOOTSTRAP_TOKEN_FILE` names.
fn bootstrap_token() -> Result<Option<String>> {
    let text = |name| std::env::var(name).ok().filter(|value| !value.trim().is_empty());
    if let Some(token) = text("BELAY_BOOTSTRAP_TOKEN") {
        return Ok(Some(token.trim().to_owned()));
    }
    let Some(path) = text("BELAY_BOOTSTRAP_TOKEN_FILE") else { return Ok(None) };
    let token = std::fs::read_to_string(&path).with_context(|| format!("BELAY_BOOTSTRAP_TOKEN_FILE `{path}`"))?;
    let token = token.trim().to_owned();
    anyhow::ensure!(!token.is_empty(), "BELAY_BOOTSTRAP_TOKEN_FILE `{path}` is empty");
    Ok(Some(token))
}

/// The recorder behind `GET /metrics`. Counters are there from the start, so that a rate can be taken of them.
fn metrics() -> Result<PrometheusHandle> {
    const PROOF_SECONDS: [f64; 10] = [0.05, 0.1, 0.15, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0];
    let proof = Matcher::Full("belay_cancel_proof_seconds".to_owned());
    let handle = PrometheusBuilder::new()
        .set_buckets_for_metric(proof, &PROOF_SECONDS)
        .and_then(PrometheusBuilder::install_recorder)
        .context("cannot start the metrics")?;
    metrics::describe_counter!("belay_cancel_total", "Cancel requests by outcome");
    metrics::describe_counter!("belay_delete_total", "Delete requests by outcome");
    metrics::describe_histogram!("belay_cancel_proof_seconds", "From a cancel request to the proof of the stop");
    metrics::describe_gauge!(
        "belay_runs_unconfirmed",
        "Runs whose end is not proven now: lost ones that a cancel waits for, and those that ended without proof, also of \
         jobs that ended or were removed since; a later proof takes them off",
    );
    for outcome in ["cancelled", "cancelling", "already_cancelled", "already_finished"] {
        metrics::counter!("belay_cancel_total", "outcome" => outcome).increment(0);
    }
    for outcome in ["complete", "incomplete", "refused"] {
        metrics::counter!("belay_delete_total", "outcome" => outcome).increment(0);
    }
    metrics::gauge!("belay_runs_unconfirmed").set(0.0);
    Ok(handle)
}

/// So that `belay sign-in-link` knows where to. Nothing depends on it: a failure is only told.
fn remember_address(data: &Path, base_url: &str) {
    if let Err(error) = std::fs::write(data.join(ADDRESS_FILE), base_url) {
        tracing::warn!("the address could not be written to the data folder: {error}");
    }
}

fn host_name() -> String {
    nix::unistd::gethostname().ok().and_then(|name| name.into_string().ok()).unwrap_or_else(|| "localhost".to_owned())
}
