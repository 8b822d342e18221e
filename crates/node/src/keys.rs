//! The node's keys on disk: `identity.key` (secp256k1, hex) and `tls.pem` (PKCS#8) in the data folder, readable by their
//! owner alone. A key that is lost is an identity and a bond that are lost, so a file is complete before it gets its
//! name, and an existing one is never written. No key is ever logged.

use std::{
    fs::{self, File},
    io,
    os::unix::fs::{DirBuilderExt, MetadataExt},
    path::{Path, PathBuf},
};

use alloy::signers::local::PrivateKeySigner;
use millrace_wire::{Identity, IdentityError};

use crate::files::create_atomically;

/// The identity key's file in the data folder.
pub const IDENTITY_FILE: &str = "identity.key";
/// The TLS key's file in the data folder.
pub const TLS_FILE: &str = "tls.pem";

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
        "{path} does not hold a private key (64 hex digits): restore it from a backup, or move it away to begin anew"
    )]
    Unreadable {
        /// The file.
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

/// Loads the node's identity from `data_dir`; makes the folder and the keys that are missing.
pub fn load_or_create(data_dir: &Path) -> Result<Identity, KeyError> {
    let io = |path: &Path| {
        let path = path.to_owned();
        move |source| KeyError::Io { path, source }
    };
    fs::DirBuilder::new().recursive(true).mode(0o700).create(data_dir).map_err(io(data_dir))?;

    let path = data_dir.join(IDENTITY_FILE);
    let text = read_or_create(&path, || hex::encode(PrivateKeySigner::random().to_bytes()))?;
    let signer: PrivateKeySigner = text.trim().parse().map_err(|_| KeyError::Unreadable { path })?;

    let path = data_dir.join(TLS_FILE);
    let identity = |pem: Option<&str>| {
        Identity::new(signer.clone(), pem).map_err(|source| KeyError::Identity { path: path.clone(), source })
    };
    let fresh = identity(None)?; // a key pair costs 0.1 ms
    let pem = read_or_create(&path, || fresh.tls_key_pem())?;
    identity(Some(&pem))
}

/// Reads a secret file, or makes it; of two processes that do so at once both get the same.
fn read_or_create(path: &Path, make: impl FnOnce() -> String) -> Result<String, KeyError> {
    match read_secret(path) {
        Err(KeyError::Io { source, .. }) if source.kind() == io::ErrorKind::NotFound => {}
        other => return other,
    }
    match create_atomically(path, make().as_bytes()) {
        Err(source) if source.kind() != io::ErrorKind::AlreadyExists => {
            Err(KeyError::Io { path: path.to_owned(), source })
        }
        _ => read_secret(path),
    }
}

fn read_secret(path: &Path) -> Result<String, KeyError> {
    let failed = |source| KeyError::Io { path: path.to_owned(), source };
    let file = File::open(path).map_err(failed)?;
    let mode = file.metadata().map_err(failed)?.mode() & 0o777;
    if mode & 0o077 != 0 {
        return Err(KeyError::Exposed { path: path.to_owned(), mode });
    }
    io::read_to_string(file).map_err(failed)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn keys_are_made_once_and_kept() {
        let dir = tempfile::tempdir().unwrap();
        let data = dir.path().join("a/b");
        let first = load_or_create(&data).unwrap();
        let again = load_or_create(&data).unwrap();
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
        assert_eq!(got.unwrap(), other);
    }

    #[test]
    fn an_exposed_or_spoilt_key_is_refused_and_left_alone() {
        let dir = tempfile::tempdir().unwrap();
        load_or_create(dir.path()).unwrap();
        let path = dir.path().join(IDENTITY_FILE);

        fs::set_permissions(&path, fs::Permissions::from_mode(0o640)).unwrap();
        let error = load_or_create(dir.path()).unwrap_err().to_string();
        assert!(error.contains("chmod 600") && error.contains("640"), "{error}");

        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
        fs::write(&path, "5ec7e7").unwrap();
        let error = load_or_create(dir.path()).unwrap_err().to_string();
        assert!(error.contains(IDENTITY_FILE) && !error.contains("5ec7e7"), "{error}");
        assert_eq!(fs::read_to_string(&path).unwrap(), "5ec7e7");
    }
}
