//! `join`: take part in a folder that another device offers.

use crate::api::path::{JsonPath, printable};
use crate::api::{Client, Joined};
use crate::cli::Json;
use crate::cli::exit::{Exit, Failure};
use crate::cli::out::Out;
use crate::cli::progress::Progress;
use crate::cli::up::{NEEDS_AT, absolute, host_port};
use hyper::Method;
use serde_json::json;
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;

/// Arguments.
#[derive(Debug, clap::Args)]
pub struct JoinArgs {
    /// The code that `invite` printed on the other device
    code: String,
    /// Where to put the folder; made if it is missing
    path: PathBuf,
    /// Where the device that offers the folder listens
    #[arg(long, value_name = "HOST:PORT")]
    at: Option<String>,
    #[command(flatten)]
    json: Json,
}

/// Joins through the running daemon; ends when pairing has succeeded, not when all files are there.
///
/// # Errors
/// The daemon's.
pub async fn run(args: JoinArgs, client: &Client, out: &mut Out<'_>) -> Result<Exit, Failure> {
    let at = host_port(&args.at.ok_or_else(|| Failure::Usage(NEEDS_AT.to_owned()))?)?;
    let path = JsonPath::from(absolute(&args.path)?.as_os_str().as_bytes());
    let body = json!({
        "code": args.code, "at": at, "path": path.path, "path_base64": path.path_base64,
    });
    let mut progress = Progress::default();
    progress.show(out, &format!("pairing with {at} …"))?;
    let joined = client.send::<Joined>(Method::POST, "/v1/join", &body).await;
    progress.clear(out)?;
    let joined = joined?;
    if args.json.json {
        out.json(&joined)?;
        return Ok(Exit::Yes);
    }
    let (folder, device) = (printable(&joined.folder_name), printable(&joined.device_name));
    out.note(&format!("joined '{folder}' of {device}; `landropic wait` ends when all of it is here"))?;
    Ok(Exit::Yes)
}
