//! CBOR (RFC 8949) by numbered fields: unknown fields are skipped, missing optional ones are `None`.

use super::message::Message;
use alloc::{format, string::String, vec::Vec};
use minicbor::{Decode, Decoder, decode::Error};

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
    let mut decoder = Decoder::new(frame);
    let message = decoder.decode::<Message>().map_err(|e| DecodeError(format!("{e}")))?;
    if decoder.position() != frame.len() {
        return Err(DecodeError(format!("{} bytes follow it", frame.len() - decoder.position())));
    }
    Ok(message)
}

/// A list of at most `MAX` items: a few bytes on the wire become far more in memory, so the count is checked as they
/// are read.
pub(super) fn at_most<'b, const MAX: usize, C, T: Decode<'b, C>>(
    d: &mut Decoder<'b>,
    c: &mut C,
) -> Result<Vec<T>, Error> {
    let mut out = Vec::new();
    for item in d.array_iter_with(c)? {
        if out.len() == MAX {
            return Err(Error::message(format!("a list of more than {MAX} items")));
        }
        out.push(item?);
    }
    Ok(out)
}
