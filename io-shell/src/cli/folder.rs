//! `folder`: manage folders.

use crate::api::Client;
use crate::api::path::{JsonPath, printable};
use crate::api::view::StatusView;
use crate::cli::exit::{Exit, Failure};
use crate::cli::out::Out;
use crate::cli::up::{absolute, name_of};
use crate::cli::{Json, human, names};
use clap::Subcommand;
use hyper::Method;
use serde_json::{Value, json};
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;
use std::str::FromStr;

/// What can be done with folders.
#[derive(Debug, Subcommand)]
pub enum FolderCommand {
    /// Share another folder
    Add {
        /// The folder; made if it is missing
        path: PathBuf,
        /// What to call it [default: the last part of PATH]
        #[arg(long)]
        name: Option<String>,
    },
    /// List folders
    List(Json),
    /// Stop syncing a folder; its files stay
    Remove(OneFolder),
    /// Stop syncing a folder for a while
    Pause(OneFolder),
    /// Go on with a paused folder
    Resume(OneFolder),
    /// Change how a folder behaves
    Set {
        /// Which
        #[command(flatten)]
        folder: OneFolder,
        /// Who wins a conflict: policy=newest, policy=largest or policy=prefer:DEVICE,DEVICE…
        setting: Setting,
    },
    /// Read every file of a folder again and compare it with what is known
    Verify(OneFolder),
}

/// A folder as a person names it.
#[derive(Debug, clap::Args)]
pub struct OneFolder {
    /// Its name, id or the beginning of its id
    folder: String,
}

/// One `key=value`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Setting {
    /// The newest version wins.
    Newest,
    /// The largest version wins.
    Largest,
    /// The first of these devices that has one wins.
    Prefer(Vec<String>),
}

impl FromStr for Setting {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let allowed = || format!("'{text}' is not one of policy=newest, policy=largest, policy=prefer:DEVICE,DEVICE…");
        match text.strip_prefix("policy=").ok_or_else(allowed)? {
            "newest" => Ok(Self::Newest),
            "largest" => Ok(Self::Largest),
            other => {
                let devices: Vec<_> = other.strip_prefix("prefer:").ok_or_else(allowed)?.split(',').collect();
                if devices.iter().any(|d| d.is_empty()) {
                    return Err(allowed());
                }
                Ok(Self::Prefer(devices.into_iter().map(str::to_owned).collect()))
            }
        }
    }
}

/// Does it.
///
/// # Errors
/// The daemon's, or a name that fits no folder or several.
pub async fn run(command: FolderCommand, client: &Client, out: &mut Out<'_>) -> Result<Exit, Failure> {
    let (verb, folder, method, route, done) = match command {
        FolderCommand::Add { path, name } => return add(path, name, client, out).await,
        FolderCommand::List(json) => return list(json, client, out).await,
        FolderCommand::Set { folder, setting } => return set(folder, setting, client, out).await,
        FolderCommand::Remove(f) => ("remove", f, Method::DELETE, "", "is no longer synced; its files stay"),
        FolderCommand::Pause(f) => ("pause", f, Method::POST, "/pause", "is paused"),
        FolderCommand::Resume(f) => ("resume", f, Method::POST, "/resume", "goes on"),
        FolderCommand::Verify(f) => {
            ("verify", f, Method::POST, "/verify", "is being read again; see `landropic status`")
        }
    };
    tracing::debug!(verb, folder = folder.folder, "asking the daemon");
    let status: StatusView = client.get("/v1/status").await?;
    let found = names::folder(&status, &folder.folder)?;
    client.send::<Value>(method, &format!("/v1/folders/{}{route}", found.id), &json!({})).await?;
    out.note(&format!("folder '{}' {done}", printable(&found.name)))?;
    Ok(Exit::Yes)
}

/// Prints the folder's id: the one thing a script needs next.
async fn add(path: PathBuf, name: Option<String>, client: &Client, out: &mut Out<'_>) -> Result<Exit, Failure> {
    let name = name.map(|n| name_of("--name", n)).transpose()?;
    let path = JsonPath::from(absolute(&path)?.as_os_str().as_bytes());
    let body = json!({ "path": path.path, "path_base64": path.path_base64, "name": name });
    let added: Value = client.send(Method::POST, "/v1/folders", &body).await?;
    out.line(added["id"].as_str().unwrap_or_default())?;
    out.note(&format!("{} is shared; `landropic invite` lets another device join it", path.display()))?;
    Ok(Exit::Yes)
}

async fn list(json: Json, client: &Client, out: &mut Out<'_>) -> Result<Exit, Failure> {
    if json.json {
        let status: Value = client.get("/v1/status").await?;
        out.json(&json!({ "folders": status["folders"] }))?;
        return Ok(Exit::Yes);
    }
    let status: StatusView = client.get("/v1/status").await?;
    let row = |f: &crate::api::view::FolderView| {
        let size = format!("{}, {}", human::count(f.files, "file"), human::bytes(f.bytes));
        vec![printable(&f.name), names::short(&f.id).to_owned(), f.state.clone(), size, f.root.display()]
    };
    out.raw(human::table(&status.folders.iter().map(row).collect::<Vec<_>>()).as_bytes())?;
    Ok(Exit::Yes)
}

async fn set(folder: OneFolder, setting: Setting, client: &Client, out: &mut Out<'_>) -> Result<Exit, Failure> {
    let status: StatusView = client.get("/v1/status").await?;
    let found = names::folder(&status, &folder.folder)?;
    let policy = match &setting {
        Setting::Newest => json!("newest"),
        Setting::Largest => json!("largest"),
        Setting::Prefer(order) => {
            let ids: Vec<_> = order.iter().map(|text| names::device(&status, text)).collect::<Result<_, _>>()?;
            json!({ "prefer": ids })
        }
    };
    let target = format!("/v1/folders/{}/policy", found.id);
    client.send::<Value>(Method::PUT, &target, &json!({ "policy": policy })).await?;
    out.note(&format!("folder '{}' has another conflict policy", printable(&found.name)))?;
    Ok(Exit::Yes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn policies_are_parsed_whole() {
        let check = |text: &str, want: Option<Setting>| assert_eq!(text.parse::<Setting>().ok(), want, "{text}");
        check("policy=newest", Some(Setting::Newest));
        check("policy=largest", Some(Setting::Largest));
        check("policy=prefer:desk,bb22", Some(Setting::Prefer(vec!["desk".into(), "bb22".into()])));
        check("policy=prefer:", None);
        check("policy=prefer:a,", None);
        check("policy=oldest", None);
        check("newest", None);
    }
}
