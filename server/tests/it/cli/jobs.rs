//! Submitting, looking, waiting, fetching.

use std::os::unix::fs::PermissionsExt as _;

use serde_json::json;

use super::{belay, belay_of, run};
use crate::harness::{Server, TOKEN};

#[tokio::test]
async fn the_server_of_this_machine_is_found_without_being_named_by_its_own_user_only() {
    let mut server = Server::start().await;
    server.belay(&["job", "list"]).await.done();
    for file in [server.data_dir().join("access"), server.runtime_dir().join("belay/access")] {
        assert_eq!(std::fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600, "{}", file.display());
    }
    let mut by_folder = belay();
    by_folder.env("BELAY_DATA_DIR", server.data_dir());
    run(by_folder, &["job", "list"], "").await.done();
    // What is done so is done by the operator of this instance.
    let inputs = server.inputs("mine", 1);
    let id = server.belay(&["job", "submit", "--input", &inputs, "--", "true"]).await.done();
    assert_eq!(server.job(id.trim()).await["created_by"], "operator");
    assert!(server.terminate().await.success());
    assert!(!server.data_dir().join("access").exists(), "it goes with the server");
    let ran = server.belay(&["job", "list"]).await;
    assert_eq!(ran.code, 5, "{ran:?}");
    assert!(ran.err.contains("No Belay server is running") && ran.err.contains("belay serve"), "{}", ran.err);
}

#[tokio::test]
async fn a_server_elsewhere_is_reached_by_address_and_token() {
    let server = Server::start().await;
    let address = server.address();
    run(belay(), &["job", "list", "--server", &address, "--token", TOKEN], "").await.done();
    let mut by_environment = belay();
    by_environment.env("BELAY_SERVER", format!("http://{address}/")).env("BELAY_TOKEN", TOKEN);
    run(by_environment, &["job", "list"], "").await.done();
    let without = run(belay(), &["job", "list", "--server", &address], "").await;
    assert_eq!(without.code, 4, "{without:?}");
    assert!(without.err.contains("BELAY_TOKEN"), "{}", without.err);
}

#[tokio::test]
async fn a_job_is_submitted_waited_for_listed_and_shown() {
    let server = Server::start().await;
    let inputs = server.inputs("three", 3);
    let submit = ["job", "submit", "--name", "Sums of all", "--preset", "sha256", "--input", &inputs];
    let id = server.belay(&submit).await.done().trim().to_owned();
    assert_eq!(server.belay(&["job", "wait", &id]).await.done(), format!("{id}\tcompleted\n"));
    let list = server.belay(&["job", "list"]).await.done();
    let columns: Vec<&str> = list.trim_end().split('\t').collect();
    assert_eq!(columns[..6], [id.as_str(), "Sums of all", "files", "completed", "3", "3"]);
    assert_eq!(columns.len(), 8);
    assert!(columns[6].ends_with('Z') && columns[7].ends_with('Z'), "{list}");
    let ids = server.belay(&["job", "list", "--columns", "phase,id", "--phase", "completed"]).await.done();
    assert_eq!(ids, format!("completed\t{id}\n"));
    assert_eq!(server.belay(&["job", "list", "--filter", "phase=failed"]).await.done(), "");
    let status = server.belay(&["job", "status", &id]).await.done();
    for line in [format!("id\t{id}"), "phase\tcompleted".to_owned(), "progress\t3/3".to_owned()] {
        assert!(status.lines().any(|found| found == line), "{line} in {status}");
    }
    let json = server.belay(&["job", "status", &id, "--json"]).await.json();
    assert_eq!((&json["phase"], &json["progress"]["total"]), (&json!("completed"), &json!(3)));
    let json = server.belay(&["job", "list", "--json"]).await.json();
    assert_eq!(json[0]["job_id"], id);
}

#[tokio::test]
async fn waiting_ends_as_the_job_does() {
    let server = Server::start().await;
    let inputs = server.inputs("two", 2);
    let failed = server.belay(&["job", "submit", "--input", &inputs, "--wait", "--", "false"]).await;
    assert_eq!(failed.code, 1, "{failed:?}");
    let done = server.belay(&["job", "submit", "--input", &inputs, "--wait", "--", "true"]).await.done();
    let id = done.lines().next().unwrap().to_owned();
    assert!(done.trim_end().ends_with("completed\t2\t2"), "{done}");
    let endless = server.submit_endless("endless", 1).await;
    let late = server.belay(&["job", "wait", &endless, "--timeout", "100ms"]).await;
    assert_eq!(late.code, 1, "{late:?}");
    assert!(late.err.contains("time is over"), "{}", late.err);
    let watched = server.belay(&["job", "watch", &id]).await.done();
    assert_eq!(watched, format!("{id}\tcompleted\t2\t2\n"));
}

#[tokio::test]
async fn files_are_uploaded_and_what_was_made_of_them_is_collected() {
    let server = Server::start().await;
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
    std::fs::write(path("look book.txt"), "hello\n").unwrap();
    let args = ["job", "submit", "--upload", &path("look book.txt"), "--wait", "--", "sh", "-c"];
    let script = "cat \"$BELAY_FILE\"; cp \"$BELAY_FILE\" \"$BELAY_OUT/copy of $BELAY_NAME\"";
    let out = server.belay(&[args.as_slice(), &[script]].concat()).await.done();
    let id = out.lines().next().unwrap().to_owned();
    let artifacts = server.belay(&["job", "artifacts", &id]).await.done();
    let columns: Vec<&str> = artifacts.trim_end().split('\t').collect();
    assert_eq!(columns[1..], ["6", "results"], "{artifacts}");
    assert_eq!(server.belay(&["job", "artifacts", &id, columns[0]]).await.done(), "hello\n");
    assert!(server.belay(&["job", "logs", &id]).await.done().contains("hello"));
    assert_eq!(server.belay(&["job", "logs", &id, "--follow", "--stream", "stdout"]).await.done(), "hello\n");
    let collected = server.belay(&["job", "collect", &id, "--to", &path("out")]).await.done();
    let saved = std::fs::read_to_string(collected.trim_end()).unwrap();
    assert_eq!(saved, "hello\n");
    assert!(collected.contains("copy of look book.txt"), "{collected}");
    // What is there is not written over.
    std::fs::write(collected.trim_end(), "mine").unwrap();
    assert_eq!(server.belay(&["job", "collect", &id, "--to", &path("out")]).await.done(), "");
    assert_eq!(std::fs::read_to_string(collected.trim_end()).unwrap(), "mine");
    let missing = server.belay(&["job", "submit", "--upload", &path("none"), "--", "true"]).await;
    assert_eq!(missing.code, 2, "{missing:?}");
}

#[tokio::test]
async fn a_spec_that_the_server_does_not_take_is_told_with_exit_2() {
    let server = Server::start().await;
    let inputs = server.inputs("one", 1);
    let unknown = server.belay(&["job", "submit", "--preset", "nope", "--input", &inputs]).await;
    assert_eq!(unknown.code, 2, "{unknown:?}");
    assert!(unknown.err.contains("nope"), "{}", unknown.err);
    let malformed = server.belay(&["job", "submit", "--spec", "{", "--preset", "sha256"]).await;
    assert_eq!(malformed.code, 2, "{malformed:?}");
    let twice = server.belay(&["job", "submit", "--spec", r#"{"preset":"a"}"#, "--preset", "sha256"]).await;
    assert!(twice.code == 2 && twice.err.contains("give it once"), "{twice:?}");
    let key = ["job", "submit", "--idempotency-key", "k1", "--input", &inputs, "--preset", "sha256"];
    let (first, second) = (server.belay(&key).await.done(), server.belay(&key).await.done());
    assert_eq!(first, second);
}

#[tokio::test]
async fn a_job_is_run_again_over_all_or_what_did_not_succeed() {
    let server = Server::start().await;
    let inputs = server.inputs("mixed", 3);
    let first = server.submit(&["grep", "0", "{file}"], &inputs).await;
    server.wait_phase(&first, "partial").await;
    let rest = server.belay(&["job", "rerun", &first, "--unfinished", "--name", "Rest"]).await.done();
    let job = server.job(rest.trim()).await;
    assert_eq!((&job["name"], &job["progress"]["total"], &job["rerun_of"]), (&json!("Rest"), &json!(2), &json!(first)));
    let endless = server.submit_endless("endless", 1).await;
    let refused = server.belay(&["job", "rerun", &endless]).await;
    assert_eq!(refused.code, 4, "{refused:?}");

    // Several are one action on many jobs.
    server.wait_phase(rest.trim(), "failed").await;
    let many = server.belay(&["job", "rerun", &first, rest.trim(), &endless]).await;
    assert_eq!(many.code, 1, "{many:?}");
    let made: Vec<Vec<&str>> = many.out.lines().map(|line| line.split('\t').collect()).collect();
    assert_eq!(made.len(), 2, "{many:?}");
    for (line, of) in made.iter().zip([&first, rest.trim()]) {
        assert_eq!((line[0], &server.job(line[1]).await["rerun_of"]), (of, &json!(of)));
    }
    assert!(many.err.contains("Run again: 2 / Not run again: 1") && many.err.contains("still active"), "{many:?}");
    assert_eq!(server.belay(&["job", "rerun", &first, rest.trim(), "--name", "x"]).await.code, 2);
    assert_eq!(server.belay(&["job", "rerun", &endless, &endless[..35]]).await.code, 4);
}

#[tokio::test]
async fn an_id_may_be_shortened_and_a_wrong_one_gets_a_suggestion() {
    let server = Server::start().await;
    let (alpha, beta) = (server.submit_done("alphabet").await, server.submit_done("beta").await);
    let mut length = 8;
    while alpha[..length] == beta[..length] {
        length += 1;
    }
    let short = &alpha[..=length];
    assert!(server.belay(&["job", "status", short]).await.done().contains(&alpha));
    assert!(server.belay(&["job", "status", &short.to_uppercase().replace('-', "")]).await.done().contains(&alpha));
    let both = server.belay(&["job", "status", &alpha[..3]]).await;
    assert_eq!(both.code, 2, "{both:?}");
    assert!(both.err.contains(&alpha) && both.err.contains(&beta), "{}", both.err);
    let mut slip = alpha.clone();
    slip.replace_range(35.., if alpha.ends_with('0') { "1" } else { "0" });
    for word in [slip.as_str(), "alphabt"] {
        let unknown = server.belay(&["job", "status", word]).await;
        assert_eq!(unknown.code, 3, "{unknown:?}");
        assert!(unknown.err.contains("Did you mean") && unknown.err.contains(&alpha), "{}", unknown.err);
    }
    let far = server.belay(&["job", "status", "01234567-89ab-7cde-8f01-23456789abcd"]).await;
    assert!(far.code == 3 && !far.err.contains("Did you mean"), "{far:?}");
}

#[tokio::test]
async fn tokens_are_made_listed_and_revoked() {
    let server = Server::start().await;
    let token = server.belay(&["token", "create", "ci"]).await.done().trim().to_owned();
    let as_ci = |args: &'static [&'static str]| {
        let mut command = belay();
        command.env("BELAY_SERVER", server.address()).env("BELAY_TOKEN", &token);
        run(command, args, "")
    };
    as_ci(&["job", "list"]).await.done();
    assert!(server.belay(&["token", "list"]).await.done().starts_with("ci\t"));
    let revoked = server.belay(&["token", "revoke", "ci"]).await;
    assert_eq!(revoked.code, 0, "{revoked:?}");
    let refused = as_ci(&["job", "list"]).await;
    assert_eq!(refused.code, 4, "{refused:?}");
    assert!(refused.err.contains("revoked") && refused.err.contains("belay token create"), "{}", refused.err);
    assert_eq!(server.belay(&["token", "revoke", "ci"]).await.code, 3);
}

#[tokio::test]
async fn migrate_leaves_the_folder_of_a_running_server_alone() {
    let server = Server::start().await;
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("data");
    let fresh = run(belay(), &["migrate", "--data-dir", data.to_str().unwrap()], "").await;
    assert_eq!(fresh.code, 0, "{fresh:?}");
    assert!(data.join("belay.db").exists());
    let busy = run(belay_of(&server), &["migrate", "--data-dir", server.data_dir().to_str().unwrap()], "").await;
    assert!(busy.code == 1 && busy.err.contains("in use"), "{busy:?}");
}

#[tokio::test]
async fn a_reader_that_goes_early_is_no_fault() {
    let server = Server::start().await;
    server.submit_done("one").await;
    let program = env!("CARGO_BIN_EXE_belay");
    let mut shell = tokio::process::Command::new("sh");
    let script = format!("{{ {program} job list; echo $? >&2; }} | true");
    shell.args(["-c", &script]).env("XDG_RUNTIME_DIR", server.runtime_dir()).env_remove("BELAY_SERVER");
    let output = shell.output().await.unwrap();
    assert_eq!(String::from_utf8(output.stderr).unwrap(), "0\n");
}
