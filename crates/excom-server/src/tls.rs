//! TLS: the certificate that the server shows, read again while it runs.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use excom_core::{Error, ErrorKind, Result};
use tokio::time::sleep;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::crypto::aws_lc_rs;
use tokio_rustls::rustls::pki_types::pem::PemObject as _;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio_rustls::rustls::{self, ServerConfig};

/// How often the files are looked at.
const LOOK: Duration = Duration::from_secs(60);

/// A certificate with its key, from files. Clones are the same.
#[derive(Clone)]
pub struct Tls {
    certificate: PathBuf,
    key: PathBuf,
    now: Arc<RwLock<Now>>,
}

/// What was read last.
struct Now {
    texts: (Vec<u8>, Vec<u8>),
    acceptor: TlsAcceptor,
}

impl Tls {
    /// A certificate and those between it and the root, and its private key, all in PEM.
    ///
    /// # Errors
    /// [`ErrorKind::Configuration`] for a file that cannot be read or has none, and for a key of another certificate.
    pub fn at(certificate: impl Into<PathBuf>, key: impl Into<PathBuf>) -> Result<Self> {
        let (certificate, key) = (certificate.into(), key.into());
        let texts = (read(&certificate)?, read(&key)?);
        let acceptor = acceptor(&certificate, &key, &texts)?;
        Ok(Self { certificate, key, now: Arc::new(RwLock::new(Now { texts, acceptor })) })
    }

    /// Reads the files again, for the connections to come. When that fails the certificate stays as it is.
    ///
    /// # Errors
    /// As [`Tls::at`].
    pub fn reload(&self) -> Result<()> {
        let texts = (read(&self.certificate)?, read(&self.key)?);
        if self.now.read().unwrap_or_else(PoisonError::into_inner).texts == texts {
            return Ok(());
        }
        let acceptor = acceptor(&self.certificate, &self.key, &texts)?;
        *self.now.write().unwrap_or_else(PoisonError::into_inner) = Now { texts, acceptor };
        Ok(())
    }

    /// Reloads the files whenever they change, for as long as it is polled.
    pub async fn keep(&self, warn: impl Fn(&Error)) {
        loop {
            sleep(LOOK).await;
            self.reload().unwrap_or_else(|error| warn(&error));
        }
    }

    pub(crate) fn acceptor(&self) -> TlsAcceptor {
        self.now.read().unwrap_or_else(PoisonError::into_inner).acceptor.clone()
    }
}

impl fmt::Debug for Tls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tls").field("certificate", &self.certificate).finish_non_exhaustive()
    }
}

fn read(path: &Path) -> Result<Vec<u8>> {
    std::fs::read(path).map_err(|cause| {
        Error::new(ErrorKind::Configuration, format!("{} cannot be read, which TLS needs", path.display()))
            .because(cause)
            .hint("check [server] tls_certificate and tls_key, and that their mode lets this user read")
    })
}

fn acceptor(certificate: &Path, key: &Path, texts: &(Vec<u8>, Vec<u8>)) -> Result<TlsAcceptor> {
    let wrong =
        |path: &Path, why: &str| Error::new(ErrorKind::Configuration, format!("{} {why}", path.display()));
    let chain: Vec<CertificateDer<'static>> = CertificateDer::pem_slice_iter(&texts.0)
        .collect::<std::result::Result<_, _>>()
        .map_err(|cause| wrong(certificate, "is not PEM").because(cause))?;
    if chain.is_empty() {
        return Err(wrong(certificate, "has no certificate in PEM")
            .hint("it begins with `-----BEGIN CERTIFICATE-----`, the server's own first"));
    }
    let secret = PrivateKeyDer::from_pem_slice(&texts.1).map_err(|cause| {
        wrong(key, "has no private key in PEM").because(cause).hint("one without a password is needed")
    })?;
    let refused = |cause: rustls::Error| {
        let why = format!("cannot be used with the key in {}", key.display());
        wrong(certificate, &why).because(cause).hint("check that both were made together")
    };
    let mut config = ServerConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
        .with_safe_default_protocol_versions()
        .map_err(refused)?
        .with_no_client_auth()
        .with_single_cert(chain, secret)
        .map_err(refused)?;
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(TlsAcceptor::from(Arc::new(config)))
}
