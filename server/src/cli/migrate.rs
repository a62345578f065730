//! `belay migrate`: the tables of a database brought up to date without starting the server. (A start does it too.)

use anyhow::{Context as _, Result};

use super::MigrateArgs;
use crate::{data::DataFolder, store::sqlite::SqliteStore};

pub(super) fn migrate(args: MigrateArgs) -> Result<()> {
    // Takes the lock: a server that runs on this folder keeps its tables.
    let data = DataFolder::open(&args.data.folder()?)?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().context("cannot start")?;
    runtime.block_on(async {
        let store = SqliteStore::open(&data.database()).await.context("cannot open the database")?;
        store.close().await;
        anyhow::Ok(())
    })?;
    eprintln!("The database in `{}` is up to date.", data.root().display());
    Ok(())
}
