//! `wait`: until every folder is the same on every connected device.

use crate::api::Client;
use crate::api::path::printable;
use crate::api::view::WaitView;
use crate::cli::Json;
use crate::cli::exit::{Exit, Failure};
use crate::cli::out::Out;
use crate::cli::progress::Progress;
use serde_json::json;
use std::time::{Duration, Instant};

/// Arguments.
#[derive(Debug, clap::Args)]
pub struct WaitArgs {
    /// Give up after so many seconds, with exit code 1 [default: never]
    #[arg(long, value_name = "SECS", value_parser = seconds)]
    timeout: Option<Duration>,
    #[command(flatten)]
    json: Json,
}

fn seconds(text: &str) -> Result<Duration, String> {
    let wrong = || format!("'{text}' is no number of seconds");
    Duration::try_from_secs_f64(text.parse().map_err(|_| wrong())?).map_err(|_| wrong())
}

/// How long one question to the daemon waits: as often what is missing is shown anew.
const STEP: Duration = Duration::from_secs(1);

/// Yes once all is in sync; no at the timeout, saying what is missing.
///
/// # Errors
/// The daemon's, or the stream's.
pub async fn run(args: WaitArgs, client: &Client, out: &mut Out<'_>) -> Result<Exit, Failure> {
    let started = Instant::now();
    let mut progress = Progress::default();
    let last = loop {
        let left = args.timeout.map(|timeout| timeout.saturating_sub(started.elapsed()));
        let step = left.map_or(STEP, |left| left.min(STEP));
        let view: WaitView = client.get(&format!("/v1/wait?timeout={}", step.as_secs_f64())).await?;
        if view.synced || left.is_some_and(|left| left <= STEP) {
            break view;
        }
        progress.show(out, &waiting(&view))?;
    };
    progress.clear(out)?;
    if args.json.json {
        out.json(&json!({ "synced": last.synced, "missing": last.missing }))?;
    } else if !last.synced {
        out.note("not in sync:")?;
        for line in &last.missing {
            out.note(&format!("  {}", printable(line)))?;
        }
    }
    Ok(if last.synced { Exit::Yes } else { Exit::No })
}

fn waiting(view: &WaitView) -> String {
    match view.missing.as_slice() {
        [] => "waiting …".to_owned(),
        [only] => format!("waiting: {}", printable(only)),
        [first, rest @ ..] => format!("waiting: {}, and {} more", printable(first), rest.len()),
    }
}
