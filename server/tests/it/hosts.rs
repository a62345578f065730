//! Kind `hosts` against real SSH servers: one command on many machines.

mod bad_input;
mod collecting;
mod cuts;
mod faults;
mod hostile;
mod outages;
mod reaching;
mod stops;

use serde_json::{Value, json};

use crate::{
    harness::Server,
    sshd::{Fleet, marked},
};

/// A server that knows a fleet.
async fn server_of(fleet: &Fleet) -> Server {
    server_with(&fleet.config()).await
}

async fn server_with(config: &str) -> Server {
    Server::start_with(&format!("[worker]\nslots = 2\n{config}")).await
}

async fn submit(server: &Server, spec: Value) -> String {
    let answer = server.post("/api/jobs", &json!({"name": "a fleet", "kind": "hosts", "spec": spec})).await;
    assert_eq!(answer.status, 201, "{}", answer.text());
    answer.body["job_id"].as_str().unwrap().to_owned()
}

/// A shell command on these hosts.
async fn submit_shell(server: &Server, hosts: &[&str], script: &str) -> String {
    submit(server, json!({"hosts": hosts, "command": ["sh", "-c", script], "grace_s": 2})).await
}

async fn units(server: &Server, id: &str) -> Vec<Value> {
    let answer = server.get(&format!("/api/jobs/{id}/units?limit=200")).await;
    answer.body["items"].as_array().unwrap_or_else(|| panic!("{}", answer.text())).clone()
}

async fn unit(server: &Server, id: &str, name: &str) -> Value {
    units(server, id).await.into_iter().find(|unit| unit["name"] == name).expect("the unit")
}

/// Stream and text of a unit's transcript.
async fn transcript(server: &Server, id: &str, unit: u64) -> Vec<(String, String)> {
    let page = server.get(&format!("/api/jobs/{id}/log?unit={unit}")).await;
    let line = |line: &Value| (line["stream"].as_str().unwrap().to_owned(), line["text"].as_str().unwrap().to_owned());
    page.body["items"].as_array().unwrap_or_else(|| panic!("{}", page.text())).iter().map(line).collect()
}

async fn wait_for_output(server: &Server, id: &str, unit: u64, text: &str) {
    let seen = async {
        loop {
            let lines = transcript(server, id, unit).await;
            if lines.iter().any(|(_, line)| line.contains(text)) {
                return;
            }
            tokio::time::sleep(std::time::Duration::from_millis(20)).await;
        }
    };
    if tokio::time::timeout(crate::harness::LONG, seen).await.is_err() {
        panic!("`{text}` was never printed: {:?}", transcript(server, id, unit).await);
    }
}

/// Nothing of any run of the job is on any host.
async fn assert_nothing_left(server: &Server, id: &str) {
    for unit in units(server, id).await {
        if let Some(run) = unit["run_id"].as_str() {
            assert_eq!(marked(run), Vec::<String>::new(), "{unit}");
        }
    }
}

#[tokio::test]
async fn a_command_runs_on_each_host_once_and_its_output_is_kept() {
    let fleet = Fleet::start(3);
    let server = server_of(&fleet).await;
    let id = submit_shell(&server, &["tag:first", "group:all", "host2"], "echo on $BELAY_HOST; echo faults >&2").await;
    let job = server.wait_phase(&id, "completed").await;
    assert_eq!(job["progress"]["total"], 3);
    let units = units(&server, &id).await;
    let names: Vec<_> = units.iter().map(|unit| unit["name"].as_str().unwrap()).collect();
    assert_eq!(names, ["host0", "host1", "host2"]);
    for (index, unit) in units.iter().enumerate() {
        assert_eq!((&unit["status"], &unit["exit_code"]), (&json!("succeeded"), &json!(0)), "{unit}");
        let lines = transcript(&server, &id, index as u64).await;
        assert!(lines.contains(&("stdout".to_owned(), format!("on host{index}"))), "{lines:?}");
        assert!(lines.contains(&("stderr".to_owned(), "faults".to_owned())), "{lines:?}");
        assert!(lines.iter().all(|(_, text)| !text.contains("ready")), "words of Belay's script: {lines:?}");
        let last = unit["last_line"].as_str().unwrap();
        assert!(last == format!("on host{index}") || last == "faults", "{unit}");
    }
    assert_nothing_left(&server, &id).await;
}

#[tokio::test]
async fn a_job_is_partial_when_some_hosts_failed_and_failed_when_all_did() {
    let fleet = Fleet::start(2);
    let server = server_of(&fleet).await;
    let some = submit_shell(&server, &["group:all"], "[ $BELAY_HOST = host0 ] || exit 3").await;
    server.wait_phase(&some, "partial").await;
    let failed = unit(&server, &some, "host1").await;
    assert_eq!((&failed["exit_code"], &failed["error"]), (&json!(3), &json!("exit status 3")));
    let all = submit(&server, json!({"hosts": ["group:all"], "command": ["no-such-command"]})).await;
    server.wait_phase(&all, "failed").await;
    let missing = unit(&server, &all, "host0").await;
    assert_eq!(missing["exit_code"], 127, "{missing}");
    // Only what failed is run again.
    let rerun = server.post(&format!("/api/jobs/{some}/rerun"), &json!({"units": "unfinished"})).await;
    assert_eq!(rerun.status, 201, "{}", rerun.text());
    let again = rerun.body["job_id"].as_str().unwrap();
    server.wait_phase(again, "failed").await;
    let names: Vec<_> = units(&server, again).await.iter().map(|unit| unit["name"].clone()).collect();
    assert_eq!(names, [json!("host1")]);
}

#[tokio::test]
async fn arguments_arrive_as_they_were_given() {
    let fleet = Fleet::start(1);
    let server = server_of(&fleet).await;
    let hostile = ["it's", "$HOME `id` \"x\"", "two\nlines", "-n", "*", "back\\slash", "é!", ""];
    let mut command = vec!["printf", "<%s>\\n"];
    command.extend(hostile);
    command.push("{host}");
    let id = submit(&server, json!({"hosts": ["host0"], "command": command})).await;
    server.wait_phase(&id, "completed").await;
    let lines = transcript(&server, &id, 0).await;
    let printed: Vec<_> =
        lines.iter().filter(|(stream, _)| stream == "stdout").map(|(_, text)| text.as_str()).collect();
    let expected: String = hostile.iter().chain(&["host0"]).map(|word| format!("<{word}>\n")).collect();
    assert_eq!(printed.join("\n") + "\n", expected);
}

#[tokio::test]
async fn a_command_has_no_standard_input() {
    let fleet = Fleet::start(1);
    let server = server_of(&fleet).await;
    let id = submit_shell(&server, &["host0"], "cat; echo ended; exec <&0; read word || echo nothing to read").await;
    server.wait_phase(&id, "completed").await;
    let lines = transcript(&server, &id, 0).await;
    let printed: Vec<_> =
        lines.iter().filter(|(stream, _)| stream == "stdout").map(|(_, text)| text.as_str()).collect();
    assert_eq!(printed, ["ended", "nothing to read"]);
}

#[tokio::test]
async fn hosts_do_not_wait_for_the_slots_of_local_work() {
    let fleet = Fleet::start(5);
    let server = server_of(&fleet).await;
    let id = submit_shell(&server, &["group:all"], "sleep 600").await;
    server.wait_for(&id, |job| job["progress"]["running"] == 5).await;
    let answer = server.cancel(&id, json!({})).await;
    assert_eq!(answer.body["stop"]["stopped"], 5, "{}", answer.text());
    let few = submit(&server, json!({"hosts": ["group:all"], "command": ["sleep", "600"], "parallel": 2})).await;
    server.wait_for(&few, |job| job["progress"]["running"] == 2).await;
    let answer = server.cancel(&few, json!({})).await;
    assert_eq!(answer.body["stop"]["never_started"], 3, "{}", answer.text());
    assert_nothing_left(&server, &few).await;
}

#[tokio::test]
async fn a_preset_is_offered_and_used_for_hosts() {
    let fleet = Fleet::start(1);
    let preset =
        "[presets.where]\nkind = \"hosts\"\ncommand = [\"sh\", \"-c\", \"echo $PLACE\"]\nenv = {PLACE = \"here\"}\n";
    let server = server_with(&format!("{preset}{}", fleet.config())).await;
    let id = submit(&server, json!({"hosts": ["host0"], "preset": "where"})).await;
    server.wait_phase(&id, "completed").await;
    let lines = transcript(&server, &id, 0).await;
    assert!(lines.contains(&("stdout".to_owned(), "here".to_owned())), "{lines:?}");
    let form = server.get("/api/form-options").await;
    assert_eq!(
        form.body["hosts"][0],
        json!({"name": "host0", "groups": ["all"], "tags": ["first"]}),
        "{}",
        form.text()
    );
}
