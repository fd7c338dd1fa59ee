//! Questions to daemons over HTTP on a Unix socket, which cost no bytes on the loopback.

use anyhow::{Context, Result, bail};
use serde_json::Value;
use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;

/// Sends one request without a body; `key` is syncthing's. An answer that is no JSON is null.
///
/// # Errors
/// Nobody answers, or the answer is a refusal.
pub fn ask(socket: &Path, method: &str, target: &str, key: &str) -> Result<Value> {
    let mut stream = UnixStream::connect(socket).with_context(|| format!("nobody at {}", socket.display()))?;
    // Version 1.0 spares the chunked encoding.
    write!(stream, "{method} {target} HTTP/1.0\r\nHost: localhost\r\nX-API-Key: {key}\r\nContent-Length: 0\r\n\r\n")?;
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer)?;
    parse(&answer).with_context(|| format!("asked for {target}"))
}

fn parse(answer: &[u8]) -> Result<Value> {
    let text = String::from_utf8_lossy(answer);
    let (head, body) = text.split_once("\r\n\r\n").context("the answer has no end of its head")?;
    let status = head.split(' ').nth(1).context("the answer has no status")?;
    if status != "200" {
        bail!("the answer is {status}: {}", body.trim());
    }
    Ok(serde_json::from_str(body).unwrap_or(Value::Null))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn answers_are_json_or_refusals() {
        assert_eq!(parse(b"HTTP/1.0 200 OK\r\nA: b\r\n\r\n{\"n\":3}").unwrap()["n"], 3);
        assert_eq!(parse(b"HTTP/1.0 200 OK\r\n\r\n").unwrap(), Value::Null);
        assert!(parse(b"HTTP/1.0 403 Forbidden\r\n\r\nno").unwrap_err().to_string().contains("403: no"));
        assert!(parse(b"").is_err());
    }
}
