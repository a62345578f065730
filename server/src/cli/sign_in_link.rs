//! `belay sign-in-link`: another one-time link, made in the database of a server that may be running.

use anyhow::{Context as _, Result, ensure};

use super::{SignInLinkArgs, serve::ADDRESS_FILE};
use crate::{http, store::sqlite::SqliteStore};

pub(super) fn print(args: SignInLinkArgs) -> Result<()> {
    let data = args.data.folder()?;
    let database = data.join("belay.db");
    ensure!(database.exists(), "there is no Belay in `{}`: start `belay serve` with it first", data.display());
    let base_url =
        std::fs::read_to_string(data.join(ADDRESS_FILE)).unwrap_or_else(|_| "http://127.0.0.1:8080".to_owned());
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().context("cannot start")?;
    let link = runtime.block_on(async {
        let store = SqliteStore::open(&database).await.context("cannot open the database")?;
        let link = http::new_sign_in_link(&store, base_url.trim()).await.context("cannot make a sign-in link");
        store.close().await;
        link
    })?;
    println!("{link}");
    Ok(())
}
