//! Signatures over EIP-712 structs, in exactly one encoding.
//!
//! A second valid encoding of one signature would be a second key for one object (tickets were drawn twice that way
//! elsewhere), so high `s` and any `v` but 27 and 28 are refused here as they are on chain. What is drawn or paid is
//! keyed by digest, never by signature.

use alloy::primitives::{Address, B256, FixedBytes, Signature};
use alloy::signers::{SignerSync, local::PrivateKeySigner};
use alloy::sol_types::SolStruct;
use serde::{Deserialize, Serialize};

use crate::objects::Domain;

/// A signature as 65 bytes: `r` ‖ `s` ‖ `v`, low `s`, `v` 27 or 28. Hex in JSON, bytes on the wire.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Signature65(pub FixedBytes<65>);

impl Signature65 {
    /// The address that signed `digest`. Refuses every encoding but the canonical one.
    pub fn recover(&self, digest: &B256) -> Result<Address, SignatureError> {
        let parity = match self.0[64] {
            27 => false,
            28 => true,
            v => return Err(SignatureError::RecoveryByte(v)),
        };
        let signature = Signature::from_bytes_and_parity(&self.0[..64], parity);
        if signature.normalize_s().is_some() {
            return Err(SignatureError::HighS);
        }
        signature.recover_address_from_prehash(digest).map_err(|_| SignatureError::Invalid)
    }
}

/// A struct and the signature over its EIP-712 digest. Not checked until [`Signed::recover`] is called.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Signed<T> {
    /// What was signed.
    pub body: T,
    /// By whom: see [`Signed::recover`].
    pub signature: Signature65,
}

impl<T: SolStruct> Signed<T> {
    /// Signs `body`. Deterministic (RFC 6979): the same body and key give the same bytes, also after a crash.
    pub fn sign(body: T, domain: &Domain, signer: &PrivateKeySigner) -> Result<Self, SignatureError> {
        let digest = body.eip712_signing_hash(&domain.eip712());
        let signature = signer.sign_hash_sync(&digest).map_err(|e| SignatureError::Signer(e.to_string()))?;
        let signature = signature.normalize_s().unwrap_or(signature);
        Ok(Self { body, signature: Signature65(FixedBytes(signature.as_bytes())) })
    }

    /// The EIP-712 digest of the body: the object's name everywhere else.
    pub fn digest(&self, domain: &Domain) -> B256 {
        self.body.eip712_signing_hash(&domain.eip712())
    }

    /// The address that signed. The caller compares it with the one it expects.
    pub fn recover(&self, domain: &Domain) -> Result<Address, SignatureError> {
        self.signature.recover(&self.digest(domain))
    }
}

/// Why a signature is not one.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SignatureError {
    /// `v` is neither 27 nor 28.
    #[error("signature's recovery byte is {0}: only 27 and 28 are accepted")]
    RecoveryByte(u8),
    /// `s` is in the upper half of the group order.
    #[error("signature's s is above half the group order: send the low one")]
    HighS,
    /// No public key gives this signature.
    #[error("signature recovers to no address")]
    Invalid,
    /// The key could not sign.
    #[error("signing failed: {0}")]
    Signer(String),
}
