//! `device`: manage devices.

use crate::api::Client;
use crate::api::path::printable;
use crate::api::view::StatusView;
use crate::cli::exit::{Exit, Failure};
use crate::cli::out::Out;
use crate::cli::up::name_of;
use crate::cli::{Json, human, names};
use clap::Subcommand;
use hyper::Method;
use serde_json::{Value, json};

/// What can be done with devices.
#[derive(Debug, Subcommand)]
pub enum DeviceCommand {
    /// List devices, this one first
    List(Json),
    /// Remove a device from every folder: at once and for good
    Remove(OneDevice),
    /// Call a device by another name
    Rename {
        /// Which
        #[command(flatten)]
        device: OneDevice,
        /// The new name
        name: String,
    },
    /// Stop waiting for a device that will not come back
    Retire(OneDevice),
}

/// A device as a person names it.
#[derive(Debug, clap::Args)]
pub struct OneDevice {
    /// Its name, id or the beginning of its id
    device: String,
}

/// Does it.
///
/// # Errors
/// The daemon's, or a name that fits no device or several.
pub async fn run(command: DeviceCommand, client: &Client, out: &mut Out<'_>) -> Result<Exit, Failure> {
    let (device, rename, method, route, done) = match command {
        DeviceCommand::List(json) => return list(json, client, out).await,
        DeviceCommand::Remove(d) => (d, None, Method::DELETE, "", "is removed from every folder".to_owned()),
        DeviceCommand::Retire(d) => (d, None, Method::POST, "/retire", "is no longer waited for".to_owned()),
        DeviceCommand::Rename { device, name } => {
            let name = name_of("the name", name)?;
            let done = format!("is called '{name}'");
            (device, Some(name), Method::PUT, "/name", done)
        }
    };
    let status: StatusView = client.get("/v1/status").await?;
    // This device can have another name; it can neither be removed nor retired by itself.
    let id = match &rename {
        Some(_) => names::device(&status, &device.device)?,
        None => names::peer(&status, &device.device)?,
    };
    let body = rename.map_or_else(|| json!({}), |name| json!({ "name": name }));
    client.send::<Value>(method, &format!("/v1/devices/{id}{route}"), &body).await?;
    out.note(&format!("device '{}' {done}", printable(&device.device)))?;
    Ok(Exit::Yes)
}

async fn list(json: Json, client: &Client, out: &mut Out<'_>) -> Result<Exit, Failure> {
    if json.json {
        let status: Value = client.get("/v1/status").await?;
        out.json(&json!({ "device": status["device"], "peers": status["peers"] }))?;
        return Ok(Exit::Yes);
    }
    let status: StatusView = client.get("/v1/status").await?;
    let row = |name: &str, id: &str, state: &str| vec![printable(name), id.to_owned(), state.to_owned()];
    let own = status.device.iter().map(|d| row(&d.name, &d.id, "this device"));
    let rows: Vec<_> = own.chain(status.peers.iter().map(|p| row(&p.name, &p.id, &p.state))).collect();
    out.raw(human::table(&rows).as_bytes())?;
    Ok(Exit::Yes)
}
