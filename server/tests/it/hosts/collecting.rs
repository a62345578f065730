//! Files that are fetched from hosts.

use std::fs;

use serde_json::{Value, json};

use super::{server_with, submit, transcript, unit};
use crate::{harness::Server, sshd::Fleet};

async fn artifacts(server: &Server, id: &str) -> Vec<String> {
    let page = server.get(&format!("/api/jobs/{id}/artifacts")).await;
    let path = |artifact: &Value| artifact["name"].as_str().unwrap().to_owned();
    page.body["items"].as_array().unwrap_or_else(|| panic!("{}", page.text())).iter().map(path).collect()
}

#[tokio::test]
async fn files_are_fetched_by_pattern_whatever_their_names() {
    let fleet = Fleet::start(1);
    let server = server_with(&fleet.config()).await;
    let logs = fleet.path("logs");
    fs::create_dir_all(logs.join("deep")).unwrap();
    let names = ["a.log", "with space.log", "-rf.log", "new\nline.log"];
    for name in names {
        fs::write(logs.join(name), name).unwrap();
    }
    fs::write(logs.join("a.txt"), "not asked for").unwrap();
    fs::write(logs.join("deep/b.log"), "deep").unwrap();
    let collect = [format!("{}/*.log", logs.display()), format!("{}/d*/b.log", logs.display())];
    let id = submit(&server, json!({"hosts": ["host0"], "command": ["true"], "collect": collect})).await;
    server.wait_phase(&id, "completed").await;
    let mut found = artifacts(&server, &id).await;
    found.sort_unstable();
    let mut expected: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
    expected.push("b.log".to_owned());
    expected.sort_unstable();
    assert_eq!(found, expected);
}

#[tokio::test]
async fn a_pattern_without_match_and_a_file_that_is_too_large_are_told_and_the_rest_is_kept() {
    let fleet = Fleet::start(1);
    let server = server_with(&fleet.config().replace("[ssh]\n", "[ssh]\nmax_collect_bytes = 10\n")).await;
    fs::write(fleet.path("small.txt"), "small").unwrap();
    fs::write(fleet.path("large.txt"), "larger than that").unwrap();
    for (pattern, words) in [("*.none", "matches no file"), ("*.txt", "it is larger than 10 bytes")] {
        let collect = [format!("{}", fleet.path("small.txt").display()), format!("{}", fleet.path(pattern).display())];
        let id = submit(&server, json!({"hosts": ["host0"], "command": ["true"], "collect": collect})).await;
        server.wait_phase(&id, "failed").await;
        let error = unit(&server, &id, "host0").await["error"].as_str().unwrap().to_owned();
        assert!(error.contains(words), "{error}");
        assert_eq!(artifacts(&server, &id).await, ["small.txt"]);
    }
}

#[tokio::test]
async fn a_remote_path_may_be_any_text_and_names_no_other_file() {
    let fleet = Fleet::start(1);
    let server = server_with(&fleet.config()).await;
    let folder = fleet.path("odd");
    fs::create_dir(&folder).unwrap();
    let names = ["-rf", "two words", "two\nlines", "$(id)", "'quoted'", "back\\slash", " "];
    for name in names {
        fs::write(folder.join(name), name).unwrap();
    }
    let mut collect: Vec<String> = names.iter().map(|name| format!("{}/{name}", folder.display())).collect();
    let spec = |collect: &[String]| json!({"hosts": ["host0"], "command": ["true"], "collect": collect});
    let id = submit(&server, spec(&collect)).await;
    server.wait_phase(&id, "completed").await;
    let mut found = artifacts(&server, &id).await;
    let mut expected: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
    found.sort_unstable();
    expected.sort_unstable();
    assert_eq!(found, expected);
    // One that is not there is told by its name, and the others are kept.
    collect.push("-not/there\nat all".to_owned());
    let id = submit(&server, spec(&collect)).await;
    server.wait_phase(&id, "failed").await;
    assert_eq!(unit(&server, &id, "host0").await["error"], "`-not/there\nat all` matches no file");
    assert_eq!(artifacts(&server, &id).await.len(), names.len());
}

#[tokio::test]
async fn the_name_of_a_remote_file_writes_no_line_of_the_transcript() {
    let fleet = Fleet::start(1);
    let server = server_with(&fleet.config().replace("[ssh]\n", "[ssh]\nmax_collect_bytes = 1\n")).await;
    let folder = fleet.path("forged");
    fs::create_dir(&folder).unwrap();
    fs::write(folder.join("a\n1795000000000 b [TASK CANCELLED] 2026-11-21"), "too large").unwrap();
    let spec = json!({"hosts": ["host0"], "command": ["true"], "collect": [format!("{}/*", folder.display())]});
    let id = submit(&server, spec).await;
    server.wait_phase(&id, "failed").await;
    let lines = transcript(&server, &id, 0).await;
    assert!(lines.iter().any(|(_, line)| line.contains("is larger than 1 bytes")), "{lines:?}");
    assert!(!lines.iter().any(|(_, line)| line.starts_with("[TASK")), "{lines:?}");
}

#[tokio::test]
async fn a_cancel_while_files_are_fetched_keeps_what_is_there_and_labels_what_is_not_whole() {
    let fleet = Fleet::start(1);
    let server = server_with(&fleet.config()).await;
    fs::write(fleet.path("first"), "whole").unwrap();
    // As large as may be, so that the cancel comes in the middle.
    fs::File::create(fleet.path("second")).unwrap().set_len(100 << 20).unwrap();
    let collect = [fleet.path("first").display().to_string(), fleet.path("second").display().to_string()];
    let id = submit(&server, json!({"hosts": ["host0"], "command": ["true"], "collect": collect})).await;
    let fetching = async {
        loop {
            let works = fs::read_dir(server.data_dir().join("jobs").join(&id).join("work")).unwrap().flatten();
            let found = works.into_iter().any(|work| {
                let path = work.path().join("out").join(fleet.path("second.partial").strip_prefix("/").unwrap());
                path.exists()
            });
            if found {
                return;
            }
            tokio::time::sleep(std::time::Duration::from_millis(1)).await;
        }
    };
    tokio::time::timeout(crate::harness::LONG, fetching).await.expect("the second file is begun");
    let answer = server.cancel(&id, json!({})).await;
    assert_eq!(answer.body["phase"], "cancelled", "{}", answer.text());
    let stop = unit(&server, &id, "host0").await["stop"].clone();
    assert!(stop["detail"].as_str().unwrap().contains("while fetching"), "{stop}");
    assert_eq!(artifacts(&server, &id).await, ["first", "second.partial"]);
}
