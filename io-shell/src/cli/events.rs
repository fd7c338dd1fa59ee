//! `events`: what happens, while it happens.

use crate::api::Client;
use crate::api::path::printable;
use crate::api::view::StatusView;
use crate::cli::exit::{Exit, Failure};
use crate::cli::out::Out;
use crate::cli::{Json, names};
use serde_json::{Map, Value};

/// Arguments.
#[derive(Debug, clap::Args)]
pub struct EventsArgs {
    #[command(flatten)]
    json: Json,
}

/// One line an event, until the reader or the daemon ends.
///
/// # Errors
/// The daemon's, or the stream's.
pub async fn run(args: EventsArgs, client: &Client, out: &mut Out<'_>) -> Result<Exit, Failure> {
    let mut status: StatusView = client.get("/v1/status").await?;
    let mut lines = client.lines("/v1/events").await?;
    while let Some(line) = lines.next().await? {
        if args.json.json {
            out.line(&line)?;
            continue;
        }
        let event: Map<String, Value> = serde_json::from_str(&line).map_err(anyhow::Error::from)?;
        if mentions_stranger(&event, &status) {
            // A daemon that is stopping still has its last events told, by ids instead of names.
            status = client.get("/v1/status").await.unwrap_or(status);
        }
        out.line(&render(&event, &status))?;
    }
    out.note("the daemon has stopped")?;
    Ok(Exit::Yes)
}

/// Whether the event is about a folder or device that the status does not know.
fn mentions_stranger(event: &Map<String, Value>, status: &StatusView) -> bool {
    let text = |key: &str| event.get(key).and_then(Value::as_str);
    let folder = text("folder").is_some_and(|id| status.folders.iter().all(|f| f.id != id));
    folder || text("peer").is_some_and(|id| status.peers.iter().all(|p| p.id != id))
}

/// `TIME EVENT key=value …`: whatever fields there are, ids of folders and devices as their names.
fn render(event: &Map<String, Value>, status: &StatusView) -> String {
    let text = |key: &str| event.get(key).and_then(Value::as_str).unwrap_or("-");
    let mut line = format!("{} {}", text("at"), text("event"));
    for (key, value) in event.iter().filter(|(key, _)| !["at", "event", "path_base64"].contains(&key.as_str())) {
        line.push_str(&format!(" {key}={}", field(key, value, status)));
    }
    line
}

fn field(key: &str, value: &Value, status: &StatusView) -> String {
    let Some(text) = value.as_str() else { return value.to_string() };
    let name = match key {
        "folder" => status.folders.iter().find(|f| f.id == text).map(|f| f.name.as_str()),
        "peer" => status.peers.iter().find(|p| p.id == text).map(|p| p.name.as_str()),
        _ => None,
    };
    let short = if ["folder", "peer", "content"].contains(&key) { names::short(text) } else { text };
    let shown = printable(name.unwrap_or(short));
    let plain = !shown.is_empty() && !shown.contains([' ', '"', '=']);
    if plain { shown } else { format!("\"{}\"", shown.replace('"', "\\\"")) }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::api::view::FolderView;

    #[test]
    fn an_event_is_one_line_with_names_for_ids() {
        let folder = FolderView { id: "aa".into(), name: "my photos".into(), ..FolderView::default() };
        let status = StatusView { folders: vec![folder], ..StatusView::default() };
        let check = |json: &str, want: &str| assert_eq!(render(&serde_json::from_str(json).unwrap(), &status), want);
        check(
            r#"{"at":"T","event":"local_change","folder":"aa","path":"a\nb","change":"created","path_base64":"x"}"#,
            "T local_change change=created folder=\"my photos\" path=a\\nb",
        );
        check(r#"{"event":"lagged","missed":7}"#, "- lagged missed=7");
        check(r#"{"at":"T","event":"refused","peer":null,"reason":""}"#, "T refused peer=null reason=\"\"");
    }
}
