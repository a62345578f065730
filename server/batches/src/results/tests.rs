use std::fs;

use serde_json::{Value, json};

use super::*;

/// A folder with requests and results, and what a join makes of them.
struct Scene {
    folder: tempfile::TempDir,
    outputs: Vec<PathBuf>,
}

impl Scene {
    fn new(requests: &[Value], outputs: &[&[String]]) -> Scene {
        let folder = tempfile::tempdir().unwrap();
        let text: String = requests.iter().map(|request| format!("{request}\n")).collect();
        fs::write(folder.path().join("requests"), text).unwrap();
        let write = |(index, lines): (usize, &&[String])| {
            let path = folder.path().join(format!("output{index}"));
            fs::write(&path, lines.iter().map(|line| format!("{line}\n")).collect::<String>()).unwrap();
            path
        };
        let outputs = outputs.iter().enumerate().map(write).collect();
        Scene { folder, outputs }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn text(&self, name: &str) -> String {
        fs::read_to_string(self.path(name)).unwrap()
    }

    fn join_as(&self, requests: Option<&Path>, unanswered: RowStatus) -> (Totals, Vec<Row>) {
        let (rows, table, remaining) = (self.path("rows"), self.path("table"), self.path("remaining"));
        let what =
            Join { requests, outputs: &self.outputs, unanswered, rows: &rows, table: &table, remaining: &remaining };
        let totals = join(&what, &AtomicBool::new(false)).unwrap();
        let rows = self.text("rows").lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        (totals, rows)
    }

    fn join(&self) -> (Totals, Vec<Row>) {
        self.join_as(Some(&self.path("requests")), RowStatus::Missing)
    }
}

fn request(id: &str) -> Value {
    json!({"custom_id": id, "method": "POST", "url": "/v1/chat/completions", "body": {"model": "m"}})
}

fn success(id: &str, text: &str) -> String {
    json!({"id": "batch_req_1", "custom_id": id, "error": null, "response": {"status_code": 200, "request_id": "r", "body": {
        "choices": [{"message": {"role": "assistant", "content": text}}],
        "usage": {"prompt_tokens": 10, "completion_tokens": 3, "total_tokens": 13}
    }}})
    .to_string()
}

fn error(id: &str, code: &str) -> String {
    json!({"custom_id": id, "response": null, "error": {"code": code, "message": "m"}}).to_string()
}

#[test]
fn results_in_any_order_meet_their_requests() {
    let requests = ["a", "b", "c", "d", "e"].map(request);
    let failed = json!({"custom_id": "e", "error": null,
        "response": {"status_code": 400, "body": {"error": {"message": "too long", "code": null}}}});
    let scene = Scene::new(
        &requests,
        &[
            &[success("c", "Third."), success("a", " First\n\nof all ")],
            &[error("b", "batch_expired"), failed.to_string()],
        ],
    );
    let (totals, rows) = scene.join_as(Some(&scene.path("requests")), RowStatus::Cancelled);
    let seen: Vec<_> = rows.iter().map(|row| (row.id.as_str(), row.status)).collect();
    assert_eq!(
        seen,
        [
            ("a", RowStatus::Succeeded),
            ("b", RowStatus::Expired),
            ("c", RowStatus::Succeeded),
            ("d", RowStatus::Cancelled),
            ("e", RowStatus::Failed)
        ]
    );
    assert_eq!(rows[0].first_words.as_deref(), Some("First of all"));
    assert_eq!((rows[0].input_tokens, rows[0].output_tokens, rows[0].http_status), (Some(10), Some(3), Some(200)));
    assert_eq!((rows[4].error.as_deref(), rows[4].http_status), (Some("too long"), Some(400)));
    assert_eq!(rows[1].error.as_deref(), Some("batch_expired: m"));
    assert_eq!(totals.usage, Some(Usage { input_tokens: 20, cached_tokens: 0, output_tokens: 6 }));
    assert_eq!((totals.requests(), totals.succeeded, totals.remaining(), totals.with_usage), (5, 2, 3, 2));
    let remaining: String = [1, 3, 4].map(|index: usize| format!("{}\n", requests[index])).concat();
    assert_eq!(scene.text("remaining"), remaining, "byte for byte what was sent");
    let table = scene.text("table");
    assert_eq!(table.lines().nth(1), Some("a,succeeded,200,10,3,First of all,"));
    assert_eq!(table.lines().nth(4), Some("d,cancelled,,,,,"));
}

#[test]
fn unknown_ids_repeats_and_garbage_are_counted_and_harm_nobody() {
    let lines = [
        error("a", "server_error"),
        success("a", "better"),
        success("a", "again"),
        success("stranger", "?"),
        "{broken".to_owned(),
        String::new(),
        "[]".to_owned(),
        json!({"response": {"status_code": 200}}).to_string(),
    ];
    let scene = Scene::new(&["a", "b"].map(request), &[&lines]);
    let (totals, rows) = scene.join();
    assert_eq!((totals.unknown, totals.repeated, totals.strangers(), totals.unreadable), (1, 2, 3, 3));
    assert_eq!(rows[0].first_words.as_deref(), Some("better"), "a success before a failure, else the first");
    assert_eq!(rows[1].status, RowStatus::Missing);
    assert_eq!(totals.requests(), 2);
}

#[test]
fn a_body_may_be_text() {
    let body = json!({"output": [{"type": "message", "content": [{"type": "output_text", "text": "Yes"}]}],
        "usage": {"input_tokens": 4, "input_tokens_details": {"cached_tokens": 2}, "output_tokens": 1}});
    let line = json!({"custom_id": "a", "response": {"status_code": 200, "body": body.to_string()}});
    let (totals, rows) = Scene::new(&[request("a")], &[&[line.to_string()]]).join();
    assert_eq!((rows[0].status, rows[0].first_words.as_deref()), (RowStatus::Succeeded, Some("Yes")));
    assert_eq!(totals.usage, Some(Usage { input_tokens: 4, cached_tokens: 2, output_tokens: 1 }));
}

#[test]
fn a_line_of_gemini_is_read() {
    let requests = ["a", "b", "c", "d"].map(|key| json!({"key": key, "request": {"contents": [{}]}}));
    let parts = json!([{"text": "hm", "thought": true}, {"text": "Lamps."}]);
    let lines = [
        json!({"key": "a", "response": {"candidates": [{"content": {"parts": parts}}], "usageMetadata":
            {"promptTokenCount": 5, "candidatesTokenCount": 1373, "thoughtsTokenCount": 1582, "totalTokenCount": 2960}}}),
        json!({"metadata": {"key": "b"}, "error": {"code": 3, "message": "bad", "status": "INVALID_ARGUMENT"}}),
        json!({"key": "c", "response": {"promptFeedback": {"blockReason": "SAFETY"}, "usageMetadata": {"promptTokenCount": 5}}}),
        json!({"key": "d", "error": {"code": 1, "message": "cancelled"}}),
    ];
    let (totals, rows) = Scene::new(&requests, &[&lines.map(|line| line.to_string())]).join();
    let statuses = rows.iter().map(|row| row.status).collect::<Vec<_>>();
    assert_eq!(statuses, [RowStatus::Succeeded, RowStatus::Failed, RowStatus::Failed, RowStatus::Cancelled]);
    assert_eq!((rows[0].first_words.as_deref(), rows[0].output_tokens), (Some("Lamps."), Some(1373 + 1582)));
    assert_eq!(rows[1].error.as_deref(), Some("INVALID_ARGUMENT: bad"));
    assert_eq!(rows[2].error.as_deref(), Some("blocked: SAFETY"));
    assert_eq!(totals.usage.unwrap().input_tokens, 10);
}

#[test]
fn what_says_nothing_of_tokens_has_unknown_usage() {
    let line = json!({"custom_id": "a", "response": {"status_code": 200, "body": {"data": [{"embedding": [0.5]}]}}});
    let (totals, rows) = Scene::new(&[request("a")], &[&[line.to_string()]]).join();
    assert_eq!((totals.usage, rows[0].input_tokens, rows[0].status), (None, None, RowStatus::Succeeded));
}

#[test]
fn without_requests_each_result_is_a_row() {
    let scene = Scene::new(&[], &[&[success("b", "x"), success("a", "y"), error("c", "batch_cancelled")]]);
    let (totals, rows) = scene.join_as(None, RowStatus::Missing);
    assert_eq!(rows.iter().map(|row| row.id.as_str()).collect::<Vec<_>>(), ["b", "a", "c"]);
    assert_eq!((totals.succeeded, totals.cancelled, totals.unknown), (2, 1, 0));
    assert_eq!(scene.text("remaining"), "");
}

#[test]
fn a_long_answer_is_cut_between_characters() {
    let (_, rows) = Scene::new(&[request("a")], &[&[success("a", &"ä".repeat(500))]]).join();
    assert_eq!(rows[0].first_words, Some(format!("{}…", "ä".repeat(120))));
    let (_, rows) = Scene::new(&[request("a")], &[&[success("a", &"word ".repeat(500))]]).join();
    assert_eq!(rows[0].first_words, Some(format!("{}…", "word ".repeat(24).trim_end())));
}

#[test]
fn a_status_code_may_be_a_text() {
    let with = |id: &str, code: Value| {
        json!({"custom_id": id, "response": {"status_code": code, "body": {"choices": []}}}).to_string()
    };
    let lines = [with("a", json!("200")), with("b", json!("500")), with("c", json!(200.0)), with("d", json!(null))];
    let (totals, rows) = Scene::new(&["a", "b", "c", "d"].map(request), &[&lines]).join();
    assert_eq!((totals.unreadable, totals.readable, totals.succeeded, totals.failed), (0, 4, 3, 1));
    assert_eq!(rows.iter().map(|row| row.http_status).collect::<Vec<_>>(), [Some(200), Some(500), Some(200), None]);
    // A failure gives way to a success wherever it stands: both are told apart before they are read whole.
    let twice = [with("a", json!("500")), with("a", json!("200"))];
    let (totals, rows) = Scene::new(&[request("a")], &[&twice]).join();
    assert_eq!((totals.repeated, rows[0].status), (1, RowStatus::Succeeded));
}

#[test]
fn a_page_instead_of_results_has_no_line_that_can_be_read() {
    let page = ["<html>".to_owned(), "<p>Please sign in</p>".to_owned()];
    let (totals, _) = Scene::new(&[request("a")], &[&page]).join();
    assert_eq!((totals.unreadable, totals.readable, totals.missing), (2, 0, 1));
}
