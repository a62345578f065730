//! 200 cancels at random moments of random jobs: not one process left, not one wrong final state.

use std::{sync::Arc, time::Duration};

use serde_json::{Value, json};

use crate::scene::{Scene, assert_proven, assert_units_agree};

/// What a unit may do. Each ends by itself well, or only by being stopped; none fails by itself.
const SCRIPTS: [&str; 9] = [
    "true",
    "sleep 0.02",
    "sleep 0.1",
    "sleep 0.05 & sleep 0.05 & wait",
    "sleep NAP & sleep NAP & wait",
    "setsid sleep NAP & setsid env -i sleep NAP & wait",
    "setsid sleep 0.05 & echo left behind",
    "trap '' TERM; sleep 0.15; sleep 0.15; sleep 0.15",
    "kill -STOP $$; sleep NAP",
];

const ROUNDS: u64 = 25;
const ACTORS: u64 = 8;

/// SplitMix64 (Steele, Lea, Flood 2014): small, and the same on every machine.
struct Dice(u64);

impl Dice {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)) % bound
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn two_hundred_cancels_at_random_moments_leave_no_process_and_no_wrong_state() {
    let seed = std::env::var("BELAY_SEED").ok().and_then(|text| text.parse().ok()).unwrap_or(20_261_121);
    println!("BELAY_SEED={seed}");
    let scene = Arc::new(Scene::with_slots(8).await);
    let actors: Vec<_> = (0..ACTORS)
        .map(|actor| {
            let scene = Arc::clone(&scene);
            tokio::spawn(async move {
                let mut dice = Dice(seed ^ (actor << 32));
                let mut stopped = 0;
                for round in 0..ROUNDS {
                    stopped += u64::from(cancels_one(&scene, &mut dice, &format!("random-{actor}-{round}")).await);
                }
                stopped
            })
        })
        .collect();
    let mut stopped = 0;
    for actor in actors {
        stopped += actor.await.unwrap();
    }
    scene.assert_nothing_left();
    // Else the moments are chosen badly: most cancels must have met a job that was alive.
    assert!(stopped > ACTORS * ROUNDS / 2, "only {stopped} cancels met a living job");

    let list = scene.server.get("/api/jobs?limit=200").await;
    let jobs = list.body["items"].as_array().unwrap();
    assert_eq!(jobs.len() as u64, ACTORS * ROUNDS);
    let metrics = scene.server.get("/metrics").await;
    assert_eq!(metrics.status, 200);
}

/// Submits, waits a random moment, cancels, and checks the end. True when the cancel met a living job.
async fn cancels_one(scene: &Scene, dice: &mut Dice, name: &str) -> bool {
    let units = 1 + dice.below(6) as usize;
    let script = SCRIPTS[dice.below(SCRIPTS.len() as u64) as usize];
    let parallel = 1 + dice.below(4);
    let id = scene.submit(name, units, script, json!({ "grace_s": 1, "parallel": parallel })).await;
    // The random moment is the point of the test; nothing is waited for.
    tokio::time::sleep(Duration::from_millis(dice.below(120))).await;
    let answer = scene.cancel(&id).await;
    assert!(answer.status == 200 || answer.status == 202, "{} {}", answer.status, answer.body);
    let outcome = answer.body["outcome"].as_str().unwrap().to_owned();
    let job = scene.until_over(&id).await;
    let rows = scene.units(&id).await;
    check(&answer.body, &outcome, &job, &rows, script);
    outcome != "already_finished"
}

fn check(answer: &Value, outcome: &str, job: &Value, units: &[Value], script: &str) {
    let context = format!("{script}\n{answer:#}\n{job:#}\n{units:#?}");
    assert_units_agree(job, units);
    let progress = &job["progress"];
    let number = |name: &str| progress[name].as_u64().unwrap();
    assert_eq!(number("running"), 0, "{context}");
    assert_eq!(number("failed"), 0, "nothing here fails by itself: {context}");
    assert_eq!(number("succeeded") + number("cancelled"), number("total"), "{context}");
    let expected = if number("succeeded") == number("total") { "completed" } else { "cancelled" };
    assert_eq!(job["phase"], expected, "{context}");
    match outcome {
        "cancelled" => assert_eq!((&answer["phase"], expected), (&json!("cancelled"), "cancelled"), "{context}"),
        "cancelling" => assert_eq!(answer["phase"], "cancelling", "{context}"),
        "already_finished" => assert_eq!(expected, "completed", "{context}"),
        other => panic!("{other}: {context}"),
    }
    for unit in units.iter().filter(|unit| unit["status"] == "cancelled") {
        assert_proven(unit);
    }
    if expected == "cancelled" {
        let cancellation = &job["cancellation"];
        assert!(cancellation["cancelled_at"].is_string(), "{context}");
        let stop = |name: &str| cancellation["stop"][name].as_u64().unwrap();
        assert_eq!(stop("units"), stop("never_started") + stop("stopped"), "{context}");
        assert_eq!((stop("waiting"), stop("unconfirmed")), (0, 0), "{context}");
        let never = units.iter().filter(|unit| unit["stop"]["method"] == "never_started").count() as u64;
        // A run that was claimed and stopped before its command was started counts as stopped; its evidence says the rest.
        assert!(stop("never_started") <= never, "{context}");
    }
}
