//! The messages of a pairing and the proofs in them.

use super::PairError;
use crate::net::code::Code;
use crate::world::Net;
use hmac::{Hmac, KeyInit, Mac};
use minicbor::bytes::{ByteArray, ByteVec};
use minicbor::{Decode, Encode};
use quinn::{Connection, ReadExactError, RecvStream, SendStream};
use sha2::Sha256;
use spake2::{Ed25519Group, Identity, Password, Spake2};
use sync_core::FolderId;
use sync_core::id::PublicKey;

/// Longest message, bytes.
const MAX_MESSAGE: usize = 4 << 10;
/// Longest name that is sent or taken over, bytes.
const MAX_NAME: usize = 255;
/// Label of the TLS exporter.
const EXPORTER_LABEL: &[u8] = b"landropic pairing";
/// Domain of the proofs.
const MAC_DOMAIN: &[u8] = b"landropic-pair/1";

/// Everything that is said.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub(super) enum Message {
    /// The joiner names the invitation.
    #[n(0)]
    Open {
        #[n(0)]
        nameplate: u8,
        #[n(1)]
        pake: ByteVec,
    },
    /// The inviter's half of the key exchange.
    #[n(1)]
    Answer {
        #[n(0)]
        pake: ByteVec,
    },
    /// The joiner proves that it knows the code.
    #[n(2)]
    Confirm {
        #[n(0)]
        mac: ByteArray<32>,
    },
    /// The inviter proves the same, and says what it offers.
    #[n(3)]
    Reveal {
        #[n(0)]
        mac: ByteArray<32>,
        #[n(1)]
        folder: FolderId,
        #[n(2)]
        folder_name: String,
        #[n(3)]
        device_name: String,
        #[n(4)]
        listen_port: u16,
    },
    /// The joiner takes this folder.
    #[n(4)]
    Agree {
        #[n(0)]
        mac: ByteArray<32>,
        #[n(1)]
        device_name: String,
        #[n(2)]
        listen_port: u16,
    },
    /// The inviter knows the joiner.
    #[n(5)]
    Done,
}

/// Which proof it is: none can stand for another.
#[derive(Clone, Copy, Debug)]
pub(super) enum Step {
    JoinerConfirms,
    InviterConfirms(FolderId),
    JoinerAgrees(FolderId),
}

/// What a pairing is tied to.
#[derive(Clone, Debug)]
pub(super) struct Binding {
    pub(super) exporter: [u8; 32],
    pub(super) joiner: PublicKey,
    pub(super) inviter: PublicKey,
    pub(super) nameplate: u8,
}

impl Binding {
    /// The binding to a connection.
    pub(super) fn new(
        connection: &Connection,
        joiner: PublicKey,
        inviter: PublicKey,
        nameplate: u8,
    ) -> Result<Self, PairError> {
        let mut exporter = [0; 32];
        connection
            .export_keying_material(&mut exporter, EXPORTER_LABEL, &[])
            .map_err(|_| PairError::Internal("TLS exports no key".into()))?;
        Ok(Self { exporter, joiner, inviter, nameplate })
    }

    /// Starts as the joiner: the state, and the message for the inviter.
    pub(super) fn start_joiner(&self, code: &Code, net: &dyn Net) -> (Spake2<Ed25519Group>, Vec<u8>) {
        let (a, b) = self.identities();
        Spake2::start_a_with_rng(&Password::new(code.secret()), &a, &b, Randomness(net))
    }

    /// Starts as the inviter: the state, and the message for the joiner.
    pub(super) fn start_inviter(&self, code: &Code, net: &dyn Net) -> (Spake2<Ed25519Group>, Vec<u8>) {
        let (a, b) = self.identities();
        Spake2::start_b_with_rng(&Password::new(code.secret()), &a, &b, Randomness(net))
    }

    fn identities(&self) -> (Identity, Identity) {
        let of = |role: &[u8], key: &PublicKey| Identity::new(&[role, key.0.as_slice()].concat());
        (of(b"landropic joiner", &self.joiner), of(b"landropic inviter", &self.inviter))
    }
}

/// The key that both have if both know the code.
pub(super) struct SharedKey(Vec<u8>);

impl SharedKey {
    /// The key from our state and the peer's message, which must come from the other role.
    pub(super) fn new(state: Spake2<Ed25519Group>, peer: &[u8]) -> Result<Self, PairError> {
        state.finish(peer).map(Self).map_err(|error| PairError::Misbehaved(format!("bad key exchange: {error}")))
    }

    /// Proof of one step.
    pub(super) fn prove(&self, step: Step, binding: &Binding) -> Result<ByteArray<32>, PairError> {
        let tag: [u8; 32] = self.mac(step, binding)?.finalize().into_bytes().into();
        Ok(ByteArray::from(tag))
    }

    /// Whether the peer has proved a step, in constant time.
    pub(super) fn proves(&self, step: Step, binding: &Binding, mac: &ByteArray<32>) -> Result<bool, PairError> {
        Ok(self.mac(step, binding)?.verify_slice(mac.as_slice()).is_ok())
    }

    fn mac(&self, step: Step, binding: &Binding) -> Result<Hmac<Sha256>, PairError> {
        let mut mac = Hmac::<Sha256>::new_from_slice(&self.0).map_err(|e| PairError::Internal(e.to_string()))?;
        let (role, folder): (&[u8], Option<FolderId>) = match step {
            Step::JoinerConfirms => (b"joiner confirms", None),
            Step::InviterConfirms(folder) => (b"inviter confirms", Some(folder)),
            Step::JoinerAgrees(folder) => (b"joiner agrees", Some(folder)),
        };
        let folder = folder.map(|folder| folder.0);
        let fields: [&[u8]; 7] = [
            MAC_DOMAIN,
            role,
            &binding.exporter,
            &binding.joiner.0,
            &binding.inviter.0,
            &[binding.nameplate],
            folder.as_ref().map_or(&[], |folder| folder.as_slice()),
        ];
        for field in fields {
            // Lengths keep one list of fields from reading like another.
            mac.update(&u64::try_from(field.len()).unwrap_or(u64::MAX).to_le_bytes());
            mac.update(field);
        }
        Ok(mac)
    }
}

/// Sends one message.
pub(super) async fn write(send: &mut SendStream, message: &Message) -> Result<(), PairError> {
    let body = minicbor::to_vec(message).map_err(|error| PairError::Internal(error.to_string()))?;
    let len = u32::try_from(body.len()).ok().filter(|_| body.len() <= MAX_MESSAGE);
    let len = len.ok_or_else(|| PairError::Internal("a message is too long".into()))?;
    let framed = [len.to_le_bytes().as_slice(), &body].concat();
    send.write_all(&framed).await.map_err(|error| match error {
        quinn::WriteError::ConnectionLost(end) => lost(&end),
        quinn::WriteError::Stopped(_) | quinn::WriteError::ClosedStream | quinn::WriteError::ZeroRttRejected => {
            PairError::Broken(error.to_string())
        }
    })
}

/// Receives one message.
pub(super) async fn read(recv: &mut RecvStream) -> Result<Message, PairError> {
    let mut len = [0; 4];
    recv.read_exact(&mut len).await.map_err(cut)?;
    let len = usize::try_from(u32::from_le_bytes(len)).ok().filter(|len| *len <= MAX_MESSAGE);
    let len = len.ok_or_else(|| PairError::Misbehaved("a message that is too long".into()))?;
    let mut body = vec![0; len];
    recv.read_exact(&mut body).await.map_err(cut)?;
    let mut decoder = minicbor::Decoder::new(&body);
    let message = decoder.decode().map_err(|error| PairError::Misbehaved(format!("no message: {error}")))?;
    if decoder.position() != body.len() {
        return Err(PairError::Misbehaved("bytes after a message".into()));
    }
    Ok(message)
}

/// The error of a message that does not belong here.
pub(super) fn out_of_turn(message: &Message) -> PairError {
    let name = match message {
        Message::Open { .. } => "Open",
        Message::Answer { .. } => "Answer",
        Message::Confirm { .. } => "Confirm",
        Message::Reveal { .. } => "Reveal",
        Message::Agree { .. } => "Agree",
        Message::Done => "Done",
    };
    PairError::Misbehaved(format!("{name} out of turn"))
}

fn cut(error: ReadExactError) -> PairError {
    match error {
        ReadExactError::ReadError(quinn::ReadError::ConnectionLost(end)) => lost(&end),
        ReadExactError::ReadError(error) => PairError::Broken(error.to_string()),
        ReadExactError::FinishedEarly(_) => PairError::Broken("the other device stopped".into()),
    }
}

/// What the end of the connection means for a pairing; a refusal means different things at different steps.
pub(super) fn lost(end: &quinn::ConnectionError) -> PairError {
    if let quinn::ConnectionError::ApplicationClosed(close) = end {
        let code = close.error_code.into_inner();
        if code == u64::from(super::CODE_BUSY) {
            return PairError::Busy;
        }
        if sync_core::CloseCode::from_wire(code) == sync_core::CloseCode::NotAuthorised {
            return PairError::WrongCode;
        }
    }
    PairError::Broken(end.to_string())
}

/// A name as it is sent: short enough for its message.
pub(super) fn short_name(name: &str) -> String {
    let mut end = name.len().min(MAX_NAME);
    while !name.is_char_boundary(end) {
        end -= 1;
    }
    name[..end].to_owned()
}

/// A name that somebody else chose, fit for terminals and logs.
pub(super) fn clean_name(name: &str, otherwise: &str) -> String {
    let printable: String = name.chars().filter(|c| !c.is_control()).collect();
    let clean = short_name(printable.trim());
    if clean.is_empty() { otherwise.to_owned() } else { clean }
}

/// Where the peer can be dialled: the address it is seen at, and the port it tells.
pub(super) fn dialable(connection: &Connection, listen_port: u16) -> String {
    let seen = connection.remote_address();
    let port = if listen_port == 0 { seen.port() } else { listen_port };
    std::net::SocketAddr::new(seen.ip().to_canonical(), port).to_string()
}

/// The world's randomness, as SPAKE2 wants it.
struct Randomness<'a>(&'a dyn Net);

impl rand_core::RngCore for Randomness<'_> {
    fn next_u32(&mut self) -> u32 {
        rand_core::impls::next_u32_via_fill(self)
    }

    fn next_u64(&mut self) -> u64 {
        rand_core::impls::next_u64_via_fill(self)
    }

    fn fill_bytes(&mut self, dest: &mut [u8]) {
        self.0.fill_random(dest);
    }

    fn try_fill_bytes(&mut self, dest: &mut [u8]) -> Result<(), rand_core::Error> {
        self.0.fill_random(dest);
        Ok(())
    }
}

impl rand_core::CryptoRng for Randomness<'_> {}
