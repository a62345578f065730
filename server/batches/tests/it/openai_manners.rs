//! Lists that are not as in the documents: nothing is found twice, nothing is missed, and every walk ends.

use axum::http::Method;
use batches::{Error, Shape, State, all_batches};

use crate::{
    doubles::{faults::Fault, openai::Manners},
    openai::scene,
    order,
};

#[tokio::test]
async fn null_and_missing_read_the_same() {
    for leaves_out in [false, true] {
        let (double, scene) = scene().await;
        double.behave(Manners { leaves_out, ..Manners::default() });
        let made = scene.create(Shape::Openai, 2, "t").await.unwrap();
        assert_eq!((made.counts, made.usage, made.errors.len()), (None, None, 0));
        let ended = scene.ended(&made.id).await;
        assert_eq!((ended.state, ended.outputs.errors), (State::Succeeded, None));
    }
}

#[tokio::test]
async fn a_list_is_walked_to_its_end_whatever_it_claims() {
    let plain = Manners::default();
    for manners in [
        plain,
        Manners { claims_more: true, ..plain },
        Manners { repeats_cursor: true, ..plain },
        Manners { oldest_first: true, ..plain },
    ] {
        let (double, scene) = scene().await;
        for _ in 0..90 {
            double.add_foreign(1_700_000_000);
        }
        double.behave(manners);
        let all = all_batches(&*scene.provider, 1000).await.unwrap();
        assert_eq!(all.len(), 90, "{manners:?}");
        assert!(double.faults.count(&Method::GET, "/batches") <= 3, "{manners:?}");
        assert_eq!(all_batches(&*scene.provider, 7).await.unwrap().len(), 7);
    }
}

#[tokio::test]
async fn a_batch_is_found_by_its_tag_on_any_page_and_in_any_order() {
    for oldest_first in [false, true] {
        let (double, scene) = scene().await;
        let made = scene.create(Shape::Openai, 1, "mine").await.unwrap();
        for age in 1..=250 {
            double.add_foreign(1_700_000_000 - age);
        }
        double.behave(Manners { oldest_first, claims_more: true, ..Manners::default() });
        let since = made.created_at.unwrap();
        let found = scene.provider.find_by_tag("mine", since).await.unwrap();
        assert_eq!(found.map(|batch| batch.id), Some(made.id), "oldest first: {oldest_first}");
        assert_eq!(scene.provider.find_by_tag("other", since).await.unwrap(), None);
    }
}

#[tokio::test]
async fn a_service_that_forgets_metadata_is_searched_by_the_file() {
    let (double, scene) = scene().await;
    double.behave(Manners { forgets_metadata: true, ..Manners::default() });
    let file = scene.provider.upload(&scene.requests(Shape::Openai, 1), "job.jsonl").await.unwrap();
    assert_eq!(scene.provider.find_created("mine", &file.id, 0).await.unwrap(), None);
    double.faults.script(Method::POST, "/batches", 1, Fault::DoneButLost);
    let lost = scene.provider.create(&order(Shape::Openai, &file.id, "mine")).await;
    assert!(matches!(lost, Err(Error::Unclear(_))));
    assert_eq!(scene.provider.find_by_tag("mine", 0).await.unwrap(), None);
    let found = scene.provider.find_created("mine", &file.id, 0).await.unwrap().unwrap();
    assert_eq!(double.batches(), [found.id]);
}

#[tokio::test]
async fn a_search_ends_early_where_the_newest_come_first() {
    let (double, scene) = scene().await;
    for age in (1..=500).rev() {
        double.add_foreign(1_700_000_000 - age);
    }
    assert_eq!(scene.provider.find_by_tag("mine", 1_790_000_000_000).await.unwrap(), None);
    assert_eq!(double.faults.count(&Method::GET, "/batches"), 1, "one page, not five");
}

#[tokio::test]
async fn an_item_without_an_id_costs_nobody_the_list() {
    let (double, scene) = scene().await;
    let body =
        r#"{"object":"list","data":[{"id":null},{"status":7},{"id":"batch_1","status":["?"]}],"has_more":false}"#;
    let odd = Fault::Answer(200, Vec::new(), body.to_owned());
    double.faults.script(Method::GET, "/batches", 1, odd);
    let page = scene.provider.list(None).await.unwrap();
    assert_eq!(page.items.iter().map(|batch| batch.id.as_str()).collect::<Vec<_>>(), ["batch_1"]);
    assert_eq!(page.next, None);
}

#[tokio::test]
async fn an_answer_that_is_no_list_is_not_believed_to_hold_nothing() {
    let (double, scene) = scene().await;
    let answer = |body: &str| Fault::Answer(200, Vec::new(), body.to_owned());
    for body in ["{}", r#"{"error":{"message":"m"}}"#, r#"{"data":"none"}"#, r#"{"message":"hello"}"#] {
        double.faults.script(Method::GET, "/batches", 1, answer(body));
        let found = scene.provider.find_created("t", "f", 0).await;
        assert!(matches!(found, Err(Error::Garbage { .. })), "{body}: {found:?}");
    }
    for body in ["[]", r#"{"data":null,"has_more":true}"#] {
        double.faults.script(Method::GET, "/batches", 1, answer(body));
        assert_eq!(scene.provider.find_created("t", "f", 0).await.unwrap(), None, "{body}");
    }
}

#[tokio::test]
async fn a_page_of_a_proxy_is_not_the_providers_word() {
    let (double, scene) = scene().await;
    let made = scene.create(Shape::Openai, 1, "t").await.unwrap();
    let page = |status| Fault::Answer(status, Vec::new(), "<html>Default backend</html>".to_owned());
    double.faults.script(Method::GET, &made.id, 9, page(404));
    let error = scene.provider.get(&made.id).await.unwrap_err();
    assert!(matches!(error, Error::Unavailable { status: Some(404), .. }), "{error:?}");
    assert!(error.to_string().contains("base_url"), "{error}");
    double.faults.clear();
    double.faults.script(Method::POST, "/cancel", 1, page(200));
    let cancelled = scene.provider.cancel(&made.id).await;
    assert!(matches!(cancelled, Err(Error::Garbage { .. })), "{cancelled:?}");
    double.faults.script(Method::DELETE, "/files", 1, page(200));
    assert!(scene.provider.delete_file("file-1").await.is_err(), "nothing is called deleted");
}
