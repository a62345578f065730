//! The real program on a free port, with a data folder, a configuration and a token of its own. It ends with its
//! [`Server`].

use std::{
    path::{Path, PathBuf},
    process::{ExitStatus, Stdio},
    time::Duration,
};

use serde_json::{Value, json};
use tokio::{
    io::{AsyncBufReadExt as _, BufReader, Lines},
    process::{Child, ChildStderr, Command},
};

/// The administrator's API token of every server of the tests.
pub(crate) const TOKEN: &str = "test-token-of-the-harness-0123456789";

/// Longest wait for anything. Tests wait on events; this only ends those that fail.
pub(crate) const LONG: Duration = Duration::from_secs(30);

/// See the module.
pub(crate) struct Server {
    child: Child,
    address: String,
    sign_in_link: String,
    data_dir: PathBuf,
    config: PathBuf,
    /// More variables of its environment.
    env: Vec<(String, String)>,
    client: reqwest::Client,
    folder: tempfile::TempDir,
}

/// An answer, read to its end.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    /// `null` where the body is no JSON.
    pub(crate) body: Value,
    pub(crate) bytes: Vec<u8>,
    headers: reqwest::header::HeaderMap,
}

impl Answer {
    pub(crate) fn header(&self, name: &str) -> Option<String> {
        self.headers.get(name).and_then(|value| value.to_str().ok()).map(str::to_owned)
    }

    pub(crate) fn headers(&self) -> &reqwest::header::HeaderMap {
        &self.headers
    }

    pub(crate) fn text(&self) -> String {
        String::from_utf8_lossy(&self.bytes).into_owned()
    }

    /// All cookies that it sets, as a request would send them back.
    pub(crate) fn cookies(&self) -> String {
        let pairs =
            self.headers.get_all("set-cookie").iter().filter_map(|value| value.to_str().ok()?.split(';').next());
        pairs.collect::<Vec<_>>().join("; ")
    }

    /// Status and code of a refusal, which must be a complete problem document.
    pub(crate) fn problem(&self) -> (u16, String) {
        let of = |field: &str| self.body[field].as_str().unwrap_or_default().to_owned();
        assert_eq!(self.header("content-type").as_deref(), Some("application/problem+json"), "{}", self.text());
        assert_eq!(self.body["status"], self.status, "{}", self.body);
        assert!(of("detail").len() > 10 && !of("title").is_empty(), "{}", self.body);
        assert_eq!(Some(of("request_id")), self.header("x-request-id"), "{}", self.body);
        (self.status, of("error"))
    }
}

impl Server {
    /// With free commands, two slots, and the folder [`Server::root`] as the only root.
    pub(crate) async fn start() -> Self {
        Self::start_where("").await
    }

    /// Likewise, with more configuration.
    pub(crate) async fn start_where(more: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        std::fs::create_dir(folder.path().join("input")).unwrap();
        let config = format!(
            "[files]\nroots = [\"input\"]\nallow_free_commands = true\nmax_upload_bytes = 1000000\n\
             [worker]\nslots = 2\n[presets.sha256]\ncommand = [\"sha256sum\", \"{{file}}\"]\n{more}"
        );
        let data_dir = folder.path().join("data");
        Self::launch(folder, data_dir, &config, &[]).await
    }

    /// With just this configuration.
    pub(crate) async fn start_with(config: &str) -> Self {
        Self::start_with_env(config, &[]).await
    }

    /// Likewise, with more variables in its environment.
    pub(crate) async fn start_with_env(config: &str, env: &[(&str, &str)]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let data_dir = folder.path().join("data");
        Self::launch(folder, data_dir, config, env).await
    }

    /// With a data folder that outlives it.
    pub(crate) async fn start_in(data_dir: &Path, config: &str) -> Self {
        Self::launch(tempfile::tempdir().unwrap(), data_dir.to_path_buf(), config, &[]).await
    }

    async fn launch(folder: tempfile::TempDir, data_dir: PathBuf, config: &str, env: &[(&str, &str)]) -> Self {
        let path = folder.path().join("belay.toml");
        std::fs::write(&path, config).unwrap();
        let env: Vec<_> = env.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        let started = start_program(&data_dir, &path, &env).await;
        let client = batches::client_builder("http://").redirect(reqwest::redirect::Policy::none()).build().unwrap();
        Server {
            child: started.child,
            address: started.address,
            sign_in_link: started.sign_in_link,
            data_dir,
            config: path,
            env,
            client,
            folder,
        }
    }

    /// `127.0.0.1:PORT`
    pub(crate) fn address(&self) -> String {
        self.address.clone()
    }

    pub(crate) fn token(&self) -> &str {
        TOKEN
    }

    /// Path and query of the sign-in link that it printed.
    pub(crate) fn sign_in_link(&self) -> &str {
        &self.sign_in_link
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id().unwrap_or(0)
    }

    pub(crate) fn data_dir(&self) -> &Path {
        &self.data_dir
    }

    /// What stands for `$XDG_RUNTIME_DIR`.
    pub(crate) fn runtime_dir(&self) -> &Path {
        runtime_dir(&self.config)
    }

    /// The folder from which jobs may take files.
    pub(crate) fn root(&self) -> PathBuf {
        self.folder.path().join("input")
    }

    /// Makes `count` small files in a new folder below the root; answers the folder's name.
    pub(crate) fn inputs(&self, name: &str, count: usize) -> String {
        std::fs::create_dir_all(self.root().join(name)).unwrap();
        for index in 0..count {
            std::fs::write(self.root().join(name).join(format!("{index:03}.txt")), format!("{index}\n")).unwrap();
        }
        name.to_owned()
    }

    // ---- its life ----

    pub(crate) fn kill9(&mut self) {
        let _ = self.child.start_kill();
        while self.child.try_wait().unwrap().is_none() {
            std::thread::sleep(Duration::from_millis(1));
        }
    }

    /// SIGTERM, and how it ended.
    pub(crate) async fn terminate(&mut self) -> ExitStatus {
        let pid = nix::unistd::Pid::from_raw(i32::try_from(self.pid()).unwrap());
        nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGTERM).unwrap();
        tokio::time::timeout(LONG, self.child.wait()).await.expect("no end after SIGTERM").unwrap()
    }

    /// Starts the program again on the same data folder, on another port.
    pub(crate) async fn restart(&mut self) {
        let started = start_program(&self.data_dir, &self.config, &self.env).await;
        self.child = started.child;
        self.address = started.address;
        self.sign_in_link = started.sign_in_link;
    }

    // ---- requests ----

    /// Without a token.
    pub(crate) fn bare(&self, method: &str, path: &str) -> reqwest::RequestBuilder {
        let method = reqwest::Method::from_bytes(method.as_bytes()).unwrap();
        self.client.request(method, format!("http://{}{path}", self.address))
    }

    /// With the token.
    pub(crate) fn request(&self, method: &str, path: &str) -> reqwest::RequestBuilder {
        self.bare(method, path).bearer_auth(TOKEN)
    }

    pub(crate) async fn send(&self, request: reqwest::RequestBuilder) -> Answer {
        let answer = request.send().await.unwrap();
        let (status, headers) = (answer.status().as_u16(), answer.headers().clone());
        let bytes = answer.bytes().await.unwrap().to_vec();
        let body = serde_json::from_slice(&bytes).unwrap_or(Value::Null);
        Answer { status, body, bytes, headers }
    }

    pub(crate) async fn get(&self, path: &str) -> Answer {
        self.send(self.request("GET", path)).await
    }

    pub(crate) async fn get_with(&self, path: &str, headers: &[(&str, &str)]) -> Answer {
        let add = |request: reqwest::RequestBuilder, (name, value): &(&str, &str)| request.header(*name, *value);
        self.send(headers.iter().fold(self.request("GET", path), add)).await
    }

    pub(crate) async fn post(&self, path: &str, body: &Value) -> Answer {
        self.send(self.request("POST", path).json(body)).await
    }

    pub(crate) async fn delete(&self, path: &str) -> Answer {
        self.send(self.request("DELETE", path)).await
    }

    /// A plain form post with a session's cookie, as a browser sends it from one of our pages.
    pub(crate) async fn post_form(&self, cookie: &str, path: &str, fields: &[(&str, &str)]) -> Answer {
        let pair = |(name, value): &(&str, &str)| format!("{name}={}", app::paths::encode(value));
        let body = fields.iter().map(pair).collect::<Vec<_>>().join("&");
        let request = self
            .bare("POST", path)
            .header("cookie", cookie)
            .header("origin", format!("http://{}", self.address))
            .header("content-type", "application/x-www-form-urlencoded");
        self.send(request.body(body)).await
    }

    /// Signs in with the printed link, as its page's button does. Answers the session's cookie.
    pub(crate) async fn sign_in(&self) -> String {
        let link = self.sign_in_link.split_once("link=").expect("a link").1.to_owned();
        let answer = self.post_form("", "/sign-in", &[("link", &link)]).await;
        assert_eq!(answer.status, 303, "{}", answer.text());
        answer.cookies()
    }

    // ---- verbs ----

    /// A `files` job over the inputs of one folder. Answers its id.
    pub(crate) async fn submit(&self, command: &[&str], inputs: &str) -> String {
        let spec = json!({ "command": command, "inputs": [inputs], "grace_s": 2 });
        let answer = self.post("/api/jobs", &json!({ "name": inputs, "kind": "files", "spec": spec })).await;
        assert_eq!(answer.status, 201, "{}", answer.text());
        answer.body["job_id"].as_str().unwrap().to_owned()
    }

    /// A job that runs until it is stopped: `count` units that sleep, of which two run at once.
    pub(crate) async fn submit_endless(&self, name: &str, count: usize) -> String {
        let inputs = self.inputs(name, count);
        let id = self.submit(&["sleep", "600"], &inputs).await;
        self.wait_for(&id, |job| job["progress"]["running"].as_u64() > Some(0)).await;
        id
    }

    /// A job of two units that has completed.
    pub(crate) async fn submit_done(&self, name: &str) -> String {
        let inputs = self.inputs(name, 2);
        let id = self.submit(&["sh", "-c", "echo hello; cp \"$BELAY_FILE\" \"$BELAY_OUT/\""], &inputs).await;
        self.wait_phase(&id, "completed").await;
        id
    }

    pub(crate) async fn cancel(&self, id: &str, body: Value) -> Answer {
        self.post(&format!("/api/jobs/{id}/cancel"), &body).await
    }

    pub(crate) async fn remove(&self, id: &str, query: &str) -> Answer {
        self.delete(&format!("/api/jobs/{id}{query}")).await
    }

    pub(crate) async fn job(&self, id: &str) -> Value {
        let answer = self.get(&format!("/api/jobs/{id}")).await;
        assert_eq!(answer.status, 200, "{}", answer.text());
        answer.body
    }

    pub(crate) async fn wait_phase(&self, id: &str, phase: &str) -> Value {
        self.wait_for(id, |job| job["phase"] == phase).await
    }

    /// Waits, by blocking queries, until the job is as it should be.
    pub(crate) async fn wait_for(&self, id: &str, done: impl Fn(&Value) -> bool) -> Value {
        let wait = async {
            let mut etag = String::new();
            loop {
                let path = format!("/api/jobs/{id}?wait=10s");
                let answer = self.get_with(&path, &[("if-none-match", &etag)]).await;
                if answer.status == 304 {
                    continue;
                }
                assert_eq!(answer.status, 200, "{}", answer.text());
                if done(&answer.body) {
                    return answer.body;
                }
                etag = answer.header("etag").unwrap();
            }
        };
        match tokio::time::timeout(LONG, wait).await {
            Ok(job) => job,
            Err(_) => panic!("it never came to that: {}", self.job(id).await),
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.start_kill();
    }
}

struct Started {
    child: Child,
    address: String,
    sign_in_link: String,
}

/// A folder of its own for each server: that of its configuration.
fn runtime_dir(config: &Path) -> &Path {
    config.parent().unwrap_or(Path::new("/"))
}

/// `belay serve`, ready to be spawned.
pub(crate) fn program(data_dir: &Path, config: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_belay"));
    command
        .args(["serve", "--listen", "127.0.0.1:0", "--data-dir"])
        .arg(data_dir)
        .arg("--config")
        .arg(config)
        .env("BELAY_BOOTSTRAP_TOKEN", TOKEN)
        // Where the command line looks for the server that was started last: not the user's own.
        .env("XDG_RUNTIME_DIR", runtime_dir(config))
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .kill_on_drop(true);
    command
}

async fn start_program(data_dir: &Path, config: &Path, env: &[(String, String)]) -> Started {
    let mut child = program(data_dir, config).envs(env.iter().cloned()).spawn().unwrap();
    let mut lines = BufReader::new(child.stderr.take().unwrap()).lines();
    let (address, sign_in_link) = until_listening(&mut lines).await;
    // What it says later is not looked at, but somebody must read it.
    tokio::spawn(async move { while let Ok(Some(_)) = lines.next_line().await {} });
    Started { child, address, sign_in_link }
}

async fn until_listening(lines: &mut Lines<BufReader<ChildStderr>>) -> (String, String) {
    let mut said = String::new();
    let mut link = String::new();
    while let Some(line) = lines.next_line().await.unwrap() {
        if let Some(address) = line.strip_prefix("listening on http://") {
            return (address.to_owned(), link);
        }
        if let Some(url) = line.strip_prefix("sign in: http://") {
            link = url.find('/').map(|begin| url[begin..].to_owned()).unwrap_or_default();
        }
        said.push_str(&line);
        said.push('\n');
    }
    panic!("the server ended before it was ready:\n{said}")
}
