//! Specs of kind `hosts` that are refused, with the field and nothing stored.

use serde_json::{Value, json};

use super::server_with;
use crate::sshd::Fleet;

#[tokio::test]
async fn a_spec_that_cannot_be_is_refused_and_names_its_field() {
    let fleet = Fleet::start(1);
    let preset =
        "[presets.files-only]\ncommand = [\"true\"]\n[presets.load]\nkind = \"hosts\"\ncommand = [\"uptime\"]\n";
    let server = server_with(&format!("{preset}{}", fleet.config())).await;
    let on = |more: Value| {
        let mut spec = json!({"hosts": ["host0"], "command": ["true"]});
        spec.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        spec
    };
    for (spec, field) in [
        (json!({"hosts": ["host9"], "command": ["true"]}), "spec.hosts"),
        (json!({"hosts": ["group:none"], "command": ["true"]}), "spec.hosts"),
        (json!({"hosts": ["tag:none"], "command": ["true"]}), "spec.hosts"),
        (json!({"hosts": [], "command": ["true"]}), "spec.hosts"),
        (json!({"command": ["true"]}), "spec.hosts"),
        (json!({"hosts": ["host0"]}), "spec.preset"),
        (json!({"hosts": ["host0"], "preset": "files-only"}), "spec.preset"),
        (json!({"hosts": ["host0"], "command": []}), "spec.command"),
        (on(json!({"preset": "load"})), "spec.command"),
        (on(json!({"parallel": 0})), "spec.parallel"),
        (on(json!({"collect": ["/var/**"]})), "spec.collect"),
        (on(json!({"port": 70_000})), "spec.port"),
    ] {
        let answer = server.post("/api/jobs", &json!({"name": "x", "kind": "hosts", "spec": spec})).await;
        assert_eq!(answer.problem(), (422, "INVALID_SPEC".to_owned()), "{spec}");
        assert_eq!(answer.body["field"], field, "{spec}: {}", answer.text());
    }
    for (wanted, meant) in [("hots0", "`host0`"), ("all", "`group:all`"), ("group:first", "`tag:first`")] {
        let spec = json!({"hosts": [wanted], "command": ["true"]});
        let answer = server.post("/api/jobs", &json!({"name": "x", "kind": "hosts", "spec": spec})).await;
        let detail = answer.body["detail"].as_str().unwrap();
        assert!(detail.ends_with(&format!("Did you mean {meant}?")), "{wanted}: {detail}");
    }
    assert_eq!(server.get("/api/jobs").await.body["items"], json!([]), "nothing was stored");
}

#[tokio::test]
async fn free_commands_need_the_configurations_leave() {
    let fleet = Fleet::start(1);
    let server = server_with(&fleet.config().replace("allow_free_commands = true", "")).await;
    let spec = json!({"hosts": ["host0"], "command": ["true"]});
    let answer = server.post("/api/jobs", &json!({"name": "x", "kind": "hosts", "spec": spec})).await;
    assert_eq!((answer.status, &answer.body["field"]), (422, &json!("spec.command")), "{}", answer.text());
}
