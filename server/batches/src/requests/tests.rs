use super::*;

fn check_text(shape: Shape, text: impl AsRef<[u8]>) -> Checked {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("requests.jsonl");
    std::fs::write(&path, text).unwrap();
    check(&path, &Rules::of(shape), &AtomicBool::new(false)).unwrap()
}

fn line(id: &str) -> String {
    chat(id, "gpt-4o-mini", r#","max_tokens":10"#)
}

fn chat(id: &str, model: &str, more: &str) -> String {
    format!(
        r#"{{"custom_id":"{id}","method":"POST","url":"/v1/chat/completions","body":{{"model":"{model}","messages":[{{"role":"user","content":"12345678"}}]{more}}}}}"#
    )
}

fn messages(checked: &Checked) -> Vec<String> {
    checked.faults.iter().map(ToString::to_string).collect()
}

#[test]
fn a_good_file_is_summed_up() {
    let checked = check_text(Shape::Openai, format!("{}\r\n{}\n\n", line("a"), line("b")));
    assert_eq!(messages(&checked), [""; 0]);
    assert!(checked.is_sendable());
    assert_eq!((checked.requests, checked.input_tokens, checked.max_output_tokens), (2, 4, Some(20)));
    assert_eq!(checked.model.as_deref(), Some("gpt-4o-mini"));
    assert_eq!(checked.endpoint.as_deref(), Some("/v1/chat/completions"));
}

#[test]
fn every_fault_is_told_with_its_line() {
    let good = line("a");
    for (bad, expected) in [
        ("nonsense".to_owned(), "line 2: is no JSON object."),
        ("[1]".to_owned(), "line 2: is no JSON object."),
        ("{\"custom_id\":".to_owned(), "line 2: is no JSON: EOF while parsing a value (column 13)."),
        ("{\"a\":1}{\"a\":2}".to_owned(), "line 2: is no JSON: trailing characters (column 8)."),
        ("{}".to_owned(), "line 2: has no `custom_id`."),
        (line("b").replace("custom_id", "key"), "line 2: has no `custom_id`."),
        (
            line("b").replace("\"b\"", "7"),
            "line 2: cannot be used: invalid type: integer `7`, expected a string (column 14).",
        ),
        (line("b").replace("POST", "GET"), "line 2: `method` is `GET`, not `POST`."),
        (line("b").replace(r#""method":"POST","#, ""), "line 2: has no `method`."),
        (line("b").replace("gpt-4o-mini", ""), "line 2: `body` has no `model`."),
        (line("b").replace("\"body\"", "\"bodi\""), "line 2: has no `body`."),
        (line("a"), "line 2: `custom_id` `a` is that of line 1 already."),
        (
            chat("b", "gpt-5", r#","max_tokens":1"#),
            "line 2: names the model `gpt-5`, lines before it `gpt-4o-mini`: a batch has one.",
        ),
        (
            line("b").replace("/v1/chat/completions", "/v1/responses"),
            "line 2: names the endpoint `/v1/responses`, lines before it `/v1/chat/completions`: a batch has one.",
        ),
        (String::new(), "line 2: is blank."),
    ] {
        let checked = check_text(Shape::Openai, format!("{good}\n{bad}\n{}\n", line("z")));
        assert_eq!(messages(&checked), [expected], "{bad}");
        assert!(!checked.is_sendable());
    }
    let unknown = check_text(Shape::Openai, line("b").replace("/v1/chat/completions", "/v1/chat"));
    assert!(messages(&unknown)[0].starts_with("line 1: `url` is `/v1/chat`; batches are for /v1/responses, "));
}

#[test]
fn text_that_is_not_utf_8_is_a_fault_of_its_line() {
    let checked = check_text(Shape::Openai, [line("a").as_bytes(), b"\n{\"custom_id\":\"\xff\"}\n"].concat());
    assert!(messages(&checked)[0].starts_with("line 2: is no JSON: invalid unicode"), "{:?}", checked.faults);
}

#[test]
fn a_file_of_nothing_is_no_batch() {
    for text in ["", "\n", "\r\n\r\n"] {
        assert_eq!(messages(&check_text(Shape::Openai, text)), ["The file has no requests."]);
    }
}

#[test]
fn a_byte_order_mark_is_named() {
    let expected = "line 1: begins with a byte order mark. Save the file as UTF-8 without one.";
    assert_eq!(messages(&check_text(Shape::Openai, format!("\u{feff}{}", line("a")))), [expected]);
    let wide: Vec<u8> = format!("\u{feff}{}", line("a")).encode_utf16().flat_map(u16::to_le_bytes).collect();
    assert_eq!(messages(&check_text(Shape::Openai, wide)), [expected]);
}

#[test]
fn a_line_of_50_megabytes_is_a_fault_and_no_burden() {
    let long = line("b").replace("12345678", &"x".repeat(50 << 20));
    let checked = check_text(Shape::Openai, format!("{}\n{long}\n{}\n", line("a"), line("c")));
    assert_eq!(messages(&checked), ["line 2: is longer than 32 MB."]);
    assert_eq!(checked.requests, 3);
}

#[test]
fn a_file_is_held_to_the_providers_limits() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("requests.jsonl");
    std::fs::write(&path, format!("{}\n{}\n{}\n", line("a"), line("b"), line("c"))).unwrap();
    let check_with = |rules: Rules| messages(&check(&path, &rules, &AtomicBool::new(false)).unwrap());
    let many = check_with(Rules { max_requests: 2, ..Rules::of(Shape::Openai) });
    assert_eq!(many, ["The file has 3 requests; the provider takes at most 2 in a batch."]);
    let large = check_with(Rules { max_bytes: 10, ..Rules::of(Shape::Openai) });
    assert_eq!(large, ["The file has 1 MB; the provider takes at most 1 MB."]);
}

#[test]
fn of_many_faults_the_first_hundred_are_kept_and_all_are_counted() {
    let checked = check_text(Shape::Openai, "x\n".repeat(250));
    assert_eq!((checked.faults.len(), checked.fault_count), (100, 250));
}

#[test]
fn without_a_bound_on_every_line_there_is_none() {
    let open = line("b").replace(r#","max_tokens":10"#, "");
    assert_eq!(check_text(Shape::Openai, format!("{}\n{open}\n", line("a"))).max_output_tokens, None);
    let two = line("a").replace(r#""max_tokens":10"#, r#""max_completion_tokens":10,"n":2"#);
    assert_eq!(check_text(Shape::Openai, two).max_output_tokens, Some(20));
}

#[test]
fn texts_to_embed_are_counted_and_have_no_answer_in_tokens() {
    let embed = |input: &str| {
        let body = format!(r#"{{"model":"text-embedding-3-small","input":{input}}}"#);
        format!(r#"{{"custom_id":"a","method":"POST","url":"/v1/embeddings","body":{body}}}"#)
    };
    let rules = Rules { max_embeddings: 2, ..Rules::of(Shape::Openai) };
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("requests.jsonl");
    for (input, texts) in
        [("\"one\"", 1), ("[\"one\",\"two\"]", 2), ("[1,2,3,4]", 1), ("[[1,2],[3],[4]]", 3), ("[\"1\",\"2\",\"3\"]", 3)]
    {
        std::fs::write(&path, embed(input)).unwrap();
        let checked = check(&path, &rules, &AtomicBool::new(false)).unwrap();
        assert_eq!(checked.is_sendable(), texts <= 2, "{input}: {:?}", checked.faults);
        if texts <= 2 {
            assert_eq!(checked.max_output_tokens, Some(0));
        }
    }
}

#[test]
fn pictures_are_no_text() {
    let picture = r#"[{"type":"text","text":"1234"},{"type":"image_url","image_url":{"url":"data:image/png;base64,AAAAAAAAAAAAAAAAAAAAAAAAA"}}]"#;
    let checked = check_text(Shape::Openai, line("a").replace("\"12345678\"", picture));
    assert_eq!(checked.input_tokens, 1, "{:?}", checked.faults);
}

#[test]
fn a_file_for_gemini_has_its_own_shape() {
    let line = |key: &str| {
        let config = r#""generationConfig":{"maxOutputTokens":5}"#;
        format!(r#"{{"key":"{key}","request":{{"contents":[{{"parts":[{{"text":"12345678"}}]}}],{config}}}}}"#)
    };
    let checked = check_text(Shape::Gemini, format!("{}\n{}\n", line("a"), line("b")));
    assert_eq!(messages(&checked), [""; 0]);
    assert_eq!((checked.input_tokens, checked.max_output_tokens), (4, Some(10)));
    assert_eq!((checked.model, checked.endpoint.as_deref()), (None, Some("generateContent")));
    for (bad, expected) in [
        (line("a"), "line 2: `key` `a` is that of line 1 already."),
        (r#"{"request":{"contents":[{}]}}"#.to_owned(), "line 2: has no `key`."),
        (r#"{"key":"b"}"#.to_owned(), "line 2: has no `request`."),
        (r#"{"key":"b","request":{}}"#.to_owned(), "line 2: `request` has no `contents`."),
        (r#"{"key":"b","request":{"contents":[]}}"#.to_owned(), "line 2: `request` has empty contents."),
        (
            r#"{"key":"b","request":{"content":{"parts":[{"text":"x"}]}}}"#.to_owned(),
            "line 2: names the endpoint `embedContent`, lines before it `generateContent`: a batch has one.",
        ),
    ] {
        assert_eq!(messages(&check_text(Shape::Gemini, format!("{}\n{bad}\n", line("a")))), [expected], "{bad}");
    }
}

#[test]
fn a_check_stops_when_it_is_told_to() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("requests.jsonl");
    std::fs::write(&path, "x\n".repeat(1000)).unwrap();
    let stopped = check(&path, &Rules::of(Shape::Openai), &AtomicBool::new(true));
    assert!(matches!(stopped, Err(ReadError::Stopped)));
}
