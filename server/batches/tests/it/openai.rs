//! The life of a batch at an OpenAI-shaped provider, and what may go wrong in it.

use std::time::{Duration, Instant};

use axum::http::Method;
use batches::{CancelAnswer, Counts, Deletion, Error, Shape, Source, State};

use crate::{
    Scene,
    doubles::{
        OnCancel,
        faults::Fault,
        openai::{KEY, Manners, Openai},
    },
    order,
};

pub(crate) async fn scene() -> (Openai, Scene) {
    let double = Openai::start().await;
    let scene = Scene::new(Shape::Openai, &double.base_url(), KEY);
    (double, scene)
}

fn file_of(source: &Source) -> &str {
    match source {
        Source::File(id) => id,
        Source::Inline(_) => panic!("no file"),
    }
}

fn answer(status: u16) -> Fault {
    Fault::Answer(status, Vec::new(), r#"{"error":{"message":"scripted","type":"server_error"}}"#.to_owned())
}

#[tokio::test]
async fn a_batch_is_made_followed_fetched_and_its_files_deleted() {
    let (double, scene) = scene().await;
    let made = scene.create(Shape::Openai, 4, "tag-1").await.unwrap();
    assert_eq!((made.state, made.raw_state.as_str(), made.counts), (State::Queued, "validating", None));
    assert_eq!((made.tag.as_deref(), made.display_name.as_deref()), (Some("tag-1"), Some("Lamps & more")));
    let states = async |count: usize| {
        let mut states = Vec::new();
        for _ in 0..count {
            states.push(scene.provider.get(&made.id).await.unwrap().raw_state);
        }
        states
    };
    assert_eq!(states(3).await, ["in_progress", "finalizing", "completed"]);
    let ended = scene.provider.get(&made.id).await.unwrap();
    assert_eq!(ended.counts, Some(Counts { total: 4, completed: 4, failed: 0 }));
    assert_eq!(ended.usage.unwrap().output_tokens, 28);
    assert!(ended.ended_at.is_some() && ended.expires_at.is_some());
    let results = ended.outputs.results.as_ref().unwrap();
    let bytes = scene.provider.download(results, &scene.path("results")).await.unwrap();
    let text = scene.text("results");
    assert_eq!((text.len() as u64, text.lines().count()), (bytes, 4));

    for id in [ended.input_file.as_deref().unwrap(), file_of(results)] {
        assert_eq!(scene.provider.delete_file(id).await.unwrap(), Deletion::Deleted);
        assert_eq!(scene.provider.delete_file(id).await.unwrap(), Deletion::AlreadyGone);
    }
    assert_eq!(double.files(), [""; 0]);
    let refused = scene.provider.delete_batch(&made.id).await;
    assert!(matches!(refused, Err(Error::Unsupported(_))));
    assert_eq!(double.faults.count(&Method::DELETE, "/batches"), 0, "nothing is sent that cannot be");
}

#[tokio::test]
async fn a_cancel_is_a_post_and_keeps_what_was_done() {
    let (double, scene) = scene().await;
    let made = scene.create(Shape::Openai, 4, "t").await.unwrap();
    scene.provider.get(&made.id).await.unwrap();
    let CancelAnswer::Asked(Some(told)) = scene.provider.cancel(&made.id).await.unwrap() else { panic!() };
    assert_eq!(told.state, State::Cancelling);
    assert!(matches!(scene.provider.cancel(&made.id).await.unwrap(), CancelAnswer::Asked(_)), "may be repeated");
    assert_eq!(scene.provider.get(&made.id).await.unwrap().state, State::Cancelling, "not yet");
    let ended = scene.ended(&made.id).await;
    assert_eq!((ended.state, ended.counts.unwrap().completed), (State::Cancelled, 2));
    scene.provider.download(ended.outputs.results.as_ref().unwrap(), &scene.path("results")).await.unwrap();
    assert_eq!(scene.text("results").lines().count(), 2);
    scene.provider.download(ended.outputs.errors.as_ref().unwrap(), &scene.path("errors")).await.unwrap();
    assert!(scene.text("errors").contains("batch_cancelled"));
    assert_eq!(double.faults.count(&Method::POST, "/cancel"), 2);
    assert_eq!(double.faults.count(&Method::DELETE, ""), 0);
    let asked = double.faults.asked();
    let cancel = asked.iter().find(|asked| asked.path.ends_with("/cancel")).unwrap();
    assert_eq!(
        cancel.headers.get("content-length").unwrap(),
        "0",
        "some refuse a POST that does not say how long it is"
    );
}

#[tokio::test]
async fn a_batch_may_finish_anyway_and_a_finished_one_refuses_once() {
    let (double, scene) = scene().await;
    double.on_cancel(OnCancel::FinishesAnyway);
    let made = scene.create(Shape::Openai, 2, "t").await.unwrap();
    scene.provider.cancel(&made.id).await.unwrap();
    assert_eq!(scene.ended(&made.id).await.state, State::Succeeded);
    let CancelAnswer::Refused { status, message } = scene.provider.cancel(&made.id).await.unwrap() else { panic!() };
    assert_eq!((status, message.as_str()), (409, "Cannot cancel a batch with status 'completed'."));
    assert_eq!(double.faults.count(&Method::POST, "/cancel"), 2, "a 409 is not repeated");
}

#[tokio::test]
async fn what_is_not_there_is_not_found() {
    let (_double, scene) = scene().await;
    assert!(matches!(scene.provider.get("batch_9").await, Err(Error::NotFound { .. })));
    assert!(matches!(scene.provider.cancel("batch_9").await, Err(Error::NotFound { .. })));
    for id in ["", ".", ".."] {
        assert!(matches!(scene.provider.get(id).await, Err(Error::Unusable(_))), "{id}");
    }
    assert!(matches!(scene.provider.get("../files").await, Err(Error::NotFound { .. })), "stays below batches");
}

#[tokio::test]
async fn a_create_is_sent_once_whatever_becomes_of_it() {
    for fault in [Fault::DoneButLost, Fault::Lost, answer(500), answer(503), answer(408), Fault::BreaksAfter(30)] {
        let (double, scene) = scene().await;
        double.faults.script(Method::POST, "/batches", 1, fault.clone());
        let unclear = scene.create(Shape::Openai, 1, "tag-7").await;
        assert!(matches!(unclear, Err(Error::Unclear(_))), "{fault:?}: {unclear:?}");
        assert_eq!(double.faults.count(&Method::POST, "/batches"), 1, "{fault:?}");
        let found = scene.provider.find_by_tag("tag-7", 0).await.unwrap();
        let is_made = matches!(fault, Fault::DoneButLost | Fault::BreaksAfter(_));
        assert_eq!(found.is_some(), is_made, "{fault:?}");
        assert_eq!(found.map(|batch| batch.id).into_iter().collect::<Vec<_>>(), double.batches());
    }
    for (status, body) in [(200, "<html>"), (200, "{}"), (200, "[]")] {
        let (double, scene) = scene().await;
        double.faults.script(Method::POST, "/batches", 1, Fault::Answer(status, Vec::new(), body.to_owned()));
        assert!(matches!(scene.create(Shape::Openai, 1, "t").await, Err(Error::Unclear(_))), "{body}");
    }
}

#[tokio::test]
async fn a_create_that_was_refused_left_nothing() {
    for (status, is_expected) in [
        (400, (|error| matches!(error, Error::Refused { status: 400, .. })) as fn(&Error) -> bool),
        (429, |error| matches!(error, Error::RateLimited { .. })),
        (404, |error| matches!(error, Error::NotFound { .. })),
        (401, |error| matches!(error, Error::KeyRejected { .. })),
    ] {
        let (double, scene) = scene().await;
        double.faults.script(Method::POST, "/batches", 1, answer(status));
        let error = scene.create(Shape::Openai, 1, "t").await.unwrap_err();
        assert!(is_expected(&error), "{status}: {error:?}");
        assert_eq!(double.faults.count(&Method::POST, "/batches"), 1, "{status}");
    }
}

#[tokio::test]
async fn what_is_harmless_is_repeated_as_the_provider_asks() {
    let (double, scene) = scene().await;
    let made = scene.create(Shape::Openai, 1, "t").await.unwrap();
    let pause = Fault::Answer(429, vec![("retry-after-ms", "700".to_owned())], String::new());
    double.faults.script(Method::GET, &made.id, 1, pause);
    let begin = Instant::now();
    scene.provider.get(&made.id).await.unwrap();
    let took = begin.elapsed();
    assert!(took >= Duration::from_millis(700) && took < Duration::from_millis(1500), "{took:?}");

    double.faults.script(Method::GET, &made.id, 1, Fault::Lost);
    double.faults.script(Method::GET, &made.id, 1, answer(502));
    scene.provider.get(&made.id).await.unwrap();
    double.faults.script(Method::POST, "/cancel", 1, answer(500));
    scene.provider.cancel(&made.id).await.unwrap();
    double.faults.script(Method::DELETE, "/files", 1, answer(503));
    assert_eq!(scene.provider.delete_file(made.input_file.as_deref().unwrap()).await.unwrap(), Deletion::Deleted);
}

#[tokio::test]
async fn a_provider_that_wants_a_long_rest_gets_it_from_the_caller() {
    let (double, scene) = scene().await;
    let pause = Fault::Answer(429, vec![("retry-after", "121".to_owned())], String::new());
    double.faults.script(Method::GET, "/batches/x", 9, pause);
    let error = scene.provider.get("x").await.unwrap_err();
    assert_eq!((error.is_transient(), error.retry_after()), (true, Some(Duration::from_secs(121))));
    assert_eq!(double.faults.count(&Method::GET, "/batches/x"), 1);
}

#[tokio::test]
async fn an_account_without_money_is_not_asked_again() {
    let (double, scene) = scene().await;
    let body = r#"{"error":{"message":"You exceeded your current quota.","code":"insufficient_quota"}}"#;
    double.faults.script(Method::GET, "/batches/x", 9, Fault::Answer(429, Vec::new(), body.to_owned()));
    let error = scene.provider.get("x").await.unwrap_err();
    assert!(matches!(error, Error::Refused { status: 429, .. }) && !error.is_transient(), "{error:?}");
    assert_eq!(double.faults.count(&Method::GET, "/batches/x"), 1);
}

#[tokio::test]
async fn a_rejected_key_is_named_by_its_origin_and_shown_nowhere() {
    let double = Openai::start().await;
    let scene = Scene::new(Shape::Openai, &double.base_url(), "sk-wrong-and-secret");
    let error = scene.provider.get("batch_1").await.unwrap_err();
    let text = format!("{error} {error:?}");
    assert!(text.contains(&format!("the file {}", scene.path("key").display())), "{text}");
    assert!(text.contains("Incorrect API key provided: [key]."), "{text}");
    assert!(!text.contains("sk-wrong"), "{text}");
    assert!(double.faults.asked().iter().all(|asked| !asked.path.contains("sk-wrong")), "never in an address");
}

#[tokio::test]
async fn an_upload_whose_answer_is_lost_makes_one_file() {
    for fault in [Fault::DoneButLost, Fault::Lost, answer(500)] {
        let (double, scene) = scene().await;
        double.faults.script(Method::POST, "/files", 1, fault.clone());
        let file = scene.provider.upload(&scene.requests(Shape::Openai, 3), "job.jsonl").await.unwrap();
        assert_eq!(double.files(), [file.id], "{fault:?}");
    }
}

#[tokio::test]
async fn a_file_that_was_uploaded_before_a_crash_is_found_by_name_and_size() {
    let (_double, scene) = scene().await;
    let path = scene.requests(Shape::Openai, 3);
    let bytes = std::fs::metadata(&path).unwrap().len();
    assert_eq!(scene.provider.find_file("job.jsonl", bytes).await.unwrap(), None);
    let file = scene.provider.upload(&path, "job.jsonl").await.unwrap();
    assert_eq!(scene.provider.find_file("job.jsonl", bytes).await.unwrap().unwrap().id, file.id);
    assert_eq!(scene.provider.find_file("job.jsonl", bytes + 1).await.unwrap(), None);
    assert_eq!(scene.provider.find_file("other.jsonl", bytes).await.unwrap(), None);
}

#[tokio::test]
async fn a_download_that_breaks_is_whole_in_the_end() {
    let (double, scene) = scene().await;
    let made = scene.create(Shape::Openai, 50, "t").await.unwrap();
    let results = scene.ended(&made.id).await.outputs.results.unwrap();
    double.faults.script(Method::GET, "/content", 2, Fault::BreaksAfter(100));
    std::fs::write(scene.path("results"), "x".repeat(1 << 20)).unwrap();
    let bytes = scene.provider.download(&results, &scene.path("results")).await.unwrap();
    let text = scene.text("results");
    assert_eq!((text.len() as u64, text.lines().count()), (bytes, 50));
    assert!(text.lines().all(|line| line.starts_with('{') && line.ends_with('}')));
}

#[tokio::test]
async fn an_answer_that_drips_is_read() {
    let (double, scene) = scene().await;
    let made = scene.create(Shape::Openai, 1, "t").await.unwrap();
    double.faults.script(Method::GET, &made.id, 1, Fault::Drips(Duration::from_millis(1)));
    assert_eq!(scene.provider.get(&made.id).await.unwrap().id, made.id);
}

#[tokio::test]
async fn garbage_is_called_that() {
    let (double, scene) = scene().await;
    for body in ["<html>hello</html>", "[1]", "{\"id\": null}", "{\"id\":\"b\""] {
        double.faults.script(Method::GET, "/batches/x", 1, Fault::Answer(200, Vec::new(), body.to_owned()));
        let error = scene.provider.get("x").await.unwrap_err();
        assert!(matches!(error, Error::Garbage { .. }), "{body}: {error:?}");
    }
}

#[tokio::test]
async fn a_wrong_address_says_so() {
    let (double, scene) = scene().await;
    let other = Scene::new(Shape::Openai, &double.base_url().replace("/v1", "/v2"), KEY);
    assert!(matches!(other.provider.list(None).await, Err(Error::NotFound { .. })));
    let closed = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let away = Scene::new(Shape::Openai, &format!("http://{closed}/v1"), KEY);
    let error = away.provider.create(&order(Shape::Openai, "f", "t")).await.unwrap_err();
    assert!(matches!(error, Error::Connect { .. }), "nothing was sent: {error:?}");
    drop(scene);
    for base_url in ["", "ftp://x/v1", "api.openai.com", "https://user:secret@x/v1", "https://x/v1?key=1"] {
        let folder = tempfile::tempdir().unwrap();
        let refused = batches::connect(&crate::settings(&folder, Shape::Openai, base_url, KEY));
        assert!(matches!(refused, Err(Error::Unusable(_))), "{base_url}");
    }
}

#[tokio::test]
async fn a_redirect_to_another_host_gets_no_key() {
    let (double, scene) = scene().await;
    let (elsewhere, _) = self::scene().await;
    let made = scene.create(Shape::Openai, 1, "t").await.unwrap();
    let results = scene.ended(&made.id).await.outputs.results.unwrap();
    let target = format!("{}/files/x/content", elsewhere.base_url());
    let away = Fault::Answer(302, vec![("location", target.clone())], String::new());
    double.faults.script(Method::GET, "/content", 1, away.clone());
    let granted = Fault::Answer(200, Vec::new(), "{\"custom_id\":\"a\"}\n".to_owned());
    elsewhere.faults.script(Method::GET, "/content", 1, granted);
    scene.provider.download(&results, &scene.path("results")).await.unwrap();
    assert_eq!(scene.text("results"), "{\"custom_id\":\"a\"}\n");
    assert!(elsewhere.faults.asked().iter().all(|asked| !asked.headers.contains_key("authorization")));

    double.faults.script(Method::POST, "/batches", 1, away);
    let error = scene.provider.create(&order(Shape::Openai, "f", "t")).await.unwrap_err();
    assert!(matches!(error, Error::Refused { status: 302, .. }), "what costs is not sent elsewhere: {error:?}");
}

#[tokio::test]
async fn bodies_as_text_are_joined_too() {
    let (double, scene) = scene().await;
    double.behave(Manners { bodies_as_text: true, ..Manners::default() });
    let made = scene.create(Shape::Openai, 3, "t").await.unwrap();
    let results = scene.ended(&made.id).await.outputs.results.unwrap();
    scene.provider.download(&results, &scene.path("results")).await.unwrap();
    let [rows, table, remaining] = ["rows", "table", "remaining"].map(|name| scene.path(name));
    let what = batches::results::Join {
        requests: Some(&scene.path("requests.jsonl")),
        outputs: &[scene.path("results")],
        unanswered: batches::results::RowStatus::Missing,
        rows: &rows,
        table: &table,
        remaining: &remaining,
    };
    let totals = batches::results::join(&what, &std::sync::atomic::AtomicBool::new(false)).unwrap();
    assert_eq!((totals.succeeded, totals.usage.unwrap().output_tokens), (3, 21));
}
