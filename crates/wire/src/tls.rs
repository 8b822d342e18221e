//! TLS 1.3 with a certificate on both sides. A peer is who its certificate's binding says, or the handshake fails: no
//! certificate authority, no host names, no resumption (a resumed session would skip the check).

use std::sync::{Arc, OnceLock};

use alloy::primitives::{Address, B256};
use quinn::crypto::rustls::{NoInitialCipherSuite, QuicClientConfig, QuicServerConfig};
use rustls::{
    CertificateError, DigitallySignedStruct, DistinguishedName, Error, OtherError, PeerMisbehaved, SignatureScheme,
    client::{
        Resumption,
        danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
    },
    crypto::{CryptoProvider, ring, verify_tls13_signature_with_raw_key},
    pki_types::{CertificateDer, ServerName, SubjectPublicKeyInfoDer, UnixTime},
    server::{
        NoServerSessionStorage,
        danger::{ClientCertVerified, ClientCertVerifier},
    },
    version::TLS13,
};

use crate::{
    Identity,
    identity::{BindingError, Bound, read_binding},
};

/// Both sides must speak it: another version of the protocol ends in the handshake.
const ALPN: &[u8] = b"millrace/1";
/// Sent where TLS wants a server name. It means nothing: identities are addresses.
pub(crate) const SERVER_NAME: &str = "millrace";

/// Says whether a peer (address, TLS fingerprint) may connect. It is asked in the handshake, so it must answer at once:
/// from a cached registry, never from the network.
pub type Gate = Arc<dyn Fn(Address, B256) -> bool + Send + Sync>;

/// Whom the dialler wants to meet. An empty field admits anyone with a valid binding.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Expect {
    /// The identity's address.
    pub address: Option<Address>,
    /// keccak256 of the peer's TLS SubjectPublicKeyInfo, as the registry publishes it.
    pub fingerprint: Option<B256>,
}

/// Why the dialler refused the peer that answered.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum WrongPeer {
    /// The certificate proves no identity.
    #[error(transparent)]
    Binding(#[from] BindingError),
    /// Another node answered.
    #[error("expected the peer {expected}, but {found} answered")]
    Address {
        /// Whom we wanted.
        expected: Address,
        /// Who answered.
        found: Address,
    },
    /// The right address with another TLS key than the one we know.
    #[error("expected the tls fingerprint {expected}, but the peer has {found}: has its registry entry changed?")]
    Fingerprint {
        /// The fingerprint we know.
        expected: B256,
        /// The fingerprint of the key that answered.
        found: B256,
    },
}

/// The dialler's TLS. `wrong` is filled when the dialler itself refuses the peer.
pub(crate) fn dialler(
    identity: &Identity,
    expect: Expect,
    wrong: Arc<OnceLock<WrongPeer>>,
) -> Result<QuicClientConfig, Error> {
    let provider = Arc::new(ring::default_provider());
    let verifier = Arc::new(Verifier { provider: provider.clone(), gate: None, expect, wrong });
    let (chain, key) = identity.tls_material();
    let mut config = rustls::ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&TLS13])?
        .dangerous() // rustls' word for "not the web's certificate authorities"
        .with_custom_certificate_verifier(verifier)
        .with_client_auth_cert(chain, key)?;
    config.alpn_protocols = vec![ALPN.to_vec()];
    config.resumption = Resumption::disabled();
    config.try_into().map_err(no_initial)
}

/// The acceptor's TLS: a certificate is mandatory, then the gate is asked.
pub(crate) fn acceptor(identity: &Identity, gate: Option<Gate>) -> Result<QuicServerConfig, Error> {
    let provider = Arc::new(ring::default_provider());
    let verifier = Verifier { provider: provider.clone(), gate, expect: Expect::default(), wrong: Arc::default() };
    let (chain, key) = identity.tls_material();
    let mut config = rustls::ServerConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&TLS13])?
        .with_client_cert_verifier(Arc::new(verifier))
        .with_single_cert(chain, key)?;
    config.alpn_protocols = vec![ALPN.to_vec()];
    config.session_storage = Arc::new(NoServerSessionStorage {});
    config.send_tls13_tickets = 0;
    config.try_into().map_err(no_initial)
}

fn no_initial(e: NoInitialCipherSuite) -> Error {
    Error::General(e.to_string())
}

/// Checks bindings on both sides.
struct Verifier {
    provider: Arc<CryptoProvider>,
    gate: Option<Gate>,
    expect: Expect,
    wrong: Arc<OnceLock<WrongPeer>>,
}

impl std::fmt::Debug for Verifier {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Verifier").field("expect", &self.expect).finish_non_exhaustive()
    }
}

impl Verifier {
    fn check(&self, certificate: &CertificateDer<'_>, rest: &[CertificateDer<'_>]) -> Result<Bound, WrongPeer> {
        if !rest.is_empty() {
            return Err(BindingError::Chain.into());
        }
        let found = read_binding(certificate)?;
        match self.expect {
            Expect { address: Some(expected), .. } if expected != found.address => {
                Err(WrongPeer::Address { expected, found: found.address })
            }
            Expect { fingerprint: Some(expected), .. } if expected != found.fingerprint => {
                Err(WrongPeer::Fingerprint { expected, found: found.fingerprint })
            }
            _ => Ok(found),
        }
    }

    fn refuse(&self, wrong: WrongPeer) -> Error {
        let _ = self.wrong.set(wrong.clone());
        CertificateError::Other(OtherError(Arc::new(wrong))).into()
    }

    /// Proof of possession, by exactly the key whose binding was checked.
    fn signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let bound = read_binding(certificate).map_err(|e| self.refuse(e.into()))?;
        let spki = SubjectPublicKeyInfoDer::from(bound.spki);
        verify_tls13_signature_with_raw_key(message, &spki, signed, &self.provider.signature_verification_algorithms)
    }
}

impl ServerCertVerifier for Verifier {
    fn verify_server_cert(
        &self,
        certificate: &CertificateDer<'_>,
        rest: &[CertificateDer<'_>],
        _name: &ServerName<'_>,
        _ocsp: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        self.check(certificate, rest).map_err(|r| self.refuse(r))?;
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _message: &[u8],
        _certificate: &CertificateDer<'_>,
        _signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Err(PeerMisbehaved::SignedHandshakeWithUnadvertisedSigScheme.into())
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.signature(message, certificate, signed)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        vec![SignatureScheme::ECDSA_NISTP256_SHA256]
    }
}

impl ClientCertVerifier for Verifier {
    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        &[]
    }

    fn verify_client_cert(
        &self,
        certificate: &CertificateDer<'_>,
        rest: &[CertificateDer<'_>],
        _now: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        let found = self.check(certificate, rest).map_err(|r| self.refuse(r))?;
        if self.gate.as_ref().is_none_or(|gate| gate(found.address, found.fingerprint)) {
            Ok(ClientCertVerified::assertion())
        } else {
            // TLS tells the dialler "access denied", which it can tell from "bad certificate".
            Err(CertificateError::ApplicationVerificationFailure.into())
        }
    }

    fn verify_tls12_signature(
        &self,
        _message: &[u8],
        _certificate: &CertificateDer<'_>,
        _signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Err(PeerMisbehaved::SignedHandshakeWithUnadvertisedSigScheme.into())
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.signature(message, certificate, signed)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        vec![SignatureScheme::ECDSA_NISTP256_SHA256]
    }
}
