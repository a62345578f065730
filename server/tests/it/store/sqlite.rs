//! The suite, held against SQLite.

use std::sync::Arc;

use belay_server::store::sqlite::SqliteStore;

use super::fixture::Fixture;

async fn fixture() -> Fixture {
    let folder = tempfile::tempdir().unwrap();
    let store = SqliteStore::open(&folder.path().join("belay.db")).await.unwrap();
    Fixture::new(Arc::new(store), Box::new(folder)).await
}

super::suite!(fixture);
