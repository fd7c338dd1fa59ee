//! `audit`: pairings, changes of membership and refusals.

use crate::api::Client;
use crate::api::path::printable;
use crate::api::view::{AuditLine, AuditView};
use crate::cli::exit::{Exit, Failure};
use crate::cli::out::Out;
use crate::cli::{Json, human};
use serde_json::Value;

/// Arguments.
#[derive(Debug, clap::Args)]
pub struct AuditArgs {
    /// At most so many entries
    #[arg(long, default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    limit: u32,
    #[command(flatten)]
    json: Json,
}

/// Lists it, newest first.
///
/// # Errors
/// The daemon's, or the stream's.
pub async fn run(args: AuditArgs, client: &Client, out: &mut Out<'_>) -> Result<Exit, Failure> {
    let answer: Value = client.get(&format!("/v1/audit?limit={}", args.limit)).await?;
    if args.json.json {
        out.json(&answer)?;
        return Ok(Exit::Yes);
    }
    let view: AuditView = serde_json::from_value(answer).map_err(anyhow::Error::from)?;
    let row = |line: &AuditLine| vec![line.at.clone(), printable(&line.kind), printable(&line.detail)];
    out.raw(human::table(&view.entries.iter().map(row).collect::<Vec<_>>()).as_bytes())?;
    Ok(Exit::Yes)
}
