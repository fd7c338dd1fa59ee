//! The network of one host, as the shell knows it: simulated time for quinn, simulated UDP, seeded randomness.

use super::crypto;
use super::links::Links;
use super::socket::Socket;
use io_shell::net::world::RealNet;
use io_shell::world::Net;
use quinn::{AsyncTimer, AsyncUdpSocket, Runtime};
use rustls::crypto::CryptoProvider;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::Instant;
use sync_core::rng::Rng;
use tokio::time::Sleep;

/// The network of one host, from one start to the next.
#[derive(Debug)]
pub struct HostNet {
    ip: IpAddr,
    links: Arc<Links>,
    random: Mutex<Rng>,
}

impl HostNet {
    /// For the host at `ip`; `seed` is for this start alone.
    pub fn new(ip: IpAddr, links: Arc<Links>, seed: u64) -> Self {
        Self { ip, links, random: Mutex::new(Rng::new(seed)) }
    }
}

impl Net for HostNet {
    fn runtime(&self) -> Arc<dyn Runtime> {
        Arc::new(VirtualTime)
    }

    fn bind(&self, listen: SocketAddr) -> io::Result<Arc<dyn AsyncUdpSocket>> {
        Ok(Arc::new(Socket::bind(self.ip, listen, self.links.clone())?))
    }

    fn provider(&self) -> Arc<CryptoProvider> {
        Arc::new(crypto::seeded(&RealNet.provider()))
    }

    fn fill_random(&self, out: &mut [u8]) {
        crypto::fill(&mut self.random.lock().unwrap_or_else(PoisonError::into_inner), out);
    }
}

/// tokio's time, which turmoil moves.
#[derive(Debug)]
struct VirtualTime;

impl Runtime for VirtualTime {
    fn new_timer(&self, at: Instant) -> Pin<Box<dyn AsyncTimer>> {
        Box::pin(Timer(Box::pin(tokio::time::sleep_until(at.into()))))
    }

    fn spawn(&self, future: Pin<Box<dyn Future<Output = ()> + Send>>) {
        tokio::spawn(future);
    }

    fn wrap_udp_socket(&self, _: std::net::UdpSocket) -> io::Result<Arc<dyn AsyncUdpSocket>> {
        Err(io::Error::other("there is no real network here"))
    }

    fn now(&self) -> Instant {
        tokio::time::Instant::now().into_std()
    }
}

#[derive(Debug)]
struct Timer(Pin<Box<Sleep>>);

impl AsyncTimer for Timer {
    fn reset(mut self: Pin<&mut Self>, at: Instant) {
        self.0.as_mut().reset(at.into());
    }

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        Future::poll(self.0.as_mut(), cx)
    }
}
