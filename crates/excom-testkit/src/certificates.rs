//! Certificates for servers and clients that speak TLS, in PEM.

use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair};

use crate::Result;

/// An authority, which signs others.
#[derive(Debug)]
pub struct Authority {
    root: String,
    issuer: Issuer<'static, KeyPair>,
}

/// What an authority signed, with its key.
#[derive(Debug, Clone)]
pub struct Certificate {
    /// The certificate.
    pub certificate: String,
    /// The key.
    pub key: String,
}

impl Authority {
    /// A new one.
    ///
    /// # Errors
    /// When it cannot be made.
    pub fn new(name: &str) -> Result<Self> {
        let key = KeyPair::generate()?;
        let mut root = CertificateParams::new(Vec::<String>::new())?;
        root.distinguished_name.push(DnType::CommonName, name);
        root.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let certificate = root.self_signed(&key)?.pem();
        Ok(Self { root: certificate, issuer: Issuer::new(root, key) })
    }

    /// Its own certificate.
    pub fn root(&self) -> &str {
        &self.root
    }

    /// Signs a certificate for hosts, or for a client of that name.
    ///
    /// # Errors
    /// When it cannot be made.
    pub fn sign(&self, name: &str, hosts: &[&str]) -> Result<Certificate> {
        let key = KeyPair::generate()?;
        let hosts: Vec<String> = hosts.iter().map(ToString::to_string).collect();
        let mut certificate = CertificateParams::new(hosts)?;
        certificate.distinguished_name.push(DnType::CommonName, name);
        let certificate = certificate.signed_by(&key, &self.issuer)?.pem();
        Ok(Certificate { certificate, key: key.serialize_pem() })
    }
}
