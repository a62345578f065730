//! `belay token …`: API tokens for programs and for the command line elsewhere.

use app::{
    model::Page,
    paths::{self, api},
};
use clap::{Args, Subcommand};
use serde_json::json;

use super::{
    ConnectArgs,
    client::Client,
    fault::{Exit, Outcome},
    out::{self, Cell, Output, Table},
};
use crate::http::{NewToken, TokenInfo};

#[derive(Debug, Args)]
pub(super) struct TokenArgs {
    #[command(flatten)]
    connect: ConnectArgs,
    #[command(subcommand)]
    command: TokenCommand,
}

#[derive(Debug, Subcommand)]
enum TokenCommand {
    /// Makes a token and prints it, this once
    Create {
        /// 1 to 64 letters, digits, `_`, `-`, `.`; who acts with it is called so
        name: String,
    },
    /// Lists the tokens, without their secrets
    #[command(visible_alias = "ls")]
    List,
    /// Revokes a token, and ends the sessions that were made with it
    Revoke {
        /// Its name
        name: String,
    },
}

pub(super) async fn run(args: TokenArgs) -> Outcome<Exit> {
    let (client, out) = (Client::new(&args.connect)?, Output::new(args.connect.json));
    match args.command {
        TokenCommand::Create { name } => {
            let token: NewToken = client.post(api::TOKENS, &json!({ "name": name }), None).await?;
            if out.json {
                out.json(&token);
            } else {
                out.remark("It is shown this once. Keep it: export BELAY_TOKEN=…");
                out.line(token.token);
            }
        }
        TokenCommand::List => {
            let page: Page<TokenInfo> = client.get(api::TOKENS).await?;
            if out.json {
                out.json(&page.items);
                return Ok(Exit::Done);
            }
            let mut table = Table::new(["NAME", "CREATED", "BY"]);
            for token in &page.items {
                let created = if out.people { out::ago(token.created_at) } else { token.created_at.to_string() };
                table.row(vec![Cell::new(&*token.name), Cell::new(created), Cell::new(&*token.created_by)]);
            }
            if page.items.is_empty() {
                out.remark("There are no tokens.");
            } else {
                table.print(&out);
            }
        }
        TokenCommand::Revoke { name } => {
            client.delete_quietly(&format!("{}/{}", api::TOKENS, paths::encode(&name))).await?;
            out.note(format_args!("Revoked `{}`.", out::clean(&name)));
        }
    }
    Ok(Exit::Done)
}
