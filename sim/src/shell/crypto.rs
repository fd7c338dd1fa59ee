//! Cryptography with seeded randomness: the ciphers and signatures of the product, and a key exchange whose ephemeral
//! keys come from the seed, because that of AWS-LC asks the kernel.

use aws_lc_rs::agreement::{PrivateKey, UnparsedPublicKey, X25519, agree};
use rustls::crypto::{
    ActiveKeyExchange, CryptoProvider, GetRandomFailed, SecureRandom, SharedSecret, SupportedKxGroup,
};
use rustls::ffdhe_groups::FfdheGroup;
use rustls::{Error, NamedGroup, PeerMisbehaved};
use std::cell::RefCell;
use sync_core::rng::Rng;

thread_local! {
    /// rustls wants its randomness for ever, and a run has its own: one run is one thread.
    static RANDOM: RefCell<Rng> = RefCell::new(Rng::new(0));
}

/// From here on this thread's TLS draws from `seed`.
pub fn seed_tls(seed: u64) {
    RANDOM.set(Rng::new(seed));
}

/// Fills `out` from `rng`.
pub fn fill(rng: &mut Rng, out: &mut [u8]) {
    for piece in out.chunks_mut(8) {
        piece.copy_from_slice(&rng.next_u64().to_le_bytes()[..piece.len()]);
    }
}

#[derive(Debug)]
struct Seeded;

impl SecureRandom for Seeded {
    fn fill(&self, out: &mut [u8]) -> Result<(), GetRandomFailed> {
        RANDOM.with_borrow_mut(|rng| fill(rng, out));
        Ok(())
    }
}

/// X25519 with seeded keys.
#[derive(Debug)]
struct SeededX25519;

impl SupportedKxGroup for SeededX25519 {
    fn start(&self) -> Result<Box<dyn ActiveKeyExchange>, Error> {
        let mut secret = [0; 32];
        RANDOM.with_borrow_mut(|rng| fill(rng, &mut secret));
        let broken = |_| Error::General("X25519 refuses a key".into());
        let secret = PrivateKey::from_private_key(&X25519, &secret).map_err(|e| broken(e.to_string()))?;
        let public = secret.compute_public_key().map_err(|e| broken(e.to_string()))?;
        Ok(Box::new(Exchange { public: public.as_ref().to_vec(), secret }))
    }

    fn ffdhe_group(&self) -> Option<FfdheGroup<'static>> {
        None
    }

    fn name(&self) -> NamedGroup {
        NamedGroup::X25519
    }
}

struct Exchange {
    secret: PrivateKey,
    public: Vec<u8>,
}

impl ActiveKeyExchange for Exchange {
    fn complete(self: Box<Self>, peer: &[u8]) -> Result<SharedSecret, Error> {
        let peer = UnparsedPublicKey::new(&X25519, peer);
        let wrong = Error::from(PeerMisbehaved::InvalidKeyShare);
        agree(&self.secret, peer, wrong, |shared| Ok(SharedSecret::from(shared)))
    }

    fn pub_key(&self) -> &[u8] {
        &self.public
    }

    fn group(&self) -> NamedGroup {
        NamedGroup::X25519
    }
}

/// `provider` with all its randomness taken from the seed of this thread.
pub fn seeded(provider: &CryptoProvider) -> CryptoProvider {
    CryptoProvider { kx_groups: vec![&SeededX25519], secure_random: &Seeded, ..provider.clone() }
}
