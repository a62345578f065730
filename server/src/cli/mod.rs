//! The command line. `belay` alone starts the server; `belay job …` and `belay token …` are clients of its REST API.

mod bulk;
mod client;
mod fault;
mod filter;
mod job;
mod local;
mod manual;
mod migrate;
mod out;
mod prompt;
mod select;
mod serve;
mod sign_in_link;
mod token;

use std::{
    ffi::OsStr,
    net::{SocketAddr, ToSocketAddrs as _},
    path::PathBuf,
    process::ExitCode,
};

use anyhow::Context as _;
use clap::{Args, Parser, Subcommand};

use self::{
    fault::{Exit, Outcome},
    out::Output,
};
use crate::{kinds::product_matching, process};

/// Runs long batch jobs, stops them with proof, removes them with a receipt.
#[derive(Debug, Parser)]
#[command(name = "belay", version, args_conflicts_with_subcommands = true)]
struct Cli {
    #[command(subcommand)]
    command: Option<Command>,
    #[command(flatten)]
    serve: ServeArgs,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Starts the server: console, API and worker (what `belay` alone does)
    Serve(ServeArgs),
    /// Prints a one-time link that signs a browser in
    SignInLink(SignInLinkArgs),
    /// Submits, lists, follows, stops and removes jobs
    Job(Box<job::JobArgs>),
    /// Shows, aborts and retries actions on many jobs
    Bulk(bulk::BulkArgs),
    /// Makes, lists and revokes API tokens
    Token(token::TokenArgs),
    /// Brings the database of a stopped server up to date, and ends
    Migrate(MigrateArgs),
    /// Prints completions for a shell: `source <(belay completions bash)`
    Completions(manual::CompletionsArgs),
    /// Prints a page of the manual: `belay man job cancel | man -l -`
    Man(manual::ManArgs),
}

/// Which server, and how to be let in.
#[derive(Debug, Args)]
struct ConnectArgs {
    /// Address of the server, http://HOST:PORT [default: the one that runs on this machine]
    #[arg(long, global = true, env = "BELAY_SERVER", value_name = "URL", help_heading = "Connection")]
    server: Option<String>,
    /// API token; better given as BELAY_TOKEN, which no other user can see
    #[arg(
        long,
        global = true,
        env = "BELAY_TOKEN",
        hide_env_values = true,
        value_name = "TOKEN",
        help_heading = "Connection"
    )]
    token: Option<String>,
    /// Data folder of the server on this machine [default: that of the server started last]
    #[arg(long, global = true, env = "BELAY_DATA_DIR", value_name = "DIR", help_heading = "Connection")]
    data_dir: Option<PathBuf>,
    /// JSON on standard output
    #[arg(long, global = true)]
    json: bool,
}

#[derive(Debug, Args)]
struct ServeArgs {
    /// Address and port; port 0 takes a free one
    #[arg(long, env = "BELAY_LISTEN", default_value = "127.0.0.1:8080", value_parser = parse_address)]
    listen: SocketAddr,
    #[command(flatten)]
    data: DataArgs,
    /// Configuration file (belay.toml)
    #[arg(long, env = "BELAY_CONFIG", value_name = "FILE")]
    config: Option<PathBuf>,
    /// On an empty data folder, submit a sample job
    #[arg(long)]
    sample: bool,
}

#[derive(Debug, Args)]
struct SignInLinkArgs {
    #[command(flatten)]
    data: DataArgs,
}

#[derive(Debug, Args)]
struct MigrateArgs {
    #[command(flatten)]
    data: DataArgs,
}

#[derive(Debug, Args)]
struct DataArgs {
    /// Folder for database, uploads, artifacts and logs [default: ~/.local/share/belay]
    #[arg(long, env = "BELAY_DATA_DIR", value_name = "DIR")]
    data_dir: Option<PathBuf>,
}

impl DataArgs {
    /// As given, else where the system keeps the data of a user's programs.
    fn folder(self) -> anyhow::Result<PathBuf> {
        let from_env = |name| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
        self.data_dir
            .or_else(|| from_env("XDG_DATA_HOME").map(|data| data.join("belay")))
            .or_else(|| from_env("HOME").map(|home| home.join(".local/share/belay")))
            .context("no data folder: give --data-dir, or set HOME")
    }
}

/// An address, or a name with a port: `localhost:8080`.
fn parse_address(text: &str) -> Result<SocketAddr, String> {
    let mut addresses = text.to_socket_addrs().map_err(|error| format!("{error}; give ADDRESS:PORT"))?;
    addresses.next().ok_or_else(|| "the name has no address".to_owned())
}

/// Everything the program does.
#[must_use]
pub fn main() -> ExitCode {
    // Before anything else, and before any thread: the spawner forks, and must stay small.
    match std::env::args_os().nth(1).as_deref().and_then(OsStr::to_str) {
        Some(process::SPAWNER_ARGUMENT) => process::spawner_main(),
        Some(product_matching::STEP_ARGUMENT) => return product_matching::step_main(),
        Some(_) | None => {}
    }
    let cli = Cli::parse();
    match cli.command {
        None => told(serve::serve(cli.serve)),
        Some(Command::Serve(args)) => told(serve::serve(args)),
        Some(Command::SignInLink(args)) => told(sign_in_link::print(args)),
        Some(Command::Migrate(args)) => told(migrate::migrate(args)),
        Some(Command::Completions(args)) => told(manual::completions(&args)),
        Some(Command::Man(args)) => told(manual::man(&args)),
        Some(Command::Job(args)) => as_client(job::run(*args)),
        Some(Command::Bulk(args)) => as_client(bulk::run(args)),
        Some(Command::Token(args)) => as_client(token::run(args)),
    }
}

fn told(done: anyhow::Result<()>) -> ExitCode {
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("belay: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// Runs a command that asks a server.
fn as_client(command: impl Future<Output = Outcome<Exit>>) -> ExitCode {
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return told(Err(error.into())),
    };
    match runtime.block_on(command) {
        Ok(exit) => exit.into(),
        Err(fault) => {
            Output::new(false).fault(&fault);
            fault.exit.into()
        }
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::*;

    #[test]
    fn the_arguments_do_not_contradict_each_other() {
        Cli::command().debug_assert();
    }
}
