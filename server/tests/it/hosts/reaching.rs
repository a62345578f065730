//! The ways to a host: no route, keys of an agent, passwords, hosts behind others.

use std::{
    fs,
    os::unix::net::UnixStream,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::Instant,
};

use serde_json::json;

use super::{server_with, submit, transcript, unit};
use crate::{
    harness::{LONG, Server},
    sshd::{Fleet, make_key},
};

/// Runs `true` on a host, which must fail; answers why.
async fn fault(server: &Server, host: &str) -> String {
    let id = submit(server, json!({"hosts": [host], "command": ["true"], "connect_timeout_s": 5})).await;
    server.wait_phase(&id, "failed").await;
    unit(server, &id, host).await["error"].as_str().unwrap().to_owned()
}

async fn works(server: &Server, host: &str) {
    let id = submit(server, json!({"hosts": [host], "command": ["true"]})).await;
    let job = server.wait_for(&id, |job| job["finished_at"].is_string()).await;
    assert_eq!(job["phase"], "completed", "{:?}", transcript(server, &id, 0).await);
}

#[tokio::test]
async fn a_host_without_a_route_is_told_apart_at_once() {
    let fleet = Fleet::start(1);
    // No connection leads to a broadcast address: Linux says that the network is unreachable, whoever asks.
    let lost = fleet.host("lost", 22, "").replace("127.0.0.1", "127.255.255.255");
    let server = server_with(&format!("{}{lost}", fleet.config())).await;
    let begun = Instant::now();
    let spec = json!({"hosts": ["lost", "host0"], "command": ["true"], "connect_timeout_s": 600});
    let id = submit(&server, spec).await;
    server.wait_phase(&id, "partial").await;
    assert!(begun.elapsed() < LONG, "nobody waits for an answer that cannot come");
    assert_eq!(unit(&server, &id, "lost").await["error"], "there is no route to 127.255.255.255:22");
    assert_eq!(unit(&server, &id, "host0").await["status"], "succeeded", "the others go on");
}

/// An `ssh-agent` of its own.
struct Agent {
    child: Child,
    socket: PathBuf,
}

impl Agent {
    fn start(socket: PathBuf) -> Self {
        let child = Command::new("ssh-agent")
            .args(["-D", "-a"])
            .arg(&socket)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("ssh-agent is installed");
        let begun = Instant::now();
        while UnixStream::connect(&socket).is_err() {
            assert!(begun.elapsed() < LONG, "ssh-agent does not listen");
            std::thread::sleep(std::time::Duration::from_millis(10));
        }
        Agent { child, socket }
    }

    fn add(&self, key: &Path) {
        let mut command = Command::new("ssh-add");
        command.arg("-q").arg(key).env("SSH_AUTH_SOCK", &self.socket).stderr(Stdio::null());
        assert!(command.status().unwrap().success());
    }
}

impl Drop for Agent {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A host of the configuration without a key file.
fn keyless(fleet: &Fleet, name: &str, more: &str) -> String {
    let port = fleet.hosts[0].port;
    format!("[[hosts]]\nname = \"{name}\"\naddress = \"127.0.0.1\"\nport = {port}\nuser = \"root\"\n{more}\n")
}

#[tokio::test]
async fn keys_of_the_agent_open_a_host_and_what_is_wrong_with_the_agent_is_said() {
    let fleet = Fleet::start(1);
    make_key(&fleet.path("stranger"));
    let agent = Agent::start(fleet.path("agent.sock"));
    let config = fleet.config().replace("[ssh]\n", &format!("[ssh]\nagent = \"{}\"\n", agent.socket.display()));
    let server = server_with(&(config + &keyless(&fleet, "web", ""))).await;
    let why = fault(&server, "web").await;
    assert!(why.starts_with("the agent `") && why.ends_with("has no key"), "{why}");
    agent.add(&fleet.path("stranger"));
    let why = fault(&server, "web").await;
    assert!(why.starts_with("the host does not let `root` in with the one key of the agent `"), "{why}");
    agent.add(&fleet.path("id"));
    works(&server, "web").await;
    drop(agent);
    let why = fault(&server, "web").await;
    assert!(why.starts_with("the agent `") && why.contains("cannot be used"), "{why}");
}

#[tokio::test]
async fn the_agent_of_the_environment_is_asked_where_none_is_configured() {
    let fleet = Fleet::start(1);
    let agent = Agent::start(fleet.path("agent.sock"));
    agent.add(&fleet.path("id"));
    let config = fleet.config() + &keyless(&fleet, "web", "");
    let socket = agent.socket.display().to_string();
    works(&Server::start_with_env(&config, &[("SSH_AUTH_SOCK", &socket)]).await, "web").await;
    let without = Server::start_with_env(&config, &[("SSH_AUTH_SOCK", "")]).await;
    assert!(fault(&without, "web").await.contains("nothing to sign in with"));
}

#[tokio::test]
async fn a_password_is_read_from_the_environment_and_kept_nowhere() {
    const PASSWORD: &str = "test-only-pass";
    const SHADOW: &str = "root:$6$belaytest$2XVGtTLgU8fAIughqh6OvJ89YcAc7dGB5XkoFBZMnhii6cSHUWYYEAkFoyKfKstq.\
                          Lygk1yLZsWGeoMpEmg4T.:19000:0:99999:7:::\n";
    let more = "PasswordAuthentication yes\nPermitRootLogin yes";
    let setup = "mount --bind DIR/shadow /etc/shadow";
    let Some(fleet) = Fleet::start_apart(more, setup, &[("shadow", SHADOW)]) else { return };
    let mut config = fleet.config();
    config += &keyless(&fleet, "right", "password_env = \"FLEET_PASSWORD\"");
    config += &keyless(&fleet, "wrong", "password_env = \"FLEET_WRONG\"");
    config += &keyless(&fleet, "unset", "password_env = \"FLEET_UNSET\"");
    let env = [("FLEET_PASSWORD", PASSWORD), ("FLEET_WRONG", "test-only-wrong"), ("SSH_AUTH_SOCK", "")];
    let server = Server::start_with_env(&config, &env).await;
    let id = submit(&server, json!({"hosts": ["right"], "command": ["env"]})).await;
    server.wait_phase(&id, "completed").await;
    let lines = transcript(&server, &id, 0).await;
    assert!(lines.iter().any(|(_, line)| line == "BELAY_HOST=right"), "{lines:?}");
    let why = fault(&server, "wrong").await;
    assert_eq!(why, "the host does not let `root` in with the password of `FLEET_WRONG`");
    assert_eq!(fault(&server, "unset").await, "the environment variable `FLEET_UNSET` is not set");
    for file in files_below(server.data_dir()) {
        let bytes = fs::read(&file).unwrap_or_default();
        assert!(!bytes.windows(PASSWORD.len()).any(|window| window == PASSWORD.as_bytes()), "{}", file.display());
    }
}

fn files_below(folder: &Path) -> Vec<PathBuf> {
    let (mut files, mut folders) = (Vec::new(), vec![folder.to_owned()]);
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap().flatten() {
            if entry.path().is_dir() { folders.push(entry.path()) } else { files.push(entry.path()) }
        }
    }
    files
}

#[tokio::test]
async fn a_key_with_a_passphrase_needs_the_variable_that_holds_it() {
    let fleet = Fleet::start(1);
    let locked = fleet.path("locked");
    fs::copy(fleet.path("id"), &locked).unwrap();
    let mut command = Command::new("ssh-keygen");
    command.args(["-q", "-p", "-P", "", "-N", "open sesame", "-f"]).arg(&locked).stdout(Stdio::null());
    assert!(command.status().unwrap().success());
    let key = format!("key = \"{}\"", locked.display());
    let mut config = fleet.config();
    config += &keyless(&fleet, "named", &format!("{key}\npassphrase_env = \"FLEET_PHRASE\""));
    config += &keyless(&fleet, "wrong", &format!("{key}\npassphrase_env = \"FLEET_WRONG\""));
    config += &keyless(&fleet, "silent", &key);
    let env = [("FLEET_PHRASE", "open sesame"), ("FLEET_WRONG", "open barley")];
    let server = Server::start_with_env(&config, &env).await;
    works(&server, "named").await;
    assert!(fault(&server, "silent").await.contains("name its variable with `passphrase_env`"));
    assert!(fault(&server, "wrong").await.contains("cannot be used"));
}

#[tokio::test]
async fn each_host_on_the_way_is_verified_and_named_when_it_is_the_one_that_fails() {
    let fleet = Fleet::start(3);
    make_key(&fleet.path("stranger"));
    // Known: only the first one.
    let known = fs::read_to_string(fleet.known_hosts()).unwrap();
    fs::write(fleet.known_hosts(), format!("{}\n", known.lines().next().unwrap())).unwrap();
    let mut config = fleet.config();
    let (second, closed) = (fleet.hosts[1].port, std::net::TcpListener::bind("127.0.0.1:0").unwrap());
    let closed_port = closed.local_addr().unwrap().port();
    drop(closed);
    config += &fleet.host("unknown-far", second, "jump = \"host0\"");
    config += &fleet.host("unknown-near", fleet.hosts[0].port, "jump = \"host2\"");
    config += &fleet.host("barred", fleet.hosts[0].port, &format!("key = \"{}\"", fleet.path("stranger").display()));
    config += &fleet.host("behind-barred", fleet.hosts[0].port, "jump = \"barred\"");
    config += &fleet.host("far-refuses", closed_port, "jump = \"host0\"");
    config += &fleet.host("twice", fleet.hosts[0].port, "jump = \"near\"");
    config += &fleet.host("near", fleet.hosts[0].port, "jump = \"host0\"");
    let server = server_with(&config).await;
    for (host, begin, words) in [
        ("unknown-far", "the key of [127.0.0.1]", "is not known"),
        ("unknown-near", "through `host2`: the key of", "is not known"),
        ("behind-barred", "through `barred`: the host does not let `root` in", "with the key"),
        ("far-refuses", "through `host0`: 127.0.0.1:", "is not reached"),
    ] {
        let why = fault(&server, host).await;
        assert!(why.starts_with(begin) && why.contains(words), "{host}: {why}");
    }
    works(&server, "twice").await;
}
