//! `invite`: offer a folder.

use crate::api::path::printable;
use crate::api::view::StatusView;
use crate::api::{Client, Invitation};
use crate::cli::exit::{Exit, Failure};
use crate::cli::out::Out;
use crate::cli::{Json, human, names};
use hyper::Method;
use serde_json::json;

/// Arguments.
#[derive(Debug, clap::Args)]
pub struct InviteArgs {
    /// Which folder, by name or id [default: the only one]
    folder: Option<String>,
    #[command(flatten)]
    json: Json,
}

/// Prints the code alone on the first line of stdout; what to do with it goes to stderr when stdout is no terminal.
///
/// # Errors
/// The daemon's.
pub async fn run(args: InviteArgs, client: &Client, out: &mut Out<'_>) -> Result<Exit, Failure> {
    let status: StatusView = client.get("/v1/status").await?;
    let folder = args.folder.as_deref().map(|text| names::folder(&status, text)).transpose()?;
    let body = json!({ "folder": folder.map(|f| &f.id) });
    let invitation: Invitation = client.send(Method::POST, "/v1/invite", &body).await?;
    if args.json.json {
        out.json(&invitation)?;
        return Ok(Exit::Yes);
    }
    out.line(&invitation.code)?;
    let listen = status.device.map(|d| d.listen).unwrap_or_default();
    out.note(&explanation(&invitation, &listen))?;
    Ok(Exit::Yes)
}

fn explanation(invitation: &Invitation, listen: &str) -> String {
    let port = listen.rsplit_once(':').map_or("9876", |(_, port)| port);
    format!(
        "This code lets one device join '{}' within {}. On the other device:\n  \
         landropic up PATH --join {} --at HOST:{port}\n\
         where HOST is the address of this device. If a daemon runs there already:\n  \
         landropic join {} PATH --at HOST:{port}",
        printable(&invitation.folder_name),
        human::seconds(invitation.expires_secs),
        invitation.code,
        invitation.code,
    )
}
