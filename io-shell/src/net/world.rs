//! The network of the operating system.

use crate::world::Net;
use quinn::{AsyncUdpSocket, Runtime, TokioRuntime};
use rustls::crypto::{CryptoProvider, aws_lc_rs};
use socket2::{Domain, Protocol, Socket, Type};
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

/// Socket buffers asked for, bytes: with these a burst on loopback or a fast wire loses nothing. The system may give
/// less (`net.core.rmem_max`, `net.core.wmem_max`), which costs speed only.
const SOCKET_BUFFER: usize = 8 << 20;

/// UDP sockets, tokio's timers, AWS-LC and its randomness.
#[derive(Clone, Copy, Debug, Default)]
pub struct RealNet;

impl Net for RealNet {
    fn runtime(&self) -> Arc<dyn Runtime> {
        Arc::new(TokioRuntime)
    }

    fn bind(&self, listen: SocketAddr) -> io::Result<Arc<dyn AsyncUdpSocket>> {
        let socket = Socket::new(Domain::for_address(listen), Type::DGRAM, Some(Protocol::UDP))?;
        if listen.is_ipv6() {
            // One socket for both families; where the system does not want that, IPv6 alone still works.
            if let Err(error) = socket.set_only_v6(false) {
                tracing::debug!(%error, "the socket is for IPv6 alone");
            }
        }
        for outcome in [socket.set_recv_buffer_size(SOCKET_BUFFER), socket.set_send_buffer_size(SOCKET_BUFFER)] {
            if let Err(error) = outcome {
                tracing::debug!(%error, "the system keeps its own size of socket buffers");
            }
        }
        socket.bind(&listen.into())?;
        TokioRuntime.wrap_udp_socket(socket.into())
    }

    fn provider(&self) -> Arc<CryptoProvider> {
        let mut provider = aws_lc_rs::default_provider();
        // In software as here, AES-128-GCM costs less than half of ChaCha20, and is enough for keys that live a day.
        provider.cipher_suites = vec![
            aws_lc_rs::cipher_suite::TLS13_AES_128_GCM_SHA256,
            aws_lc_rs::cipher_suite::TLS13_AES_256_GCM_SHA384,
            aws_lc_rs::cipher_suite::TLS13_CHACHA20_POLY1305_SHA256,
        ];
        Arc::new(provider)
    }

    fn fill_random(&self, out: &mut [u8]) {
        let filled = ::aws_lc_rs::rand::fill(out);
        assert!(filled.is_ok(), "a machine without randomness cannot keep secrets");
    }
}
