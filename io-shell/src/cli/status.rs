//! `status`: devices, folders, links with health, transfers with progress.

use crate::api::Client;
use crate::api::path::printable;
use crate::api::view::{FolderView, PeerView, StatusView};
use crate::cli::exit::{Exit, Failure};
use crate::cli::out::Out;
use crate::cli::{Json, human, names, transfer};
use serde_json::Value;
use std::time::Duration;

/// Arguments.
#[derive(Debug, clap::Args)]
pub struct StatusArgs {
    #[command(flatten)]
    json: Json,
    /// Show it again every second until interrupted
    #[arg(long)]
    watch: bool,
}

/// Items with trouble shown for each folder; JSON has more.
const SHOWN_ERRORS: usize = 10;
/// Transfers shown; JSON has all.
const SHOWN_TRANSFERS: usize = 20;

/// Shows it once, or every second until the reader or the daemon ends.
///
/// # Errors
/// The daemon's, or the stream's.
pub async fn run(args: StatusArgs, client: &Client, out: &mut Out<'_>) -> Result<Exit, Failure> {
    loop {
        let status: Value = client.get("/v1/status").await?;
        if args.json.json {
            out.json(&status)?;
        } else {
            let status: StatusView = serde_json::from_value(status).map_err(anyhow::Error::from)?;
            // Homed and then cleared to the end, a terminal does not flicker as it would if cleared first.
            let text = render(&status);
            if args.watch && out.data_terminal {
                out.raw(format!("\x1b[H{}\x1b[J", text.replace('\n', "\x1b[K\n")).as_bytes())?;
            } else {
                out.raw(text.as_bytes())?;
            }
        }
        if !args.watch {
            return Ok(Exit::Yes);
        }
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
}

/// The status for people, in lines that end with a newline.
pub fn render(status: &StatusView) -> String {
    let mut text = String::new();
    if let Some(device) = &status.device {
        let (name, id) = (printable(&device.name), names::short(&device.id));
        text.push_str(&format!("This device: {name} ({id}), listening on {}\n", device.listen));
    }
    text.push_str("\nFolders\n");
    if status.folders.is_empty() {
        text.push_str("  none: share one with `landropic folder add PATH`\n");
    }
    for folder in &status.folders {
        text.push_str(&folder_lines(folder));
    }
    text.push_str("\nDevices\n");
    if status.peers.is_empty() {
        text.push_str("  none: let one join with `landropic invite`\n");
    }
    text.push_str(&human::table(&status.peers.iter().map(peer_row).collect::<Vec<_>>()));
    if !status.transfers.is_empty() {
        text.push_str("\nTransfers\n");
        let shown = status.transfers.iter().take(SHOWN_TRANSFERS);
        text.push_str(&human::table(&shown.map(|t| transfer::row(t, status)).collect::<Vec<_>>()));
        text.push_str(&more(status.transfers.len(), SHOWN_TRANSFERS));
    }
    text.push_str(&verdict(status));
    text
}

fn folder_lines(folder: &FolderView) -> String {
    let mut row = vec![printable(&folder.name), folder.state.clone()];
    row.push(format!("{}, {}", human::count(folder.files, "file"), human::bytes(folder.bytes)));
    if folder.need_files > 0 {
        let need = human::count(folder.need_files, "item");
        row.push(format!("needs {need}, {}", human::bytes(folder.need_bytes)));
    }
    if folder.conflicts > 0 {
        row.push(human::count(folder.conflicts, "conflict"));
    }
    row.push(folder.root.display());
    let mut text = human::table(&[row]);
    for item in folder.errors.iter().take(SHOWN_ERRORS) {
        let which = if item.path.path.is_empty() { "the folder".to_owned() } else { item.path.display() };
        text.push_str(&format!("    ! {which}: {}\n      {}\n", printable(&item.reason), item.remedy));
    }
    text.push_str(&more(folder.errors.len(), SHOWN_ERRORS));
    text
}

fn more(all: usize, shown: usize) -> String {
    match all.checked_sub(shown) {
        None | Some(0) => String::new(),
        Some(rest) => format!("    and {rest} more: see `landropic status --json`\n"),
    }
}

fn peer_row(peer: &PeerView) -> Vec<String> {
    let mut row = vec![printable(&peer.name), names::short(&peer.id).to_owned(), peer.state.clone()];
    if peer.state == "connected" {
        row.push(peer.health.clone());
        row.push(format!("{:.1} ms", peer.rtt_ms));
        row.push(format!("sent {}", human::bytes(peer.sent_bytes)));
        row.push(format!("received {}", human::bytes(peer.received_bytes)));
    } else {
        row.push(printable(&peer.reason));
    }
    row
}

fn verdict(status: &StatusView) -> String {
    if status.synced {
        return "\nIn sync.\n".to_owned();
    }
    let missing: String = status.missing.iter().map(|line| format!("  {}\n", printable(line))).collect();
    format!("\nNot in sync:\n{missing}")
}
