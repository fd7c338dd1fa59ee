//! A wire that can be cut: what two daemons send to each other passes through it.

use std::io;
use std::net::{SocketAddr, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

/// How soon a relay notices that it is over.
const LOOK: Duration = Duration::from_millis(50);
/// The largest datagram.
const LARGEST: usize = 1 << 16;

/// The wire between two daemons. At its own loopback address it stands in for each of them, at that one's port: so the
/// address that a daemon sees, with the port that its peer tells, leads back into the wire and never around it.
pub(crate) struct Relay {
    /// Where the first of the two is reached through the wire.
    pub(crate) first: SocketAddr,
    state: Arc<State>,
    threads: Vec<JoinHandle<()>>,
}

#[derive(Default)]
struct State {
    is_cut: AtomicBool,
    is_over: AtomicBool,
    swallowed: AtomicU64,
}

impl Relay {
    /// The wire number `number` of a lab, between daemons that listen at these addresses.
    pub(crate) fn between(number: u8, one: SocketAddr, other: SocketAddr) -> Self {
        let stand_in = |whom: SocketAddr| {
            let socket = UdpSocket::bind(SocketAddr::from(([127, 0, 77, 1 + number], whom.port()))).unwrap();
            socket.set_read_timeout(Some(LOOK)).unwrap();
            socket
        };
        let (for_one, for_other) = (stand_in(one), stand_in(other));
        let first = for_one.local_addr().unwrap();
        let state = Arc::new(State::default());
        let carry = |from: &UdpSocket, through: &UdpSocket, to: SocketAddr| {
            let (from, through, state) = (from.try_clone().unwrap(), through.try_clone().unwrap(), Arc::clone(&state));
            std::thread::spawn(move || carry(&from, &through, to, &state))
        };
        let threads = vec![carry(&for_one, &for_other, one), carry(&for_other, &for_one, other)];
        Self { first, state, threads }
    }

    /// Lets nothing through from now on, or everything.
    pub(crate) fn cut(&self, is_cut: bool) {
        self.state.is_cut.store(is_cut, Ordering::Relaxed);
    }

    /// How many datagrams were lost in it.
    pub(crate) fn swallowed(&self) -> u64 {
        self.state.swallowed.load(Ordering::Relaxed)
    }
}

/// Hands on what arrives at `from`, by way of the socket that stands in for its sender.
fn carry(from: &UdpSocket, through: &UdpSocket, to: SocketAddr, state: &State) {
    let mut datagram = vec![0; LARGEST];
    while !state.is_over.load(Ordering::Relaxed) {
        let len = match from.recv_from(&mut datagram) {
            Ok((len, _)) => len,
            Err(e) if matches!(e.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut) => continue,
            Err(_) => continue,
        };
        if state.is_cut.load(Ordering::Relaxed) {
            state.swallowed.fetch_add(1, Ordering::Relaxed);
            continue;
        }
        // Nobody may be there: then it is lost, as on any network.
        let _lost = through.send_to(&datagram[..len], to);
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        self.state.is_over.store(true, Ordering::Relaxed);
        for thread in self.threads.drain(..) {
            let _ended = thread.join();
        }
    }
}
