//! The certificate of HTTPS and of RTMPS: two PEM files, which may be renewed while the server runs.

use rustls::crypto::ring::default_provider;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::Duration;
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;

/// How often the files are looked at: a renewal is in use well before the certificate that it replaces expires.
const LOOK_INTERVAL: Duration = Duration::from_secs(30);
/// Most bytes of either file. A chain of four certificates has under 10 kB.
const MAX_FILE: u64 = 256 << 10;

/// The keys of the configuration that a certificate is named by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Keys {
    /// That of the chain's file.
    pub certificate: &'static str,
    /// That of the private key's.
    pub key: &'static str,
    /// That of the listener which needs them.
    pub listener: &'static str,
}

/// Why there is no certificate. Each names the key of the configuration and the way out.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// No file is named.
    #[error("{key} is empty, and {listener} needs it: name the PEM file, or leave {listener} empty")]
    Unnamed {
        /// Which of the two.
        key: &'static str,
        /// What needs it.
        listener: &'static str,
    },
    /// A file that cannot be read.
    #[error("{key} = {path:?} cannot be read: {error}")]
    Read {
        /// Which of the two.
        key: &'static str,
        /// The file.
        path: PathBuf,
        /// What the system says.
        error: std::io::Error,
    },
    /// A file that holds something else.
    #[error("{key} = {path:?} is not taken: {reason}")]
    Content {
        /// Which of the two.
        key: &'static str,
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// Two files of different certificates.
    #[error(
        "{} = {key:?} is not the key of the certificate in {} = {certificate:?}: name the two that were issued together",
        keys.key, keys.certificate
    )]
    Mismatch {
        /// Which keys of the configuration name them.
        keys: Keys,
        /// The certificate's file.
        certificate: PathBuf,
        /// The key's.
        key: PathBuf,
    },
    /// TLS itself is not to be had: a fault of the build.
    #[error("tls cannot be set up: {0}")]
    Setup(rustls::Error),
}

/// A certificate and its key as they are in use, and the files that they came from.
#[derive(Debug)]
pub struct Certificate {
    keys: Keys,
    chain: PathBuf,
    key: PathBuf,
    current: RwLock<Arc<CertifiedKey>>,
    /// What the files last held, good or not, as a hash; 0 when they could not be read.
    seen: Mutex<u64>,
}

impl Certificate {
    /// Reads the chain, the server's own certificate first, and its private key (PKCS#8, PKCS#1 or SEC1, without a passphrase).
    pub fn load(keys: Keys, chain: &Path, key: &Path) -> Result<Arc<Self>, TlsError> {
        for (path, name) in [(chain, keys.certificate), (key, keys.key)] {
            if path.as_os_str().is_empty() {
                return Err(TlsError::Unnamed { key: name, listener: keys.listener });
            }
        }
        let files = Files::read(keys, chain, key)?;
        Ok(Arc::new(Self {
            keys,
            chain: chain.to_owned(),
            key: key.to_owned(),
            current: RwLock::new(Arc::new(files.parse(keys, chain, key)?)),
            seen: Mutex::new(files.hash()),
        }))
    }

    /// Reads the files again. Returns whether what they hold is new, and is in use from now on; after an error the old certificate
    /// is. The same fault is told once.
    pub fn refresh(&self) -> Result<bool, TlsError> {
        let files = Files::read(self.keys, &self.chain, &self.key);
        let hash = files.as_ref().map_or(0, Files::hash);
        if std::mem::replace(&mut *self.seen.lock().unwrap_or_else(PoisonError::into_inner), hash) == hash {
            return Ok(false);
        }
        let fresh = Arc::new(files?.parse(self.keys, &self.chain, &self.key)?);
        *self.current.write().unwrap_or_else(PoisonError::into_inner) = fresh;
        Ok(true)
    }

    /// What greets clients with this certificate, and speaks one of `protocols` (ALPN) with those that name any.
    pub fn acceptor(self: &Arc<Self>, protocols: &[&[u8]]) -> Result<TlsAcceptor, TlsError> {
        let mut config = rustls::ServerConfig::builder_with_provider(Arc::new(default_provider()))
            .with_safe_default_protocol_versions()
            .map_err(TlsError::Setup)?
            .with_no_client_auth()
            .with_cert_resolver(self.clone());
        config.alpn_protocols = protocols.iter().map(|name| name.to_vec()).collect();
        Ok(TlsAcceptor::from(Arc::new(config)))
    }

    /// Looks at the files until `shutdown`.
    pub async fn follow(self: Arc<Self>, shutdown: CancellationToken) {
        let mut looks = tokio::time::interval(LOOK_INTERVAL);
        loop {
            tokio::select! {
                _ = looks.tick() => {}
                () = shutdown.cancelled() => return,
            }
            let certificate = self.clone();
            match tokio::task::spawn_blocking(move || certificate.refresh()).await {
                Ok(Ok(true)) => tracing::info!(file = %self.chain.display(), "the certificate was renewed"),
                Ok(Err(error)) => tracing::warn!(%error, "the old certificate stays in use"),
                Ok(Ok(false)) | Err(_) => {}
            }
        }
    }
}

impl ResolvesServerCert for Certificate {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(self.current.read().unwrap_or_else(PoisonError::into_inner).clone())
    }
}

/// The bytes of both files.
#[derive(Hash)]
struct Files {
    chain: Vec<u8>,
    key: Vec<u8>,
}

impl Files {
    fn read(keys: Keys, chain: &Path, key: &Path) -> Result<Self, TlsError> {
        Ok(Self { chain: read(keys.certificate, chain)?, key: read(keys.key, key)? })
    }

    /// Never 0, which stands for files that could not be read.
    fn hash(&self) -> u64 {
        let mut hasher = DefaultHasher::new();
        Hash::hash(self, &mut hasher);
        hasher.finish().max(1)
    }

    fn parse(&self, keys: Keys, chain_path: &Path, key_path: &Path) -> Result<CertifiedKey, TlsError> {
        let refuse = |key, path: &Path, reason: String| TlsError::Content { key, path: path.to_owned(), reason };
        let chain: Vec<_> = CertificateDer::pem_slice_iter(&self.chain)
            .collect::<Result<_, _>>()
            .map_err(|error| refuse(keys.certificate, chain_path, format!("its PEM does not read: {error}")))?;
        if chain.is_empty() {
            return Err(refuse(keys.certificate, chain_path, "it holds no certificate in PEM".into()));
        }
        let key = PrivateKeyDer::from_pem_slice(&self.key).map_err(|_| {
            refuse(keys.key, key_path, "it holds no private key in PEM that needs no passphrase".into())
        })?;
        CertifiedKey::from_der(chain, key, &default_provider()).map_err(|error| match error {
            rustls::Error::InconsistentKeys(_) => {
                TlsError::Mismatch { keys, certificate: chain_path.to_owned(), key: key_path.to_owned() }
            }
            rustls::Error::InvalidCertificate(_) => refuse(keys.certificate, chain_path, error.to_string()),
            other => refuse(keys.key, key_path, other.to_string()),
        })
    }
}

fn read(key: &'static str, path: &Path) -> Result<Vec<u8>, TlsError> {
    let failed = |error| TlsError::Read { key, path: path.to_owned(), error };
    let mut bytes = Vec::new();
    std::fs::File::open(path).and_then(|file| file.take(MAX_FILE + 1).read_to_end(&mut bytes)).map_err(failed)?;
    if bytes.len() as u64 > MAX_FILE {
        let reason = format!("it has more than {MAX_FILE} bytes, which no certificate has");
        return Err(TlsError::Content { key, path: path.to_owned(), reason });
    }
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEYS: Keys = Keys { certificate: "node.tls_certificate", key: "node.tls_key", listener: "node.https_listen" };

    struct Pair {
        dir: tempfile::TempDir,
    }

    impl Pair {
        fn new() -> Self {
            let pair = Self { dir: tempfile::tempdir().unwrap() };
            let (chain, key) = issued();
            pair.write("chain.pem", &chain);
            pair.write("key.pem", &key);
            pair
        }

        fn path(&self, name: &str) -> PathBuf {
            self.dir.path().join(name)
        }

        fn write(&self, name: &str, text: &str) {
            std::fs::write(self.path(name), text).unwrap();
        }

        fn load(&self) -> Result<Arc<Certificate>, TlsError> {
            Certificate::load(KEYS, &self.path("chain.pem"), &self.path("key.pem"))
        }
    }

    fn issued() -> (String, String) {
        let issued = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
        (issued.cert.pem(), issued.signing_key.serialize_pem())
    }

    fn in_use(certificate: &Certificate) -> Vec<u8> {
        certificate.current.read().unwrap().cert[0].to_vec()
    }

    #[test]
    fn a_renewed_certificate_is_taken_up_and_a_broken_one_is_told_once() {
        let pair = Pair::new();
        let certificate = pair.load().unwrap();
        let first = in_use(&certificate);
        assert!(!certificate.refresh().unwrap(), "nothing has changed");

        // A renewal writes one file after the other: in between they do not match.
        let (chain, key) = issued();
        pair.write("chain.pem", &chain);
        assert!(matches!(certificate.refresh(), Err(TlsError::Mismatch { .. })));
        assert!(!certificate.refresh().unwrap(), "told once");
        assert_eq!(in_use(&certificate), first);
        pair.write("key.pem", &key);
        assert!(certificate.refresh().unwrap());
        assert_ne!(in_use(&certificate), first);

        std::fs::remove_file(pair.path("key.pem")).unwrap();
        assert!(matches!(certificate.refresh(), Err(TlsError::Read { .. })));
        assert!(!certificate.refresh().unwrap(), "told once");
        pair.write("key.pem", &key);
        assert!(certificate.refresh().unwrap());
    }

    #[test]
    fn files_that_are_missing_or_hold_something_else_are_named() {
        let said = |pair: &Pair| pair.load().unwrap_err().to_string();
        let unnamed = Certificate::load(KEYS, Path::new(""), Path::new("key.pem")).unwrap_err().to_string();
        assert!(unnamed.contains("tls_certificate is empty") && unnamed.contains("node.https_listen"), "{unnamed}");

        let pair = Pair::new();
        std::fs::remove_file(pair.path("key.pem")).unwrap();
        assert!(said(&pair).contains("node.tls_key") && said(&pair).contains("cannot be read"), "{}", said(&pair));
        pair.write("key.pem", &issued().1);
        assert!(said(&pair).contains("is not the key of the certificate"), "{}", said(&pair));
        // The two the wrong way round, neither, and no PEM at all.
        pair.write("key.pem", &issued().0);
        assert!(said(&pair).contains("no private key"), "{}", said(&pair));
        pair.write("chain.pem", &issued().1);
        assert!(said(&pair).contains("no certificate"), "{}", said(&pair));
        pair.write("chain.pem", &"x".repeat(MAX_FILE as usize + 1));
        assert!(said(&pair).contains("more than"), "{}", said(&pair));
        pair.write("chain.pem", "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n");
        pair.write("key.pem", &issued().1);
        assert!(said(&pair).contains("node.tls_certificate"), "{}", said(&pair));
    }
}
