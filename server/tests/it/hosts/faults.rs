//! Hosts that cannot be reached or trusted: one sentence each that says what to do.

use std::{fs, net::TcpListener, os::unix::fs::PermissionsExt as _};

use serde_json::json;

use super::{server_with, submit, unit};
use crate::sshd::{Fleet, make_key};

#[tokio::test]
async fn a_host_that_cannot_be_reached_or_trusted_fails_with_a_reason() {
    let fleet = Fleet::start(1);
    let port = fleet.hosts[0].port;
    for name in ["stranger", "open"] {
        make_key(&fleet.path(name));
    }
    fs::set_permissions(fleet.path("open"), fs::Permissions::from_mode(0o644)).unwrap();
    let mute = TcpListener::bind("127.0.0.1:0").unwrap();
    let mute_port = mute.local_addr().unwrap().port();
    let closed = TcpListener::bind("127.0.0.1:0").unwrap();
    let closed_port = closed.local_addr().unwrap().port();
    drop(closed);
    let key = |name: &str| format!("key = \"{}\"", fleet.path(name).display());
    let mut config = fleet.config();
    config += &fleet.host("wrong-key", port, &key("stranger"));
    config += &fleet.host("open-key", port, &key("open"));
    config += &fleet.host("no-key", port, &key("nowhere"));
    config += &fleet.host("refused", closed_port, "");
    config += &fleet.host("mute", mute_port, "");
    config += &fleet.host("no-password", port, &format!("{}\npassword_env = \"BELAY_NO_SUCH\"", key("stranger")));
    config += &fleet.host("lost", port, "").replace("127.0.0.1", "no-such-host.invalid");
    config += &fleet.host("through", port, "jump = \"refused\"");
    let server = server_with(&config).await;
    let hosts = ["wrong-key", "open-key", "no-key", "refused", "mute", "no-password", "lost", "through"];
    let spec = json!({"hosts": hosts, "command": ["true"], "connect_timeout_s": 2});
    let id = submit(&server, spec).await;
    server.wait_phase(&id, "failed").await;
    for (host, words) in [
        ("wrong-key", "does not let `root` in with the key"),
        ("open-key", "is open to others (mode 644)"),
        ("no-key", "cannot be read"),
        ("refused", "refused the connection"),
        ("mute", "did not speak SSH within 2 s"),
        ("no-password", "`BELAY_NO_SUCH` is not set"),
        ("lost", "the address `no-such-host.invalid` cannot be resolved: "),
        ("through", "through `refused`: 127.0.0.1:"),
    ] {
        let error = unit(&server, &id, host).await["error"].clone();
        assert!(error.as_str().unwrap_or_default().contains(words), "{host}: {error}");
    }
}

#[tokio::test]
async fn nothing_is_started_on_a_host_where_no_stop_could_be_proven() {
    let fleet = Fleet::start_where(1, "SetEnv HOME=DIR PATH=DIR/bin");
    fs::create_dir(fleet.path("bin")).unwrap();
    for tool in ["sh", "env"] {
        let program = ["/bin", "/usr/bin"].map(|folder| std::path::Path::new(folder).join(tool));
        let program = program.iter().find(|path| path.exists()).expect("every system has it");
        std::os::unix::fs::symlink(program, fleet.path("bin").join(tool)).unwrap();
    }
    let server = server_with(&fleet.config()).await;
    let marker = fleet.path("was-here");
    let command = ["sh", "-c", &format!(": > '{}'", marker.display())];
    let id = submit(&server, json!({"hosts": ["host0"], "command": command})).await;
    server.wait_phase(&id, "failed").await;
    let error = unit(&server, &id, "host0").await["error"].as_str().unwrap().to_owned();
    assert!(error.contains("has no `grep`"), "{error}");
    assert!(!marker.exists());
}

#[tokio::test]
async fn an_unknown_or_changed_host_key_is_refused_with_its_fingerprint() {
    let fleet = Fleet::start(2);
    let known = format!("[127.0.0.1]:{} {}", fleet.hosts[1].port, fleet.public_key("host0"));
    fs::write(fleet.known_hosts(), &known).unwrap();
    let server = server_with(&fleet.config()).await;
    let id = submit(&server, json!({"hosts": ["group:all"], "command": ["true"]})).await;
    server.wait_phase(&id, "failed").await;
    for (host, words) in [("host0", "is not known"), ("host1", "has CHANGED")] {
        let error = unit(&server, &id, host).await["error"].as_str().unwrap().to_owned();
        assert!(error.contains(words) && error.contains("SHA256:"), "{host}: {error}");
    }
    assert_eq!(fs::read_to_string(fleet.known_hosts()).unwrap(), known, "nothing was learned");
}

#[tokio::test]
async fn a_new_host_key_is_taken_once_where_that_is_configured() {
    let fleet = Fleet::start(1);
    fs::remove_file(fleet.known_hosts()).unwrap();
    let server = server_with(&fleet.config().replace("[ssh]\n", "[ssh]\naccept_new = true\n")).await;
    for _ in 0..2 {
        let id = submit(&server, json!({"hosts": ["host0"], "command": ["true"]})).await;
        server.wait_phase(&id, "completed").await;
    }
    let known = fs::read_to_string(fleet.known_hosts()).unwrap();
    assert_eq!(known.lines().filter(|line| line.contains("ssh-ed25519")).count(), 1, "{known}");
}

#[tokio::test]
async fn a_host_is_reached_through_another_one() {
    let fleet = Fleet::start(2);
    let far = fleet.host("far", fleet.hosts[1].port, "jump = \"host0\"");
    let server = server_with(&format!("{}{far}", fleet.config())).await;
    let id = submit(&server, json!({"hosts": ["far"], "command": ["sleep", "600"]})).await;
    super::wait_for_output(&server, &id, 0, "started on").await;
    let answer = server.cancel(&id, json!({})).await;
    assert_eq!(answer.body["phase"], "cancelled", "{}", answer.text());
    super::assert_nothing_left(&server, &id).await;
}
