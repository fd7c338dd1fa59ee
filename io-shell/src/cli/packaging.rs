//! `completions` and `man`: what packages ship.

use crate::cli::exit::{Exit, Failure};
use crate::cli::out::Out;
use std::path::PathBuf;

/// Arguments of `completions`.
#[derive(Debug, clap::Args)]
pub struct CompletionsArgs {
    /// For which shell
    shell: clap_complete::Shell,
}

/// Arguments of `man`.
#[derive(Debug, clap::Args)]
pub struct ManArgs {
    /// Write a page for every command into this directory
    #[arg(value_name = "DIR")]
    dir: Option<PathBuf>,
}

/// Prints a completion script.
///
/// # Errors
/// The stream's.
pub fn completions(args: CompletionsArgs, out: &mut Out<'_>) -> Result<Exit, Failure> {
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut super::command(), "landropic", &mut script);
    out.raw(&script)?;
    Ok(Exit::Yes)
}

/// Prints the manual page, or writes them all.
///
/// # Errors
/// The stream's, or the directory's.
pub fn man(args: ManArgs, out: &mut Out<'_>) -> Result<Exit, Failure> {
    match args.dir {
        None => {
            let mut page = Vec::new();
            clap_mangen::Man::new(super::command()).render(&mut page)?;
            out.raw(&page)?;
        }
        Some(dir) => {
            let failed = |e| anyhow::anyhow!("the manual pages cannot be written to {}: {e}", dir.display());
            clap_mangen::generate_to(super::command(), &dir).map_err(failed)?;
        }
    }
    Ok(Exit::Yes)
}
