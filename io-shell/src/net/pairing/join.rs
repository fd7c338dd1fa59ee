//! The joining side.

use super::exchange::{self, Binding, Message, SharedKey, Step};
use super::{PAIR_TIMEOUT, PairError, Paired};
use crate::net::Network;
use crate::net::code::Code;
use crate::net::link::close;
use crate::net::tls::{self, ALPN_PAIR};
use quinn::{Connection, RecvStream, SendStream};
use sync_core::id::PublicKey;
use sync_core::{CloseCode, DeviceId};
use tokio::time::Instant;

/// Pairs with the device that shows `code` and listens at `addr` (`host:port`). `name` is what this device is called
/// there.
///
/// # Errors
/// Nothing has changed here; the code may be used up.
pub async fn join(network: &Network, addr: &str, code: &Code, name: &str) -> Result<Paired, PairError> {
    let deadline = Instant::now() + PAIR_TIMEOUT;
    let (connection, _) =
        network.connect_any(ALPN_PAIR, None, &[addr.to_owned()]).await.map_err(PairError::Unreachable)?;
    let outcome = match tokio::time::timeout_at(deadline, pair(network, &connection, code, name)).await {
        Ok(outcome) => outcome,
        Err(_) => Err(PairError::Timeout),
    };
    match &outcome {
        Ok(_) => close(&connection, CloseCode::None, "paired"),
        Err(_) => close(&connection, CloseCode::HandshakeFailed, "pairing failed"),
    }
    outcome
}

async fn pair(network: &Network, connection: &Connection, code: &Code, name: &str) -> Result<Paired, PairError> {
    let inviter = tls::peer_key(connection).ok_or_else(|| PairError::Internal("the inviter has no key".into()))?;
    let binding = Binding::new(connection, network.public_key(), inviter, code.nameplate())?;
    let (mut send, mut recv) = connection.open_bi().await.map_err(|end| exchange::lost(&end))?;
    let key = exchange_keys(network, code, &binding, (&mut send, &mut recv)).await.map_err(|error| {
        // Before the code was tried, a refusal is about its number.
        if error == PairError::WrongCode { PairError::NotOpen } else { error }
    })?;
    let confirm = Message::Confirm { mac: key.prove(Step::JoinerConfirms, &binding)? };
    exchange::write(&mut send, &confirm).await?;
    let message = exchange::read(&mut recv).await?;
    let Message::Reveal { mac, folder, folder_name, device_name, listen_port } = message else {
        return Err(exchange::out_of_turn(&message));
    };
    if !key.proves(Step::InviterConfirms(folder), &binding, &mac)? {
        return Err(PairError::Unconfirmed);
    }
    let offer = paired(connection, inviter, folder, &folder_name, &device_name, listen_port);
    let agree = Message::Agree {
        mac: key.prove(Step::JoinerAgrees(offer.folder), &binding)?,
        device_name: exchange::short_name(name),
        listen_port: network.listen_addr().port(),
    };
    exchange::write(&mut send, &agree).await?;
    let message = exchange::read(&mut recv).await?;
    if message == Message::Done { Ok(offer) } else { Err(exchange::out_of_turn(&message)) }
}

async fn exchange_keys(
    network: &Network,
    code: &Code,
    binding: &Binding,
    (send, recv): (&mut SendStream, &mut RecvStream),
) -> Result<SharedKey, PairError> {
    let (state, pake) = binding.start_joiner(code, network.net().as_ref());
    exchange::write(send, &Message::Open { nameplate: code.nameplate(), pake: pake.into() }).await?;
    let message = exchange::read(recv).await?;
    let Message::Answer { pake } = message else { return Err(exchange::out_of_turn(&message)) };
    SharedKey::new(state, &pake)
}

fn paired(
    connection: &Connection,
    key: PublicKey,
    folder: sync_core::FolderId,
    folder_name: &str,
    device_name: &str,
    listen_port: u16,
) -> Paired {
    let device = DeviceId::of_key(&key);
    Paired {
        device,
        key,
        name: exchange::clean_name(device_name, &device.short()),
        addr: exchange::dialable(connection, listen_port),
        folder,
        folder_name: exchange::clean_name(folder_name, &folder.short()),
    }
}
