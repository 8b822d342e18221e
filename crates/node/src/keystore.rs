//! Encrypted keys: the Ethereum keystore, version 3 (Web3 Secret Storage), which geth, Foundry and wallets read and write.
//!
//! A key that is derived from the passphrase by scrypt encrypts the private key by AES-128-CTR; a MAC tells a wrong
//! passphrase. Files of others are read with scrypt at any cost that a machine can pay. Nothing here touches a disk, and no secret is
//! left in memory that was freed.

use aes::cipher::{KeyIvInit, StreamCipher};
use alloy::primitives::{Address, keccak256};
use alloy::signers::local::PrivateKeySigner;
use scrypt::Params;
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

type Aes128Ctr = ctr::Ctr128BE<aes::Aes128>;

/// scrypt of what is written: N = 2^17, r = 8, p = 1, which OWASP recommends: 128 MiB and a third of a second for each guess.
const COST: Cost = Cost { log_n: 17, r: 8, p: 1 };
/// Memory that a file may ask for, bytes: four times what is written here, twice geth's standard.
const MAX_MEMORY: u64 = 512 << 20;
/// Passes that a file may ask for; geth's light standard has 6.
const MAX_PASSES: u32 = 16;

/// A secret that a person chose. Never shown, and wiped from memory when it is dropped.
#[derive(Clone, PartialEq, Eq)]
pub struct Passphrase(Zeroizing<String>);

impl Passphrase {
    /// `None` for an empty one.
    pub fn new(text: String) -> Option<Self> {
        let text = Zeroizing::new(text);
        (!text.is_empty()).then_some(Self(text))
    }
}

impl std::fmt::Debug for Passphrase {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Passphrase(..)")
    }
}

/// Why a keystore gives no key.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum KeystoreError {
    /// Not the JSON that it should be.
    #[error("it is not a whole keystore of version 3 ({0}): restore it from a backup")]
    Malformed(String),
    /// Another cipher or key derivation.
    #[error("it uses {0}; only aes-128-ctr with scrypt is read here: import the key instead")]
    Unsupported(String),
    /// Its derivation costs more than a machine should give.
    #[error(
        "its scrypt asks for {memory} bytes of memory and {passes} passes; at most {MAX_MEMORY} and {MAX_PASSES} are given"
    )]
    TooDear {
        /// Bytes.
        memory: u64,
        /// scrypt's p.
        passes: u32,
    },
    /// The MAC differs.
    #[error("the passphrase is wrong")]
    WrongPassphrase,
    /// It holds another key than it says.
    #[error("it says that it holds {said}, and it holds {held}: it was tampered with or mixed up")]
    OtherKey {
        /// The address in the file.
        said: Address,
        /// The key's address.
        held: Address,
    },
}

#[derive(Clone, Copy)]
struct Cost {
    log_n: u8,
    r: u32,
    p: u32,
}

#[derive(Serialize, Deserialize)]
struct File {
    #[serde(default)]
    address: Option<String>,
    crypto: Crypto,
    id: String,
    version: u32,
}

#[derive(Serialize, Deserialize)]
struct Crypto {
    cipher: String,
    cipherparams: CipherParams,
    #[serde(with = "hex")]
    ciphertext: Vec<u8>,
    kdf: String,
    kdfparams: serde_json::Value,
    #[serde(with = "hex")]
    mac: Vec<u8>,
}

#[derive(Serialize, Deserialize)]
struct CipherParams {
    #[serde(with = "hex")]
    iv: Vec<u8>,
}

#[derive(Serialize, Deserialize)]
struct Scrypt {
    dklen: u32,
    n: u64,
    r: u32,
    p: u32,
    #[serde(with = "hex")]
    salt: Vec<u8>,
}

/// Whether a key file's text is a keystore and not a plain key.
pub fn is_keystore(text: &str) -> bool {
    text.trim_start().starts_with('{')
}

/// The address that a keystore states. Nothing proves it before the key is decrypted.
pub fn stated_address(text: &str) -> Option<Address> {
    let file: File = serde_json::from_str(text).ok()?;
    file.address?.parse().ok()
}

/// The keystore of `signer`'s key under a passphrase.
pub fn encrypt(signer: &PrivateKeySigner, passphrase: &Passphrase) -> Result<String, KeystoreError> {
    let (salt, iv, mut id): ([u8; 32], [u8; 16], [u8; 16]) = (rand::random(), rand::random(), rand::random());
    let key = derive(passphrase, &salt, COST)?;
    let mut ciphertext = signer.to_bytes().to_vec();
    cipher(&key, &iv).apply_keystream(&mut ciphertext);
    // A random UUID, version 4.
    id[6] = id[6] & 0x0f | 0x40;
    id[8] = id[8] & 0x3f | 0x80;
    let id = hex::encode(id);
    let file = File {
        address: Some(hex::encode(signer.address())),
        id: format!("{}-{}-{}-{}-{}", &id[..8], &id[8..12], &id[12..16], &id[16..20], &id[20..]),
        version: 3,
        crypto: Crypto {
            cipher: "aes-128-ctr".into(),
            cipherparams: CipherParams { iv: iv.into() },
            mac: mac(&key, &ciphertext),
            ciphertext,
            kdf: "scrypt".into(),
            kdfparams: serde_json::to_value(Scrypt {
                dklen: 32,
                n: 1 << COST.log_n,
                r: COST.r,
                p: COST.p,
                salt: salt.into(),
            })
            .map_err(malformed)?,
        },
    };
    serde_json::to_string_pretty(&file).map_err(malformed)
}

/// The key in a keystore.
pub fn decrypt(text: &str, passphrase: &Passphrase) -> Result<PrivateKeySigner, KeystoreError> {
    let File { address, crypto, version, .. } = serde_json::from_str(text).map_err(malformed)?;
    if (version, crypto.cipher.as_str(), crypto.kdf.as_str()) != (3, "aes-128-ctr", "scrypt") {
        return Err(KeystoreError::Unsupported(format!("version {version}, {}, {}", crypto.cipher, crypto.kdf)));
    }
    let scrypt: Scrypt = serde_json::from_value(crypto.kdfparams).map_err(malformed)?;
    let iv: [u8; 16] = crypto.cipherparams.iv.try_into().map_err(|_| malformed("an iv has 16 bytes"))?;
    if !scrypt.n.is_power_of_two() || scrypt.dklen != 32 {
        return Err(malformed("n is a power of two, dklen 32"));
    }
    let memory = scrypt.n.saturating_mul(128).saturating_mul(scrypt.r.into());
    if memory > MAX_MEMORY || scrypt.p > MAX_PASSES {
        return Err(KeystoreError::TooDear { memory, passes: scrypt.p });
    }
    let key = derive(passphrase, &scrypt.salt, Cost { log_n: scrypt.n.ilog2() as u8, r: scrypt.r, p: scrypt.p })?;
    if mac(&key, &crypto.ciphertext) != crypto.mac {
        return Err(KeystoreError::WrongPassphrase);
    }
    let mut secret = Zeroizing::new(crypto.ciphertext);
    cipher(&key, &iv).apply_keystream(&mut secret);
    let signer = PrivateKeySigner::from_slice(&secret).map_err(|_| malformed("what it holds is no private key"))?;
    let said = address.map(|text| text.parse().map_err(|_| malformed("its address is none"))).transpose()?;
    match said {
        Some(said) if said != signer.address() => Err(KeystoreError::OtherKey { said, held: signer.address() }),
        _ => Ok(signer),
    }
}

fn malformed(reason: impl std::fmt::Display) -> KeystoreError {
    KeystoreError::Malformed(reason.to_string())
}

fn derive(passphrase: &Passphrase, salt: &[u8], cost: Cost) -> Result<Zeroizing<[u8; 32]>, KeystoreError> {
    let mut key = Zeroizing::new([0; 32]);
    let params = Params::new(cost.log_n, cost.r, cost.p, key.len()).map_err(malformed)?;
    scrypt::scrypt(passphrase.0.as_bytes(), salt, &params, key.as_mut_slice()).map_err(malformed)?;
    Ok(key)
}

fn cipher(key: &[u8; 32], iv: &[u8; 16]) -> Aes128Ctr {
    let mut half = [0; 16];
    half.copy_from_slice(&key[..16]);
    Aes128Ctr::new(&half.into(), iv.into())
}

fn mac(key: &[u8; 32], ciphertext: &[u8]) -> Vec<u8> {
    keccak256([&key[16..], ciphertext].concat()).to_vec()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn passphrase(text: &str) -> Passphrase {
        Passphrase::new(text.into()).unwrap()
    }

    /// Made by OpenSSL's scrypt and AES and another keccak. (The definition's own vector breaks scrypt's rule on N and r.)
    const VECTOR: &str = r#"{ "crypto": { "cipher": "aes-128-ctr", "cipherparams": { "iv": "0ab306823035661bb8dba21cc2535231" },
        "ciphertext": "06117b8d768387fc9af1fa6bdcd9b0f53c5e40f7449100741059b8aff8dfe214", "kdf": "scrypt",
        "kdfparams": { "dklen": 32, "n": 16384, "p": 1, "r": 8,
            "salt": "63479ad69a090b258277ec8fba6f99419a2ffb248981510657c944ccd1148e97" },
        "mac": "9aa85f0a9c49c95fd79775fefb2defc58b3b44089ecf6c9093ad6daad1f481f5" },
        "id": "3198bc9c-6672-5ab3-d995-4942343ae5b6", "version": 3 }"#;

    #[test]
    fn a_keystore_of_another_program_opens() {
        let signer = decrypt(VECTOR, &passphrase("testpassword")).unwrap();
        assert_eq!(hex::encode(signer.to_bytes()), "17e98dff2bf0c989477947b0fd612f32fb728fd5a0daf1814b0d9324ce9d4715");
    }

    #[test]
    fn what_is_written_opens_with_its_passphrase_alone_and_shows_no_key() {
        let signer = PrivateKeySigner::random();
        let text = encrypt(&signer, &passphrase("a river")).unwrap();
        assert!(is_keystore(&text) && !text.contains(&hex::encode(signer.to_bytes())));
        assert_eq!(decrypt(&text, &passphrase("a river")).unwrap(), signer);
        assert_eq!(decrypt(&text, &passphrase("a rivet")), Err(KeystoreError::WrongPassphrase));
        assert_ne!(text, encrypt(&signer, &passphrase("a river")).unwrap(), "salt and iv are fresh");
        let half = &text[..text.len() / 2];
        assert!(matches!(decrypt(half, &passphrase("a river")), Err(KeystoreError::Malformed(_))));
        assert_eq!(format!("{:?}", passphrase("a river")), "Passphrase(..)");
    }

    #[test]
    fn what_would_break_a_machine_or_a_reader_is_refused_with_its_reason() {
        let refused = |from: &str, to: &str| {
            assert!(VECTOR.contains(from));
            decrypt(&VECTOR.replace(from, to), &passphrase("testpassword")).unwrap_err()
        };
        assert!(matches!(refused("16384", "68719476736"), KeystoreError::TooDear { .. }));
        assert!(matches!(refused("\"p\": 1", "\"p\": 4000000"), KeystoreError::TooDear { .. }));
        assert!(matches!(refused("16384", "16383"), KeystoreError::Malformed(_)));
        assert!(matches!(refused("16384", "0"), KeystoreError::Malformed(_)));
        assert!(matches!(refused("\"dklen\": 32", "\"dklen\": 8"), KeystoreError::Malformed(_)));
        assert!(matches!(refused("0ab30682", ""), KeystoreError::Malformed(_)));
        assert!(matches!(refused("\"version\": 3", "\"version\": 1"), KeystoreError::Unsupported(_)));
        assert!(matches!(refused("\"scrypt\"", "\"pbkdf2\""), KeystoreError::Unsupported(_)));
        let other = "\"address\": \"00000398232e2064f896018496b4b44b3d62751f\", \"version\": 3";
        assert!(matches!(refused("\"version\": 3", other), KeystoreError::OtherKey { .. }));
    }
}
