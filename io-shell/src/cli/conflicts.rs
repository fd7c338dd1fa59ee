//! `conflicts`: paths with several live versions.

use crate::api::Client;
use crate::api::path::printable;
use crate::api::view::{ConflictView, ConflictsView, StatusView};
use crate::cli::exit::{Exit, Failure};
use crate::cli::out::Out;
use crate::cli::{Json, names};
use clap::Subcommand;
use serde_json::Value;

/// Arguments.
#[derive(Debug, clap::Args)]
#[command(args_conflicts_with_subcommands = true)]
pub struct ConflictsArgs {
    #[command(subcommand)]
    command: Option<ConflictsCommand>,
    #[command(flatten)]
    list: ListArgs,
}

/// What can be done with conflicts.
#[derive(Debug, Subcommand)]
enum ConflictsCommand {
    /// List them, which is also what happens without a word
    List(ListArgs),
}

/// Arguments of the list.
#[derive(Debug, clap::Args)]
struct ListArgs {
    /// Only those of this folder, by name or id
    #[arg(long)]
    folder: Option<String>,
    #[command(flatten)]
    json: Json,
}

/// Lists them.
///
/// # Errors
/// The daemon's, or the stream's.
pub async fn run(args: ConflictsArgs, client: &Client, out: &mut Out<'_>) -> Result<Exit, Failure> {
    let list = match args.command {
        Some(ConflictsCommand::List(list)) => list,
        None => args.list,
    };
    let target = match &list.folder {
        None => "/v1/conflicts".to_owned(),
        Some(text) => {
            let status: StatusView = client.get("/v1/status").await?;
            format!("/v1/conflicts?folder={}", names::folder(&status, text)?.id)
        }
    };
    let answer: Value = client.get(&target).await?;
    if list.json.json {
        out.json(&answer)?;
        return Ok(Exit::Yes);
    }
    let view: ConflictsView = serde_json::from_value(answer).map_err(anyhow::Error::from)?;
    if view.conflicts.is_empty() {
        out.note("no conflicts")?;
    }
    for conflict in &view.conflicts {
        out.raw(lines(conflict).as_bytes())?;
    }
    Ok(Exit::Yes)
}

fn lines(conflict: &ConflictView) -> String {
    let (folder, path) = (printable(&conflict.folder_name), conflict.path.display());
    let mut text =
        format!("{folder}: {path}: {}, {}'s version has the name\n", conflict.kind, printable(&conflict.winner));
    for copy in &conflict.copies {
        text.push_str(&format!("  also kept as {}\n", copy.display()));
    }
    text
}
