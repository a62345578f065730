//! Links, sessions, tokens.

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

pub(crate) async fn a_token_is_known_until_it_is_revoked(f: Fixture) {
    let token = ApiToken {
        name: "token:ci".to_owned(),
        hash: "abc".to_owned(),
        created_at: f.now(),
        created_by: "mara".to_owned(),
    };
    f.store.add_token(&token).await.unwrap();
    assert_eq!(f.store.token("abc").await.unwrap(), Some(token.clone()));
    assert_eq!(f.store.token("abd").await.unwrap(), None);
    assert_eq!(f.store.tokens().await.unwrap(), [token]);
    assert!(f.store.revoke_token("token:ci").await.unwrap());
    assert!(!f.store.revoke_token("token:ci").await.unwrap());
    assert_eq!(f.store.token("abc").await.unwrap(), None);
}
