//! TLS by libpq's parameters of the URL: whether it is used, whom it trusts, and who the client says it is.

use std::sync::Arc;

use excom_core::{Error, ErrorKind, Result};
use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::{CertificateError, ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme};
use tokio_postgres::config::SslMode;
use tokio_postgres_rustls::MakeRustlsConnect;

use crate::trust::Spelling;

/// As it is spelt here.
pub(super) const SPELLING: Spelling = Spelling { authority: "sslrootcert", any_name: "sslmode=verify-ca" };

/// The parameters, as they are in the URL.
#[derive(Debug, Default)]
pub(super) struct Parameters {
    mode: Option<String>,
    authority: Option<String>,
    certificate: Option<String>,
    key: Option<String>,
}

/// What is looked at in a server's certificate.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Trust {
    Anybody,
    Authority,
    AuthorityAndName,
}

impl Parameters {
    /// Takes them out of a URL.
    pub(super) fn take(url: &str) -> (String, Self) {
        let mut found = Self::default();
        let Some((base, query)) = url.split_once('?') else { return (url.to_owned(), found) };
        let rest: Vec<&str> = query
            .split('&')
            .filter(|pair| {
                let Some((name, value)) = url::form_urlencoded::parse(pair.as_bytes()).next() else {
                    return true;
                };
                let place = match &*name {
                    "sslmode" => &mut found.mode,
                    "sslrootcert" => &mut found.authority,
                    "sslcert" => &mut found.certificate,
                    "sslkey" => &mut found.key,
                    _ => return true,
                };
                *place = Some(value.into_owned());
                false
            })
            .collect();
        (format!("{base}?{}", rest.join("&")), found)
    }

    /// Whether it is used, and how.
    ///
    /// # Errors
    /// `Configuration`: an unknown mode, or a file that cannot be read.
    pub(super) fn prepare(&self) -> Result<(SslMode, MakeRustlsConnect)> {
        let authority = self.authority.as_deref().filter(|file| *file != "system");
        // As with libpq, a mode that does not verify does so nevertheless where an authority is named.
        let unless_named = if self.authority.is_some() { Trust::Authority } else { Trust::Anybody };
        let (mode, trust) = match self.mode.as_deref() {
            Some("disable") => (SslMode::Disable, Trust::Anybody),
            None | Some("prefer") => (SslMode::Prefer, unless_named),
            Some("require") => (SslMode::Require, unless_named),
            Some("verify-ca") => (SslMode::Require, Trust::Authority),
            Some("verify-full") => (SslMode::Require, Trust::AuthorityAndName),
            Some(other) => {
                return Err(Error::new(
                    ErrorKind::Configuration,
                    format!("the URL of the database cannot be read: `{other}` is no `sslmode`"),
                )
                .hint("it is one of disable, prefer, require, verify-ca, verify-full"));
            }
        };
        // The provider is named, because a program may have several.
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let refuse =
            |e: rustls::Error| Error::new(ErrorKind::Configuration, "TLS cannot be set up").because(e);
        let verifier = Verifier::new(trust, authority, &provider)?;
        let config = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
        let config = config.map_err(refuse)?.dangerous().with_custom_certificate_verifier(Arc::new(verifier));
        let config = match (&self.certificate, &self.key) {
            (None, None) => config.with_no_client_auth(),
            (Some(certificate), Some(key)) => {
                let chain = certificates("sslcert", certificate)?;
                let key = PrivateKeyDer::from_pem_file(key).map_err(|e| unreadable("sslkey", key, &e))?;
                config.with_client_auth_cert(chain, key).map_err(refuse)?
            }
            _ => {
                return Err(Error::new(
                    ErrorKind::Configuration,
                    "the URL of the database names one of `sslcert` and `sslkey` without the other",
                )
                .hint("name the file with the client's certificate and the one with its key"));
            }
        };
        Ok((mode, MakeRustlsConnect::new(config)))
    }
}

fn unreadable(parameter: &str, file: &str, error: &rustls::pki_types::pem::Error) -> Error {
    Error::new(
        ErrorKind::Configuration,
        format!("`{parameter}` in the URL of the database: {file} cannot be read as PEM: {error}"),
    )
    .hint("name a file in PEM that this user may read")
}

fn certificates(parameter: &str, file: &str) -> Result<Vec<CertificateDer<'static>>> {
    let unreadable = |e| unreadable(parameter, file, &e);
    let found: Vec<_> = CertificateDer::pem_file_iter(file)
        .and_then(Iterator::collect::<std::result::Result<_, _>>)
        .map_err(unreadable)?;
    if found.is_empty() { Err(unreadable(rustls::pki_types::pem::Error::NoItemsFound)) } else { Ok(found) }
}

/// Looks at as much of a certificate as the mode says.
#[derive(Debug)]
struct Verifier {
    full: Option<Arc<dyn ServerCertVerifier>>,
    trust: Trust,
    provider: Arc<CryptoProvider>,
}

impl Verifier {
    /// Trusts the authorities of a file, or those that the system trusts.
    fn new(trust: Trust, authority: Option<&str>, provider: &Arc<CryptoProvider>) -> Result<Self> {
        let refuse = |e: &dyn std::fmt::Display| {
            Error::new(ErrorKind::Configuration, format!("it cannot be found out whom TLS trusts: {e}"))
                .hint("name the file with the authority's certificate in [database] url: `sslrootcert=FILE`")
        };
        let full: Option<Arc<dyn ServerCertVerifier>> = match (trust, authority) {
            (Trust::Anybody, _) => None,
            (_, Some(file)) => {
                let mut roots = RootCertStore::empty();
                for certificate in certificates("sslrootcert", file)? {
                    roots.add(certificate).map_err(|e| refuse(&e))?;
                }
                let verifier =
                    WebPkiServerVerifier::builder_with_provider(Arc::new(roots), provider.clone()).build();
                Some(verifier.map_err(|e| refuse(&e))?)
            }
            (_, None) => {
                let verifier = rustls_platform_verifier::Verifier::new(provider.clone());
                Some(Arc::new(verifier.map_err(|e| refuse(&e))?))
            }
        };
        Ok(Self { full, trust, provider: provider.clone() })
    }
}

impl ServerCertVerifier for Verifier {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> std::result::Result<ServerCertVerified, rustls::Error> {
        let Some(full) = &self.full else { return Ok(ServerCertVerified::assertion()) };
        match full.verify_server_cert(end_entity, intermediates, server_name, ocsp_response, now) {
            // The name is looked at last.
            Err(rustls::Error::InvalidCertificate(
                CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. },
            )) if self.trust == Trust::Authority => Ok(ServerCertVerified::assertion()),
            verified => verified,
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> std::result::Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls12_signature(message, cert, dss, &self.provider.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> std::result::Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(message, cert, dss, &self.provider.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}
