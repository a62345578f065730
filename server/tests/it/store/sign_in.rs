//! Links, sessions, tokens.

use app::model::AuditAction;
use belay_server::store::{ApiToken, Session};

use super::fixture::Fixture;

pub(crate) async fn a_sign_in_link_works_once_and_in_time(f: Fixture) {
    let now = f.now();
    f.store.add_sign_in_link("one", now.plus_millis(1_000)).await.unwrap();
    f.store.add_sign_in_link("old", now.plus_millis(10)).await.unwrap();
    assert!(f.store.use_sign_in_link("one", now).await.unwrap());
    assert!(!f.store.use_sign_in_link("one", now).await.unwrap());
    assert!(!f.store.use_sign_in_link("old", now.plus_millis(10)).await.unwrap());
    assert!(!f.store.use_sign_in_link("unknown", now).await.unwrap());
}

pub(crate) async fn a_session_lives_until_it_expires_or_is_ended(f: Fixture) {
    let now = f.now();
    let session = |hash: &str, millis| Session {
        hash: hash.to_owned(),
        actor: "mara".to_owned(),
        created_at: now,
        expires: now.plus_millis(millis),
        token: None,
    };
    f.store.add_session(&session("a", 100)).await.unwrap();
    f.store.add_session(&session("b", 200)).await.unwrap();
    assert_eq!(f.store.session("a", now).await.unwrap(), Some(session("a", 100)));
    assert_eq!(f.store.session("a", now.plus_millis(100)).await.unwrap(), None);
    f.store.forget_expired(now.plus_millis(100)).await.unwrap();
    assert_eq!(f.store.session("a", now).await.unwrap(), None, "forgotten");
    f.store.end_session("b").await.unwrap();
    assert_eq!(f.store.session("b", now).await.unwrap(), None);
}

pub(crate) async fn a_token_is_known_until_it_is_revoked_and_its_sessions_end_with_it(f: Fixture) {
    let token = ApiToken {
        name: "token:ci".to_owned(),
        hash: "abc".to_owned(),
        created_at: f.now(),
        created_by: "mara".to_owned(),
    };
    let event = |action| f.event(action, None);
    f.store.add_token(&token, event(AuditAction::CreateToken)).await.unwrap();
    let with_it = Session {
        hash: "s".to_owned(),
        actor: "mara".to_owned(),
        created_at: f.now(),
        expires: f.now().plus_millis(1_000),
        token: Some("abc".to_owned()),
    };
    let by_link = Session { hash: "l".to_owned(), token: None, ..with_it.clone() };
    f.store.add_session(&with_it).await.unwrap();
    f.store.add_session(&by_link).await.unwrap();
    assert_eq!(f.store.token("abc").await.unwrap(), Some(token.clone()));
    assert_eq!(f.store.token("abd").await.unwrap(), None);
    assert_eq!(f.store.tokens().await.unwrap(), [token]);
    assert!(f.store.revoke_token("token:ci", event(AuditAction::RevokeToken)).await.unwrap());
    assert!(!f.store.revoke_token("token:ci", event(AuditAction::RevokeToken)).await.unwrap());
    assert_eq!(f.store.token("abc").await.unwrap(), None);
    assert_eq!(f.store.session("s", f.now()).await.unwrap(), None, "it ends with its token");
    assert_eq!(f.store.session("l", f.now()).await.unwrap(), Some(by_link));
    let told = f.store.audit_events(None, 10).await.unwrap().items;
    let actions: Vec<AuditAction> = told.iter().map(|event| event.action).collect();
    assert_eq!(actions, [AuditAction::RevokeToken, AuditAction::CreateToken], "once each, newest first");
}
