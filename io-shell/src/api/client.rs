//! Asking the running daemon through its control socket.

use crate::api::listener::CONTROL_SOCKET;
use http_body_util::{BodyExt, Full};
use hyper::body::{Bytes, Incoming};
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use serde::de::DeserializeOwned;
use serde_json::Value;
use std::io;
use std::path::{Path, PathBuf};
use tokio::net::UnixStream;

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// Nobody listens.
    #[error("no daemon is running for home {}: start one with `landropic up PATH`", .0.display())]
    NoDaemon(PathBuf),
    /// The daemon, or the file system before it, will not.
    #[error("{0}")]
    Refused(String),
    /// The daemon does not understand the request.
    #[error("{0}")]
    Bad(String),
    /// The connection or the answer is broken.
    #[error("the daemon's answer did not come through: {0}: look at its log, and ask again")]
    Broken(String),
}

/// A client of the daemon of one home. Every request has a connection of its own.
#[derive(Clone, Debug)]
pub struct Client {
    home: PathBuf,
}

impl Client {
    /// For the daemon of `home`, whether it runs or not.
    pub fn new(home: &Path) -> Self {
        Self { home: home.to_owned() }
    }

    /// Asks for something; `target` is a path and query, already encoded.
    ///
    /// # Errors
    /// Whatever keeps the answer away.
    pub async fn get<T: DeserializeOwned>(&self, target: &str) -> Result<T, ClientError> {
        self.call(Method::GET, target, None).await
    }

    /// Sends JSON and reads the answer.
    ///
    /// # Errors
    /// Whatever keeps the answer away.
    pub async fn send<T: DeserializeOwned>(
        &self,
        method: Method,
        target: &str,
        body: &Value,
    ) -> Result<T, ClientError> {
        self.call(method, target, Some(body)).await
    }

    /// Asks for a stream of lines.
    ///
    /// # Errors
    /// Whatever keeps the answer away.
    pub async fn lines(&self, target: &str) -> Result<Lines, ClientError> {
        let body = self.request(Method::GET, target, None).await?.into_body();
        Ok(Lines { body, buffer: Vec::new() })
    }

    async fn call<T: DeserializeOwned>(
        &self,
        method: Method,
        target: &str,
        body: Option<&Value>,
    ) -> Result<T, ClientError> {
        let response = self.request(method, target, body).await?;
        let bytes = collect(response).await?;
        serde_json::from_slice(&bytes).map_err(|e| ClientError::Broken(e.to_string()))
    }

    /// The response, if it is a good one.
    async fn request(
        &self,
        method: Method,
        target: &str,
        body: Option<&Value>,
    ) -> Result<Response<Incoming>, ClientError> {
        let broken = |e: hyper::Error| ClientError::Broken(e.to_string());
        let stream = self.connect().await?;
        let (mut sender, connection) =
            hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.map_err(broken)?;
        tokio::spawn(async move {
            // The request or the body reports the same error to whoever waits for it.
            if let Err(error) = connection.await {
                tracing::debug!(%error, "the connection to the daemon ended");
            }
        });
        let request = Request::builder().method(method).uri(target).header("host", "landropic");
        let request = match body {
            Some(json) => {
                request.header("content-type", "application/json").body(Full::new(Bytes::from(json.to_string())))
            }
            None => request.body(Full::default()),
        };
        let request = request.map_err(|e| ClientError::Bad(format!("this cannot be asked: {e}")))?;
        let response = match sender.send_request(request).await {
            Ok(response) => response,
            Err(e) => return Err(self.lost(&e).await),
        };
        if response.status().is_success() { Ok(response) } else { Err(self.problem(response).await) }
    }

    async fn connect(&self) -> Result<UnixStream, ClientError> {
        let path = self.home.join(CONTROL_SOCKET);
        UnixStream::connect(&path).await.map_err(|e| {
            let gone = [io::ErrorKind::NotFound, io::ErrorKind::ConnectionRefused, io::ErrorKind::NotADirectory];
            if gone.contains(&e.kind()) {
                ClientError::NoDaemon(self.home.clone())
            } else if e.kind() == io::ErrorKind::PermissionDenied {
                ClientError::Refused(format!("{} belongs to another user: run this as that user", path.display()))
            } else {
                ClientError::Broken(format!("{}: {e}", path.display()))
            }
        })
    }

    /// What a connection that broke in the middle means: mostly that the daemon is gone.
    async fn lost(&self, error: &hyper::Error) -> ClientError {
        match self.connect().await {
            Ok(_) => ClientError::Broken(error.to_string()),
            Err(gone) => gone,
        }
    }

    async fn problem(&self, response: Response<Incoming>) -> ClientError {
        let code = response.status();
        let bytes = match collect(response).await {
            Ok(bytes) => bytes,
            Err(e) => return e,
        };
        let json: Value = serde_json::from_slice(&bytes).unwrap_or_default();
        let reason = json["reason"].as_str().map_or_else(|| format!("HTTP status {code}"), str::to_owned);
        match code {
            StatusCode::CONFLICT => ClientError::Refused(reason),
            StatusCode::SERVICE_UNAVAILABLE => ClientError::NoDaemon(self.home.clone()),
            StatusCode::BAD_REQUEST => ClientError::Bad(reason),
            _ => ClientError::Broken(reason),
        }
    }
}

async fn collect(response: Response<Incoming>) -> Result<Bytes, ClientError> {
    let body = response.into_body().collect().await;
    body.map(http_body_util::Collected::to_bytes).map_err(|e| ClientError::Broken(e.to_string()))
}

/// Lines as they come.
#[derive(Debug)]
pub struct Lines {
    body: Incoming,
    buffer: Vec<u8>,
}

impl Lines {
    /// The next line without its end, or `None` once the daemon has ended the stream.
    ///
    /// # Errors
    /// A connection that breaks.
    pub async fn next(&mut self) -> Result<Option<String>, ClientError> {
        loop {
            if let Some(end) = self.buffer.iter().position(|b| *b == b'\n') {
                let line = self.buffer.drain(..=end).take(end).collect();
                return String::from_utf8(line).map(Some).map_err(|e| ClientError::Broken(e.to_string()));
            }
            let Some(frame) = self.body.frame().await else { return Ok(None) };
            let frame = frame.map_err(|e| ClientError::Broken(e.to_string()))?;
            if let Some(data) = frame.data_ref() {
                self.buffer.extend_from_slice(data);
            }
        }
    }
}

/// `text` fit for a part of a query.
pub fn query_part(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for b in text.bytes() {
        if b.is_ascii_alphanumeric() || b"-._~".contains(&b) {
            out.push(char::from(b));
        } else {
            out.push_str(&format!("%{b:02X}"));
        }
    }
    out
}
