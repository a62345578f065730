//! The command line. `belay` alone starts the server.

mod serve;
mod sign_in_link;

use std::{
    ffi::OsStr,
    net::{SocketAddr, ToSocketAddrs as _},
    path::PathBuf,
    process::ExitCode,
};

use anyhow::Context as _;
use clap::{Args, Parser, Subcommand};

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
    let done = match cli.command {
        None => serve::serve(cli.serve),
        Some(Command::Serve(args)) => serve::serve(args),
        Some(Command::SignInLink(args)) => sign_in_link::print(args),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("belay: {error:#}");
            ExitCode::FAILURE
        }
    }
}
