//! How quinn is set up: windows, timeouts, and every source of randomness taken from [`Net`].

use super::link::MAX_BIDI_STREAMS;
use crate::world::Net;
use anyhow::{Context, Result};
use aws_lc_rs::{hkdf, hmac};
use quinn::congestion::CubicConfig;
use quinn::crypto::rustls::{QuicClientConfig, QuicServerConfig};
use quinn::{
    ClientConfig, ConnectionId, ConnectionIdGenerator, EndpointConfig, MtuDiscoveryConfig, Runtime, ServerConfig,
    TimeSource, TransportConfig, ValidationTokenConfig, VarInt,
};
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// Largest datagram, bytes: above 6,550 quinn's ten segments no longer fit one send with segmentation offload.
const MAX_DATAGRAM: u16 = 6_500;
/// Bytes of one stream that may be under way to us.
const STREAM_WINDOW: u32 = 8 << 20;
/// Bytes that a peer may send before it is admitted.
const UNADMITTED_WINDOW: u32 = 256 << 10;
/// Requests that may be opened before admission: the one stream of a pairing.
const UNADMITTED_BIDI_STREAMS: u32 = 1;
/// Two lanes, and room to see that a peer opens too many.
const UNI_STREAMS: u32 = 8;
/// Bytes that may be under way before the first answer: ten full datagrams, as RFC 9002 has it. With less, one probe
/// for larger datagrams fills the window, and quinn sends no close code while the window is full.
const INITIAL_WINDOW: u64 = 10 * MAX_DATAGRAM as u64;
/// Bytes of ours that may be unacknowledged on one connection.
const SEND_WINDOW: u64 = 64 << 20;
/// How often a silent connection is kept alive.
const KEEP_ALIVE: Duration = Duration::from_secs(5);
/// How long a peer may be silent, milliseconds.
const IDLE_TIMEOUT_MS: u32 = 15_000;
/// Connection attempts that wait for the accept loop.
const MAX_INCOMING: usize = 128;
/// Bytes of such attempts that are kept, each and together.
const INCOMING_BYTES: (u64, u64) = (64 << 10, 4 << 20);
/// Bytes of a connection id.
const CONNECTION_ID_LEN: usize = 8;
/// Bytes of the id that a client makes up for a server it has not heard of.
const INITIAL_ID_LEN: usize = 20;

const _: () = assert!(UNADMITTED_BIDI_STREAMS < MAX_BIDI_STREAMS);

/// The transport of one connection, before it is admitted.
pub(super) fn transport() -> Arc<TransportConfig> {
    let mut discovery = MtuDiscoveryConfig::default();
    discovery.upper_bound(MAX_DATAGRAM);
    let mut controller = CubicConfig::default();
    controller.initial_window(INITIAL_WINDOW);
    let mut config = TransportConfig::default();
    config
        .congestion_controller_factory(Arc::new(controller))
        .initial_mtu(1_200)
        .mtu_discovery_config(Some(discovery))
        .stream_receive_window(VarInt::from_u32(STREAM_WINDOW))
        .receive_window(VarInt::from_u32(UNADMITTED_WINDOW))
        .send_window(SEND_WINDOW)
        .max_concurrent_bidi_streams(VarInt::from_u32(UNADMITTED_BIDI_STREAMS))
        .max_concurrent_uni_streams(VarInt::from_u32(UNI_STREAMS))
        .keep_alive_interval(Some(KEEP_ALIVE))
        .max_idle_timeout(Some(VarInt::from_u32(IDLE_TIMEOUT_MS).into()))
        .datagram_receive_buffer_size(None)
        .enable_segmentation_offload(true);
    Arc::new(config)
}

/// The endpoint.
pub(super) fn endpoint(net: &Arc<dyn Net>) -> Result<EndpointConfig> {
    let mut config = EndpointConfig::new(Arc::new(hmac::Key::new(hmac::HMAC_SHA256, &random::<64>(net.as_ref()))));
    config.max_udp_payload_size(MAX_DATAGRAM).context("the datagram size is out of range")?;
    config.rng_seed(Some(random::<32>(net.as_ref())));
    let ids = net.clone();
    config.cid_generator(move || Box::new(ConnectionIds(ids.clone())));
    Ok(config)
}

/// The answering side.
pub(super) fn server(
    net: &Arc<dyn Net>,
    crypto: Arc<QuicServerConfig>,
    transport: Arc<TransportConfig>,
) -> ServerConfig {
    let token_key = hkdf::Salt::new(hkdf::HKDF_SHA256, &[]).extract(&random::<64>(net.as_ref()));
    let mut config = ServerConfig::new(crypto, Arc::new(token_key));
    // Addresses are proved by a retry when it matters; tokens for later visits would need a memory of used ones.
    let mut tokens = ValidationTokenConfig::default();
    tokens.sent(0).log(Arc::new(quinn::NoneTokenLog));
    config
        .transport_config(transport)
        .validation_token_config(tokens)
        .max_incoming(MAX_INCOMING)
        .incoming_buffer_size(INCOMING_BYTES.0)
        .incoming_buffer_size_total(INCOMING_BYTES.1)
        .time_source(Arc::new(TokenClock::new(net.runtime())));
    config
}

/// The asking side.
pub(super) fn client(
    net: &Arc<dyn Net>,
    crypto: Arc<QuicClientConfig>,
    transport: Arc<TransportConfig>,
) -> ClientConfig {
    let ids = net.clone();
    let mut config = ClientConfig::new(crypto);
    config
        .transport_config(transport)
        .token_store(Arc::new(quinn::NoneTokenStore))
        .initial_dst_cid_provider(Arc::new(move || ConnectionId::new(&random::<INITIAL_ID_LEN>(ids.as_ref()))));
    config
}

fn random<const N: usize>(net: &dyn Net) -> [u8; N] {
    let mut out = [0; N];
    net.fill_random(&mut out);
    out
}

/// Random connection ids.
struct ConnectionIds(Arc<dyn Net>);

impl ConnectionIdGenerator for ConnectionIds {
    fn generate_cid(&mut self) -> ConnectionId {
        ConnectionId::new(&random::<CONNECTION_ID_LEN>(self.0.as_ref()))
    }

    fn cid_len(&self) -> usize {
        CONNECTION_ID_LEN
    }

    fn cid_lifetime(&self) -> Option<Duration> {
        None
    }
}

/// The age of retry tokens, by the runtime's clock: their key does not outlive the process either.
struct TokenClock {
    runtime: Arc<dyn Runtime>,
    origin: Instant,
}

impl TokenClock {
    fn new(runtime: Arc<dyn Runtime>) -> Self {
        let origin = runtime.now();
        Self { runtime, origin }
    }
}

impl TimeSource for TokenClock {
    fn now(&self) -> SystemTime {
        UNIX_EPOCH + self.runtime.now().saturating_duration_since(self.origin)
    }
}
