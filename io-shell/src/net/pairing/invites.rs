//! The inviting side: codes that are open, and what becomes of those who try them.

use super::exchange::{self, Binding, Message, SharedKey, Step};
use super::{CODE_BUSY, PAIR_TIMEOUT, PairError, Paired, PairingEvent};
use crate::net::Network;
use crate::net::code::{Code, MAX_NAMEPLATE};
use crate::net::link::close;
use crate::world::{Clock, Net};
use quinn::{Connection, VarInt};
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use sync_core::id::PublicKey;
use sync_core::{CloseCode, DeviceId, FolderId, Instant};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};

/// How long a code is open.
pub const CODE_LIFETIME: Duration = Duration::from_secs(600);
/// Codes that may be open at once.
pub const MAX_INVITES: usize = 32;
/// Pairings that may be under way at once.
pub const MAX_PAIRINGS: usize = 8;
/// Wrong tries that end an invitation.
const MAX_WRONG: u8 = 3;
/// How long the joiner may take to say that it has heard the end.
const FAREWELL: Duration = Duration::from_secs(1);

/// Too many codes are open.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{MAX_INVITES} invitations are open already: use one of them, or wait ten minutes until they close")]
pub struct TooManyInvites;

/// The open invitations of this device.
pub struct Invites {
    net: Arc<dyn Net>,
    clock: Arc<dyn Clock>,
    device_name: String,
    events: mpsc::Sender<PairingEvent>,
    open: Mutex<Open>,
    places: Arc<Semaphore>,
}

/// By nameplate. Serial numbers tell an invitation from an earlier one with its nameplate.
#[derive(Default)]
struct Open {
    invites: BTreeMap<u8, Invite>,
    last_serial: u64,
}

struct Invite {
    serial: u64,
    code: Code,
    folder: FolderId,
    folder_name: String,
    until: Instant,
    wrong: u8,
    under_way: u8,
}

impl Invites {
    /// No invitations yet. Every attempt of somebody to pair becomes one event.
    pub fn new(
        net: Arc<dyn Net>,
        clock: Arc<dyn Clock>,
        device_name: String,
        events: mpsc::Sender<PairingEvent>,
    ) -> Self {
        let places = Arc::new(Semaphore::new(MAX_PAIRINGS));
        Self { net, clock, device_name, events, open: Mutex::default(), places }
    }

    /// Opens an invitation to a folder: for one device, for ten minutes, for at most three wrong tries.
    ///
    /// # Errors
    /// Too many are open.
    pub fn offer(&self, folder: FolderId, folder_name: String) -> Result<Code, TooManyInvites> {
        let mut open = self.lock();
        let free: Vec<u8> = (1..=MAX_NAMEPLATE).filter(|n| !open.invites.contains_key(n)).collect();
        if open.invites.len() >= MAX_INVITES {
            return Err(TooManyInvites);
        }
        let mut choice = [0; 8];
        self.net.fill_random(&mut choice);
        let nameplate = free[usize::from_le_bytes(choice) % free.len()];
        let code = Code::draw(nameplate, self.net.as_ref());
        open.last_serial += 1;
        let (serial, until) = (open.last_serial, self.clock.now() + CODE_LIFETIME);
        let invite = Invite { serial, code: code.clone(), folder, folder_name, until, wrong: 0, under_way: 0 };
        open.invites.insert(nameplate, invite);
        Ok(code)
    }

    /// Closes every invitation to a folder.
    pub fn withdraw(&self, folder: FolderId) {
        self.lock().invites.retain(|_, invite| invite.folder != folder);
    }

    /// The public parts of the open codes, for discovery.
    pub fn nameplates(&self) -> Vec<u8> {
        self.lock().invites.keys().copied().collect()
    }

    /// Runs one pairing to its end.
    pub(in crate::net) async fn serve(
        self: Arc<Self>,
        network: &Network,
        connection: Connection,
        joiner: PublicKey,
        unadmitted: OwnedSemaphorePermit,
    ) {
        let addr = exchange::dialable(&connection, 0);
        let Ok(_place) = self.places.clone().try_acquire_owned() else {
            connection.close(VarInt::from_u32(CODE_BUSY), b"too many pairings at once");
            let reason = audit_reason(&PairError::Busy);
            // A flood of attempts may outrun the audit; the connections are refused all the same.
            let _ = self.events.try_send(PairingEvent::Failed { addr, reason });
            return;
        };
        drop(unadmitted);
        let outcome = match tokio::time::timeout(PAIR_TIMEOUT, self.pair(network, &connection, joiner)).await {
            Ok(outcome) => outcome,
            Err(_) => Err(PairError::Timeout),
        };
        let event = match outcome {
            Ok(paired) => {
                // The joiner closes when it has heard the end.
                let _ = tokio::time::timeout(FAREWELL, connection.closed()).await;
                close(&connection, CloseCode::None, "paired");
                PairingEvent::Paired(paired)
            }
            Err(error) => {
                turn_away(&connection, &error);
                PairingEvent::Failed { addr, reason: audit_reason(&error) }
            }
        };
        // Without a daemon there is nobody left to pair with.
        let _ = self.events.send(event).await;
    }

    async fn pair(&self, network: &Network, connection: &Connection, joiner: PublicKey) -> Result<Paired, PairError> {
        let (mut send, mut recv) = connection.accept_bi().await.map_err(|end| exchange::lost(&end))?;
        let message = exchange::read(&mut recv).await?;
        let Message::Open { nameplate, pake } = message else { return Err(exchange::out_of_turn(&message)) };
        let trial = self.begin(nameplate)?;
        let binding = Binding::new(connection, joiner, network.public_key(), nameplate)?;
        let (state, answer) = binding.start_inviter(&trial.code, self.net.as_ref());
        let key = SharedKey::new(state, &pake)?;
        exchange::write(&mut send, &Message::Answer { pake: answer.into() }).await?;
        let message = exchange::read(&mut recv).await?;
        let Message::Confirm { mac } = message else { return Err(exchange::out_of_turn(&message)) };
        if !key.proves(Step::JoinerConfirms, &binding, &mac)? {
            trial.wrong();
            return Err(PairError::WrongCode);
        }
        let (folder, folder_name) = trial.right()?;
        let reveal = Message::Reveal {
            mac: key.prove(Step::InviterConfirms(folder), &binding)?,
            folder,
            folder_name: exchange::short_name(&folder_name),
            device_name: exchange::short_name(&self.device_name),
            listen_port: network.listen_addr().port(),
        };
        exchange::write(&mut send, &reveal).await?;
        let message = exchange::read(&mut recv).await?;
        let Message::Agree { mac, device_name, listen_port } = message else {
            return Err(exchange::out_of_turn(&message));
        };
        if !key.proves(Step::JoinerAgrees(folder), &binding, &mac)? {
            return Err(PairError::Unconfirmed);
        }
        exchange::write(&mut send, &Message::Done).await?;
        let device = DeviceId::of_key(&joiner);
        let name = exchange::clean_name(&device_name, &device.short());
        let addr = exchange::dialable(connection, listen_port);
        Ok(Paired { device, key: joiner, name, addr, folder, folder_name })
    }

    /// Takes one of the tries of an invitation. It is given back unless the code turns out wrong.
    fn begin(&self, nameplate: u8) -> Result<Trial<'_>, PairError> {
        let mut open = self.lock();
        let invite = open.invites.get_mut(&nameplate).ok_or(PairError::NotOpen)?;
        // Guesses that are under way count, or eight connections would be eight guesses.
        if invite.wrong + invite.under_way >= MAX_WRONG {
            return Err(PairError::Busy);
        }
        invite.under_way += 1;
        Ok(Trial { invites: self, nameplate, serial: invite.serial, code: invite.code.clone() })
    }

    /// The open invitations, without those whose time is over.
    fn lock(&self) -> MutexGuard<'_, Open> {
        let now = self.clock.now();
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        open.invites.retain(|_, invite| now < invite.until);
        open
    }
}

/// One try of a code.
struct Trial<'a> {
    invites: &'a Invites,
    nameplate: u8,
    serial: u64,
    code: Code,
}

impl Trial<'_> {
    /// The code was wrong.
    fn wrong(self) {
        let mut open = self.invites.lock();
        if let Some(invite) = self.of(&mut open) {
            invite.wrong += 1;
            if invite.wrong >= MAX_WRONG {
                open.invites.remove(&self.nameplate);
            }
        }
    }

    /// The code was right, and is used up.
    fn right(self) -> Result<(FolderId, String), PairError> {
        let mut open = self.invites.lock();
        self.of(&mut open).ok_or(PairError::NotOpen)?;
        let invite = open.invites.remove(&self.nameplate).ok_or(PairError::NotOpen)?;
        Ok((invite.folder, invite.folder_name))
    }

    /// The invitation, if it is still the same.
    fn of<'o>(&self, open: &'o mut Open) -> Option<&'o mut Invite> {
        open.invites.get_mut(&self.nameplate).filter(|invite| invite.serial == self.serial)
    }
}

impl Drop for Trial<'_> {
    fn drop(&mut self) {
        let mut open = self.invites.lock();
        if let Some(invite) = self.of(&mut open) {
            invite.under_way -= 1;
        }
    }
}

/// Ends a failed pairing. The joiner learns whether to come again, and nothing else.
fn turn_away(connection: &Connection, error: &PairError) {
    match error {
        PairError::Busy => connection.close(VarInt::from_u32(CODE_BUSY), b"this code is being tried already"),
        PairError::NotOpen | PairError::WrongCode | PairError::Unconfirmed => {
            close(connection, CloseCode::NotAuthorised, "not authorised");
        }
        PairError::Misbehaved(reason) => close(connection, CloseCode::ProtocolError, reason),
        PairError::Timeout => close(connection, CloseCode::HandshakeTimeout, "too slow"),
        PairError::Broken(_) | PairError::Unreachable(_) | PairError::Internal(_) => {
            close(connection, CloseCode::HandshakeFailed, "failed");
        }
    }
}

/// The reason as the inviting side's audit tells it.
fn audit_reason(error: &PairError) -> String {
    match error {
        PairError::WrongCode => "a wrong code".into(),
        PairError::NotOpen => "no open invitation has this code's number".into(),
        PairError::Busy => "too many pairings at once".into(),
        PairError::Unconfirmed => "the joiner did not agree to the folder".into(),
        PairError::Timeout => "the joiner did not finish in time".into(),
        PairError::Misbehaved(reason) => format!("the joiner does not follow the protocol: {reason}"),
        PairError::Broken(reason) => format!("the joiner ended the connection: {reason}"),
        PairError::Unreachable(reason) | PairError::Internal(reason) => reason.clone(),
    }
}
