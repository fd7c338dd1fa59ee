//! The door: accepts and dials connections, and finds each by its id.

use super::frame;
use super::lanes::Asks;
use super::link::{Arrival, Handle, Inbox, InputSink, Order, Owner, close, describe};
use super::pairing::Invites;
use super::tls::{self, ALPN_LINK, ALPN_PAIR};
use super::transport;
use crate::identity::Identity;
use crate::world::Net;
use anyhow::{Context, Result};
use quinn::{Connection, ConnectionError, Endpoint, Incoming, RecvStream, SendStream, TransportConfig, VarInt};
use rustls::crypto::CryptoProvider;
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use sync_core::id::{AskId, EffectId, LinkId, PublicKey};
use sync_core::input::Lane;
use sync_core::wire::{MAX_CONTROL_FRAME, MAX_INDEX_FRAME};
use sync_core::{CloseCode, FetchError, Input};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};
use tokio::time::{Instant, timeout};

/// Accepted connections that nobody has admitted yet; more are refused.
pub const MAX_UNADMITTED: usize = 64;
/// With this many places left, strangers must prove their address before they take one.
const PLACES_FOR_PROVEN: usize = 48;
/// How long a dial may take, over all its addresses.
pub const DIAL_TIMEOUT: Duration = Duration::from_secs(10);
/// How long an accepted connection may take to prove its key.
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(10);
/// How long a shutdown waits for peers to hear of it.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(1);

/// All connections of this device. Clones are the same network.
#[derive(Clone)]
pub struct Network {
    shared: Arc<Shared>,
}

struct Shared {
    net: Arc<dyn Net>,
    provider: Arc<CryptoProvider>,
    identity: Identity,
    endpoint: Endpoint,
    local: SocketAddr,
    transport: Arc<TransportConfig>,
    inbox: Inbox,
    links: Mutex<BTreeMap<LinkId, Handle>>,
    last_link: AtomicU64,
    asks: Arc<Asks>,
    places: Arc<Semaphore>,
    invites: Arc<Invites>,
}

impl Network {
    /// Listens on `listen`. What happens on links goes to `inbox`, pairings to `invites`.
    ///
    /// Must be called within a tokio runtime.
    ///
    /// # Errors
    /// The address cannot be listened on, or the world's cryptography lacks what QUIC needs.
    pub fn bind(
        net: Arc<dyn Net>,
        listen: SocketAddr,
        identity: &Identity,
        inbox: InputSink,
        invites: Arc<Invites>,
    ) -> Result<Self> {
        let provider = net.provider();
        let socket = net.bind(listen).with_context(|| {
            format!("cannot listen on UDP {listen}: is another landropic running? choose another with --listen")
        })?;
        let transport = transport::transport();
        let server = transport::server(&net, tls::server(&provider, identity)?, transport.clone());
        let endpoint =
            Endpoint::new_with_abstract_socket(transport::endpoint(&net)?, Some(server), socket, net.runtime())
                .with_context(|| format!("cannot use UDP {listen}"))?;
        let local = endpoint.local_addr().with_context(|| format!("cannot tell the port of UDP {listen}"))?;
        let shared = Shared {
            net,
            provider,
            identity: identity.clone(),
            endpoint,
            local,
            transport,
            inbox: Inbox(inbox),
            links: Mutex::default(),
            last_link: AtomicU64::new(0),
            asks: Arc::default(),
            places: Arc::new(Semaphore::new(MAX_UNADMITTED)),
            invites,
        };
        let network = Self { shared: Arc::new(shared) };
        tokio::spawn(network.clone().accept());
        Ok(network)
    }

    /// The address that is listened on, with the port the system chose if it was asked to.
    pub fn listen_addr(&self) -> SocketAddr {
        self.shared.local
    }

    /// Who this device is.
    pub fn public_key(&self) -> PublicKey {
        self.shared.identity.public_key()
    }

    /// The world this network is of.
    pub(super) fn net(&self) -> &Arc<dyn Net> {
        &self.shared.net
    }

    /// Connects to the holder of `expect` at the first of `addrs` (`host:port`) where it answers: `LinkUp` or
    /// `DialFailed`. Does not block.
    pub fn dial(&self, dial: EffectId, expect: PublicKey, addrs: Vec<String>) {
        let network = self.clone();
        tokio::spawn(async move {
            match network.connect_any(ALPN_LINK, Some(expect), &addrs).await {
                Ok((connection, addr)) => network.link_up(connection, expect, addr, Some(dial), None).await,
                Err(reason) => network.shared.inbox.put(Input::DialFailed { dial, reason }).await,
            }
        });
    }

    /// Starts reading the peer's streams and writing ours. Does not block.
    pub fn admit(&self, link: LinkId) {
        self.with_link(link, |handle| handle.order(Order::Admit));
    }

    /// Queues a frame. Does not block. A peer that lets thousands of frames pile up is hung up on.
    pub fn send(&self, link: LinkId, lane: Lane, frame: Vec<u8>) {
        debug_assert!(
            frame.len()
                <= match lane {
                    Lane::Control => MAX_CONTROL_FRAME,
                    Lane::Index => MAX_INDEX_FRAME,
                },
            "the core keeps to the limits of the wire"
        );
        self.with_link(link, |handle| {
            let queue = match lane {
                Lane::Control => &handle.control,
                Lane::Index => &handle.index,
            };
            match queue.try_send(frame) {
                // A lane that has ended belongs to a connection that is ending.
                Ok(()) | Err(mpsc::error::TrySendError::Closed(_)) => {}
                Err(mpsc::error::TrySendError::Full(_)) => {
                    let reason = format!("the {lane:?} lane is not read");
                    handle.order(Order::HangUp(CloseCode::ProtocolError, reason));
                }
            }
        });
    }

    /// Closes a connection, after what was sent on its control lane: `LinkDown`. Does not block.
    pub fn hang_up(&self, link: LinkId, code: CloseCode, reason: String) {
        self.with_link(link, |handle| handle.order(Order::HangUp(code, reason)));
    }

    /// Closes every link.
    pub fn hang_up_all(&self, code: CloseCode, reason: &str) {
        self.links().values().for_each(|handle| handle.order(Order::HangUp(code, reason.to_owned())));
    }

    /// Asks the peer of a link on a stream of the data lane, and returns where the answer comes. How long it may take is
    /// up to the caller; dropping the stream tells the peer to stop.
    ///
    /// # Errors
    /// `Broken`: the link is gone. `Refused`: the request is longer than the wire allows.
    pub async fn ask(&self, link: LinkId, frame: &[u8]) -> Result<RecvStream, FetchError> {
        if frame.len() > MAX_CONTROL_FRAME {
            return Err(FetchError::Refused);
        }
        let connection = self.links().get(&link).map(|handle| handle.connection.clone()).ok_or(FetchError::Broken)?;
        let (mut send, recv) = connection.open_bi().await.map_err(|_| FetchError::Broken)?;
        send.write_all_chunks(&mut frame::encode_ask(frame.to_vec())).await.map_err(|_| FetchError::Broken)?;
        send.finish().map_err(|_| FetchError::Broken)?;
        Ok(recv)
    }

    /// Where the answer to a request of the peer goes; once, and not after its link is gone.
    pub fn take_ask(&self, ask: AskId) -> Option<SendStream> {
        self.shared.asks.take(ask)
    }

    /// Closes every connection and waits a moment until the peers have heard of it.
    pub async fn close(&self) {
        self.shared.endpoint.close(VarInt::from_u32(CloseCode::ShuttingDown as u32), b"the daemon is stopping");
        if timeout(CLOSE_TIMEOUT, self.shared.endpoint.wait_idle()).await.is_err() {
            tracing::debug!("some peers did not confirm the end of their connection");
        }
    }

    /// Opens a connection for `alpn` at the first of `addrs` that answers, with that address.
    pub(super) async fn connect_any(
        &self,
        alpn: &[u8],
        expect: Option<PublicKey>,
        addrs: &[String],
    ) -> Result<(Connection, String), String> {
        let deadline = Instant::now() + DIAL_TIMEOUT;
        let mut failures = Vec::new();
        for (tried, addr) in addrs.iter().enumerate() {
            // A black hole must not use up the time of the addresses after it.
            let share = deadline.saturating_duration_since(Instant::now()) / left(addrs.len() - tried);
            match timeout(share, self.connect(alpn, expect, addr)).await {
                Ok(Ok(connection)) => {
                    let seen = addr_text(&connection);
                    return Ok((connection, seen));
                }
                Ok(Err(reason)) => failures.push(format!("{addr}: {reason}")),
                Err(_) => failures.push(format!("{addr}: no answer")),
            }
        }
        if failures.is_empty() { Err("no address is known".into()) } else { Err(failures.join("; ")) }
    }

    async fn connect(&self, alpn: &[u8], expect: Option<PublicKey>, addr: &str) -> Result<Connection, String> {
        let shared = &self.shared;
        let addr = resolve(addr, shared.local).await?;
        let dialler = tls::client(&shared.provider, &shared.identity, alpn, expect).map_err(|e| format!("{e:#}"))?;
        let config = transport::client(&shared.net, dialler.crypto.clone(), shared.transport.clone());
        let connecting = shared.endpoint.connect_with(config, addr, tls::SERVER_NAME).map_err(|e| e.to_string())?;
        connecting.await.map_err(|end| match (dialler.impostor(), expect) {
            (Some(found), Some(expected)) => {
                format!("another device answers: its key is {}, not {}", found.short(), expected.short())
            }
            (Some(_), None) | (None, _) => sentence(&end),
        })
    }

    async fn accept(self) {
        while let Some(incoming) = self.shared.endpoint.accept().await {
            let places = &self.shared.places;
            if places.available_permits() < PLACES_FOR_PROVEN && incoming.may_retry() {
                if let Err(error) = incoming.retry() {
                    tracing::debug!(%error, "a connection attempt could not be asked to come again");
                }
                continue;
            }
            match places.clone().try_acquire_owned() {
                Ok(place) => {
                    tokio::spawn(self.clone().answer(incoming, place));
                }
                Err(_) => incoming.refuse(),
            }
        }
    }

    async fn answer(self, incoming: Incoming, place: OwnedSemaphorePermit) {
        let from = incoming.remote_address();
        let Ok(connecting) = incoming.accept() else { return };
        let connection = match timeout(HANDSHAKE_TIMEOUT, connecting).await {
            Ok(Ok(connection)) => connection,
            Ok(Err(error)) => return tracing::debug!(%from, %error, "a connection attempt failed"),
            Err(_) => return tracing::debug!(%from, "a connection attempt took too long"),
        };
        let Some(key) = tls::peer_key(&connection) else {
            return close(&connection, CloseCode::NotAuthorised, "no key");
        };
        match tls::protocol(&connection).as_deref() {
            Some(ALPN_LINK) => {
                let addr = addr_text(&connection);
                self.link_up(connection, key, addr, None, Some(place)).await;
            }
            Some(ALPN_PAIR) => self.shared.invites.clone().serve(&self, connection, key, place).await,
            Some(_) | None => close(&connection, CloseCode::HandshakeFailed, "no protocol in common"),
        }
    }

    async fn link_up(
        &self,
        connection: Connection,
        key: PublicKey,
        addr: String,
        dial: Option<EffectId>,
        place: Option<OwnedSemaphorePermit>,
    ) {
        let link = LinkId(self.shared.last_link.fetch_add(1, Ordering::Relaxed) + 1);
        let arrival = Arrival { link, connection, key, addr, dial, place };
        let (handle, owner) = Owner::new(arrival, self.shared.inbox.clone(), self.shared.asks.clone());
        self.links().insert(link, handle);
        let shared = self.shared.clone();
        owner.run(move || drop(shared.links.lock().unwrap_or_else(PoisonError::into_inner).remove(&link))).await;
    }

    /// A link that is not there any more has a `LinkDown` on the way: there is nothing left to do with it.
    fn with_link(&self, link: LinkId, act: impl FnOnce(&Handle)) {
        if let Some(handle) = self.links().get(&link) {
            act(handle);
        }
    }

    fn links(&self) -> std::sync::MutexGuard<'_, BTreeMap<LinkId, Handle>> {
        self.shared.links.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn left(addrs: usize) -> u32 {
    u32::try_from(addrs).unwrap_or(u32::MAX).max(1)
}

/// The peer's address, without the disguise of IPv4 on a socket for both families.
fn addr_text(connection: &Connection) -> String {
    let addr = connection.remote_address();
    SocketAddr::new(addr.ip().to_canonical(), addr.port()).to_string()
}

/// Why a connection attempt came to nothing.
fn sentence(end: &ConnectionError) -> String {
    match end {
        ConnectionError::TimedOut => "no answer".into(),
        ConnectionError::ApplicationClosed(_)
        | ConnectionError::LocallyClosed
        | ConnectionError::Reset
        | ConnectionError::VersionMismatch
        | ConnectionError::TransportError(_)
        | ConnectionError::ConnectionClosed(_)
        | ConnectionError::CidsExhausted => describe(end).1,
    }
}

/// The address behind `host:port` that this socket can reach.
async fn resolve(addr: &str, local: SocketAddr) -> Result<SocketAddr, String> {
    let found: Vec<SocketAddr> = match addr.parse() {
        Ok(literal) => vec![literal],
        Err(_) => tokio::net::lookup_host(addr).await.map_err(|e| format!("cannot be resolved: {e}"))?.collect(),
    };
    let usable = found.iter().find(|found| found.is_ipv4() || local.is_ipv6());
    usable.copied().ok_or_else(|| format!("has no address that can be reached from {local}"))
}
