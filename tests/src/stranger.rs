//! A peer that does not run our program: raw QUIC with a key, and whatever bytes a test wants.

use io_shell::identity::Identity;
use io_shell::net::tls;
use io_shell::net::world::RealNet;
use io_shell::world::Net;
use quinn::{ClientConfig, Connection, ConnectionError, Endpoint, SendStream};
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;
use sync_core::wire::{Hello, Message, PROTOCOL_VERSION, encode};
use sync_core::{CloseCode, DeviceId};

/// How long the other side may take to do what a test is about.
const PATIENCE: Duration = Duration::from_secs(20);
/// The byte that opens the control lane.
pub const CONTROL: u8 = 0;
/// The byte that opens the index lane.
pub const INDEX: u8 = 1;

/// A connection of nobody's making, with the identity of one's choice.
pub struct Stranger {
    /// Who it is.
    pub identity: Identity,
    runtime: tokio::runtime::Runtime,
    endpoint: Endpoint,
    connection: Connection,
    /// Streams stay open as long as the stranger is there.
    open: Vec<SendStream>,
}

impl Stranger {
    /// Connects with a key that nobody knows.
    pub fn unknown(to: SocketAddr) -> Self {
        Self::connect(Identity::generate(&RealNet).unwrap(), to)
    }

    /// Connects with the key in a daemon's home; the daemon should be down.
    pub fn with_key_of(home: &Path, to: SocketAddr) -> Self {
        Self::connect(Identity::load_or_create(home, &RealNet).unwrap(), to)
    }

    fn connect(identity: Identity, to: SocketAddr) -> Self {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let dialler = tls::client(&RealNet.provider(), &identity, tls::ALPN_LINK, None).unwrap();
        let config = ClientConfig::new(Arc::clone(&dialler.crypto) as Arc<_>);
        let (endpoint, connection) = runtime.block_on(async {
            let endpoint = Endpoint::client("127.0.0.1:0".parse().unwrap()).unwrap();
            let connecting = endpoint.connect_with(config, to, tls::SERVER_NAME).unwrap();
            let connection = tokio::time::timeout(PATIENCE, connecting).await.expect("an answer in time").unwrap();
            (endpoint, connection)
        });
        Self { identity, runtime, endpoint, connection, open: Vec::new() }
    }

    /// Sends bytes on a new stream, which stays open.
    pub fn send(&mut self, bytes: &[u8]) {
        let sent = self.runtime.block_on(async {
            let mut stream = self.connection.open_uni().await?;
            // A connection that is being closed takes no more, which is what the tests are about.
            let _taken = stream.write_all(bytes).await;
            Ok::<_, ConnectionError>(stream)
        });
        self.open.extend(sent.ok());
    }

    /// Greets as `device`.
    pub fn hello(&mut self, device: DeviceId) {
        let hello = Message::Hello(Hello {
            version: PROTOCOL_VERSION,
            device,
            name: "stranger".into(),
            listen_port: 1,
            features: Vec::new(),
        });
        self.send(&framed(CONTROL, &encode(&hello)));
    }

    #[allow(clippy::wildcard_enum_match_arm)] // Every other end is not the one that is tested.
    /// The code that the other side closes the connection with, and its words.
    pub fn closed(&self) -> (CloseCode, String) {
        let ended = self.runtime.block_on(async { tokio::time::timeout(PATIENCE, self.connection.closed()).await });
        let ended = ended.expect("the connection is closed in time");
        let ConnectionError::ApplicationClosed(close) = &ended else { panic!("closed by {ended}") };
        let code = CloseCode::from_wire(close.error_code.into_inner());
        (code, String::from_utf8_lossy(&close.reason).into_owned())
    }
}

impl Drop for Stranger {
    fn drop(&mut self) {
        self.connection.close(0_u32.into(), b"");
        self.endpoint.close(0_u32.into(), b"");
    }
}

/// One frame at the start of a lane: the lane's byte, length, flags, body.
pub fn framed(lane: u8, body: &[u8]) -> Vec<u8> {
    let length = u32::try_from(body.len()).unwrap().to_le_bytes();
    [&[lane], length.as_slice(), &[0], body].concat()
}

/// The beginning of a lane whose first frame says that it is `length` bytes long.
pub fn announced(lane: u8, length: u32) -> Vec<u8> {
    [&[lane], length.to_le_bytes().as_slice(), &[0]].concat()
}
