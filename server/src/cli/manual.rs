//! `belay completions` and `belay man`, both made from the same description that the arguments are read by.

use std::{
    io::{self, Write as _},
    path::PathBuf,
};

use anyhow::{Context as _, Result, bail};
use clap::{Args, CommandFactory as _};
use clap_complete::Shell;

use super::Cli;

#[derive(Debug, Args)]
pub(super) struct CompletionsArgs {
    /// The shell
    shell: Shell,
}

#[derive(Debug, Args)]
pub(super) struct ManArgs {
    /// The page of this command: `job cancel`
    command: Vec<String>,
    /// Writes all pages into this folder
    #[arg(long, value_name = "FOLDER", conflicts_with = "command")]
    dir: Option<PathBuf>,
}

pub(super) fn completions(args: &CompletionsArgs) -> Result<()> {
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut Cli::command(), "belay", &mut script);
    write_out(&script)
}

pub(super) fn man(args: &ManArgs) -> Result<()> {
    let mut command = Cli::command();
    command.build();
    if let Some(folder) = &args.dir {
        std::fs::create_dir_all(folder).with_context(|| format!("`{}`", folder.display()))?;
        return clap_mangen::generate_to(command, folder).with_context(|| format!("`{}`", folder.display()));
    }
    let mut page = &command;
    for word in &args.command {
        match page.find_subcommand(word) {
            Some(found) => page = found,
            None => bail!("there is no command `{} {word}`", page.get_name()),
        }
    }
    let mut text = Vec::new();
    clap_mangen::Man::new(page.clone()).render(&mut text).context("the page could not be written")?;
    write_out(&text)
}

/// Whoever stops reading early has seen enough.
fn write_out(text: &[u8]) -> Result<()> {
    match io::stdout().lock().write_all(text) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => Err(error.into()),
        Ok(()) | Err(_) => Ok(()),
    }
}
