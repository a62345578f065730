//! What the program says about itself.

use std::path::Path;

use super::{belay, run};

const COMMANDS: [&str; 26] = [
    "",
    "job",
    "job submit",
    "job list",
    "job status",
    "job watch",
    "job wait",
    "job cancel",
    "job resend",
    "job remove",
    "job rerun",
    "job refresh",
    "job collect",
    "job artifacts",
    "job logs",
    "bulk",
    "bulk list",
    "bulk watch",
    "bulk abort",
    "bulk retry",
    "token",
    "token create",
    "token revoke",
    "migrate",
    "completions",
    "man",
];

/// With `BELAY_BLESS=1` in the environment the file is written anew.
#[tokio::test]
async fn the_help_is_what_was_agreed_on() {
    let mut text = String::new();
    for command in COMMANDS {
        let mut args: Vec<&str> = command.split_whitespace().collect();
        args.push("--help");
        text.push_str(&format!("$ belay {}\n", args.join(" ")));
        text.push_str(&run(belay(), &args, "").await.done());
        text.push('\n');
    }
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/it/cli/help.txt");
    if std::env::var_os("BELAY_BLESS").is_some() {
        std::fs::write(&file, &text).unwrap();
    }
    let agreed = std::fs::read_to_string(&file).unwrap_or_default();
    for (line, (is, should)) in text.lines().zip(agreed.lines()).enumerate() {
        assert_eq!(is, should, "line {} of help.txt", line + 1);
    }
    assert_eq!(text.lines().count(), agreed.lines().count());
}

#[tokio::test]
async fn what_cannot_be_understood_is_told_with_a_suggestion_and_exit_2() {
    for (args, said) in [
        (["job", "cancle", "x"].as_slice(), "cancel"),
        (&["job", "cancel", "x", "--resaon", "y"], "--reason"),
        (&["job", "cancel"], "required"),
        (&["job", "cancel", "x", "--all-pending"], "cannot be used with"),
        (&["job", "remove", "--older-than", "soon"], "30d"),
        (&["job", "remove", "x", "--older-than", "1d"], "cannot be used with"),
        (&["job", "list", "--kind", "fils"], "files"),
        (&["job", "list", "--sort", "size"], "finished_at"),
        (&["job", "submit", "--preset", "a", "--", "true"], "cannot be used with"),
    ] {
        let ran = run(belay(), args, "").await;
        assert_eq!(ran.code, 2, "{args:?}: {ran:?}");
        assert!(ran.err.contains(said), "{args:?}: {}", ran.err);
        assert_eq!(ran.out, "");
    }
}

#[tokio::test]
async fn completions_and_manual_are_made_from_the_arguments() {
    for shell in ["bash", "zsh", "fish"] {
        let script = run(belay(), &["completions", shell], "").await.done();
        assert!(script.contains("all-pending") && script.contains("older-than"), "{shell}");
    }
    let page = run(belay(), &["man", "job", "cancel"], "").await.done();
    assert!(page.contains(".TH belay-job-cancel") && page.contains("all\\-pending"), "{page}");
    let folder = tempfile::tempdir().unwrap();
    run(belay(), &["man", "--dir", folder.path().to_str().unwrap()], "").await.done();
    assert!(folder.path().join("belay-job-remove.1").exists());
    assert_eq!(run(belay(), &["man", "job", "nope"], "").await.code, 1);
}
