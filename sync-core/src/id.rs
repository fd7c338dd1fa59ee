//! Identifiers. Each is parsed once at the edge and never wrong afterwards.

use alloc::string::String;
use core::fmt;
use minicbor::{Decode, Decoder, Encode, Encoder, decode, encode};

/// Domain of the device fingerprint, so that the hash of a key here is the hash of nothing else.
const DEVICE_CONTEXT: &str = "landropic 1 device id";

/// Lower-case hexadecimal of `bytes`.
fn write_hex(bytes: &[u8], f: &mut fmt::Formatter<'_>) -> fmt::Result {
    bytes.iter().try_for_each(|b| write!(f, "{b:02x}"))
}

/// Parses exactly `N` bytes of hexadecimal.
fn parse_hex<const N: usize>(text: &str) -> Option<[u8; N]> {
    let digits = text.as_bytes();
    if digits.len() != 2 * N {
        return None;
    }
    let mut out = [0; N];
    for (byte, pair) in out.iter_mut().zip(digits.chunks_exact(2)) {
        let high = char::from(pair[0]).to_digit(16)?;
        let low = char::from(pair[1]).to_digit(16)?;
        *byte = u8::try_from(high * 16 + low).ok()?;
    }
    Some(out)
}

/// A fixed number of bytes, written as hexadecimal for people and as a byte string on the wire.
macro_rules! bytes_id {
    ($(#[$doc:meta])* $name:ident, $len:literal) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(pub [u8; $len]);

        impl $name {
            /// Parses the hexadecimal form that `Display` prints.
            pub fn parse(text: &str) -> Option<Self> {
                parse_hex(text).map(Self)
            }
            /// The first eight hexadecimal digits: for people, never for lookup across a trust boundary.
            pub fn short(&self) -> String {
                let mut text = alloc::format!("{self}");
                text.truncate(8);
                text
            }
        }
        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write_hex(&self.0, f)
            }
        }
        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write_hex(&self.0[..4], f)
            }
        }
        impl<C> Encode<C> for $name {
            fn encode<W: encode::Write>(&self, e: &mut Encoder<W>, _: &mut C) -> Result<(), encode::Error<W::Error>> {
                e.bytes(&self.0)?.ok()
            }
        }
        impl<'b, C> Decode<'b, C> for $name {
            fn decode(d: &mut Decoder<'b>, _: &mut C) -> Result<Self, decode::Error> {
                let bytes = d.bytes()?;
                let array = <[u8; $len]>::try_from(bytes)
                    .map_err(|_| decode::Error::message(concat!(stringify!($name), " has the wrong length")))?;
                Ok(Self(array))
            }
        }
        impl serde::Serialize for $name {
            fn serialize<S: serde::Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
                s.collect_str(self)
            }
        }
    };
}

bytes_id!(
    /// A device: the fingerprint of its first public key.
    DeviceId, 32);
bytes_id!(
    /// A folder: random, drawn where the folder is first shared.
    FolderId, 16);
bytes_id!(
    /// A content: the BLAKE3 of the whole file, link target or record.
    ContentId, 32);
bytes_id!(
    /// A page of a chunk list: the first half of the BLAKE3 of its entries.
    PageId, 16);
bytes_id!(
    /// An Ed25519 public key.
    PublicKey, 32);

impl DeviceId {
    /// The id of the device whose first key is `key`.
    pub fn of_key(key: &PublicKey) -> Self {
        Self(blake3::derive_key(DEVICE_CONTEXT, &key.0))
    }
}

impl ContentId {
    /// The content id of bytes held in memory.
    pub fn of(bytes: &[u8]) -> Self {
        Self(*blake3::hash(bytes).as_bytes())
    }

    /// The first eight bytes: what a value remembers of the content it replaced.
    pub fn prefix(&self) -> [u8; 8] {
        let mut out = [0; 8];
        out.copy_from_slice(&self.0[..8]);
        out
    }
}

/// One incarnation of one device's database: random, so that a restored backup never reuses a dot.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Encode, Decode)]
#[cbor(transparent)]
pub struct Actor(#[n(0)] pub u64);

impl fmt::Display for Actor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

impl fmt::Debug for Actor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:x}", self.0)
    }
}

/// Ids of things in flight. Each counts up from 1 within one `Node`; the shell hands them back unchanged.
macro_rules! counter_id {
    ($($(#[$doc:meta])* $name:ident),+ $(,)?) => {$(
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(pub u64);
    )+};
}

counter_id! {
    /// A connection to a peer; chosen by the shell.
    LinkId,
    /// A request that arrived on the data lane; chosen by the shell.
    AskId,
    /// A user's request through the control socket; chosen by the shell.
    RequestId,
    /// An effect of the core: dial, scan, probe, apply, copy, salvage, fetch, seal or finish.
    EffectId,
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::string::ToString;

    #[test]
    fn ids_print_and_parse_back() {
        let id = ContentId::of(b"abc");
        assert_eq!(ContentId::parse(&id.to_string()), Some(id));
        assert_eq!(id.short().len(), 8);
        assert_eq!(ContentId::parse("zz"), None);
        assert_eq!(FolderId::parse(&"g".repeat(32)), None);
    }
}
