//! TLS of the listener: HTTP/2 and HTTP/1.1 by ALPN, and a certificate that can be replaced while connections
//! live. Those that are open keep what they began with; the next one gets the new.

use crate::sync::lock;
use arc_swap::ArcSwap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime};
use tokio::net::TcpStream;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::pki_types::pem::{self, PemObject};
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio_rustls::rustls::{self, ServerConfig, crypto};
use tokio_rustls::server::TlsStream;

/// A client's time for the handshake.
const HANDSHAKE: Duration = Duration::from_secs(10);

/// A certificate and its key, as their files have them.
#[derive(Debug)]
pub struct Tls {
    files: Files,
    config: ArcSwap<ServerConfig>,
    read: Mutex<Stamps>,
}

#[derive(Debug)]
struct Files {
    certificate: PathBuf,
    key: PathBuf,
}

/// When files were changed last, and how long they are: whether to read them again.
type Stamps = [Option<(SystemTime, u64)>; 2];

/// Whether a look at the files found anything.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reloaded {
    /// They are as they were.
    Same,
    /// Connections that begin from now on get what is in them.
    Changed,
}

/// Files that cannot be served with.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// It is not there, or not in PEM.
    #[error("{what} cannot be read from {}: {source}; it must be there, in PEM, and readable by this process", file.display())]
    Unreadable {
        /// What was looked for.
        what: &'static str,
        /// Where.
        file: PathBuf,
        /// Why.
        source: pem::Error,
    },
    /// There is no certificate in the file.
    #[error("there is no certificate in {}; it must hold the server's own, then those between it and the root", file.display())]
    NoCertificate {
        /// Which file.
        file: PathBuf,
    },
    /// The key is not the certificate's, or of a kind that is not known.
    #[error("the key in {} cannot serve the certificate in {}: {source}", key.display(), certificate.display())]
    Mismatch {
        /// The certificate's file.
        certificate: PathBuf,
        /// The key's.
        key: PathBuf,
        /// Why.
        source: rustls::Error,
    },
}

impl Tls {
    /// Reads the files.
    ///
    /// # Errors
    /// Names the file that cannot be used.
    pub fn load(certificate: &Path, key: &Path) -> Result<Arc<Self>, TlsError> {
        let files = Files { certificate: certificate.to_owned(), key: key.to_owned() };
        let read = files.stamps();
        let config = ArcSwap::from_pointee(files.read()?);
        Ok(Arc::new(Self { files, config, read: Mutex::new(read) }))
    }

    /// Reads the files again where they were changed.
    ///
    /// # Errors
    /// Where they cannot be used: the certificate read before goes on being served, and they are tried again
    /// with the next call.
    pub fn reload(&self) -> Result<Reloaded, TlsError> {
        let now = self.files.stamps();
        if *lock(&self.read) == now {
            return Ok(Reloaded::Same);
        }
        self.config.store(Arc::new(self.files.read()?));
        *lock(&self.read) = now;
        Ok(Reloaded::Changed)
    }

    /// The handshake.
    pub(crate) async fn accept(&self, stream: TcpStream) -> io::Result<TlsStream<TcpStream>> {
        let handshake = TlsAcceptor::from(self.config.load_full()).accept(stream);
        tokio::time::timeout(HANDSHAKE, handshake).await.map_err(|_| io::ErrorKind::TimedOut)?
    }
}

impl Files {
    fn stamps(&self) -> Stamps {
        [&self.certificate, &self.key].map(|file| {
            let found = std::fs::metadata(file).ok()?;
            Some((found.modified().ok()?, found.len()))
        })
    }

    fn read(&self) -> Result<ServerConfig, TlsError> {
        let unreadable = |what, file: &Path| {
            let file = file.to_owned();
            move |source| TlsError::Unreadable { what, file, source }
        };
        let chain = CertificateDer::pem_file_iter(&self.certificate)
            .and_then(Iterator::collect::<Result<Vec<_>, _>>)
            .map_err(unreadable("the certificate", &self.certificate))?;
        if chain.is_empty() {
            return Err(TlsError::NoCertificate { file: self.certificate.clone() });
        }
        let key = PrivateKeyDer::from_pem_file(&self.key).map_err(unreadable("the key", &self.key))?;
        let mismatch =
            |source| TlsError::Mismatch { certificate: self.certificate.clone(), key: self.key.clone(), source };
        let provider = Arc::new(crypto::ring::default_provider());
        let builder = ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
        let mut config =
            builder.map_err(mismatch)?.with_no_client_auth().with_single_cert(chain, key).map_err(mismatch)?;
        config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        Ok(config)
    }
}
