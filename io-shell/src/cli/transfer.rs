//! `transfer`: large files on their way.

use crate::api::Client;
use crate::api::path::printable;
use crate::api::view::{StatusView, TransferView};
use crate::cli::exit::{Exit, Failure};
use crate::cli::out::Out;
use crate::cli::{Json, human, names};
use clap::Subcommand;
use hyper::Method;
use serde_json::{Value, json};

/// What can be done with transfers.
#[derive(Debug, Subcommand)]
pub enum TransferCommand {
    /// List large files on their way, and those that came last
    List(Json),
    /// Ask nobody for a file until it is resumed; what has come of it stays
    Pause(OneTransfer),
    /// Go on with a paused or cancelled transfer
    Resume(OneTransfer),
    /// Drop what has come of a file, and ask nobody for it until it is resumed
    Cancel(OneTransfer),
}

/// A transfer as a person names it.
#[derive(Debug, clap::Args)]
pub struct OneTransfer {
    /// Its path inside the folder, its content id or the beginning of that
    transfer: String,
}

/// Does it.
///
/// # Errors
/// The daemon's, or a name that fits no transfer or several.
pub async fn run(command: TransferCommand, client: &Client, out: &mut Out<'_>) -> Result<Exit, Failure> {
    let (transfer, verb, done) = match command {
        TransferCommand::List(json) => return list(json, client, out).await,
        TransferCommand::Pause(t) => (t, "pause", "is paused"),
        TransferCommand::Resume(t) => (t, "resume", "goes on"),
        TransferCommand::Cancel(t) => (t, "cancel", "is cancelled; `landropic transfer resume` begins it anew"),
    };
    let status: StatusView = client.get("/v1/status").await?;
    let found = names::transfer(&status, &transfer.transfer)?;
    let target = format!("/v1/folders/{}/transfers/{}/{verb}", found.folder, found.content);
    client.send::<Value>(Method::POST, &target, &json!({})).await?;
    out.note(&format!("the transfer of '{}' {done}", printable(&found.path)))?;
    Ok(Exit::Yes)
}

async fn list(json: Json, client: &Client, out: &mut Out<'_>) -> Result<Exit, Failure> {
    if json.json {
        let status: Value = client.get("/v1/status").await?;
        out.json(&json!({ "transfers": status["transfers"], "completed": status["completed"] }))?;
        return Ok(Exit::Yes);
    }
    let status: StatusView = client.get("/v1/status").await?;
    if status.transfers.is_empty() && status.completed.is_empty() {
        out.note("no transfers")?;
    }
    let rows = status.completed.iter().chain(&status.transfers).map(|transfer| row(transfer, &status));
    out.raw(human::table(&rows.collect::<Vec<_>>()).as_bytes())?;
    Ok(Exit::Yes)
}

/// One line about a transfer.
pub fn row(transfer: &TransferView, status: &StatusView) -> Vec<String> {
    let folder = status.folders.iter().find(|f| f.id == transfer.folder);
    let folder = folder.map_or_else(|| names::short(&transfer.folder).to_owned(), |f| printable(&f.name));
    let done = format!("{} of {}", human::bytes(transfer.done_bytes), human::bytes(transfer.bytes));
    let percent = format!("{:>3} %", human::percent(transfer.done_bytes, transfer.bytes));
    let state = match (transfer.state.as_str(), transfer.step.as_str()) {
        ("active", step) => step.to_owned(),
        (state, _) => state.to_owned(),
    };
    vec![folder, printable(&transfer.path), names::short(&transfer.content).to_owned(), state, percent, done]
}
