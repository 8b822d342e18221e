//! Who a node is: one secp256k1 identity, and a TLS key that this identity has signed.
//!
//! The self-signed certificate carries the *binding*: the node's address and the identity's signature over the TLS key's
//! fingerprint. Whoever holds the TLS key alone cannot claim an address, and a binding that is copied into another
//! certificate does not fit that certificate's key. Reading the binding is done here too; refusing peers is in `tls`.

use std::{fmt, sync::Arc};

use alloy::{
    primitives::{Address, B256, Signature, keccak256},
    signers::{SignerSync, local::PrivateKeySigner},
};
use rcgen::{CertificateParams, CustomExtension, KeyPair, PublicKeyData};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use x509_parser::{asn1_rs::Oid, prelude::FromDer, prelude::X509Certificate};

/// The extension that carries the binding. The arc 2.25 is free for everyone (ITU-T X.667): the last number is random.
const BINDING_OID: &[u64] = &[2, 25, 2_371_521_393_208_328_702, 1];
/// Keeps the binding's signature apart from anything else that the identity signs by EIP-191.
const BINDING_CONTEXT: &[u8] = b"millrace tls binding";
/// address (20) ‖ signature (65, r ‖ s ‖ v)
const BINDING_LENGTH: usize = 20 + 65;

/// A node's keys and the certificate that binds them. Cheap to clone. `Debug` shows the address and nothing secret.
#[derive(Clone)]
pub struct Identity(Arc<Inner>);

struct Inner {
    signer: PrivateKeySigner,
    tls_key: KeyPair,
    certificate: CertificateDer<'static>,
    fingerprint: B256,
}

/// Why an [`Identity`] cannot be made.
#[derive(Debug, thiserror::Error)]
pub enum IdentityError {
    /// The given text is not a private key that we can use.
    #[error("the tls key is not an ecdsa p-256 private key in pkcs#8 pem: {0}")]
    TlsKey(#[source] rcgen::Error),
    /// The certificate could not be made.
    #[error("the tls certificate cannot be made: {0}")]
    Certificate(#[source] rcgen::Error),
    /// The identity key did not sign.
    #[error("the identity key cannot sign the tls binding: {0}")]
    Sign(#[source] alloy::signers::Error),
}

impl Identity {
    /// Binds the TLS key to the identity key in a new self-signed certificate. `tls_key_pem` is an ECDSA P-256 key in
    /// PKCS#8 PEM; without it a fresh one is made.
    pub fn new(signer: PrivateKeySigner, tls_key_pem: Option<&str>) -> Result<Self, IdentityError> {
        let tls_key = tls_key(tls_key_pem)?;
        let fingerprint = keccak256(tls_key.subject_public_key_info());
        let binding = binding(&signer, signer.address(), fingerprint)?;
        Self::with_extensions(signer, tls_key, vec![binding])
    }

    /// Makes the certificate with any extensions: the tests build impostors with it.
    pub(crate) fn with_extensions(
        signer: PrivateKeySigner,
        tls_key: KeyPair,
        bindings: Vec<Vec<u8>>,
    ) -> Result<Self, IdentityError> {
        let fingerprint = keccak256(tls_key.subject_public_key_info());
        let mut params = CertificateParams::default();
        params.custom_extensions =
            bindings.into_iter().map(|b| CustomExtension::from_oid_content(BINDING_OID, b)).collect();
        let certificate = params.self_signed(&tls_key).map_err(IdentityError::Certificate)?.der().clone();
        Ok(Self(Arc::new(Inner { signer, tls_key, certificate, fingerprint })))
    }

    /// The node's address on the chain and in the protocol.
    pub fn address(&self) -> Address {
        self.0.signer.address()
    }

    /// keccak256 of the TLS public key's SubjectPublicKeyInfo in DER: what the registry publishes.
    pub fn fingerprint(&self) -> B256 {
        self.0.fingerprint
    }

    /// The identity key.
    pub fn signer(&self) -> &PrivateKeySigner {
        &self.0.signer
    }

    /// The TLS key as PKCS#8 PEM, to be kept so that the fingerprint stays the same. Secret.
    pub fn tls_key_pem(&self) -> String {
        self.0.tls_key.serialize_pem()
    }

    /// Certificate chain and key as rustls takes them.
    pub(crate) fn tls_material(&self) -> (Vec<CertificateDer<'static>>, PrivateKeyDer<'static>) {
        let key = PrivatePkcs8KeyDer::from(self.0.tls_key.serialize_der());
        (vec![self.0.certificate.clone()], key.into())
    }
}

impl fmt::Debug for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Identity({})", self.address())
    }
}

/// Reads the key, or makes one. Only P-256: it is the one scheme that the verifiers accept.
pub(crate) fn tls_key(pem: Option<&str>) -> Result<KeyPair, IdentityError> {
    let Some(pem) = pem else { return KeyPair::generate().map_err(IdentityError::TlsKey) };
    let key = KeyPair::from_pem(pem).map_err(IdentityError::TlsKey)?;
    if key.is_compatible(&rcgen::PKCS_ECDSA_P256_SHA256) {
        Ok(key)
    } else {
        Err(IdentityError::TlsKey(rcgen::Error::UnsupportedSignatureAlgorithm))
    }
}

/// The extension's content: `claimed` says that the key with this fingerprint is its own, `signer` signs it.
pub(crate) fn binding(
    signer: &PrivateKeySigner,
    claimed: Address,
    fingerprint: B256,
) -> Result<Vec<u8>, IdentityError> {
    let signature = signer.sign_message_sync(&statement(fingerprint)).map_err(IdentityError::Sign)?;
    Ok([claimed.as_slice(), &signature.as_bytes()].concat())
}

fn statement(fingerprint: B256) -> Vec<u8> {
    [BINDING_CONTEXT, fingerprint.as_slice()].concat()
}

/// What a certificate proves about its holder.
#[derive(Debug, Clone)]
pub(crate) struct Bound {
    pub(crate) address: Address,
    pub(crate) fingerprint: B256,
    /// The public key whose possession the TLS handshake proves, SubjectPublicKeyInfo in DER.
    pub(crate) spki: Vec<u8>,
}

/// Why a certificate proves no identity.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BindingError {
    /// Not an X.509 certificate.
    #[error("the peer's certificate cannot be read")]
    Unreadable,
    /// More than one certificate: bindings are self-signed.
    #[error("the peer sent a chain of certificates: a binding is one self-signed certificate")]
    Chain,
    /// The extension is absent, there twice, or of the wrong length.
    #[error("the peer's certificate carries no identity binding")]
    Missing,
    /// The signature is not by the address that the certificate claims.
    #[error("the peer's certificate claims {claimed}, but that key did not sign its tls key")]
    Forged {
        /// The address that the peer pretends to be.
        claimed: Address,
    },
}

/// Checks a certificate's binding. Everything here comes from a stranger: it costs at most one signature recovery.
pub(crate) fn read_binding(certificate: &CertificateDer<'_>) -> Result<Bound, BindingError> {
    let (rest, x509) = X509Certificate::from_der(certificate).map_err(|_| BindingError::Unreadable)?;
    if !rest.is_empty() {
        return Err(BindingError::Unreadable);
    }
    let oid = Oid::from(BINDING_OID).map_err(|_| BindingError::Missing)?;
    let extension = x509.get_extension_unique(&oid).ok().flatten().ok_or(BindingError::Missing)?;
    if extension.value.len() != BINDING_LENGTH {
        return Err(BindingError::Missing);
    }
    let (claimed, signature) = extension.value.split_at(20);
    let claimed = Address::from_slice(claimed);
    let spki = x509.public_key().raw.to_vec();
    let fingerprint = keccak256(&spki);
    let signed_by =
        Signature::from_raw(signature).ok().and_then(|s| s.recover_address_from_msg(statement(fingerprint)).ok());
    if signed_by == Some(claimed) {
        Ok(Bound { address: claimed, fingerprint, spki })
    } else {
        Err(BindingError::Forged { claimed })
    }
}
