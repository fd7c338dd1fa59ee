//! A UDP socket for quinn on turmoil's network, which carries datagrams at once; what the ways between hosts do to them is
//! decided when they are sent and takes effect here, where they arrive.

use super::clock::elapsed_us;
use super::links::Links;
use quinn::udp::{EcnCodepoint, RecvMeta, Transmit};
use quinn::{AsyncUdpSocket, UdpPoller};
use std::collections::{BTreeMap, VecDeque};
use std::fmt;
use std::io::{self, IoSliceMut};
use std::net::{IpAddr, SocketAddr};
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};
use std::time::Duration;
use tokio::task::AbortHandle;

/// What goes before every datagram: when it is due, and its congestion bits.
const HEADER: usize = 9;
/// Datagrams that quinn may hand over at once.
const SEGMENTS: usize = 10;
/// Longest datagram with its header, bytes.
const LONGEST: usize = 66_000;

/// A bound socket.
pub struct Socket {
    udp: Arc<turmoil::net::UdpSocket>,
    ip: IpAddr,
    local: SocketAddr,
    links: Arc<Links>,
    arrivals: Arc<Mutex<Arrivals>>,
    reader: AbortHandle,
}

#[derive(Default)]
struct Arrivals {
    ready: VecDeque<Datagram>,
    waker: Option<Waker>,
}

struct Datagram {
    from: SocketAddr,
    ecn: u8,
    bytes: Vec<u8>,
}

impl fmt::Debug for Socket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Socket").field("ip", &self.ip).field("local", &self.local).finish_non_exhaustive()
    }
}

impl Socket {
    /// Binds `listen` on the host at `ip`, whose code calls this.
    ///
    /// # Errors
    /// The port is taken.
    pub fn bind(ip: IpAddr, listen: SocketAddr, links: Arc<Links>) -> io::Result<Self> {
        let mut binding = std::pin::pin!(turmoil::net::UdpSocket::bind(listen));
        let Poll::Ready(udp) = binding.as_mut().poll(&mut Context::from_waker(Waker::noop())) else {
            return Err(io::Error::other("binding waits"));
        };
        let udp = Arc::new(udp?);
        let local = udp.local_addr()?;
        let arrivals = Arc::new(Mutex::new(Arrivals::default()));
        let reader = tokio::spawn(read(udp.clone(), arrivals.clone())).abort_handle();
        Ok(Self { udp, ip, local, links, arrivals, reader })
    }
}

impl Drop for Socket {
    fn drop(&mut self) {
        self.reader.abort();
    }
}

fn lock(arrivals: &Mutex<Arrivals>) -> MutexGuard<'_, Arrivals> {
    arrivals.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Holds what has come until it is due.
async fn read(udp: Arc<turmoil::net::UdpSocket>, arrivals: Arc<Mutex<Arrivals>>) {
    let mut waiting: BTreeMap<(u64, u64), Datagram> = BTreeMap::new();
    let (mut count, mut buffer) = (0, vec![0; LONGEST]);
    loop {
        let next = waiting.keys().next().map(|(due, _)| due.saturating_sub(elapsed_us()));
        tokio::select! {
            biased;
            received = udp.recv_from(&mut buffer) => {
                let Ok((len, from)) = received else { return };
                let Some((header, bytes)) = buffer[..len].split_first_chunk::<HEADER>() else { continue };
                let (due, ecn) = read_header(header);
                waiting.insert((due, count), Datagram { from, ecn, bytes: bytes.to_vec() });
                count += 1;
            }
            () = tokio::time::sleep(Duration::from_micros(next.unwrap_or_default())), if next.is_some() => {}
        }
        let later = waiting.split_off(&(elapsed_us() + 1, 0));
        let due = std::mem::replace(&mut waiting, later);
        if due.is_empty() {
            continue;
        }
        let mut arrivals = lock(&arrivals);
        arrivals.ready.extend(due.into_values());
        if let Some(waker) = arrivals.waker.take() {
            waker.wake();
        }
    }
}

fn header(due_us: u64, ecn: u8) -> [u8; HEADER] {
    let mut out = [0; HEADER];
    out[..8].copy_from_slice(&due_us.to_le_bytes());
    out[8] = ecn;
    out
}

fn read_header(header: &[u8; HEADER]) -> (u64, u8) {
    let mut due = [0; 8];
    due.copy_from_slice(&header[..8]);
    (u64::from_le_bytes(due), header[8])
}

impl AsyncUdpSocket for Socket {
    fn create_io_poller(self: Arc<Self>) -> Pin<Box<dyn UdpPoller>> {
        Box::pin(Writable)
    }

    fn try_send(&self, transmit: &Transmit<'_>) -> io::Result<()> {
        let (now, src) = (elapsed_us(), SocketAddr::new(self.ip, self.local.port()));
        let size = transmit.segment_size.unwrap_or(transmit.contents.len()).max(1);
        for segment in transmit.contents.chunks(size) {
            let ecn = transmit.ecn.map_or(0, |ecn| ecn as u8);
            for passing in self.links.pass(now, src, transmit.destination, ecn, segment) {
                let framed = [&header(passing.due_us, passing.ecn)[..], &passing.bytes].concat();
                // A host that is nowhere is one that does not answer.
                if let Err(error) = self.udp.try_send_to(&framed, transmit.destination) {
                    tracing::debug!(%error, to = %transmit.destination, "a datagram went nowhere");
                }
            }
        }
        Ok(())
    }

    fn poll_recv(
        &self,
        cx: &mut Context<'_>,
        bufs: &mut [IoSliceMut<'_>],
        meta: &mut [RecvMeta],
    ) -> Poll<io::Result<usize>> {
        let mut arrivals = lock(&self.arrivals);
        let mut count = 0;
        for (buf, meta) in bufs.iter_mut().zip(meta) {
            let Some(Datagram { from, ecn, bytes }) = arrivals.ready.pop_front() else { break };
            let len = bytes.len().min(buf.len());
            buf[..len].copy_from_slice(&bytes[..len]);
            *meta = RecvMeta { addr: from, len, stride: len, ecn: EcnCodepoint::from_bits(ecn), dst_ip: None };
            count += 1;
        }
        if count > 0 {
            return Poll::Ready(Ok(count));
        }
        arrivals.waker = Some(cx.waker().clone());
        Poll::Pending
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        Ok(self.local)
    }

    fn max_transmit_segments(&self) -> usize {
        SEGMENTS
    }

    fn may_fragment(&self) -> bool {
        false
    }
}

/// There is always room: the ways have queues, the socket has none.
#[derive(Debug)]
struct Writable;

impl UdpPoller for Writable {
    fn poll_writable(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}
