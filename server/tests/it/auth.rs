//! SPEC, section 10: who may, and from where.

use serde_json::json;

use crate::harness::{Server, TOKEN, program};

#[tokio::test]
async fn without_a_token_or_session_the_api_is_closed_and_probes_are_open() {
    let server = Server::start().await;
    let id = server.submit_done("closed").await;
    for (method, path) in [
        ("GET", "/api/jobs".to_owned()),
        ("POST", "/api/jobs".to_owned()),
        ("GET", format!("/api/jobs/{id}")),
        ("DELETE", format!("/api/jobs/{id}?force=true")),
        ("GET", format!("/api/jobs/{id}/units")),
        ("GET", format!("/api/jobs/{id}/log")),
        ("GET", format!("/api/jobs/{id}/artifacts")),
        ("GET", format!("/api/jobs/{id}/artifacts/0/000.txt")),
        ("POST", format!("/api/jobs/{id}/cancel")),
        ("POST", format!("/api/jobs/{id}/rerun")),
        ("GET", "/api/removals".to_owned()),
        ("GET", format!("/api/removals/{id}")),
        ("POST", format!("/api/removals/{id}/retry")),
        ("GET", "/api/audit".to_owned()),
        ("GET", "/api/status".to_owned()),
        ("GET", "/api/form-options".to_owned()),
        ("GET", "/api/tokens".to_owned()),
        ("POST", "/api/tokens".to_owned()),
        ("DELETE", "/api/tokens/x".to_owned()),
        ("GET", "/metrics".to_owned()),
    ] {
        let answer = server.send(server.bare(method, &path)).await;
        assert_eq!(answer.problem(), (401, "UNAUTHENTICATED".to_owned()), "{method} {path}");
        let wrong = server.send(server.bare(method, &path).bearer_auth("wrong")).await;
        assert_eq!(wrong.problem(), (401, "UNAUTHENTICATED".to_owned()), "{method} {path}");
    }
    assert_eq!(server.job(&id).await["phase"], "completed");
    for path in ["/healthz", "/readyz", "/api/openapi.json"] {
        assert_eq!(server.send(server.bare("GET", path)).await.status, 200, "{path}");
    }
}

#[tokio::test]
async fn a_page_sends_who_is_not_signed_in_to_the_sign_in_page_and_back() {
    let server = Server::start().await;
    let answer = server.send(server.bare("GET", "/jobs?phase=active")).await;
    assert_eq!(answer.status, 303);
    assert_eq!(answer.header("location").as_deref(), Some("/sign-in?next=%2Fjobs%3Fphase%3Dactive"));
    let link = server.sign_in_link().split_once("link=").unwrap().1.to_owned();
    let signed_in = server.post_form("", "/sign-in", &[("link", &link), ("next", "/jobs?phase=active")]).await;
    assert_eq!((signed_in.status, signed_in.header("location").as_deref()), (303, Some("/jobs?phase=active")));
    let page = server.send(server.bare("GET", "/jobs").header("cookie", signed_in.cookies())).await;
    assert_eq!(page.status, 200);
    assert_eq!(server.get("/jobs").await.status, 200, "a bearer token is good for pages too");
    assert_eq!(server.send(server.bare("GET", "/")).await.status, 303);
}

#[tokio::test]
async fn looking_at_the_sign_in_link_does_not_use_it_up_and_the_button_does() {
    let server = Server::start().await;
    for _ in 0..3 {
        assert_eq!(server.send(server.bare("GET", server.sign_in_link())).await.status, 200);
    }
    let cookie = server.sign_in().await;
    assert!(!cookie.is_empty());
    let link = server.sign_in_link().split_once("link=").unwrap().1.to_owned();
    let again = server.post_form("", "/sign-in", &[("link", &link)]).await;
    assert_eq!(again.status, 401);
    assert_eq!(again.header("set-cookie"), None);
}

#[tokio::test]
async fn a_sign_in_link_can_be_made_while_the_server_runs() {
    let server = Server::start().await;
    let output = tokio::process::Command::new(env!("CARGO_BIN_EXE_belay"))
        .args(["sign-in-link", "--data-dir"])
        .arg(server.data_dir())
        .output()
        .await
        .unwrap();
    let url = String::from_utf8(output.stdout).unwrap();
    assert!(url.starts_with(&format!("http://{}/sign-in?link=", server.address())), "{url}");
    let link = url.trim().split_once("link=").unwrap().1.to_owned();
    assert_eq!(server.post_form("", "/sign-in", &[("link", &link)]).await.status, 303);
}

#[tokio::test]
async fn the_session_cookie_is_out_of_reach_of_scripts_and_other_sites_and_ends_with_sign_out() {
    let server = Server::start().await;
    let answer = server.post_form("", "/sign-in", &[("token", TOKEN)]).await;
    let cookie = answer.header("set-cookie").unwrap();
    let port = server.address().rsplit_once(':').unwrap().1.to_owned();
    assert!(cookie.starts_with(&format!("belay_{port}=")), "{cookie}");
    for part in ["HttpOnly", "SameSite=Lax", "Path=/", "Max-Age=1209600"] {
        assert!(cookie.contains(part), "{cookie}");
    }
    assert!(!cookie.contains(TOKEN));
    let session = answer.cookies();
    assert_eq!(server.send(server.bare("GET", "/api/jobs").header("cookie", &session)).await.status, 200);
    let out = server.post_form(&session, "/sign-out", &[]).await;
    assert_eq!((out.status, out.header("location").as_deref()), (303, Some("/sign-in")));
    assert_eq!(server.send(server.bare("GET", "/api/jobs").header("cookie", &session)).await.status, 401);
    let audit = server.get("/api/audit").await.body;
    let told: Vec<_> =
        audit["items"].as_array().unwrap().iter().map(|e| (e["action"].clone(), e["result"].clone())).collect();
    assert!(
        told.contains(&(json!("sign_in"), json!("ok"))) && told.contains(&(json!("sign_out"), json!("ok"))),
        "{told:?}"
    );
}

#[tokio::test]
async fn a_change_by_cookie_must_come_from_our_own_pages_and_a_bearer_token_need_not() {
    let server = Server::start().await;
    let cookie = server.sign_in().await;
    let id = server.submit_endless("target", 1).await;
    let path = format!("/api/jobs/{id}/cancel");
    let own = format!("http://{}", server.address());
    for (name, value) in [
        ("x-nothing", "y"),
        ("origin", "https://evil.example"),
        ("origin", "null"),
        ("sec-fetch-site", "cross-site"),
        ("referer", "http://evil.example/jobs"),
    ] {
        let request = server.bare("POST", &path).header("cookie", &cookie).header(name, value);
        assert_eq!(server.send(request).await.problem(), (403, "CROSS_ORIGIN".to_owned()), "{name}: {value}");
    }
    let form = server.bare("POST", &format!("/jobs/{id}/delete")).header("cookie", &cookie).header("origin", "null");
    assert_eq!(server.send(form).await.status, 403);
    assert_eq!(server.job(&id).await["phase"], "in_progress");
    let token = server.request("POST", &path).header("origin", "https://evil.example").body("{}");
    assert_eq!(server.send(token).await.status, 200);
    let other = server.submit_endless("other", 1).await;
    let request =
        server.bare("POST", &format!("/api/jobs/{other}/cancel")).header("cookie", &cookie).header("origin", own);
    let answer = server.send(request).await;
    assert_eq!(answer.status, 200, "{}", answer.text());
    assert_eq!(answer.body["requested_by"], "operator");
}

#[tokio::test]
async fn a_host_name_that_is_not_ours_is_refused() {
    let server = Server::start_where("[http]\npublic_url = \"https://belay.example\"\n").await;
    let ask = async |host: &str| server.send(server.request("GET", "/api/jobs").header("host", host)).await;
    assert_eq!(ask("evil.example").await.problem(), (421, "UNKNOWN_HOST".to_owned()));
    assert_eq!(ask("evil.example:80").await.problem().0, 421);
    for host in ["localhost", "127.0.0.1", "belay.example"] {
        assert_eq!(ask(host).await.status, 200, "{host}");
    }
    let secure = server.post_form("", "/sign-in", &[("token", TOKEN)]).await;
    assert!(secure.header("set-cookie").unwrap().contains("; Secure"));
}

#[tokio::test]
async fn a_token_is_shown_once_stored_as_a_hash_and_can_be_revoked() {
    let server = Server::start().await;
    let made = server.post("/api/tokens", &json!({"name": "ci"})).await;
    assert_eq!(made.status, 201, "{}", made.text());
    let secret = made.body["token"].as_str().unwrap().to_owned();
    let with = async |path: &str| server.send(server.bare("GET", path).bearer_auth(&secret)).await;
    let list = with("/api/tokens").await;
    assert_eq!(list.body["items"][0]["name"], "ci");
    assert!(!list.text().contains(&secret));
    for file in std::fs::read_dir(server.data_dir()).unwrap().flatten() {
        let bytes = std::fs::read(file.path()).unwrap_or_default();
        assert!(!bytes.windows(secret.len()).any(|window| window == secret.as_bytes()), "{:?}", file.path());
    }
    for name in ["ci", "operator", "", "two words"] {
        let refused = server.post("/api/tokens", &json!({"name": name})).await;
        assert_eq!(refused.problem(), (422, "INVALID_SPEC".to_owned()), "{name}");
    }
    assert_eq!(server.delete("/api/tokens/ci").await.status, 204);
    assert_eq!(with("/api/tokens").await.status, 401);
    assert_eq!(server.delete("/api/tokens/ci").await.problem(), (404, "NOT_FOUND".to_owned()));
}

#[tokio::test]
async fn who_guesses_is_slowed_down_and_audited() {
    let server = Server::start().await;
    for _ in 0..10 {
        assert_eq!(server.post_form("", "/sign-in", &[("token", "guess")]).await.status, 401);
    }
    assert_eq!(server.post_form("", "/sign-in", &[("token", "guess")]).await.status, 429);
    assert_eq!(server.get("/api/jobs").await.status, 200, "tokens of programs are not slowed down");
    let audit = server.get("/api/audit").await.body;
    let refused =
        audit["items"].as_array().unwrap().iter().filter(|e| e["result"] == "refused: UNAUTHENTICATED").count();
    assert_eq!(refused, 10);
}

#[tokio::test]
async fn a_revoked_token_ends_the_sessions_made_with_it_and_the_audit_tells_both() {
    let server = Server::start().await;
    let made = server.post("/api/tokens", &json!({"name": "kiosk"})).await;
    let secret = made.body["token"].as_str().unwrap().to_owned();
    let by_token = server.post_form("", "/sign-in", &[("token", &secret)]).await.cookies();
    let by_link = server.sign_in().await;
    let with = |cookie: &str| server.send(server.bare("GET", "/api/jobs").header("cookie", cookie.to_owned()));
    assert_eq!((with(&by_token).await.status, with(&by_link).await.status), (200, 200));

    assert_eq!(server.delete("/api/tokens/kiosk").await.status, 204);
    assert_eq!((with(&by_token).await.status, with(&by_link).await.status), (401, 200));

    let audit = server.get("/api/audit").await.body;
    let told = |action: &str| {
        let events = audit["items"].as_array().unwrap().iter().filter(|event| event["action"] == action);
        events
            .map(|event| (event["actor"].clone(), event["detail"].clone(), event["result"].clone()))
            .collect::<Vec<_>>()
    };
    let once = vec![(json!("bootstrap"), json!("kiosk"), json!("ok"))];
    assert_eq!((told("create_token"), told("revoke_token")), (once.clone(), once));
    let page = server.get("/audit").await.text();
    assert!(page.contains("Made an API token") && page.contains("Revoked an API token"), "{page}");
    assert!(!audit.to_string().contains(&secret) && !page.contains(&secret));
}

#[tokio::test]
async fn the_bootstrap_token_may_come_from_a_file() {
    let folder = tempfile::tempdir().unwrap();
    let (token, config) = (folder.path().join("token"), folder.path().join("belay.toml"));
    std::fs::write(&config, "").unwrap();
    std::fs::write(&token, "").unwrap();
    let mut command = program(&folder.path().join("data"), &config);
    command.env_remove("BELAY_BOOTSTRAP_TOKEN").env("BELAY_BOOTSTRAP_TOKEN_FILE", &token);
    let output = command.output().await.unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&output.stderr).contains("is empty"), "{output:?}");
}
