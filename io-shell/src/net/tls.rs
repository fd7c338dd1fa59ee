//! TLS 1.3 with raw public keys (RFC 7250) on both sides: no certificates, no authorities, nothing to switch off.
//!
//! Any Ed25519 key that proves possession passes; who may do what is decided afterwards, by key.

use crate::identity::Identity;
use anyhow::{Context, Result, anyhow, bail};
use quinn::crypto::rustls::{QuicClientConfig, QuicServerConfig};
use rustls::client::AlwaysResolvesClientRawPublicKeys;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, verify_tls13_signature_with_raw_key};
use rustls::pki_types::{CertificateDer, ServerName, SubjectPublicKeyInfoDer, UnixTime};
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::server::{AlwaysResolvesServerRawPublicKeys, NoServerSessionStorage};
use rustls::sign::CertifiedKey;
use rustls::version::TLS13;
use rustls::{
    CertificateError, ClientConfig, DigitallySignedStruct, DistinguishedName, Error, PeerIncompatible, ServerConfig,
    SignatureScheme,
};
use std::sync::{Arc, OnceLock};
use sync_core::id::PublicKey;
use sync_core::proving::{Mutant, Point, is_mutant, sometimes};

/// Links between paired devices.
pub const ALPN_LINK: &[u8] = b"landropic/1";
/// Pairing with a code.
pub const ALPN_PAIR: &[u8] = b"landropic-pair/1";
/// What rustls asks for where other protocols have a host name. It is neither sent nor looked at.
pub const SERVER_NAME: &str = "landropic";

/// An Ed25519 key in a SubjectPublicKeyInfo (RFC 8410) is always these bytes and then the key.
const SPKI_PREFIX: [u8; 12] = [0x30, 0x2a, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x03, 0x21, 0x00];

/// The SubjectPublicKeyInfo of a key.
pub fn spki_of_key(key: &PublicKey) -> Vec<u8> {
    [SPKI_PREFIX.as_slice(), &key.0].concat()
}

/// The key of a SubjectPublicKeyInfo; `None` unless it is an Ed25519 key in its only encoding.
pub fn key_of_spki(spki: &[u8]) -> Option<PublicKey> {
    let key = spki.strip_prefix(&SPKI_PREFIX)?;
    Some(PublicKey(key.try_into().ok()?))
}

/// The key whose possession the peer of a connection has proved.
pub fn peer_key(connection: &quinn::Connection) -> Option<PublicKey> {
    let identity = connection.peer_identity()?.downcast::<Vec<CertificateDer<'static>>>().ok()?;
    let [end_entity] = identity.as_slice() else { return None };
    key_of_spki(end_entity)
}

/// The protocol that a connection speaks.
pub fn protocol(connection: &quinn::Connection) -> Option<Vec<u8>> {
    let data = connection.handshake_data()?.downcast::<quinn::crypto::rustls::HandshakeData>().ok()?;
    data.protocol
}

/// How connections are answered, for both protocols.
///
/// # Errors
/// The provider does not offer what TLS 1.3 over QUIC with Ed25519 needs.
pub fn server(provider: &Arc<CryptoProvider>, identity: &Identity) -> Result<Arc<QuicServerConfig>> {
    let verifier = Arc::new(Verifier::new(provider, None));
    let key = certified_key(provider, identity)?;
    let mut config = ServerConfig::builder_with_provider(provider.clone())
        .with_protocol_versions(&[&TLS13])
        .context("the provider has no TLS 1.3")?
        .with_client_cert_verifier(verifier)
        .with_cert_resolver(Arc::new(AlwaysResolvesServerRawPublicKeys::new(key)));
    config.alpn_protocols = vec![ALPN_LINK.to_vec(), ALPN_PAIR.to_vec()];
    // A resumed session would not prove possession of the key again.
    config.session_storage = Arc::new(NoServerSessionStorage {});
    config.send_tls13_tickets = 0;
    config.max_early_data_size = 0;
    Ok(Arc::new(QuicServerConfig::try_from(config).context("the provider has no cipher for QUIC")?))
}

/// How one connection is opened, and what it found.
pub struct Dialler {
    /// For quinn.
    pub crypto: Arc<QuicClientConfig>,
    seen: Arc<OnceLock<PublicKey>>,
}

impl Dialler {
    /// The key that answered instead of the expected one, once that has happened.
    pub fn impostor(&self) -> Option<PublicKey> {
        self.seen.get().copied()
    }
}

/// How a connection is opened for `alpn`, to the holder of `expect`, or of any key.
///
/// # Errors
/// The provider does not offer what TLS 1.3 over QUIC with Ed25519 needs.
pub fn client(
    provider: &Arc<CryptoProvider>,
    identity: &Identity,
    alpn: &[u8],
    expect: Option<PublicKey>,
) -> Result<Dialler> {
    let verifier = Arc::new(Verifier::new(provider, expect));
    let seen = verifier.impostor.clone();
    let key = certified_key(provider, identity)?;
    let mut config = ClientConfig::builder_with_provider(provider.clone())
        .with_protocol_versions(&[&TLS13])
        .context("the provider has no TLS 1.3")?
        .dangerous()
        .with_custom_certificate_verifier(verifier)
        .with_client_cert_resolver(Arc::new(AlwaysResolvesClientRawPublicKeys::new(key)));
    config.alpn_protocols = vec![alpn.to_vec()];
    config.resumption = rustls::client::Resumption::disabled();
    config.enable_sni = false;
    let crypto = QuicClientConfig::try_from(config).context("the provider has no cipher for QUIC")?;
    Ok(Dialler { crypto: Arc::new(crypto), seen })
}

fn certified_key(provider: &CryptoProvider, identity: &Identity) -> Result<Arc<CertifiedKey>> {
    let key = provider
        .key_provider
        .load_private_key(identity.private_key())
        .map_err(|e| anyhow!("the TLS provider cannot use the device's key: {e}"))?;
    let spki = spki_of_key(&identity.public_key());
    if key.public_key().is_some_and(|own| own.as_ref() != spki) {
        bail!("the TLS provider has another idea of the device's public key");
    }
    Ok(Arc::new(CertifiedKey::new(vec![CertificateDer::from(spki)], key)))
}

/// Accepts keys, not names: one key if it is known who must answer, else any.
#[derive(Debug)]
struct Verifier {
    provider: Arc<CryptoProvider>,
    expect: Option<PublicKey>,
    impostor: Arc<OnceLock<PublicKey>>,
}

impl Verifier {
    fn new(provider: &Arc<CryptoProvider>, expect: Option<PublicKey>) -> Self {
        Self { provider: provider.clone(), expect, impostor: Arc::default() }
    }

    fn check_key(&self, end_entity: &CertificateDer<'_>, more: &[CertificateDer<'_>]) -> Result<(), Error> {
        let key = key_of_spki(end_entity)
            .filter(|_| more.is_empty())
            .ok_or(Error::InvalidCertificate(CertificateError::BadEncoding))?;
        if self.expect.is_some_and(|expected| expected != key) && !is_mutant(Mutant::AnyKeyAnswers) {
            sometimes(Point::ShellImpostor);
            // Only the first is kept: one dial has one answer.
            let _ = self.impostor.set(key);
            return Err(Error::InvalidCertificate(CertificateError::ApplicationVerificationFailure));
        }
        Ok(())
    }

    fn check_signature(
        &self,
        message: &[u8],
        end_entity: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let spki = SubjectPublicKeyInfoDer::from(end_entity.as_ref());
        verify_tls13_signature_with_raw_key(message, &spki, signature, &self.provider.signature_verification_algorithms)
    }
}

/// No version before 1.3 is offered, so none can be spoken.
fn no_tls12() -> Result<HandshakeSignatureValid, Error> {
    Err(Error::PeerIncompatible(PeerIncompatible::ServerTlsVersionIsDisabledByOurConfig))
}

impl ServerCertVerifier for Verifier {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        self.check_key(end_entity, intermediates).map(|()| ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        no_tls12()
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.check_signature(message, cert, dss)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        vec![SignatureScheme::ED25519]
    }

    fn requires_raw_public_keys(&self) -> bool {
        true
    }
}

impl ClientCertVerifier for Verifier {
    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        &[]
    }

    fn verify_client_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        _: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        self.check_key(end_entity, intermediates).map(|()| ClientCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        no_tls12()
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.check_signature(message, cert, dss)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        vec![SignatureScheme::ED25519]
    }

    fn requires_raw_public_keys(&self) -> bool {
        true
    }
}

/// A verifier for clients that tests build by hand.
#[cfg(test)]
pub(super) fn any_key(provider: &Arc<CryptoProvider>) -> Arc<dyn ServerCertVerifier> {
    Arc::new(Verifier::new(provider, None))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::net::world::RealNet;
    use crate::world::Net;

    #[test]
    fn keys_survive_their_encoding_and_nothing_else_decodes() {
        let key = PublicKey([7; 32]);
        let spki = spki_of_key(&key);
        assert_eq!(key_of_spki(&spki), Some(key));
        assert_eq!(key_of_spki(&spki[..43]), None);
        assert_eq!(key_of_spki(&[spki.as_slice(), &[0]].concat()), None);
        let mut x25519 = spki;
        x25519[8] = 0x6e;
        assert_eq!(key_of_spki(&x25519), None);
    }

    #[test]
    fn a_verifier_with_an_expectation_takes_that_key_alone() {
        let provider = RealNet.provider();
        let expected = PublicKey([1; 32]);
        let verifier = Verifier::new(&provider, Some(expected));
        assert!(verifier.check_key(&CertificateDer::from(spki_of_key(&expected)), &[]).is_ok());
        assert!(verifier.check_key(&CertificateDer::from(spki_of_key(&PublicKey([2; 32]))), &[]).is_err());
        assert_eq!(verifier.impostor.get(), Some(&PublicKey([2; 32])));
    }

    #[test]
    fn a_chain_is_no_raw_key() {
        let provider = RealNet.provider();
        let verifier = Verifier::new(&provider, None);
        let cert = CertificateDer::from(spki_of_key(&PublicKey([1; 32])));
        assert!(verifier.check_key(&cert, std::slice::from_ref(&cert)).is_err());
        assert!(verifier.check_key(&CertificateDer::from(vec![0x30, 0]), &[]).is_err());
    }
}
