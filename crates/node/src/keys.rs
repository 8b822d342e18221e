//! The node's keys on disk: `identity.key` (secp256k1, a [`keystore`] or plain hex) and `tls.pem` (PKCS#8) in the data
//! folder, readable by their owner alone. A key that is lost is an identity and a bond that are lost, so a file is complete
//! before it gets its name, and an existing one is only ever replaced by itself, encrypted. No key is ever logged.

use std::{
    fs::{self, File},
    io,
    os::unix::fs::{DirBuilderExt, MetadataExt},
    path::{Path, PathBuf},
};

use alloy::primitives::Address;
use alloy::signers::local::PrivateKeySigner;
use millrace_wire::{Identity, IdentityError};
use zeroize::Zeroizing;

use crate::files::{create_atomically, write_atomically};
use crate::keystore::{self, KeystoreError, Passphrase};

/// The identity key's file in the data folder.
pub const IDENTITY_FILE: &str = "identity.key";
/// The TLS key's file in the data folder.
pub const TLS_FILE: &str = "tls.pem";
/// Names the passphrase's file where the configuration does not.
pub const PASSPHRASE_VARIABLE: &str = "MILLRACE_PASSPHRASE_FILE";

/// Why the keys cannot be had.
#[derive(Debug, thiserror::Error)]
pub enum KeyError {
    /// The file system refuses.
    #[error("{path}: {source}")]
    Io {
        /// The file or folder.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// Others could have read the key.
    #[error("{path} has mode {mode:o}, others can read it: run chmod 600 {path} if nobody has")]
    Exposed {
        /// The file.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
    },
    /// The content is no key.
    #[error(
        "{path} does not hold a private key (a keystore, or 64 hex digits): restore it from a backup, or move it away to begin anew"
    )]
    Unreadable {
        /// The file.
        path: PathBuf,
    },
    /// The keystore does not open.
    #[error("{path}: {source}")]
    Keystore {
        /// The file.
        path: PathBuf,
        /// Why.
        source: KeystoreError,
    },
    /// A keystore without its passphrase.
    #[error("{path} is encrypted: name its passphrase's file by node.passphrase_file or {PASSPHRASE_VARIABLE}")]
    Locked {
        /// The keystore.
        path: PathBuf,
    },
    /// A passphrase's file without a passphrase.
    #[error("{path} is empty: its first line is the passphrase")]
    NoPassphrase {
        /// The passphrase's file.
        path: PathBuf,
    },
    /// The keys do not make an identity.
    #[error("{path}: {source}")]
    Identity {
        /// The TLS key's file.
        path: PathBuf,
        /// What is wrong.
        source: IdentityError,
    },
}

/// A key from its file.
#[derive(Debug)]
pub struct LoadedKey {
    /// The key.
    pub signer: PrivateKeySigner,
    /// Whether its file is a keystore.
    pub encrypted: bool,
}

/// Loads the node's identity from `data_dir`; makes the folder and the keys that are missing, encrypted if there is a passphrase.
pub fn load_or_create(data_dir: &Path, passphrase: Option<&Passphrase>) -> Result<Identity, KeyError> {
    make_folder(data_dir)?;
    let path = data_dir.join(IDENTITY_FILE);
    let signer = match load_key(&path, |_| passphrase.cloned()) {
        Err(KeyError::Io { source, .. }) if source.kind() == io::ErrorKind::NotFound => {
            match create_key(&path, &PrivateKeySigner::random(), passphrase) {
                // Another process was faster: its key is the key.
                Err(KeyError::Io { source, .. }) if source.kind() == io::ErrorKind::AlreadyExists => {}
                created => created?,
            }
            load_key(&path, |_| passphrase.cloned())?.signer
        }
        loaded => loaded?.signer,
    };
    load_identity(data_dir, signer)
}

/// The identity of `signer` with the TLS key in `data_dir`, which is made if it is missing.
pub fn load_identity(data_dir: &Path, signer: PrivateKeySigner) -> Result<Identity, KeyError> {
    let path = data_dir.join(TLS_FILE);
    let identity = |pem: Option<&str>| {
        Identity::new(signer.clone(), pem).map_err(|source| KeyError::Identity { path: path.clone(), source })
    };
    let fresh = identity(None)?; // a key pair costs 0.1 ms
    let pem = read_or_create(&path, || fresh.tls_key_pem())?;
    identity(Some(&pem))
}

/// Loads a key from its file. `passphrase` is asked for the passphrase of this file if it is a keystore, and for nothing else.
pub fn load_key(path: &Path, passphrase: impl FnOnce(&Path) -> Option<Passphrase>) -> Result<LoadedKey, KeyError> {
    let text = read_secret(path)?;
    if keystore::is_keystore(&text) {
        let passphrase = passphrase(path).ok_or_else(|| KeyError::Locked { path: path.to_owned() })?;
        let signer = keystore::decrypt(&text, &passphrase).map_err(at(path))?;
        return Ok(LoadedKey { signer, encrypted: true });
    }
    let signer = parse_plain(&text).ok_or_else(|| KeyError::Unreadable { path: path.to_owned() })?;
    Ok(LoadedKey { signer, encrypted: false })
}

/// The address that a keystore states of itself, for which no passphrase is needed. `None`: a plain key, or it states none.
pub fn stated_address(path: &Path) -> Result<Option<Address>, KeyError> {
    Ok(keystore::stated_address(&read_secret(path)?))
}

/// A key as 64 hex digits.
pub fn parse_plain(text: &str) -> Option<PrivateKeySigner> {
    text.trim().parse().ok()
}

/// Makes a key's file; an existing one is kept, and an `AlreadyExists`.
pub fn create_key(path: &Path, signer: &PrivateKeySigner, passphrase: Option<&Passphrase>) -> Result<(), KeyError> {
    let text = match passphrase {
        Some(passphrase) => Zeroizing::new(keystore::encrypt(signer, passphrase).map_err(at(path))?),
        None => Zeroizing::new(hex::encode(signer.to_bytes())),
    };
    if let Some(folder) = path.parent().filter(|folder| !folder.as_os_str().is_empty()) {
        make_folder(folder)?;
    }
    create_atomically(path, text.as_bytes()).map_err(|source| KeyError::Io { path: path.to_owned(), source })
}

/// Replaces a key's file by a keystore of the same key, which is opened once before. The disk may keep the old bytes for a while.
pub fn encrypt_key(path: &Path, signer: &PrivateKeySigner, passphrase: &Passphrase) -> Result<(), KeyError> {
    let text = keystore::encrypt(signer, passphrase).map_err(at(path))?;
    if keystore::decrypt(&text, passphrase).map_err(at(path))? != *signer {
        return Err(KeyError::Unreadable { path: path.to_owned() });
    }
    write_atomically(path, text.as_bytes()).map_err(|source| KeyError::Io { path: path.to_owned(), source })
}

/// The passphrase in a file, which only its owner may read: its first line.
pub fn read_passphrase(path: &Path) -> Result<Passphrase, KeyError> {
    let text = read_secret(path)?;
    let line = text.lines().next().unwrap_or_default().to_owned();
    Passphrase::new(line).ok_or_else(|| KeyError::NoPassphrase { path: path.to_owned() })
}

fn at(path: &Path) -> impl Fn(KeystoreError) -> KeyError {
    move |source| KeyError::Keystore { path: path.to_owned(), source }
}

fn make_folder(path: &Path) -> Result<(), KeyError> {
    let made = fs::DirBuilder::new().recursive(true).mode(0o700).create(path);
    made.map_err(|source| KeyError::Io { path: path.to_owned(), source })
}

/// Reads a secret file, or makes it; of two processes that do so at once both get the same.
fn read_or_create(path: &Path, make: impl FnOnce() -> String) -> Result<Zeroizing<String>, KeyError> {
    match read_secret(path) {
        Err(KeyError::Io { source, .. }) if source.kind() == io::ErrorKind::NotFound => {}
        other => return other,
    }
    match create_atomically(path, Zeroizing::new(make()).as_bytes()) {
        Err(source) if source.kind() != io::ErrorKind::AlreadyExists => {
            Err(KeyError::Io { path: path.to_owned(), source })
        }
        _ => read_secret(path),
    }
}

fn read_secret(path: &Path) -> Result<Zeroizing<String>, KeyError> {
    let failed = |source| KeyError::Io { path: path.to_owned(), source };
    let file = File::open(path).map_err(failed)?;
    let mode = file.metadata().map_err(failed)?.mode() & 0o777;
    if mode & 0o077 != 0 {
        return Err(KeyError::Exposed { path: path.to_owned(), mode });
    }
    io::read_to_string(file).map(Zeroizing::new).map_err(failed)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn keys_are_made_once_and_kept() {
        let dir = tempfile::tempdir().unwrap();
        let data = dir.path().join("a/b");
        let first = load_or_create(&data, None).unwrap();
        let again = load_or_create(&data, None).unwrap();
        assert_eq!((first.address(), first.fingerprint()), (again.address(), again.fingerprint()));
        for name in [IDENTITY_FILE, TLS_FILE] {
            assert_eq!(fs::metadata(data.join(name)).unwrap().mode() & 0o777, 0o600);
        }
        assert_eq!(fs::read_dir(&data).unwrap().count(), 2, "nothing unfinished is left");
    }

    #[test]
    fn nodes_that_start_at_once_in_one_folder_agree() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join(IDENTITY_FILE);
        let other = "another process was faster";
        let got = read_or_create(&path, || {
            create_atomically(&path, other.as_bytes()).unwrap();
            "too late".into()
        });
        assert_eq!(*got.unwrap(), other);
    }

    #[test]
    fn a_key_of_before_is_encrypted_in_place_and_opens_with_its_passphrase_alone() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join(IDENTITY_FILE);
        let plain = load_or_create(dir.path(), None).unwrap();
        let passphrase = Passphrase::new("a river".into()).unwrap();
        assert!(!load_key(&path, |_| panic!("a plain key needs none")).unwrap().encrypted);

        encrypt_key(&path, plain.signer(), &passphrase).unwrap();
        assert_eq!(fs::metadata(&path).unwrap().mode() & 0o777, 0o600);
        assert_eq!(load_or_create(dir.path(), Some(&passphrase)).unwrap().address(), plain.address());
        assert!(matches!(load_or_create(dir.path(), None), Err(KeyError::Locked { .. })));
        let wrong = Passphrase::new("a rivet".into());
        assert!(matches!(load_or_create(dir.path(), wrong.as_ref()), Err(KeyError::Keystore { .. })));
    }

    #[test]
    fn a_passphrase_is_the_first_line_of_a_file_that_only_its_owner_reads() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("passphrase");
        create_atomically(&path, b"a river\n").unwrap();
        assert_eq!(Some(read_passphrase(&path).unwrap()), Passphrase::new("a river".into()));
        write_atomically(&path, b"\n").unwrap();
        assert!(matches!(read_passphrase(&path), Err(KeyError::NoPassphrase { .. })));
        fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).unwrap();
        assert!(matches!(read_passphrase(&path), Err(KeyError::Exposed { mode: 0o644, .. })));
    }

    #[test]
    fn an_exposed_or_spoilt_key_is_refused_and_left_alone() {
        let dir = tempfile::tempdir().unwrap();
        load_or_create(dir.path(), None).unwrap();
        let path = dir.path().join(IDENTITY_FILE);

        fs::set_permissions(&path, fs::Permissions::from_mode(0o640)).unwrap();
        let error = load_or_create(dir.path(), None).unwrap_err().to_string();
        assert!(error.contains("chmod 600") && error.contains("640"), "{error}");

        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
        fs::write(&path, "5ec7e7").unwrap();
        let error = load_or_create(dir.path(), None).unwrap_err().to_string();
        assert!(error.contains(IDENTITY_FILE) && !error.contains("5ec7e7"), "{error}");
        assert_eq!(fs::read_to_string(&path).unwrap(), "5ec7e7");
    }
}
