//! The suite, held against SQLite.

use std::sync::Arc;

use app::model::Phase;
use belay_server::store::sqlite::SqliteStore;

use super::fixture::Fixture;

async fn fixture() -> Fixture {
    let folder = tempfile::tempdir().unwrap();
    let store = SqliteStore::open(&folder.path().join("belay.db")).await.unwrap();
    Fixture::new(Arc::new(store), Box::new(folder)).await
}

super::suite!(fixture);

/// The generated columns of the migration name phases that only [`Phase`] may define.
#[tokio::test]
async fn the_phases_in_the_tables_are_those_of_the_model() {
    let schema = include_str!("../../../src/store/sqlite/migrations/0001_first.sql");
    let listed = |phases: &[Phase]| {
        let words: Vec<String> = phases.iter().map(|phase| format!("'{phase}'")).collect();
        format!("phase IN ({})", words.join(", "))
    };
    let active: Vec<Phase> = Phase::CLAIMABLE.into_iter().filter(|phase| *phase != Phase::Pending).collect();
    assert!(schema.contains(&listed(&Phase::CLAIMABLE)));
    assert!(schema.contains(&listed(&active)));
}
