//! Every hostile process tree is stopped with proof: at the moment when the API says `cancelled`, `/proc` shows nothing.

use serde_json::{Value, json};

use crate::{
    marks::wait_for,
    scene::{LIMIT, Scene, assert_proven, assert_units_agree},
};

/// A tree, and what its stop must have taken.
struct Tree {
    name: &'static str,
    /// Touches `SIGNS/ready` when all of it is there.
    script: &'static str,
    /// Ways in which the stop may have ended.
    methods: &'static [&'static str],
    signals: &'static [&'static str],
    /// At least as many processes must have been seen.
    seen: u64,
}

const TERM: &[&str] = &["SIGTERM"];
const TERM_KILL: &[&str] = &["SIGTERM", "SIGKILL"];

/// Runs the tree as a job of two units with one slot, cancels it, and holds answer, evidence and `/proc` together.
async fn stops(tree: Tree) {
    let scene = Scene::with_slots(1).await;
    let id = scene.submit(tree.name, 2, tree.script, json!({ "grace_s": 1 })).await;
    wait_for(LIMIT, || scene.sign("ready").exists(), || format!("{} is not ready", tree.name));
    assert!(!scene.mark.processes().is_empty());

    let answer = scene.cancel(&id).await;
    assert!(answer.status == 200 || answer.status == 202, "{} {}", answer.status, answer.body);
    let job = scene.until_over(&id).await;
    // At once, without waiting: the word `cancelled` is the promise.
    scene.assert_nothing_left();

    assert_eq!(job["phase"], "cancelled", "{job:#}");
    let stop = &job["cancellation"]["stop"];
    assert_eq!(*stop, json!({ "units": 2, "never_started": 1, "stopped": 1, "waiting": 0, "unconfirmed": 0 }));
    let units = scene.units(&id).await;
    assert_units_agree(&job, &units);
    let (run, waiting) = (&units[0], &units[1]);
    assert_eq!((&run["status"], &waiting["status"]), (&json!("cancelled"), &json!("cancelled")));
    assert_eq!(waiting["stop"]["method"], "never_started", "{waiting:#}");
    assert_proven(run);
    let method = run["stop"]["method"].as_str().unwrap();
    assert!(tree.methods.contains(&method), "{run:#}");
    let signals: Vec<&str> = run["stop"]["signals"].as_array().unwrap().iter().filter_map(Value::as_str).collect();
    assert_eq!(signals, tree.signals, "{run:#}");
    assert!(run["stop"]["processes_seen"].as_u64() >= Some(tree.seen), "{run:#}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_shell_with_background_children_is_terminated() {
    stops(Tree {
        name: "children",
        script: "sleep NAP & (sleep NAP & sleep NAP) & touch SIGNS/ready; wait",
        methods: &["terminated"],
        signals: TERM,
        seen: 4,
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_child_that_ignores_sigterm_is_killed() {
    stops(Tree {
        name: "ignores",
        script: r#"sleep NAP & bash -c 'trap "" TERM; touch SIGNS/ready; while :; do sleep NAP; done' & wait"#,
        methods: &["killed"],
        signals: TERM_KILL,
        seen: 2,
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_double_forked_daemon_in_its_own_session_is_found() {
    stops(Tree {
        name: "daemon",
        script: r#"perl -MPOSIX=setsid -e '
            if (fork) { wait; open my $ready, ">", "SIGNS/ready"; sleep 1 while 1 }
            setsid; exit if fork; chdir "/";
            open STDIN, "<", "/dev/null"; open STDOUT, ">", "/dev/null"; open STDERR, ">", "/dev/null";
            exec "sleep", "NAP"'"#,
        methods: &["terminated"],
        signals: TERM,
        seen: 2,
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_child_that_left_by_setsid_washed_its_environment_and_changed_its_name_is_found() {
    stops(Tree {
        name: "renamed",
        script: r#"setsid env -i bash -c 'exec -a "[kworker/0:1-events]" sleep NAP' & touch SIGNS/ready; wait"#,
        methods: &["terminated"],
        signals: TERM,
        seen: 2,
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_daemon_whose_command_exited_is_stopped_with_the_unit_still_open() {
    // The command itself ends at once; what it left in the background is still the unit's.
    let scene = Scene::with_slots(1).await;
    let id = scene.submit("leaves", 1, "setsid sleep NAP & setsid env -i sleep NAP & exit 0", json!({})).await;
    let job = scene.until_over(&id).await;
    scene.assert_nothing_left();
    assert_eq!(job["phase"], "completed", "{job:#}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_tree_that_forks_when_it_is_told_to_stop_is_killed() {
    stops(Tree {
        name: "hydra",
        script: r#"perl -e '
            $SIG{TERM} = sub { for (1..2) { fork and next; $SIG{TERM} = "IGNORE"; last } };
            fork; fork; open my $ready, ">", "SIGNS/ready"; close $ready;
            sleep 1 while 1'"#,
        methods: &["killed"],
        signals: TERM_KILL,
        seen: 3,
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_tree_that_keeps_forking_while_it_is_being_killed_is_killed() {
    // Each process lives a few milliseconds, in a session of its own, and is gone before a list of pids is read to its end.
    stops(Tree {
        name: "hopper",
        script: r#"perl -MPOSIX=setsid -e '
            $SIG{TERM} = "IGNORE"; my $hops = 0; my $end = time + 90;
            while (time < $end) {
                my $child = fork; exit if $child;
                setsid; select undef, undef, undef, 0.002;
                if ($hops++ == 20) { open my $ready, ">", "SIGNS/ready" }
            }' NAP & perl -MPOSIX=setsid -e '
            $SIG{TERM} = "IGNORE"; my $end = time + 90;
            while (time < $end) { exit if fork; setsid; select undef, undef, undef, 0.001 }' NAP & wait; sleep NAP"#,
        methods: &["killed"],
        signals: TERM_KILL,
        seen: 2,
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_fork_bomb_is_stopped_with_proof() {
    let scene = Scene::with_slots(1).await;
    // The limit on processes is for the machine's sake. It does not hold for root, so root becomes a user of its own.
    let script = r#"
        bomb='ulimit -u 500; trap "" TERM; b() { b | b & b; }; b'
        touch SIGNS/ready
        if [ "$(id -u)" = 0 ]; then
            user=$((60000 + $$ % 5000))
            exec setpriv --reuid=$user --regid=$user --clear-groups bash -c "$bomb" "$0"
        fi
        exec bash -c "ulimit -u $(($(ps --no-headers -L -u "$(id -u)" | wc -l) + 500)); $bomb" "$0""#;
    let id = scene.submit("bomb", 1, script, json!({ "grace_s": 1 })).await;
    wait_for(LIMIT, || scene.mark.processes().len() > 300, || format!("{} processes", scene.mark.processes().len()));

    let answer = scene.cancel(&id).await;
    assert!(answer.status == 200 || answer.status == 202, "{} {}", answer.status, answer.body);
    let job = scene.until_over(&id).await;
    scene.assert_nothing_left();
    assert_eq!(job["phase"], "cancelled", "{job:#}");
    assert_eq!(job["cancellation"]["stop"]["unconfirmed"], 0, "{job:#}");
    let units = scene.units(&id).await;
    assert_proven(&units[0]);
    assert_eq!(units[0]["stop"]["method"], "killed", "{units:#?}");
    assert!(units[0]["stop"]["processes_seen"].as_u64() > Some(100), "{units:#?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_process_that_writes_endlessly_is_terminated() {
    stops(Tree {
        name: "writes",
        script: "touch SIGNS/ready; yes NAP & exec yes NAP >&2",
        methods: &["terminated"],
        signals: TERM,
        seen: 2,
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stopped_tree_is_ended() {
    stops(Tree {
        name: "stopped",
        script: r#"sleep NAP & kill -STOP $!; touch SIGNS/ready; kill -STOP $$"#,
        // It is continued to receive the polite signal, or killed as it is.
        methods: &["terminated", "killed"],
        signals: TERM,
        seen: 2,
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_unit_that_exits_just_as_it_is_cancelled_ends_one_way_or_the_other_but_never_both() {
    let scene = Scene::with_slots(1).await;
    for round in 0..25 {
        let name = format!("race-{round}");
        let script = format!("touch SIGNS/{name}; sleep 0.0{round:02}; echo ended > \"$BELAY_OUT/r\"");
        let id = scene.submit(&name, 1, &script, json!({ "grace_s": 1 })).await;
        wait_for(LIMIT, || scene.sign(&name).exists(), || name.clone());
        let answer = scene.cancel(&id).await;
        assert!(answer.status == 200 || answer.status == 202, "{} {}", answer.status, answer.body);
        let job = scene.until_over(&id).await;
        scene.assert_nothing_left();
        let units = scene.units(&id).await;
        assert_units_agree(&job, &units);
        match job["phase"].as_str().unwrap() {
            "completed" => {
                assert_eq!(units[0]["status"], "succeeded", "{units:#?}");
                assert_eq!(scene.results(&id).await.len(), 1);
            }
            "cancelled" => {
                assert_eq!(units[0]["status"], "cancelled", "{units:#?}");
                assert_proven(&units[0]);
            }
            other => panic!("{other}: {job:#}"),
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn force_kills_at_once_and_does_not_wait_for_the_grace() {
    let scene = Scene::with_slots(1).await;
    let script = r#"trap '' TERM; touch SIGNS/ready; while :; do sleep NAP; done"#;
    let id = scene.submit("forced", 1, script, json!({ "grace_s": 3600 })).await;
    wait_for(LIMIT, || scene.sign("ready").exists(), || "not ready".to_owned());
    assert_eq!(scene.cancel(&id).await.status, 202);
    scene.force_cancel(&id).await;
    let job = scene.until_over(&id).await;
    scene.assert_nothing_left();
    assert_eq!(job["phase"], "cancelled", "{job:#}");
    assert_eq!(job["cancellation"]["stop"]["unconfirmed"], 0, "{job:#}");
    let units = scene.units(&id).await;
    assert_proven(&units[0]);
    assert_eq!(units[0]["stop"]["method"], "killed", "{units:#?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_unit_that_runs_out_of_time_is_stopped_as_a_tree_and_failed() {
    let scene = Scene::with_slots(1).await;
    let script = "setsid sleep NAP & sleep NAP & wait";
    let id = scene.submit("slow", 1, script, json!({ "timeout_s": 1, "grace_s": 1 })).await;
    let job = scene.until_over(&id).await;
    scene.assert_nothing_left();
    assert_eq!(job["phase"], "failed", "{job:#}");
    let units = scene.units(&id).await;
    assert!(units[0]["error"].as_str().unwrap().contains("1 s"), "{units:#?}");
}
