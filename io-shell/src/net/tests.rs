//! Real connections on loopback.

#![allow(clippy::unwrap_used, clippy::wildcard_enum_match_arm)]

use super::frame;
use super::pairing::Invites;
use super::transport;
use super::world::RealNet;
use super::{Network, fetch_error, tls};
use crate::identity::Identity;
use crate::world::{Clock, Net};
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;
use sync_core::id::{AskId, EffectId, LinkId, PublicKey};
use sync_core::input::Lane;
use sync_core::wire::{MAX_CONTROL_FRAME, MAX_INDEX_FRAME};
use sync_core::{CloseCode, FetchError, Input, Instant, WallTime};
use tokio::sync::mpsc;

/// No test waits longer than this for anything.
const PATIENCE: Duration = Duration::from_secs(20);

/// A clock that stands still.
pub(super) struct Stopped;

impl Clock for Stopped {
    fn now(&self) -> Instant {
        Instant(0)
    }
    fn wall(&self) -> WallTime {
        WallTime(0)
    }
}

/// One device on loopback.
pub(super) struct Device {
    pub(super) network: Network,
    pub(super) inbox: mpsc::Receiver<Input>,
}

pub(super) async fn soon<T>(what: impl Future<Output = T>) -> T {
    tokio::time::timeout(PATIENCE, what).await.expect("it takes too long")
}

impl Device {
    fn new() -> Self {
        let (events, _) = mpsc::channel(1);
        let invites = Invites::new(Arc::new(RealNet), Arc::new(Stopped), "alone".into(), events);
        Self::with_invites(Arc::new(invites))
    }

    pub(super) fn with_invites(invites: Arc<Invites>) -> Self {
        let identity = Identity::generate(&RealNet).unwrap();
        let (sink, inbox) = mpsc::channel(64);
        let listen = "127.0.0.1:0".parse().unwrap();
        let network = Network::bind(Arc::new(RealNet), listen, &identity, sink, invites).unwrap();
        Self { network, inbox }
    }

    pub(super) fn addr(&self) -> String {
        self.network.listen_addr().to_string()
    }

    fn key(&self) -> PublicKey {
        self.network.public_key()
    }

    /// The next input that is no measurement.
    async fn next(&mut self) -> Input {
        loop {
            let input = soon(self.inbox.recv()).await.expect("the network is there");
            if !matches!(input, Input::LinkStats { .. }) {
                return input;
            }
        }
    }

    async fn link_up(&mut self) -> (LinkId, PublicKey) {
        match self.next().await {
            Input::LinkUp { link, key, .. } => (link, key),
            other => panic!("expected LinkUp, got {other:?}"),
        }
    }

    async fn received(&mut self) -> (Lane, Vec<u8>) {
        match self.next().await {
            Input::Received { lane, frame, .. } => (lane, frame),
            other => panic!("expected Received, got {other:?}"),
        }
    }

    async fn asked(&mut self) -> (AskId, Vec<u8>) {
        match self.next().await {
            Input::Asked { ask, frame, .. } => (ask, frame),
            other => panic!("expected Asked, got {other:?}"),
        }
    }

    async fn link_down(&mut self) -> (LinkId, CloseCode, String) {
        match self.next().await {
            Input::LinkDown { link, code, reason } => (link, code, reason),
            other => panic!("expected LinkDown, got {other:?}"),
        }
    }

    /// What the peer is blamed for, after any proper frames.
    async fn misbehaved(&mut self) -> String {
        loop {
            match self.next().await {
                Input::Misbehaved { reason, .. } => return reason,
                Input::Received { .. } => {}
                other => panic!("expected Misbehaved, got {other:?}"),
            }
        }
    }
}

/// Two devices, linked and admitted: the first has dialled.
async fn linked() -> ((Device, LinkId), (Device, LinkId)) {
    let (mut a, mut b) = (Device::new(), Device::new());
    a.network.dial(EffectId(1), b.key(), vec![b.addr()]);
    let (ab, key_of_b) = a.link_up().await;
    let (ba, key_of_a) = b.link_up().await;
    assert_eq!((key_of_a, key_of_b), (a.key(), b.key()));
    a.network.admit(ab);
    b.network.admit(ba);
    ((a, ab), (b, ba))
}

/// A peer that speaks raw QUIC to `device` with a proper key, and the link it has there once admitted.
async fn hostile(device: &mut Device) -> (quinn::Connection, quinn::Endpoint, LinkId) {
    let net: Arc<dyn Net> = Arc::new(RealNet);
    let provider = net.provider();
    let identity = Identity::generate(&RealNet).unwrap();
    let dialler = tls::client(&provider, &identity, tls::ALPN_LINK, None).unwrap();
    let config = transport::client(&net, dialler.crypto.clone(), transport::transport());
    let endpoint = quinn::Endpoint::client("127.0.0.1:0".parse().unwrap()).unwrap();
    let to = device.network.listen_addr();
    let connection = soon(endpoint.connect_with(config, to, tls::SERVER_NAME).unwrap()).await.unwrap();
    let (link, key) = device.link_up().await;
    assert_eq!(key, identity.public_key());
    device.network.admit(link);
    (connection, endpoint, link)
}

/// What `device` says about a peer that sends these bytes on one new unidirectional stream each.
async fn blame(streams: &[&[u8]]) -> String {
    let mut device = Device::new();
    let (connection, _endpoint, link) = hostile(&mut device).await;
    let mut open = Vec::new();
    for bytes in streams {
        let mut stream = connection.open_uni().await.unwrap();
        stream.write_all(bytes).await.unwrap();
        open.push(stream);
    }
    let reason = device.misbehaved().await;
    device.network.hang_up(link, CloseCode::ProtocolError, reason.clone());
    let end = soon(connection.closed()).await;
    assert_eq!(super::link::describe(&end), (CloseCode::ProtocolError, reason.clone()));
    reason
}

fn framed(lane: u8, flags: u8, body: &[u8]) -> Vec<u8> {
    let len = u32::try_from(body.len()).unwrap().to_le_bytes();
    [&[lane], len.as_slice(), &[flags], body].concat()
}

#[tokio::test]
async fn frames_go_both_ways_on_both_lanes() {
    let ((mut a, ab), (mut b, ba)) = linked().await;
    a.network.send(ab, Lane::Control, b"hello b".to_vec());
    assert_eq!(b.received().await, (Lane::Control, b"hello b".to_vec()));
    b.network.send(ba, Lane::Control, b"hello a".to_vec());
    assert_eq!(a.received().await, (Lane::Control, b"hello a".to_vec()));

    let rows = vec![b'r'; MAX_INDEX_FRAME];
    a.network.send(ab, Lane::Index, rows.clone());
    assert!(matches!(a.next().await, Input::Sent { link } if link == ab));
    assert_eq!(b.received().await, (Lane::Index, rows));
    b.network.send(ba, Lane::Index, b"few rows".to_vec());
    assert!(matches!(b.next().await, Input::Sent { link } if link == ba));
    assert_eq!(a.received().await, (Lane::Index, b"few rows".to_vec()));
}

#[tokio::test]
async fn frames_keep_their_order_under_back_pressure() {
    let ((a, ab), (mut b, _)) = linked().await;
    for number in 0..1_000_u32 {
        a.network.send(ab, Lane::Control, number.to_le_bytes().to_vec());
    }
    for number in 0..1_000_u32 {
        assert_eq!(b.received().await.1, number.to_le_bytes());
    }
}

#[tokio::test]
async fn a_request_is_answered_with_a_mebibyte() {
    let ((a, ab), (mut b, _)) = linked().await;
    let mut answer = soon(a.network.ask(ab, b"want")).await.unwrap();
    let (ask, frame) = b.asked().await;
    assert_eq!(frame, b"want");
    let mut send = b.network.take_ask(ask).unwrap();
    assert!(b.network.take_ask(ask).is_none(), "an answer is given once");
    let content: Vec<u8> = (0..1_u32 << 18).flat_map(u32::to_le_bytes).collect();
    let sent = content.clone();
    let serve = tokio::spawn(async move {
        send.write_all(&sent).await.unwrap();
        send.finish().unwrap();
        send
    });
    assert_eq!(soon(answer.read_to_end(2 << 20)).await.unwrap(), content);
    soon(serve).await.unwrap();
}

#[tokio::test]
async fn more_requests_than_can_wait_are_told_that_we_are_busy() {
    let ((a, ab), (mut b, _)) = linked().await;
    let mut answers = Vec::new();
    for _ in 0..=super::MAX_PARKED {
        answers.push(soon(a.network.ask(ab, b"want")).await.unwrap());
    }
    for _ in 0..super::MAX_PARKED {
        b.asked().await;
    }
    let mut codes = Vec::new();
    while codes.is_empty() {
        for answer in &mut answers {
            let read = tokio::time::timeout(Duration::from_millis(1), answer.read_chunk(1, true)).await;
            if let Ok(outcome) = read {
                codes.push(fetch_error(&outcome.unwrap_err()));
            }
        }
    }
    assert_eq!(codes, [FetchError::Busy]);
}

#[tokio::test]
async fn requests_end_with_their_link() {
    let ((mut a, ab), (mut b, ba)) = linked().await;
    let _answer = soon(a.network.ask(ab, b"want")).await.unwrap();
    let (ask, _) = b.asked().await;
    a.network.hang_up(ab, CloseCode::ShuttingDown, "bye".into());
    assert_eq!(b.link_down().await, (ba, CloseCode::ShuttingDown, "bye".into()));
    assert_eq!(a.link_down().await.0, ab);
    assert!(b.network.take_ask(ask).is_none());
    assert_eq!(a.network.ask(ab, b"want").await.unwrap_err(), FetchError::Broken);
}

#[tokio::test]
async fn a_dial_that_meets_another_key_fails_and_says_so() {
    let (mut a, b) = (Device::new(), Device::new());
    a.network.dial(EffectId(7), PublicKey([9; 32]), vec![b.addr()]);
    match a.next().await {
        Input::DialFailed { dial, reason } => {
            assert_eq!(dial, EffectId(7));
            assert!(reason.contains("another device answers"), "{reason}");
            assert!(reason.contains(&b.key().short()) && reason.contains(&b.addr()), "{reason}");
        }
        other => panic!("expected DialFailed, got {other:?}"),
    }
}

#[tokio::test]
async fn a_dial_goes_on_to_the_next_address() {
    let (mut a, b) = (Device::new(), Device::new());
    let addrs = vec!["no port".into(), "[::1]:1".into(), b.addr()];
    a.network.dial(EffectId(1), b.key(), addrs);
    assert_eq!(a.link_up().await.1, b.key());
}

#[tokio::test]
async fn a_dial_without_addresses_fails() {
    let mut a = Device::new();
    a.network.dial(EffectId(1), PublicKey([1; 32]), Vec::new());
    assert!(matches!(a.next().await, Input::DialFailed { .. }));
}

#[tokio::test]
async fn a_client_without_a_key_is_refused_by_tls() {
    let mut device = Device::new();
    let provider = RealNet.provider();
    let mut config = rustls::ClientConfig::builder_with_provider(provider.clone())
        .with_protocol_versions(&[&rustls::version::TLS13])
        .unwrap()
        .dangerous()
        .with_custom_certificate_verifier(tls::any_key(&provider))
        .with_no_client_auth();
    config.alpn_protocols = vec![tls::ALPN_LINK.to_vec()];
    let crypto = quinn::crypto::rustls::QuicClientConfig::try_from(config).unwrap();
    let endpoint = quinn::Endpoint::client("127.0.0.1:0".parse().unwrap()).unwrap();
    let config = quinn::ClientConfig::new(Arc::new(crypto));
    let connecting = endpoint.connect_with(config, device.network.listen_addr(), tls::SERVER_NAME).unwrap();
    // The client's side may stand for the moment until the server has seen that no key comes.
    let end = match soon(connecting).await {
        Ok(connection) => soon(connection.closed()).await,
        Err(end) => end,
    };
    assert!(matches!(end, quinn::ConnectionError::ConnectionClosed(_)), "{end:?}");
    assert!(device.inbox.try_recv().is_err(), "the core never hears of it");
}

#[tokio::test]
async fn breaking_the_rules_of_framing_is_blamed_on_the_peer() {
    assert!(blame(&[&[7]]).await.contains("unknown lane 7"));
    assert!(blame(&[&framed(0, 0, b"one"), &[0]]).await.contains("second stream"));
}

#[tokio::test]
async fn oversized_frames_are_refused_by_their_header() {
    let header = |lane: u8, len: usize| [&[lane], u32::try_from(len).unwrap().to_le_bytes().as_slice(), &[0]].concat();
    assert!(blame(&[&header(0, MAX_CONTROL_FRAME + 1)]).await.contains("65537 bytes"));
    assert!(blame(&[&header(1, MAX_INDEX_FRAME + 1)]).await.contains("are allowed"));
    assert!(blame(&[&header(1, u32::MAX as usize)]).await.contains("are allowed"));
}

#[tokio::test]
async fn unknown_flags_and_bombs_are_blamed_on_the_peer() {
    assert!(blame(&[&framed(0, 1, b"zstd")]).await.contains("flags 0x01"));
    assert!(blame(&[&framed(1, 2, b"rows")]).await.contains("flags 0x02"));
    let bomb = zstd::bulk::compress(&vec![0; 64 << 20], 1).unwrap();
    assert!(blame(&[&framed(1, 1, &bomb)]).await.contains("67108864 bytes"));
}

#[tokio::test]
async fn a_bad_request_is_blamed_on_the_peer() {
    let check = async |bytes: &[u8], part: &str| {
        let mut device = Device::new();
        let (connection, _endpoint, _) = hostile(&mut device).await;
        let (mut send, _recv) = soon(connection.open_bi()).await.unwrap();
        send.write_all(bytes).await.unwrap();
        send.finish().unwrap();
        let reason = device.misbehaved().await;
        assert!(reason.contains(part), "{reason}");
    };
    check(&u32::try_from(MAX_CONTROL_FRAME + 1).unwrap().to_le_bytes(), "are allowed").await;
    check(&[4, 0, 0, 0, 1], "ends within a frame").await;
    check(&[1, 0, 0, 0, 1, 2], "bytes after a request").await;
    check(&[], "without a request").await;
}

#[tokio::test]
async fn nothing_is_read_before_admission() {
    let (mut a, mut b) = (Device::new(), Device::new());
    a.network.dial(EffectId(1), b.key(), vec![b.addr()]);
    let (ab, _) = a.link_up().await;
    a.network.admit(ab);
    a.network.send(ab, Lane::Control, b"let me in".to_vec());
    let (ba, _) = b.link_up().await;
    b.network.hang_up(ba, CloseCode::NotAuthorised, "not paired".into());
    assert_eq!(a.link_down().await, (ab, CloseCode::NotAuthorised, "not paired".into()));
    assert_eq!(b.link_down().await.0, ba);
}

#[tokio::test]
async fn what_was_said_before_a_hang_up_arrives_before_it() {
    let ((mut a, ab), (mut b, ba)) = linked().await;
    for number in 0..50_u8 {
        a.network.send(ab, Lane::Control, vec![number; 1_000]);
    }
    a.network.hang_up(ab, CloseCode::NotAuthorised, "removed".into());
    for number in 0..50_u8 {
        assert_eq!(b.received().await.1, vec![number; 1_000]);
    }
    assert_eq!(b.link_down().await, (ba, CloseCode::NotAuthorised, "removed".into()));
    assert_eq!(a.link_down().await.0, ab);
}

#[tokio::test]
async fn closing_tells_every_peer() {
    let ((a, _), (mut b, ba)) = linked().await;
    soon(a.network.close()).await;
    let (link, code, _) = b.link_down().await;
    assert_eq!((link, code), (ba, CloseCode::ShuttingDown));
}

#[tokio::test]
async fn strangers_beyond_the_limit_are_refused_until_one_is_admitted() {
    let mut device = Device::new();
    let mut links = Vec::new();
    let stranger = Device::new();
    for number in 0..super::MAX_UNADMITTED {
        stranger.network.dial(EffectId(number as u64), device.key(), vec![device.addr()]);
        let (link, _) = device.link_up().await;
        links.push(link);
    }
    let mut late = Device::new();
    late.network.dial(EffectId(1), device.key(), vec![device.addr()]);
    assert!(matches!(late.next().await, Input::DialFailed { .. }));
    device.network.hang_up(links[0], CloseCode::NotAuthorised, "not paired".into());
    device.link_down().await;
    late.network.dial(EffectId(2), device.key(), vec![device.addr()]);
    assert_eq!(late.link_up().await.1, device.key());
}

#[tokio::test]
async fn links_are_measured() {
    let ((mut a, ab), _b) = linked().await;
    loop {
        if let Some(Input::LinkStats { link, stats }) = soon(a.inbox.recv()).await {
            assert_eq!(link, ab);
            assert!(stats.packets_sent > 0 && stats.bytes_received > 0);
            return;
        }
    }
}

#[test]
fn a_request_frame_has_no_flags() {
    let [header, body] = frame::encode_ask(b"abc".to_vec());
    assert_eq!((header.as_ref(), body.as_ref()), ([3, 0, 0, 0].as_slice(), b"abc".as_slice()));
}
