//! Kind `product_matching` over the API, with a real ffmpeg: from files to sightings, and every way to stop it.

use std::{collections::HashSet, fs, path::Path, process::Command};

use reqwest::multipart::{Form, Part};
use serde_json::{Value, json};

use crate::scene::{Scene, id_of};

async fn submit(scene: &Scene, spec: Value) -> String {
    let body = json!({ "name": "matching", "kind": "product_matching", "spec": spec });
    let answer = scene.server.post("/api/jobs", &body).await;
    assert_eq!(answer.status, 201, "{}", answer.body);
    id_of(&answer)
}

async fn refused(scene: &Scene, spec: Value) -> (String, String) {
    let body = json!({ "name": "matching", "kind": "product_matching", "spec": spec });
    let answer = scene.server.post("/api/jobs", &body).await;
    assert_eq!(answer.problem(), (422, "INVALID_SPEC".to_owned()), "{}", answer.body);
    let text = |name: &str| answer.body[name].as_str().unwrap_or_default().to_owned();
    (text("field"), text("detail"))
}

async fn matches(scene: &Scene, id: &str) -> Value {
    let answer = scene.server.get(&format!("/api/jobs/{id}/matches")).await;
    assert_eq!(answer.status, 200, "{}", answer.body);
    answer.body
}

/// Command lines of processes that work below the data folder.
fn workers(scene: &Scene) -> Vec<String> {
    let below = |pid: &Path| {
        fs::read_link(pid.join("cwd")).is_ok_and(|cwd| cwd.starts_with(scene.server.data_dir().join("jobs")))
    };
    let processes = fs::read_dir("/proc").unwrap().flatten().map(|entry| entry.path());
    processes
        .filter(|pid| below(pid))
        .map(|pid| String::from_utf8_lossy(&fs::read(pid.join("cmdline")).unwrap_or_default()).replace('\0', " "))
        .collect()
}

/// Makes a file below the root by ffmpeg.
fn ffmpeg(scene: &Scene, arguments: &[&str], file: &str) -> String {
    let output = Command::new("ffmpeg")
        .args(["-nostdin", "-hide_banner", "-loglevel", "error", "-y"])
        .args(arguments)
        .arg(scene.root().join(file))
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    file.to_owned()
}

/// A textured picture.
fn image(scene: &Scene, file: &str) -> String {
    ffmpeg(scene, &["-f", "lavfi", "-i", "testsrc2=size=480x360", "-frames:v", "1"], file)
}

fn video(scene: &Scene, file: &str, seconds: u32) -> String {
    let source = format!("testsrc2=size=640x360:rate=12:duration={seconds}");
    ffmpeg(scene, &["-f", "lavfi", "-i", &source, "-pix_fmt", "yuv420p"], file)
}

/// A video in which the picture `shot` stands turned before a grey wall.
fn tour(scene: &Scene, shot: &str, file: &str, seconds: u32) -> String {
    let wall = format!("color=gray:size=960x540:rate=6:duration={seconds}");
    let (shot, seconds) = (scene.root().join(shot), seconds.to_string());
    let turned =
        "[1]format=rgba,rotate=0.3:c=none:ow=rotw(0.3):oh=roth(0.3)[turned];[0][turned]overlay=200:60:shortest=1";
    let still = ["-loop", "1", "-t", &seconds, "-i", shot.to_str().unwrap()];
    let drawn = ["-filter_complex", turned, "-pix_fmt", "yuv420p"];
    ffmpeg(scene, &[&["-f", "lavfi", "-i", &wall], still.as_slice(), drawn.as_slice()].concat(), file)
}

fn unit<'a>(units: &'a [Value], name: &str) -> &'a Value {
    units.iter().find(|unit| unit["name"] == name).unwrap_or_else(|| panic!("no unit {name}: {units:#?}"))
}

#[tokio::test(flavor = "multi_thread")]
async fn the_generated_set_is_found_as_its_truth_says_and_its_removal_as_its_plan() {
    let scene = Scene::with_slots(2).await;
    let id = submit(&scene, json!({ "sample": true })).await;
    let job = scene.until_over(&id).await;
    assert_eq!(job["phase"], "completed", "{job:#}");
    let phases: Vec<&str> =
        job["phases"].as_array().unwrap().iter().filter_map(|phase| phase["phase"].as_str()).collect();
    assert_eq!(phases, ["collection", "feature_extraction", "matching", "evidence"]);

    let found = matches(&scene, &id).await;
    let list = |name: &str| found[name].as_array().unwrap().clone();
    assert_eq!((list("products").len(), list("videos").len()), (8, 2), "{found:#}");
    assert!(list("products").iter().all(|product| product["mask"].is_string()), "{found:#}");
    let (seen, truth) = (sightings_of(&found), truth_of(&scene, &id, &found).await);
    let right = truth.iter().filter(|(product, video, from, to)| {
        seen.iter().any(|(p, v, at)| p == product && v == video && from <= at && at <= to)
    });
    let right = right.count();
    let wrong = seen.iter().filter(|(product, video, at)| {
        !truth.iter().any(|(p, v, from, to)| p == product && v == video && from <= at && at <= to)
    });
    assert!(right * 10 >= truth.len() * 9, "{right} of {}: {seen:?}", truth.len());
    assert_eq!(wrong.count(), 0, "{seen:?} {truth:?}");
    evidence_is_there(&scene, &id, &found).await;

    let path = format!("/api/jobs/{id}");
    let plan = scene.server.delete(&format!("{path}?dry_run=true")).await.body;
    let planned: Vec<(&str, u64, u64)> =
        plan["items"].as_array().unwrap().iter().map(|item| line(item, "items", "bytes")).collect();
    let categories: HashSet<&str> = planned.iter().map(|(category, _, _)| *category).collect();
    for category in ["job_data", "images", "frames", "matches", "logs", "records"] {
        assert!(categories.contains(category), "{plan:#}");
    }
    let answer = scene.server.delete(&path).await;
    assert_eq!(answer.status, 200, "{}", answer.body);
    let receipt = &answer.body["receipt"];
    let removed: Vec<(&str, u64, u64)> =
        receipt["items"].as_array().unwrap().iter().map(|item| line(item, "removed", "removed_bytes")).collect();
    assert_eq!(planned, removed);
    assert_eq!(receipt["state"], "complete");
}

fn line<'a>(item: &'a Value, items: &str, bytes: &str) -> (&'a str, u64, u64) {
    (item["category"].as_str().unwrap(), item[items].as_u64().unwrap(), item[bytes].as_u64().unwrap())
}

fn sightings_of(found: &Value) -> Vec<(String, String, f64)> {
    let of = |sighting: &Value| {
        let text = |name: &str| sighting[name].as_str().unwrap().to_owned();
        (text("product"), text("video"), sighting["best_s"].as_f64().unwrap())
    };
    found["sightings"].as_array().unwrap().iter().map(of).collect()
}

/// Product, video, from, to of everything that is to be seen in the generated videos.
async fn truth_of(scene: &Scene, id: &str, found: &Value) -> Vec<(String, String, f64, f64)> {
    let mut all = Vec::new();
    for video in found["videos"].as_array().unwrap() {
        let path = format!("/api/jobs/{id}/artifacts/{}/frames/truth.json", video["unit"]);
        let truth = scene.server.get(&path).await.body;
        for shown in truth["video"]["scenes"].as_array().unwrap() {
            for sighting in shown["sightings"].as_array().unwrap() {
                let Some(product) = sighting["product"].as_u64() else { continue };
                let name = truth["products"][product as usize].as_str().unwrap().to_owned();
                let second = |name: &str| shown[name].as_f64().unwrap();
                all.push((name, video["name"].as_str().unwrap().to_owned(), second("from_s"), second("to_s")));
            }
        }
    }
    assert!(all.len() > 5, "the generated videos show something");
    all
}

async fn evidence_is_there(scene: &Scene, id: &str, found: &Value) {
    for sighting in found["sightings"].as_array().unwrap() {
        let path = format!("/api/jobs/{id}/artifacts/{}", sighting["evidence"].as_str().unwrap());
        let picture = scene.server.get(&path).await;
        assert_eq!(picture.status, 200, "{path}");
        assert_eq!(picture.header("content-type").as_deref(), Some("image/jpeg"));
    }
    let artifacts = scene.artifacts(id).await;
    let json = artifacts.iter().find(|artifact| artifact["name"] == "results.json").unwrap();
    let stored = scene.server.get(&format!("/api/jobs/{id}/artifacts/{}", json["path"].as_str().unwrap())).await;
    assert_eq!(stored.body, *found, "results.json is what the API says");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cancel_in_every_phase_ends_with_proof_and_a_rerun_continues_with_what_is_missing() {
    let scene = Scene::with_slots(1).await;
    let shot = image(&scene, "crate.png");
    let films = [tour(&scene, &shot, "first.mp4", 3), tour(&scene, &shot, "second.mp4", 4)];
    for phase in ["collection", "feature_extraction", "matching", "evidence"] {
        let id = submit(&scene, json!({ "products": [shot], "videos": films })).await;
        let in_phase = |job: &Value| job["phase"] == phase && job["progress"]["running"].as_u64() > Some(0);
        scene.until(&id, phase, |job| in_phase(job) || crate::scene::is_over(job)).await;
        let answer = scene.cancel(&id).await;
        assert_eq!(answer.status, 200, "{phase}: {}", answer.body);
        let job = scene.until_over(&id).await;
        assert_eq!(workers(&scene), Vec::<String>::new(), "{phase}");
        if job["phase"] == "completed" {
            continue;
        }
        assert_eq!(job["phase"], "cancelled", "{phase}: {job:#}");
        assert_eq!(job["cancellation"]["stop"]["unconfirmed"], 0, "{job:#}");
        let done: HashSet<(String, String)> = names_of(&scene.units(&id).await, |unit| unit["status"] == "succeeded");

        let again = scene.server.post(&format!("/api/jobs/{id}/rerun"), &json!({ "units": "unfinished" })).await;
        assert_eq!(again.status, 201, "{}", again.body);
        let again = id_of(&again);
        assert_eq!(scene.until_over(&again).await["phase"], "completed");
        // What was taken over has no process of its own, and so no exit status.
        let taken = names_of(&scene.units(&again).await, |unit| unit["exit_code"].is_null());
        let expected: HashSet<_> = done.into_iter().filter(|(phase, _)| phase != "evidence").collect();
        assert_eq!(taken, expected, "{phase}");
        assert!(!sightings_of(&matches(&scene, &again).await).is_empty());
    }
}

fn names_of(units: &[Value], which: impl Fn(&Value) -> bool) -> HashSet<(String, String)> {
    let text = |unit: &Value, name: &str| unit[name].as_str().unwrap().to_owned();
    units.iter().filter(|unit| which(unit)).map(|unit| (text(unit, "phase"), text(unit, "name"))).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cancel_while_ffmpeg_cuts_a_long_video_leaves_no_ffmpeg() {
    let scene = Scene::with_slots(1).await;
    // Quick to make, and long to cut: each of its pictures becomes many.
    let source = "testsrc2=size=320x180:rate=2:duration=600";
    let film = ffmpeg(&scene, &["-f", "lavfi", "-i", source, "-pix_fmt", "yuv420p"], "long.mp4");
    let product = image(&scene, "box.png");
    let id = submit(&scene, json!({ "products": [product], "videos": [film], "frame_rate": 10.0 })).await;
    let begin = std::time::Instant::now();
    while !workers(&scene).iter().any(|command| command.starts_with("ffmpeg")) {
        assert!(begin.elapsed() < crate::scene::LIMIT, "ffmpeg never came");
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
    let answer = scene.cancel(&id).await;
    assert_eq!((answer.status, &answer.body["phase"]), (200, &json!("cancelled")), "{}", answer.body);
    assert_eq!(workers(&scene), Vec::<String>::new());
    let units = scene.units(&id).await;
    let stop = &unit(&units, "long.mp4")["stop"];
    assert_eq!((&stop["confirmed"], &stop["processes_left"]), (&json!(true), &json!(0)), "{stop:#}");
}

#[tokio::test(flavor = "multi_thread")]
async fn bad_files_fail_alone_and_say_why() {
    let scene = Scene::with_slots(2).await;
    let root = scene.root();
    image(&scene, "good.png");
    fs::write(root.join("empty.png"), "").unwrap();
    fs::write(root.join("words.png"), "no picture").unwrap();
    let whole = fs::read(root.join("good.png")).unwrap();
    fs::write(root.join("cut.png"), &whole[..whole.len() / 2]).unwrap();
    ffmpeg(&scene, &["-f", "lavfi", "-i", "color=blue:size=300x300", "-frames:v", "1"], "plain.png");
    video(&scene, "good.mp4", 4);
    fs::write(root.join("empty.mp4"), "").unwrap();
    fs::write(root.join("words.mp4"), "no video").unwrap();
    ffmpeg(&scene, &["-f", "lavfi", "-i", "sine=duration=2"], "sound.mkv");
    video(&scene, "whole.mkv", 20);
    let film = fs::read(root.join("whole.mkv")).unwrap();
    fs::write(root.join("cut.mkv"), &film[..film.len() / 3]).unwrap();
    fs::remove_file(root.join("whole.mkv")).unwrap();
    // A playlist that names another file is no video.
    fs::write(root.join("list.mp4"), "#EXTM3U\n#EXTINF:1,\nfile:///etc/passwd\n").unwrap();

    let id = submit(&scene, json!({ "products": ["."], "videos": ["."] })).await;
    let job = scene.until_over(&id).await;
    assert_eq!(job["phase"], "partial", "{job:#}");
    let units = scene.units(&id).await;
    for (name, told) in [
        ("empty", "empty"),
        ("words", "not a PNG, JPEG or WebP"),
        ("cut", "cut off"),
        ("empty.mp4", "empty"),
        ("words.mp4", "no video"),
        ("sound.mkv", "no pictures"),
        ("cut.mkv", "damaged or cut off"),
        ("list.mp4", "no video"),
    ] {
        let unit = unit(&units, name);
        let error = unit["error"].as_str().unwrap_or_default();
        assert!(unit["status"] == "failed" && error.to_lowercase().contains(&told.to_lowercase()), "{unit:#}");
        assert!(!error.contains(&*root.to_string_lossy()), "{error}");
    }
    let plain = units.iter().find(|unit| unit["name"] == "plain" && unit["phase"] == "feature_extraction").unwrap();
    assert!(plain["error"].as_str().unwrap().contains("cannot be matched"), "{plain:#}");
    for name in ["good", "good.mp4"] {
        assert_eq!(unit(&units, name)["status"], "succeeded");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_job_without_products_or_videos_or_with_a_wrong_manifest_is_refused() {
    let scene = Scene::with_slots(1).await;
    let (product, film) = (image(&scene, "box.png"), video(&scene, "film.mp4", 1));
    fs::write(scene.root().join("list.csv"), "product,image\nLamp,none.png\n").unwrap();
    let cases = [
        (json!({ "products": [], "videos": [film] }), "spec.products", "no product images"),
        (json!({ "products": [product], "videos": [] }), "spec.videos", "no videos"),
        (json!({ "products": ["list.csv"], "videos": [film] }), "spec.products", "line 2 names `none.png`"),
        (json!({ "products": ["../x"], "videos": [film] }), "spec.products", "outside the folders"),
        (json!({ "products": [product], "videos": [film], "frame_rate": 0 }), "spec.frame_rate", "0.1 to 10"),
        (json!({ "products": [product], "videos": [film], "colour": 1 }), "spec.colour", "not known"),
        (json!({ "products": [product], "videos": [film], "sample": true }), "spec.sample", "not both"),
    ];
    for (spec, field, told) in cases {
        let (named, detail) = refused(&scene, spec.clone()).await;
        assert!(named == field && detail.contains(told), "{spec}: {named}: {detail}");
    }
    assert_eq!(scene.server.get("/api/jobs").await.body["items"], json!([]));
}

#[tokio::test(flavor = "multi_thread")]
async fn uploads_come_in_two_parts_and_a_manifest_names_products() {
    let scene = Scene::with_slots(2).await;
    let (product, film) = (image(&scene, "box.png"), video(&scene, "film.mp4", 2));
    let file = |name: &str| Part::bytes(fs::read(scene.root().join(name)).unwrap()).file_name(name.to_owned());
    let job = json!({ "name": "up", "kind": "product_matching", "spec": {} }).to_string();
    let manifest = Part::text("Fjord lamp,box.png\n").file_name("names.csv");
    let form = Form::new()
        .text("job", job)
        .part("products", file(&product))
        .part("products", manifest)
        .part("videos", file(&film));
    let answer = scene.server.send(scene.server.request("POST", "/api/jobs").multipart(form)).await;
    assert_eq!(answer.status, 201, "{}", answer.body);
    let id = id_of(&answer);
    assert_eq!(scene.until_over(&id).await["phase"], "completed");
    let found = matches(&scene, &id).await;
    assert_eq!(
        (&found["products"][0]["name"], &found["videos"][0]["name"]),
        (&json!("Fjord lamp"), &json!("film.mp4"))
    );
}
