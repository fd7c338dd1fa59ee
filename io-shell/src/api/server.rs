//! The daemon on HTTP: JSON in, JSON out, every failure as `{"reason": …}`.
//!
//! 400 is a request that cannot be understood, 409 one that is refused, 503 a daemon that is stopping.

use crate::api::handle::{DaemonHandle, DaemonRequest, Reply, StampedEvent, rfc3339};
use crate::api::listener::ControlListener;
use crate::api::path::JsonPath;
use axum::body::{Body, Bytes};
use axum::extract::rejection::{JsonRejection, PathRejection, QueryRejection};
use axum::extract::{Path, Query, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{delete, get, post, put};
use axum::{Json, Router};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use std::convert::Infallible;
use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;
use sync_core::index::PolicyChoice;
use sync_core::output::{Answer, Conflict, Refusal, Why};
use sync_core::status::Status;
use sync_core::{Command, ContentId, DeviceId, FolderId, RelPath};
use tokio::sync::{broadcast, oneshot, watch};

/// Serves the control socket until `shutdown` resolves and the answers under way are out. Event streams end then.
///
/// # Errors
/// The operating system's; accepting goes on after passing errors.
pub async fn serve(
    listener: ControlListener,
    handle: DaemonHandle,
    shutdown: impl Future<Output = ()> + Send + 'static,
) -> std::io::Result<()> {
    let (stop, stopping) = watch::channel(false);
    let stopped = async move {
        shutdown.await;
        stop.send_replace(true);
    };
    axum::serve(listener, router(handle, stopping)).with_graceful_shutdown(stopped).await
}

/// Every route, for any listener. Streams and waits end once `stopping` says so, or its sender is gone.
pub fn router(handle: DaemonHandle, stopping: watch::Receiver<bool>) -> Router {
    Router::new()
        .route("/v1/status", get(status))
        .route("/v1/events", get(events))
        .route("/v1/wait", get(wait))
        .route("/v1/invite", post(invite))
        .route("/v1/join", post(join))
        .route("/v1/folders", post(share_folder))
        .route("/v1/folders/{id}", delete(remove_folder))
        .route("/v1/folders/{id}/pause", post(pause_folder))
        .route("/v1/folders/{id}/transfers/{content}/pause", post(pause_transfer))
        .route("/v1/folders/{id}/transfers/{content}/resume", post(resume_transfer))
        .route("/v1/folders/{id}/transfers/{content}/cancel", post(cancel_transfer))
        .route("/v1/folders/{id}/resume", post(resume_folder))
        .route("/v1/folders/{id}/verify", post(verify_folder))
        .route("/v1/folders/{id}/policy", put(set_policy))
        .route("/v1/devices/{id}", delete(remove_device))
        .route("/v1/devices/{id}/retire", post(retire_device))
        .route("/v1/devices/{id}/name", put(rename_device))
        .route("/v1/why", get(why))
        .route("/v1/conflicts", get(conflicts))
        .route("/v1/audit", get(audit))
        .route("/v1/shutdown", post(shut_down))
        .with_state(Api { daemon: handle, stopping })
}

#[derive(Clone)]
struct Api {
    daemon: DaemonHandle,
    stopping: watch::Receiver<bool>,
}

impl Api {
    /// Asks the daemon and waits for its answer.
    async fn ask<T>(&self, request: impl FnOnce(Reply<T>) -> DaemonRequest) -> Result<T, Problem> {
        let (reply, answer) = oneshot::channel();
        self.daemon.requests.send(request(reply)).await.map_err(|_| Problem::Stopping)?;
        answer.await.map_err(|_| Problem::Stopping)?.map_err(Problem::Refused)
    }

    async fn core(&self, command: Command) -> Result<Answer, Problem> {
        self.ask(|reply| DaemonRequest::Core { command, reply }).await
    }

    /// A command whose only answer is that it was done.
    async fn order(&self, command: Command) -> Outcome {
        self.core(command).await.map(|_| Json(json!({})))
    }

    fn snapshot(&self) -> Arc<Status> {
        self.daemon.status.borrow().clone()
    }

    /// Resolves when the daemon stops.
    async fn stopped(&mut self) {
        // An error means that the sender is gone: stopped as well.
        let _gone = self.stopping.wait_for(|stop| *stop).await.is_err();
    }
}

/// Why a request brings no answer.
#[derive(Debug)]
enum Problem {
    /// It cannot be understood.
    Bad(String),
    /// The daemon will not.
    Refused(Refusal),
    /// The daemon is on its way out.
    Stopping,
    /// The core answered something else than was asked.
    Mismatch,
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let (code, reason) = match self {
            Self::Bad(reason) => (StatusCode::BAD_REQUEST, reason),
            Self::Refused(refusal) => (StatusCode::CONFLICT, refusal.reason),
            Self::Stopping => (StatusCode::SERVICE_UNAVAILABLE, "the daemon is stopping".to_owned()),
            Self::Mismatch => (StatusCode::INTERNAL_SERVER_ERROR, "the answer does not fit the question".to_owned()),
        };
        (code, Json(json!({ "reason": reason }))).into_response()
    }
}

impl From<JsonRejection> for Problem {
    fn from(rejection: JsonRejection) -> Self {
        Self::Bad(rejection.body_text())
    }
}

impl From<QueryRejection> for Problem {
    fn from(rejection: QueryRejection) -> Self {
        Self::Bad(rejection.body_text())
    }
}

impl From<PathRejection> for Problem {
    fn from(rejection: PathRejection) -> Self {
        Self::Bad(rejection.body_text())
    }
}

type Outcome = Result<Json<Value>, Problem>;
type Answered<T> = Result<Json<T>, Problem>;
type Asked<T> = Result<Query<T>, QueryRejection>;
type Sent<T> = Result<Json<T>, JsonRejection>;
type Named = Result<Path<String>, PathRejection>;

fn folder_id(text: &str) -> Result<FolderId, Problem> {
    FolderId::parse(text).ok_or_else(|| Problem::Bad(format!("'{text}' is no folder id: 32 hexadecimal digits")))
}

fn device_id(text: &str) -> Result<DeviceId, Problem> {
    DeviceId::parse(text).ok_or_else(|| Problem::Bad(format!("'{text}' is no device id: 64 hexadecimal digits")))
}

fn absolute(path: &JsonPath) -> Result<PathBuf, Problem> {
    let path = PathBuf::from(OsString::from_vec(path.to_bytes().map_err(Problem::Bad)?));
    if path.is_absolute() { Ok(path) } else { Err(Problem::Bad(format!("'{}' is no absolute path", path.display()))) }
}

async fn status(State(api): State<Api>) -> Outcome {
    let status = api.snapshot();
    let mut object = serde_json::to_value(&*status).map_err(|_| Problem::Mismatch)?;
    for (i, folder) in status.folders.iter().enumerate() {
        let of_folder = &mut object["folders"][i];
        set_path(of_folder, JsonPath::from(&*folder.path_bytes));
        for (j, item) in folder.errors.iter().enumerate() {
            set_path(&mut of_folder["errors"][j], JsonPath::from(&*item.path_bytes));
        }
    }
    Ok(Json(object))
}

#[derive(Deserialize)]
struct WaitQuery {
    /// Seconds; for ever, if not given.
    timeout: Option<f64>,
}

#[derive(Serialize)]
struct Waited {
    synced: bool,
    missing: Vec<String>,
}

async fn wait(State(mut api): State<Api>, query: Asked<WaitQuery>) -> Answered<Waited> {
    let Query(query) = query?;
    let timeout = match query.timeout {
        None => None,
        Some(secs) => {
            let bad = |e| Problem::Bad(format!("timeout={secs} is no number of seconds: {e}"));
            Some(Duration::try_from_secs_f64(secs).map_err(bad)?)
        }
    };
    let mut changes = api.daemon.status.clone();
    let pause = async {
        match timeout {
            Some(timeout) => tokio::time::sleep(timeout).await,
            None => std::future::pending().await,
        }
    };
    tokio::select! {
        // Whoever asks for no time at all is still told the truth.
        biased;
        found = changes.wait_for(|s| s.synced) => { found.map_err(|_| Problem::Stopping)?; }
        () = api.stopped() => return Err(Problem::Stopping),
        () = pause => {}
    }
    let status = changes.borrow().clone();
    Ok(Json(Waited { synced: status.synced, missing: status.missing.clone() }))
}

/// One JSON document a line. Where the reader was too slow, a line `{"event":"lagged","missed":N}` says so.
async fn events(State(api): State<Api>) -> Response {
    let feed = (api.daemon.events.subscribe(), api);
    let lines = futures_util::stream::unfold(feed, |(mut events, mut api)| async move {
        let line = tokio::select! {
            event = events.recv() => event_line(event)?,
            () = api.stopped() => return None,
        };
        Some((Ok::<_, Infallible>(line), (events, api)))
    });
    ([(header::CONTENT_TYPE, "application/x-ndjson")], Body::from_stream(lines)).into_response()
}

fn event_line(event: Result<Arc<StampedEvent>, broadcast::error::RecvError>) -> Option<Bytes> {
    let json = match event {
        Ok(event) => serde_json::to_string(&*event),
        Err(broadcast::error::RecvError::Lagged(missed)) => {
            Ok(json!({"event": "lagged", "missed": missed}).to_string())
        }
        Err(broadcast::error::RecvError::Closed) => return None,
    };
    match json {
        Ok(line) => Some(Bytes::from(line + "\n")),
        Err(error) => {
            tracing::error!(%error, "an event could not be written as JSON: the stream of events ends");
            None
        }
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct InviteBody {
    folder: Option<String>,
}

async fn invite(State(api): State<Api>, body: Sent<InviteBody>) -> Answered<crate::api::Invitation> {
    let Json(InviteBody { folder }) = body?;
    if let Some(text) = &folder {
        folder_id(text)?;
    }
    api.ask(|reply| DaemonRequest::Invite { folder, reply }).await.map(Json)
}

#[derive(Deserialize)]
struct JoinBody {
    code: String,
    at: String,
    #[serde(flatten)]
    path: JsonPath,
}

async fn join(State(api): State<Api>, body: Sent<JoinBody>) -> Answered<crate::api::Joined> {
    let Json(body) = body?;
    let path = absolute(&body.path)?;
    api.ask(|reply| DaemonRequest::Join { code: body.code, path, at: body.at, reply }).await.map(Json)
}

#[derive(Deserialize)]
struct ShareBody {
    name: Option<String>,
    #[serde(flatten)]
    path: JsonPath,
}

async fn share_folder(State(api): State<Api>, body: Sent<ShareBody>) -> Outcome {
    let Json(body) = body?;
    let path = absolute(&body.path)?;
    let id = api.ask(|reply| DaemonRequest::ShareFolder { path, name: body.name, reply }).await?;
    Ok(Json(json!({ "id": id })))
}

async fn remove_folder(State(api): State<Api>, id: Named) -> Outcome {
    api.order(Command::RemoveFolder(folder_id(&id?)?)).await
}

async fn pause_folder(State(api): State<Api>, id: Named) -> Outcome {
    api.order(Command::PauseFolder(folder_id(&id?)?, true)).await
}

async fn resume_folder(State(api): State<Api>, id: Named) -> Outcome {
    api.order(Command::PauseFolder(folder_id(&id?)?, false)).await
}

async fn verify_folder(State(api): State<Api>, id: Named) -> Outcome {
    api.order(Command::VerifyFolder(folder_id(&id?)?)).await
}

type OfFolder = Result<Path<(String, String)>, PathRejection>;

fn transfer_of(named: OfFolder) -> Result<(FolderId, ContentId), Problem> {
    let Path((folder, content)) = named?;
    let bad = || Problem::Bad(format!("'{content}' is no content id: 64 hexadecimal digits"));
    Ok((folder_id(&folder)?, ContentId::parse(&content).ok_or_else(bad)?))
}

async fn pause_transfer(State(api): State<Api>, named: OfFolder) -> Outcome {
    let (folder, content) = transfer_of(named)?;
    api.order(Command::PauseTransfer(folder, content, true)).await
}

async fn resume_transfer(State(api): State<Api>, named: OfFolder) -> Outcome {
    let (folder, content) = transfer_of(named)?;
    api.order(Command::PauseTransfer(folder, content, false)).await
}

async fn cancel_transfer(State(api): State<Api>, named: OfFolder) -> Outcome {
    let (folder, content) = transfer_of(named)?;
    api.order(Command::CancelTransfer(folder, content)).await
}

#[derive(Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
struct PolicyBody {
    policy: PolicyName,
}

#[derive(Deserialize)]
#[serde(rename_all = "snake_case")]
enum PolicyName {
    Newest,
    Largest,
    Prefer(Vec<String>),
}

async fn set_policy(State(api): State<Api>, id: Named, body: Sent<PolicyBody>) -> Outcome {
    let folder = folder_id(&id?)?;
    let choice = match body?.0.policy {
        PolicyName::Newest => PolicyChoice::Newest,
        PolicyName::Largest => PolicyChoice::Largest,
        PolicyName::Prefer(order) => {
            PolicyChoice::Prefer(order.iter().map(|text| device_id(text)).collect::<Result<_, _>>()?)
        }
    };
    api.order(Command::SetPolicy(folder, choice)).await
}

async fn remove_device(State(api): State<Api>, id: Named) -> Outcome {
    api.order(Command::RemoveDevice(device_id(&id?)?)).await
}

async fn retire_device(State(api): State<Api>, id: Named) -> Outcome {
    api.order(Command::RetireDevice(device_id(&id?)?)).await
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct NameBody {
    name: String,
}

async fn rename_device(State(api): State<Api>, id: Named, body: Sent<NameBody>) -> Outcome {
    let device = device_id(&id?)?;
    api.order(Command::RenameDevice(device, body?.0.name)).await
}

#[derive(Deserialize)]
struct WhyQuery {
    folder: String,
    #[serde(default)]
    path: String,
    path_base64: Option<String>,
}

async fn why(State(api): State<Api>, query: Asked<WhyQuery>) -> Outcome {
    let Query(WhyQuery { folder, path, path_base64 }) = query?;
    let folder = folder_id(&folder)?;
    let bytes = JsonPath { path, path_base64 }.to_bytes().map_err(Problem::Bad)?;
    let path = RelPath::new(&bytes).map_err(|e| Problem::Bad(format!("not a path inside a folder: {e}")))?;
    match api.core(Command::Why(folder, path)).await? {
        Answer::Why(why) => Ok(Json(why_json(folder, &why))),
        Answer::Ok | Answer::Conflicts(_) | Answer::Audits(_) => Err(Problem::Mismatch),
    }
}

fn why_json(folder: FolderId, why: &Why) -> Value {
    let path = JsonPath::from(why.path.as_bytes());
    with_path(json!({"folder": folder, "in_sync": why.in_sync, "reason": why.reason, "remedy": why.remedy}), path)
}

/// The object with the path's one or two fields in it.
fn with_path(mut object: Value, path: JsonPath) -> Value {
    set_path(&mut object, path);
    object
}

fn set_path(object: &mut Value, path: JsonPath) {
    object["path"] = Value::String(path.path);
    if let Some(base64) = path.path_base64 {
        object["path_base64"] = Value::String(base64);
    }
}

#[derive(Deserialize)]
struct ConflictsQuery {
    folder: Option<String>,
}

async fn conflicts(State(api): State<Api>, query: Asked<ConflictsQuery>) -> Outcome {
    let Query(ConflictsQuery { folder }) = query?;
    let wanted = folder.as_deref().map(folder_id).transpose()?;
    let status = api.snapshot();
    let mut found = Vec::new();
    for folder in status.folders.iter().filter(|f| wanted.is_none_or(|id| id == f.id)) {
        match api.core(Command::Conflicts(folder.id)).await? {
            Answer::Conflicts(list) => found.extend(list.iter().map(|c| conflict_json(folder.id, &folder.name, c))),
            Answer::Ok | Answer::Why(_) | Answer::Audits(_) => return Err(Problem::Mismatch),
        }
    }
    Ok(Json(json!({ "conflicts": found })))
}

fn conflict_json(folder: FolderId, folder_name: &str, conflict: &Conflict) -> Value {
    let copies: Vec<_> = conflict.copies.iter().map(|p| JsonPath::from(p.as_bytes())).collect();
    let object = json!({
        "folder": folder, "folder_name": folder_name, "kind": conflict.kind, "winner": conflict.winner,
        "copies": copies,
    });
    with_path(object, JsonPath::from(conflict.path.as_bytes()))
}

#[derive(Deserialize)]
struct AuditQuery {
    limit: Option<usize>,
}

/// Entries of the audit in one answer, unless asked otherwise, and at most.
const AUDIT_ENTRIES: (usize, usize) = (100, 10_000);

async fn audit(State(api): State<Api>, query: Asked<AuditQuery>) -> Outcome {
    let limit = query?.0.limit.unwrap_or(AUDIT_ENTRIES.0).min(AUDIT_ENTRIES.1);
    let Answer::Audits(entries) = api.core(Command::Audits(limit)).await? else { return Err(Problem::Mismatch) };
    let line = |(at, kind, detail)| json!({ "at": rfc3339(at), "kind": kind, "detail": detail });
    Ok(Json(json!({ "entries": entries.into_iter().map(line).collect::<Vec<_>>() })))
}

async fn shut_down(State(api): State<Api>) -> Outcome {
    api.daemon.requests.send(DaemonRequest::Shutdown).await.map_err(|_| Problem::Stopping)?;
    Ok(Json(json!({})))
}
