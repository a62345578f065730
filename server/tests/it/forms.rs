//! The console without WebAssembly: plain forms, cookies, redirects.

use reqwest::multipart::{Form, Part};
use serde_json::json;

use crate::harness::{Answer, Server};

/// The address that a form post leads to, and the message left for it.
pub(crate) fn led_to(answer: &Answer) -> (String, String) {
    assert_eq!(answer.status, 303, "{}", answer.text());
    let cookies = answer.cookies();
    let flash = cookies.split("_flash=").nth(1).unwrap_or_default();
    let flash = percent_encoding::percent_decode_str(flash).decode_utf8_lossy().into_owned();
    let flash: serde_json::Value = serde_json::from_str(&flash).unwrap_or_default();
    (answer.header("location").unwrap(), flash["text"].as_str().unwrap_or_default().to_owned())
}

#[tokio::test]
async fn a_job_is_cancelled_and_deleted_with_plain_forms() {
    let server = Server::start().await;
    let cookie = server.sign_in().await;
    let id = server.submit_endless("plain", 1).await;
    let cancelled = server.post_form(&cookie, &format!("/jobs/{id}/cancel"), &[("reason", "line\r\ntwo")]).await;
    assert_eq!(led_to(&cancelled), (format!("/jobs/{id}"), "Job cancelled successfully".to_owned()));
    let job = server.job(&id).await;
    assert_eq!(job["phase"], "cancelled");
    assert_eq!(job["cancellation"]["notes"], "line\ntwo");
    assert_eq!(
        (&job["cancellation"]["requested_by"], &job["cancellation"]["source"]),
        (&json!("operator"), &json!("console"))
    );
    let again = server.post_form(&cookie, &format!("/jobs/{id}/cancel"), &[]).await;
    assert_eq!(led_to(&again).0, format!("/jobs/{id}"));
    let deleted = server.post_form(&cookie, &format!("/jobs/{id}/delete"), &[]).await;
    assert_eq!(led_to(&deleted), ("/jobs".to_owned(), "Job deleted successfully".to_owned()));
    assert_eq!(server.get(&format!("/api/jobs/{id}")).await.problem(), (404, "JOB_DELETED".to_owned()));
    let gone = server.post_form(&cookie, &format!("/jobs/{id}/cancel"), &[]).await;
    assert_eq!(led_to(&gone), ("/jobs".to_owned(), "This job was already deleted.".to_owned()));
}

#[tokio::test]
async fn deleting_an_active_job_asks_about_force_first() {
    let server = Server::start().await;
    let cookie = server.sign_in().await;
    let id = server.submit_endless("busy", 1).await;
    let path = format!("/jobs/{id}/delete");
    let asked = server.post_form(&cookie, &path, &[]).await;
    assert_eq!(led_to(&asked).0, format!("/jobs/{id}/delete?force=1"));
    assert_eq!(server.job(&id).await["phase"], "in_progress");
    // What was ticked is ticked again.
    let kept = server.post_form(&cookie, &path, &[("keep_files", "true")]).await;
    let (place, _) = led_to(&kept);
    assert_eq!(place, format!("/jobs/{id}/delete?force=1&keep_files=1"));
    let ticked = async |place: &str| {
        let page = server.send(server.bare("GET", place).header("cookie", &cookie)).await.text();
        let box_ = page.split("name=\"keep_files\"").nth(1).unwrap().split('>').next().unwrap().to_owned();
        box_.contains("checked")
    };
    assert!(ticked(&place).await);
    assert!(!ticked(&format!("/jobs/{id}/delete?force=1")).await);
    let forced = server.post_form(&cookie, &path, &[("force", "true")]).await;
    assert_eq!(led_to(&forced), ("/jobs".to_owned(), "Job deleted successfully".to_owned()));
    let retried = server.post_form(&cookie, &format!("/removals/{id}/retry"), &[]).await;
    assert_eq!(led_to(&retried).0, format!("/removals/{id}"));
}

#[tokio::test]
async fn a_refused_form_is_shown_again_with_its_status() {
    let server = Server::start().await;
    let cookie = server.sign_in().await;
    let id = server.submit_endless("refused", 1).await;
    let refused = server.post_form(&cookie, &format!("/jobs/{id}/cancel"), &[("reason", &"x".repeat(501))]).await;
    assert_eq!(refused.status, 422);
    assert!(refused.header("content-type").unwrap().starts_with("text/html"));
    assert_eq!(server.job(&id).await["phase"], "in_progress");
    // A form without a page of its own leads back to the page of its button, with the problem as a message.
    let (place, told) = led_to(&server.post_form(&cookie, &format!("/jobs/{id}/rerun"), &[]).await);
    assert_eq!(place, format!("/jobs/{id}"));
    assert!(told.contains("still active"), "{told}");
}

#[tokio::test]
async fn a_job_is_submitted_and_run_again_with_plain_forms() {
    let server = Server::start().await;
    let cookie = server.sign_in().await;
    let inputs = server.inputs("below", 1);
    let send = async |form: Form| {
        let request = server.bare("POST", "/jobs/new").header("cookie", &cookie);
        server.send(request.header("origin", format!("http://{}", server.address())).multipart(form)).await
    };
    let form = Form::new()
        .text("name", "By hand")
        .text("kind", "files")
        .text("preset", "")
        .text("command", "sh -c 'test -s \"$BELAY_FILE\"'")
        .text("inputs", format!("{inputs}\r\n"))
        .text("parallel", "1")
        .text("timeout_s", "")
        .part("files", Part::bytes("up".as_bytes()).file_name("up.txt"));
    let (place, _) = led_to(&send(form).await);
    let id = place.strip_prefix("/jobs/").unwrap().to_owned();
    let job = server.wait_phase(&id, "completed").await;
    assert_eq!(
        (&job["name"], &job["progress"]["total"], &job["created_by"]),
        (&json!("By hand"), &json!(2), &json!("operator"))
    );
    let again = server.post_form(&cookie, &format!("/jobs/{id}/rerun"), &[("units", "all")]).await;
    let (place, _) = led_to(&again);
    assert_eq!(server.job(place.strip_prefix("/jobs/").unwrap()).await["rerun_of"], id);
    // No file chosen: a browser sends an empty part.
    let empty = Form::new()
        .text("name", "Nothing")
        .text("preset", "sha256")
        .part("files", Part::bytes(Vec::new()).file_name(""));
    let refused = send(empty).await;
    assert_eq!(refused.status, 422, "{}", refused.text());
    assert_eq!(server.get("/api/jobs?q=Nothing").await.body["items"], json!([]));
}

#[tokio::test]
async fn a_post_without_a_session_leads_to_sign_in_and_changes_nothing() {
    let server = Server::start().await;
    let id = server.submit_done("safe").await;
    let answer = server.post_form("", &format!("/jobs/{id}/delete"), &[("force", "true")]).await;
    assert_eq!(led_to(&answer).0, format!("/sign-in?next=%2Fjobs%2F{id}%2Fdelete"));
    assert_eq!(server.job(&id).await["phase"], "completed");
}

#[tokio::test]
async fn a_message_is_shown_once() {
    let server = Server::start().await;
    let cookie = server.sign_in().await;
    let id = server.submit_done("once").await;
    let deleted = server.post_form(&cookie, &format!("/jobs/{id}/delete"), &[]).await;
    let both = format!("{cookie}; {}", deleted.cookies());
    let page = server.send(server.bare("GET", "/jobs").header("cookie", both)).await;
    let cleared = page.header("set-cookie").unwrap();
    assert!(cleared.contains("_flash=;") && cleared.contains("Max-Age=0"), "{cleared}");
}

/// What the browser takes over is the first answer to a page's question: were it asked again, the HTML would show
/// another one than the browser believes, and hydration would break on a job that moves.
#[tokio::test]
async fn each_page_asks_for_its_content_once() {
    let server = Server::start().await;
    let cookie = server.sign_in().await;
    let id = server.submit_endless("busy", 1).await;
    let pages = ["/jobs", "/jobs/new", "/removals", "/audit", "/bulk/new?action=cancel&all=true"].map(str::to_owned);
    let of_job = ["", "/cancel", "/delete"].map(|question| format!("/jobs/{id}{question}"));
    for path in pages.into_iter().chain(of_job) {
        let page = server.send(server.bare("GET", &path).header("cookie", &cookie)).await.text();
        // Who is signed in, and the content.
        assert_eq!(page.matches("__RESOLVED_RESOURCES[").count(), 2, "{path}");
    }
}

#[tokio::test]
async fn many_jobs_are_asked_about_and_acted_on_with_plain_forms() {
    let server = Server::start().await;
    let cookie = server.sign_in().await;
    let page = async |path: &str| server.send(server.bare("GET", path).header("cookie", &cookie)).await;
    let post = async |path: &str, fields: &[(&str, &str)]| server.post_form(&cookie, path, fields).await;
    let done = server.submit_done("done").await;
    let (one, two) = (server.submit_endless("one", 1).await, server.submit_endless("two", 1).await);
    let list = page("/jobs").await.text();
    for part in
        [format!("name=\"job\" value=\"{one}\""), format!("{two},{one},{done}"), "action=\"/bulk/new\"".to_owned()]
    {
        assert!(list.contains(&part), "{part}");
    }

    // Cancel, by ticked boxes.
    let question = format!("/bulk/new?action=cancel&job={one}&job={done}&page={one},{two}");
    let asked = page(&question).await;
    assert_eq!(asked.status, 200);
    for part in ["Cancel 2 Jobs?", "Will be cancelled", "Have ended already", "Confirm Cancellation"] {
        assert!(asked.text().contains(part), "{part}");
    }
    assert!(!asked.text().contains("name=\"number\""), "two jobs need no number");
    let more = post(&question, &[("shown", "1")]).await;
    assert_eq!(more.status, 422);
    assert!(more.text().contains("This would reach 2 jobs by now, not 1."), "{}", more.text());
    assert_eq!(server.job(&one).await["phase"], "in_progress");
    let (place, _) = led_to(&post(&question, &[("shown", "2"), ("reason", "line\r\ntwo")]).await);
    assert!(place.starts_with("/bulk/") && place.len() > 20, "{place}");
    server.wait_phase(&one, "cancelled").await;
    assert_eq!(server.wait_phase(&two, "cancelled").await["cancellation"]["notes"], "line\ntwo");
    let nothing = post(&question, &[("shown", "2")]).await;
    assert_eq!(nothing.status, 422, "there is nothing left to cancel");

    // Delete, by the filter, with force: the number is wanted.
    let active = server.submit_endless("active", 1).await;
    let without = page("/bulk/new?action=delete&all=true&phase=active,cancelled").await.text();
    assert!(without.contains("Delete 2 Jobs?") && without.contains("Stop 1 active job first"), "{without}");
    let question = "/bulk/new?action=delete&all=true&phase=active,cancelled&force=true";
    assert!(page(question).await.text().contains("name=\"number\""));
    for number in ["", "2"] {
        let refused = post(question, &[("shown", "3"), ("number", number)]).await;
        assert_eq!(refused.status, 422);
        assert!(refused.text().contains("Type 3, the number of jobs, to confirm."), "{}", refused.text());
    }
    assert_eq!(server.job(&active).await["phase"], "in_progress");
    let (place, _) = led_to(&post(question, &[("shown", "3"), ("number", "3")]).await);
    let bulk = format!("/api{place}?wait=10s");
    while server.get(&bulk).await.body["state"] == "running" {}
    for id in [&one, &two, &active] {
        assert_eq!(server.get(&format!("/api/jobs/{id}")).await.status, 404);
    }
    assert_eq!(server.job(&done).await["phase"], "completed", "the filter did not name it");

    for wrong in ["/bulk/new", "/bulk/new?action=stop", "/bulk/new?action=cancel&job=x"] {
        assert_eq!(page(wrong).await.status, 400, "{wrong}");
        assert_eq!(post(wrong, &[]).await.status, 400, "{wrong}");
    }
}
