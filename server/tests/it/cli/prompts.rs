//! On a terminal: questions, colours, Ctrl-C.

use std::os::unix::process::ExitStatusExt as _;

use serde_json::json;

use super::{
    belay_of, submit_deaf, submit_running,
    terminal::{CTRL_C, Terminal},
};
use crate::harness::Server;

/// Blocking waits of the terminal would hold up the server's own test client otherwise.
async fn on_terminal<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
    tokio::task::spawn_blocking(work).await.unwrap()
}

#[tokio::test]
async fn a_removal_shows_its_plan_and_only_yes_is_a_yes() {
    let server = Server::start().await;
    let id = server.submit_done("album").await;
    for answer in ["n\n", "\n", "sure\n"] {
        let mut terminal = Terminal::start(belay_of(&server), &["job", "remove", &id]);
        let (status, screen) = on_terminal(move || {
            terminal.expect("Remove 1 job for ever? [y/N]");
            terminal.press(answer);
            terminal.end()
        })
        .await;
        assert_eq!(status.code(), Some(1), "{screen}");
        assert!(screen.contains("Result files") && screen.contains("2 files"), "{screen}");
        assert!(screen.contains("Nothing was changed"), "{screen}");
        assert_eq!(server.job(&id).await["phase"], "completed");
    }
    let mut terminal = Terminal::start(belay_of(&server), &["job", "remove", &id]);
    let (status, screen) = on_terminal(move || {
        terminal.expect("[y/N]");
        terminal.press("y\n");
        terminal.end()
    })
    .await;
    assert_eq!(status.code(), Some(0), "{screen}");
    assert!(screen.contains("Removed: 1 /"), "{screen}");
    assert_eq!(server.get(&format!("/api/removals/{id}")).await.body["state"], "complete");
}

#[tokio::test]
async fn an_active_job_is_warned_about_and_yes_stops_and_removes_it() {
    let server = Server::start().await;
    let id = server.submit_endless("active", 1).await;
    let mut terminal = Terminal::start(belay_of(&server), &["job", "remove", &id]);
    let (status, screen) = on_terminal(move || {
        terminal.expect("still running");
        terminal.expect("Stop and remove 1 job for ever? [y/N]");
        terminal.press("y\n");
        terminal.end()
    })
    .await;
    assert_eq!(status.code(), Some(0), "{screen}");
    assert_eq!(server.get(&format!("/api/removals/{id}")).await.body["forced"], true);
}

#[tokio::test]
async fn ctrl_c_at_the_question_changes_nothing() {
    let server = Server::start().await;
    let (first, second) = (server.submit_endless("first", 1).await, server.submit_endless("second", 1).await);
    let mut terminal = Terminal::start(belay_of(&server), &["job", "cancel", "--all-pending"]);
    let (status, screen) = on_terminal(move || {
        terminal.expect("Cancel 2 jobs? [y/N]");
        terminal.press(CTRL_C);
        terminal.end()
    })
    .await;
    assert_eq!(status.signal(), Some(2), "{screen}");
    assert!(screen.contains("first") && screen.contains("second"), "{screen}");
    for id in [&first, &second] {
        assert_eq!(server.job(id).await["phase"], "in_progress");
    }
    let mut terminal = Terminal::start(belay_of(&server), &["job", "cancel", "--all-pending"]);
    let (status, screen) = on_terminal(move || {
        terminal.expect("[y/N]");
        terminal.press("yes\n");
        terminal.expect("/bulk/");
        terminal.end()
    })
    .await;
    assert_eq!(status.code(), Some(0), "{screen}");
    assert!(screen.contains("Cancelled: 2 / Failed to cancel: 0"), "{screen}");
}

#[tokio::test]
async fn ctrl_c_while_waiting_lets_the_cancel_go_on() {
    let server = Server::start().await;
    let id = submit_deaf(&server, 3_000).await;
    let mut terminal = Terminal::start(belay_of(&server), &["job", "cancel", &id, "--wait"]);
    server.wait_phase(&id, "cancelling").await;
    let (status, screen) = on_terminal(move || {
        terminal.expect("Now waits for the proof");
        terminal.press(CTRL_C);
        terminal.end()
    })
    .await;
    assert_eq!(status.code(), Some(130), "{screen}");
    assert!(screen.contains("goes on"), "{screen}");
    assert_eq!(server.job(&id).await["phase"], "cancelling");
    server.cancel(&id, json!({"force": true})).await;
}

#[tokio::test]
async fn a_list_for_people_has_titles_colours_and_fits_the_terminal() {
    let server = Server::start().await;
    server.submit_done("a-name-that-is-rather-long-for-any-terminal-that-has-only-one-hundred-columns").await;
    let look = async |no_color: bool| {
        let mut command = belay_of(&server);
        if no_color {
            command.env("NO_COLOR", "1");
        }
        let terminal = Terminal::start(command, &["job", "list"]);
        on_terminal(move || terminal.end()).await.1
    };
    let plain = look(true).await;
    let lines: Vec<&str> = plain.lines().collect();
    assert!(lines[0].starts_with("ID") && lines[0].contains("PHASE"), "{plain}");
    assert!(lines[1].contains("✔ Completed") && lines[1].contains('…'), "{plain}");
    assert!(lines.iter().all(|line| line.trim_end().chars().count() <= 100), "{plain}");
    assert!(!plain.contains('\x1b'), "{plain:?}");
    assert!(look(false).await.contains("\x1b[32m"), "completed is green");
}

#[tokio::test]
async fn the_status_of_a_cancelled_job_shows_the_evidence() {
    let server = Server::start().await;
    let id = submit_running(&server, 2).await;
    server.cancel(&id, json!({"notes": "too slow"})).await;
    let terminal = Terminal::start(belay_of(&server), &["job", "status", &id]);
    let (status, screen) = on_terminal(move || terminal.end()).await;
    assert_eq!(status.code(), Some(0), "{screen}");
    for text in ["⊘ Cancelled", "too slow", "Evidence", "SIGTERM", "2 units: 0 never started, 2 stopped"] {
        assert!(screen.contains(text), "{text} in {screen}");
    }
}
