//! CBOR (RFC 8949) by numbered fields: unknown fields are skipped, missing optional ones are `None`.

use super::message::Message;
use alloc::{format, string::String, vec::Vec};

/// Why a frame is no message. Always the peer's fault.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a frame that is no message: {0}")]
pub struct DecodeError(pub String);

/// The bytes of a message.
pub fn encode(message: &Message) -> Vec<u8> {
    let mut out = Vec::new();
    let result: Result<(), minicbor::encode::Error<core::convert::Infallible>> = minicbor::encode(message, &mut out);
    assert!(result.is_ok(), "writing to memory does not fail");
    out
}

/// The message of a frame, all of it.
///
/// # Errors
/// Anything that is not exactly one message within its limits.
pub fn decode(frame: &[u8]) -> Result<Message, DecodeError> {
    let mut decoder = minicbor::Decoder::new(frame);
    let message = decoder.decode::<Message>().map_err(|e| DecodeError(format!("{e}")))?;
    if decoder.position() != frame.len() {
        return Err(DecodeError(format!("{} bytes follow it", frame.len() - decoder.position())));
    }
    Ok(message)
}
