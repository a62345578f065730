//! The life of a batch at Gemini, and what may go wrong in it.

use axum::http::Method;
use batches::{CancelAnswer, Counts, Deletion, Error, Settings, Shape, Source, State};

use crate::{
    Scene,
    doubles::{
        Life, OnCancel,
        faults::Fault,
        gemini::{Gemini, KEY, Places},
    },
    order, settings,
};

async fn scene() -> (Gemini, Scene) {
    let double = Gemini::start().await;
    let scene = Scene::new(Shape::Gemini, &double.base_url(), KEY);
    (double, scene)
}

#[tokio::test]
async fn a_batch_is_made_followed_fetched_and_deleted() {
    for version in ["v1beta", "v1"] {
        let double = Gemini::start().await;
        let folder = tempfile::tempdir().unwrap();
        let at_version = settings(&folder, Shape::Gemini, &double.base_url(), KEY);
        let at_version = Settings { api_version: Some(version.to_owned()), ..at_version };
        let scene = Scene { provider: batches::connect(&at_version).unwrap(), folder };
        let made = scene.create(Shape::Gemini, 4, "tag-1").await.unwrap();
        assert_eq!((made.state, made.raw_state.as_str()), (State::Queued, "BATCH_STATE_PENDING"));
        assert_eq!((made.tag.as_deref(), made.display_name.as_deref()), (Some("tag-1"), Some("Lamps & more")));
        assert_eq!(made.counts, Some(Counts { total: 4, completed: 0, failed: 0 }));
        assert_eq!(scene.provider.get(&made.id).await.unwrap().state, State::Running);
        let ended = scene.ended(&made.id).await;
        assert_eq!((ended.state, ended.counts.unwrap().completed), (State::Succeeded, 4));
        assert!(ended.ended_at.is_some());
        let results = ended.outputs.results.clone().unwrap();
        scene.provider.download(&results, &scene.path("results")).await.unwrap();
        assert_eq!(scene.text("results").lines().count(), 4);

        assert_eq!(scene.provider.delete_batch(&made.id).await.unwrap(), Deletion::Deleted);
        assert_eq!(scene.provider.delete_batch(&made.id).await.unwrap(), Deletion::AlreadyGone);
        assert!(matches!(scene.provider.get(&made.id).await, Err(Error::NotFound { .. })));
        let input = ended.input_file.unwrap();
        assert_eq!(scene.provider.delete_file(&input).await.unwrap(), Deletion::Deleted);
        assert_eq!(
            scene.provider.delete_file(&input).await.unwrap(),
            Deletion::AlreadyGone,
            "a 403 there, and listed nowhere"
        );
        let paths = double.faults.asked().into_iter().map(|asked| asked.path);
        assert!(paths.into_iter().all(|path| path.contains(&format!("/{version}/")) && !path.contains("key=")));
    }
}

#[tokio::test]
async fn a_cancel_has_no_state_until_it_is_done() {
    let (double, scene) = scene().await;
    let made = scene.create(Shape::Gemini, 4, "t").await.unwrap();
    scene.provider.get(&made.id).await.unwrap();
    assert_eq!(scene.provider.cancel(&made.id).await.unwrap(), CancelAnswer::Asked(None));
    assert_eq!(scene.provider.get(&made.id).await.unwrap().state, State::Running, "as if nobody had asked");
    let ended = scene.ended(&made.id).await;
    assert_eq!((ended.state, ended.errors[0].code.as_deref()), (State::Cancelled, Some("1")));
    assert_eq!(ended.counts.unwrap().completed, 2);
    let refused = scene.provider.cancel(&made.id).await.unwrap();
    assert!(matches!(refused, CancelAnswer::Refused { status: 400, .. }), "{refused:?}");
    assert_eq!(double.faults.count(&Method::DELETE, ""), 0);
}

#[tokio::test]
async fn a_batch_may_finish_anyway_or_hang() {
    let (double, scene) = scene().await;
    let made = scene.create(Shape::Gemini, 2, "t").await.unwrap();
    double.on_cancel(OnCancel::Hangs);
    scene.provider.cancel(&made.id).await.unwrap();
    for _ in 0..5 {
        assert_eq!(scene.provider.get(&made.id).await.unwrap().state, State::Queued);
    }
    double.on_cancel(OnCancel::FinishesAnyway);
    assert_eq!(scene.ended(&made.id).await.state, State::Succeeded);
}

#[tokio::test]
async fn states_are_read_with_either_prefix_and_results_in_either_place() {
    for places in [Places::Both, Places::Response, Places::Metadata] {
        let (double, scene) = scene().await;
        double.write_states_with("JOB_STATE_");
        double.tell_results_in(places);
        let made = scene.create(Shape::Gemini, 1, "t").await.unwrap();
        assert_eq!(made.state, State::Queued);
        let ended = scene.ended(&made.id).await;
        assert!(matches!(ended.outputs.results, Some(Source::File(_))), "{places:?}");
    }
    let (double, scene) = scene().await;
    double.live(Life::Hold);
    let made = scene.create(Shape::Gemini, 1, "t").await.unwrap();
    double.put(&made.id, "PAUSED_BY_SOMEBODY", 0);
    let odd = scene.provider.get(&made.id).await.unwrap();
    assert_eq!((odd.state, odd.raw_state.as_str()), (State::Unknown, "BATCH_STATE_PAUSED_BY_SOMEBODY"));
    double.put(&made.id, "EXPIRED", 0);
    let expired = scene.provider.get(&made.id).await.unwrap();
    assert_eq!((expired.state, expired.outputs.results), (State::Expired, None));
}

#[tokio::test]
async fn results_inside_a_batch_are_fetched_like_a_file() {
    let (double, scene) = scene().await;
    let id = double.add_foreign("Somebody's");
    let ended = scene.ended(&id).await;
    assert_eq!((ended.tag.as_deref(), ended.display_name.as_deref()), (None, Some("Somebody's")));
    let results = ended.outputs.results.unwrap();
    assert_eq!(results, Source::Inline(id));
    let bytes = scene.provider.download(&results, &scene.path("results")).await.unwrap();
    let text = scene.text("results");
    assert_eq!((text.len() as u64, text.lines().count()), (bytes, 1));
    assert!(text.contains(r#""key":"r1""#), "{text}");
}

#[tokio::test]
async fn a_large_file_goes_up_in_pieces_and_on_from_where_it_broke() {
    let (double, scene) = scene().await;
    let path = scene.path("large");
    let line = format!("{{\"key\":\"k\",\"request\":{{\"contents\":[\"{}\"]}}}}\n", "x".repeat(1 << 20));
    std::fs::write(&path, line.repeat(20)).unwrap();
    // Of the pieces the second is lost before it is there, the third after it.
    double.faults.script(Method::POST, "upload_id", 1, Fault::Drips(std::time::Duration::ZERO));
    double.faults.script(Method::POST, "upload_id", 1, Fault::Lost);
    // The question how far it has come passes between.
    double.faults.script(Method::POST, "upload_id", 1, Fault::Late(std::time::Duration::ZERO));
    double.faults.script(Method::POST, "upload_id", 1, Fault::Drips(std::time::Duration::ZERO));
    double.faults.script(Method::POST, "upload_id", 1, Fault::DoneButLost);
    let file = scene.provider.upload(&path, "large.jsonl").await.unwrap();
    assert_eq!(double.files(), std::slice::from_ref(&file.id));
    assert_eq!(file.bytes, Some(std::fs::metadata(&path).unwrap().len()));
    let there = Source::File(file.id);
    scene.provider.download(&there, &scene.path("back")).await.unwrap();
    assert!(std::fs::read(&path).unwrap() == std::fs::read(scene.path("back")).unwrap(), "byte for byte");
}

#[tokio::test]
async fn an_upload_that_breaks_where_nobody_says_how_far_it_came_is_unclear() {
    let (double, scene) = scene().await;
    double.faults.script(Method::POST, "upload_id", 1, Fault::DoneButLost);
    double.faults.script(Method::POST, "upload_id", 1, Fault::Answer(404, Vec::new(), String::new()));
    let path = scene.requests(Shape::Gemini, 1);
    let unclear = scene.provider.upload(&path, "job.jsonl").await;
    assert!(matches!(unclear, Err(Error::Unclear(_))), "{unclear:?}");
    let bytes = std::fs::metadata(&path).unwrap().len();
    let found = scene.provider.find_file("job.jsonl", bytes).await.unwrap().unwrap();
    assert_eq!(double.files(), [found.id]);
}

#[tokio::test]
async fn a_download_goes_on_where_it_broke() {
    let (double, scene) = scene().await;
    let file = scene.provider.upload(&scene.requests(Shape::Gemini, 50), "f").await.unwrap();
    double.faults.script(Method::GET, ":download", 1, Fault::BreaksAfter(1000));
    scene.provider.download(&Source::File(file.id), &scene.path("back")).await.unwrap();
    assert_eq!(scene.text("back"), scene.text("requests.jsonl"));
    let asked = double.faults.asked();
    let ranges = asked.iter().filter_map(|asked| asked.headers.get("range"));
    assert_eq!(ranges.collect::<Vec<_>>(), ["bytes=1000-"]);
}

#[tokio::test]
async fn a_create_whose_answer_is_lost_is_found_by_its_tag() {
    let (double, scene) = scene().await;
    double.faults.script(Method::POST, ":batchGenerateContent", 1, Fault::DoneButLost);
    assert!(matches!(scene.create(Shape::Gemini, 1, "tag-9").await, Err(Error::Unclear(_))));
    for _ in 0..120 {
        double.add_foreign("belay:tag-99 almost");
    }
    let found = scene.provider.find_by_tag("tag-9", 0).await.unwrap().unwrap();
    let file = found.input_file.as_deref().unwrap();
    assert_eq!(scene.provider.find_created("other", file, 0).await.unwrap().unwrap().id, found.id);
    assert_eq!(double.batches()[0], found.id);
    assert_eq!(double.faults.count(&Method::POST, ":batchGenerateContent"), 1);
}

#[tokio::test]
async fn a_key_that_is_not_valid_is_a_400_and_said_to_be_the_key() {
    let double = Gemini::start().await;
    let scene = Scene::new(Shape::Gemini, &double.base_url(), "wrong-and-secret");
    let error = scene.provider.list(None).await.unwrap_err();
    assert!(matches!(error, Error::KeyRejected { status: 400, .. }), "{error:?}");
    assert!(!format!("{error:?}").contains("wrong-and-secret"));
}

#[tokio::test]
async fn the_address_of_an_upload_gets_the_key_only_at_home() {
    let (double, scene) = scene().await;
    let (elsewhere, _) = self::scene().await;
    let target = format!("{}/upload/v1beta/files?upload_id=u", elsewhere.base_url());
    let begun = Fault::Answer(200, vec![("x-goog-upload-url", target)], String::new());
    double.faults.script(Method::POST, "/upload/", 1, begun);
    let taken = Fault::Answer(200, Vec::new(), r#"{"file":{"name":"files/x","state":"ACTIVE"}}"#.to_owned());
    elsewhere.faults.script(Method::POST, "/upload/", 1, taken);
    let file = scene.provider.upload(&scene.requests(Shape::Gemini, 1), "f").await.unwrap();
    assert_eq!(file.id, "files/x");
    assert!(!elsewhere.faults.asked()[0].headers.contains_key("x-goog-api-key"));
}

#[tokio::test]
async fn what_is_no_model_or_tag_is_not_sent() {
    let (double, scene) = scene().await;
    for model in [None, Some(""), Some("../files"), Some("a:b")] {
        let wrong = batches::Create { model: model.map(str::to_owned), ..order(Shape::Gemini, "files/f", "t") };
        assert!(matches!(scene.provider.create(&wrong).await, Err(Error::Unusable(_))), "{model:?}");
    }
    for tag in ["", "two words", &"x".repeat(65)] {
        let wrong = order(Shape::Gemini, "files/f", tag);
        assert!(matches!(scene.provider.create(&wrong).await, Err(Error::Unusable(_))), "{tag}");
    }
    assert_eq!(double.faults.asked().len(), 0);
}
