//! Real pairings on loopback, honest and not.

#![allow(clippy::unwrap_used)]

use super::exchange::{self, Binding, Message, SharedKey, Step};
use super::*;
use crate::identity::Identity;
use crate::net::code::Code;
use crate::net::tests::{Device, soon};
use crate::net::world::RealNet;
use crate::net::{tls, transport};
use crate::world::{Clock, Net};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use sync_core::{Instant, WallTime};
use tokio::sync::mpsc;

const FOLDER: FolderId = FolderId([5; 16]);

/// A clock that is moved by hand, in seconds.
#[derive(Default)]
struct Moved(AtomicU64);

impl Clock for Moved {
    fn now(&self) -> Instant {
        Instant(self.0.load(Ordering::Relaxed) * 1_000_000)
    }
    fn wall(&self) -> WallTime {
        WallTime(0)
    }
}

struct Inviter {
    device: Device,
    invites: Arc<Invites>,
    events: mpsc::Receiver<PairingEvent>,
    clock: Arc<Moved>,
}

impl Inviter {
    fn new() -> Self {
        let (sink, events) = mpsc::channel(64);
        let clock = Arc::new(Moved::default());
        let invites = Arc::new(Invites::new(Arc::new(RealNet), clock.clone(), "desk\u{1b}top".into(), sink));
        Self { device: Device::with_invites(invites.clone()), invites, events, clock }
    }

    fn offer(&self) -> Code {
        self.invites.offer(FOLDER, "photos".into()).unwrap()
    }

    async fn join(&self, joiner: &Device, code: &Code) -> Result<Paired, PairError> {
        soon(join(&joiner.network, &self.device.addr(), code, "laptop")).await
    }

    async fn failure(&mut self) -> String {
        match soon(self.events.recv()).await.unwrap() {
            PairingEvent::Failed { reason, .. } => reason,
            PairingEvent::Paired(paired) => panic!("paired with {paired:?}"),
        }
    }
}

fn joiner() -> Device {
    Inviter::new().device
}

/// The same nameplate with another secret.
fn wrong(code: &Code) -> Code {
    let text = code.to_string();
    let other = if text.ends_with("-zoom") { "zone" } else { "zoom" };
    Code::parse(&format!("{}{other}", &text[..text.len() - 4])).unwrap()
}

#[tokio::test]
async fn a_code_makes_two_devices_known_to_each_other_once() {
    let (mut inviter, joiner) = (Inviter::new(), joiner());
    let code = inviter.offer();
    assert_eq!(inviter.invites.nameplates(), [code.nameplate()]);
    let there = inviter.join(&joiner, &code).await.unwrap();
    let PairingEvent::Paired(here) = soon(inviter.events.recv()).await.unwrap() else { panic!("no pairing") };
    assert_eq!(there.key, inviter.device.network.public_key());
    assert_eq!(there.device, DeviceId::of_key(&there.key));
    assert_eq!((there.name.as_str(), there.folder_name.as_str()), ("desktop", "photos"));
    assert_eq!((there.addr, there.folder), (inviter.device.addr(), FOLDER));
    assert_eq!(here.key, joiner.network.public_key());
    assert_eq!((here.name.as_str(), here.folder_name.as_str()), ("laptop", "photos"));
    assert_eq!((here.addr, here.folder), (joiner.addr(), FOLDER));

    assert_eq!(inviter.join(&joiner, &code).await, Err(PairError::NotOpen));
    assert!(inviter.failure().await.contains("no open invitation"));
}

#[tokio::test]
async fn three_wrong_tries_end_an_invitation() {
    let (mut inviter, joiner) = (Inviter::new(), joiner());
    let code = inviter.offer();
    for _ in 0..3 {
        assert_eq!(inviter.join(&joiner, &wrong(&code)).await, Err(PairError::WrongCode));
        assert_eq!(inviter.failure().await, "a wrong code");
    }
    assert_eq!(inviter.join(&joiner, &code).await, Err(PairError::NotOpen));
}

#[tokio::test]
async fn two_wrong_tries_do_not() {
    let (mut inviter, joiner) = (Inviter::new(), joiner());
    let code = inviter.offer();
    for _ in 0..2 {
        assert_eq!(inviter.join(&joiner, &wrong(&code)).await, Err(PairError::WrongCode));
        inviter.failure().await;
    }
    assert_eq!(inviter.join(&joiner, &code).await.unwrap().folder, FOLDER);
}

#[tokio::test]
async fn a_code_is_closed_after_ten_minutes() {
    let (inviter, joiner) = (Inviter::new(), joiner());
    let code = inviter.offer();
    inviter.clock.0.store(600, Ordering::Relaxed);
    assert_eq!(inviter.join(&joiner, &code).await, Err(PairError::NotOpen));
}

#[tokio::test]
async fn a_code_is_closed_when_its_folder_is_withdrawn() {
    let (inviter, joiner) = (Inviter::new(), joiner());
    let code = inviter.offer();
    inviter.invites.withdraw(FOLDER);
    assert_eq!(inviter.join(&joiner, &code).await, Err(PairError::NotOpen));
}

#[tokio::test]
async fn open_invitations_are_bounded_and_have_nameplates_of_their_own() {
    let inviter = Inviter::new();
    for _ in 0..MAX_INVITES {
        inviter.offer();
    }
    assert_eq!(inviter.invites.nameplates().len(), MAX_INVITES);
    assert_eq!(inviter.invites.offer(FOLDER, "photos".into()), Err(TooManyInvites));
}

#[tokio::test]
async fn a_pairing_beyond_the_limit_is_told_to_come_again() {
    let (mut inviter, joiner) = (Inviter::new(), joiner());
    let code = inviter.offer();
    let mut idle = Vec::new();
    for _ in 0..MAX_PAIRINGS {
        let addrs = [inviter.device.addr()];
        idle.push(soon(joiner.network.connect_any(tls::ALPN_PAIR, None, &addrs)).await.unwrap());
    }
    assert_eq!(inviter.join(&joiner, &code).await, Err(PairError::Busy));
    assert!(inviter.failure().await.contains("too many pairings"));
    drop(idle);
    // Each place is free again once its end has been told.
    for _ in 0..MAX_PAIRINGS {
        inviter.failure().await;
    }
    assert_eq!(inviter.join(&joiner, &code).await.unwrap().folder, FOLDER);
}

#[tokio::test]
async fn nobody_there_is_said() {
    let joiner = joiner();
    let code = Code::parse("1-lamp-frog-tile").unwrap();
    let error = soon(join(&joiner.network, "no port", &code, "laptop")).await.unwrap_err();
    assert!(matches!(error, PairError::Unreachable(_)), "{error}");
}

/// A fake inviter, which answers one pairing with `play`.
async fn against<F>(play: impl FnOnce(quinn::Connection) -> F + Send + 'static) -> Result<Paired, PairError>
where
    F: Future<Output = ()> + Send,
{
    let net: Arc<dyn Net> = Arc::new(RealNet);
    let crypto = tls::server(&net.provider(), &Identity::generate(&RealNet).unwrap()).unwrap();
    let config = transport::server(&net, crypto, transport::transport());
    let endpoint = quinn::Endpoint::server(config, "127.0.0.1:0".parse().unwrap()).unwrap();
    let addr = endpoint.local_addr().unwrap().to_string();
    let fake = tokio::spawn(async move {
        let connection = endpoint.accept().await.unwrap().await.unwrap();
        play(connection.clone()).await;
        connection.closed().await;
    });
    let code = Code::parse("1-lamp-frog-tile").unwrap();
    let outcome = soon(join(&joiner().network, &addr, &code, "laptop")).await;
    soon(fake).await.unwrap();
    outcome
}

#[tokio::test]
async fn a_peer_that_echoes_our_messages_fails() {
    let outcome = against(|connection| async move {
        let (mut send, mut recv) = connection.accept_bi().await.unwrap();
        while let Ok(Some(chunk)) = recv.read_chunk(4_096, true).await {
            if send.write_chunk(chunk.bytes).await.is_err() {
                return;
            }
        }
    })
    .await;
    assert_eq!(outcome, Err(PairError::Misbehaved("Open out of turn".into())));
}

#[tokio::test]
async fn a_peer_that_reflects_our_key_exchange_fails() {
    let outcome = against(|connection| async move {
        let (mut send, mut recv) = connection.accept_bi().await.unwrap();
        let Message::Open { pake, .. } = exchange::read(&mut recv).await.unwrap() else { panic!("no Open") };
        exchange::write(&mut send, &Message::Answer { pake }).await.unwrap();
        connection.closed().await;
    })
    .await;
    assert!(matches!(outcome, Err(PairError::Misbehaved(_))), "{outcome:?}");
}

#[tokio::test]
async fn an_inviter_that_does_not_know_the_code_learns_nothing_and_is_not_believed() {
    let outcome = against(|connection| async move {
        let (mut send, mut recv) = connection.accept_bi().await.unwrap();
        let Message::Open { .. } = exchange::read(&mut recv).await.unwrap() else { panic!("no Open") };
        let binding =
            Binding { exporter: [0; 32], joiner: PublicKey([1; 32]), inviter: PublicKey([2; 32]), nameplate: 1 };
        let guess = Code::parse("1-zoom-zoom-zoom").unwrap();
        let (_, answer) = binding.start_inviter(&guess, &RealNet);
        exchange::write(&mut send, &Message::Answer { pake: answer.into() }).await.unwrap();
        let Message::Confirm { mac } = exchange::read(&mut recv).await.unwrap() else { panic!("no Confirm") };
        let reveal = Message::Reveal {
            mac,
            folder: FOLDER,
            folder_name: "trap".into(),
            device_name: "fake".into(),
            listen_port: 1,
        };
        exchange::write(&mut send, &reveal).await.unwrap();
        assert!(exchange::read(&mut recv).await.is_err(), "the joiner says no more");
    })
    .await;
    assert_eq!(outcome, Err(PairError::Unconfirmed));
}

#[test]
fn a_proof_holds_for_its_step_session_keys_nameplate_and_folder_alone() {
    let binding = Binding { exporter: [3; 32], joiner: PublicKey([1; 32]), inviter: PublicKey([2; 32]), nameplate: 1 };
    let code = Code::parse("1-lamp-frog-tile").unwrap();
    let (a, a_says) = binding.start_joiner(&code, &RealNet);
    let (b, b_says) = binding.start_inviter(&code, &RealNet);
    let (a, b) = (SharedKey::new(a, &b_says).unwrap(), SharedKey::new(b, &a_says).unwrap());
    let step = Step::InviterConfirms(FOLDER);
    let mac = b.prove(step, &binding).unwrap();
    assert!(a.proves(step, &binding, &mac).unwrap());
    let refused = |step: Step, binding: &Binding| !a.proves(step, binding, &mac).unwrap();
    assert!(refused(Step::JoinerConfirms, &binding));
    assert!(refused(Step::JoinerAgrees(FOLDER), &binding));
    assert!(refused(Step::InviterConfirms(FolderId([6; 16])), &binding));
    assert!(refused(step, &Binding { exporter: [4; 32], ..binding.clone() }));
    assert!(refused(step, &Binding { joiner: PublicKey([9; 32]), ..binding.clone() }));
    assert!(refused(step, &Binding { inviter: PublicKey([9; 32]), ..binding.clone() }));
    assert!(refused(step, &Binding { nameplate: 2, ..binding.clone() }));
}

#[test]
fn names_from_outside_are_fit_for_terminals() {
    assert_eq!(exchange::clean_name(" a\u{1b}[31m\nb ", "x"), "a[31mb");
    assert_eq!(exchange::clean_name("\n\t", "x"), "x");
    assert_eq!(exchange::short_name(&"é".repeat(200)).len(), 254);
}
