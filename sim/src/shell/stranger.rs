//! Somebody who has a key of its own, was never paired, and tries to get in; and who waits where members are looked for.

use super::clock::HostClock;
use super::net::HostNet;
use io_shell::identity::Identity;
use io_shell::net::Network;
use io_shell::net::pairing::Invites;
use io_shell::world::Net;
use std::cell::RefCell;
use std::net::{Ipv4Addr, SocketAddr};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;
use sync_core::id::{EffectId, LinkId, PublicKey};
use sync_core::input::Lane;
use sync_core::wire::{Message, Want, WantItem, encode};
use sync_core::{CloseCode, ContentId, DeviceId, FolderId, Input};
use tokio::sync::mpsc;

/// Where it listens.
pub const PORT: u16 = 1_234;
/// Pause between two attempts.
const PAUSE: Duration = Duration::from_millis(1_500);
/// How long an attempt waits to be thrown out.
const PATIENCE: Duration = Duration::from_secs(20);

/// What came of all attempts.
#[derive(Debug, Default)]
pub struct Knocks {
    /// Who it is.
    pub id: Option<DeviceId>,
    /// Times it was thrown out for what it is.
    pub refused: u64,
    /// What it got that it should not have.
    pub got: Vec<String>,
}

/// Knocks at the door of the holder of `key` at `addr` for ever, and asks for things. Opens to whoever comes.
///
/// # Errors
/// Its own network cannot be set up.
pub async fn knock(net: HostNet, key: PublicKey, addr: String, knocks: Rc<RefCell<Knocks>>) -> turmoil::Result {
    let net: Arc<dyn Net> = Arc::new(net);
    let identity = Identity::generate(net.as_ref())?;
    knocks.borrow_mut().id = Some(identity.device_id());
    let (inbox, mut inputs) = mpsc::channel(64);
    let (pairings, _paired) = mpsc::channel(1);
    let invites = Invites::new(net.clone(), Arc::new(HostClock::default()), "stranger".into(), pairings);
    let listen = SocketAddr::new(Ipv4Addr::UNSPECIFIED.into(), PORT);
    let network = Network::bind(net, listen, &identity, inbox, Arc::new(invites))?;
    for attempt in 1.. {
        network.dial(EffectId(attempt), key, vec![addr.clone()]);
        while let Ok(Some(input)) = tokio::time::timeout(PATIENCE, inputs.recv()).await {
            if let Input::LinkUp { link, dial: None, .. } = input {
                // Somebody has come, and looks for a member here. What is said to that one must not be said to this one.
                network.admit(link);
            } else if let Input::LinkUp { link, .. } = input {
                network.admit(link);
                network.send(link, Lane::Control, b"let me in".to_vec());
                let got = tokio::time::timeout(PATIENCE, ask(&network, link)).await;
                knocks.borrow_mut().got.extend(got.unwrap_or_default());
            } else if let Input::LinkDown { code, .. } = input {
                knocks.borrow_mut().refused += u64::from(code == CloseCode::NotAuthorised);
                break;
            } else if matches!(input, Input::DialFailed { .. }) {
                break;
            } else if matches!(input, Input::Received { .. } | Input::Asked { .. }) {
                knocks.borrow_mut().got.push(format!("{input:?}"));
            }
        }
        tokio::time::sleep(PAUSE).await;
    }
    Ok(())
}

/// Asks for a content, and returns what comes.
async fn ask(network: &Network, link: LinkId) -> Option<String> {
    let item = WantItem { content: ContentId([0; 32]), offset: 0, len: 1 };
    let want = encode(&Message::Want(Want { folder: FolderId([0; 16]), items: vec![item] }));
    let mut stream = network.ask(link, &want).await.ok()?;
    let mut bytes = [0; 64];
    let count = stream.read(&mut bytes).await.ok()??;
    Some(format!("an answer of {count} bytes"))
}
