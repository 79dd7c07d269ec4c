//! The client: where the server is, and as whom it asks.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use excom_core::{Error, ErrorKind, Result};
use excom_reactor::Reactor;
use reqwest::header::HeaderValue;
use reqwest::redirect::Policy;
use reqwest::{Certificate, Url};

use crate::call::because;

/// How long a connection may take to come about.
const CONNECT: Duration = Duration::from_secs(10);

/// After how long a silent connection is asked whether it lives.
const ALIVE: Duration = Duration::from_secs(30);

/// How a client asks.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Options {
    /// How long a request may go on without any progress, such as the next piece of a value.
    pub timeout: Duration,
    /// How long a request that fails is repeated, where that is safe.
    pub patience: Duration,
    /// Certificates, in PEM, of authorities that are trusted besides those of the system.
    pub authorities: Option<Vec<u8>>,
}

impl Default for Options {
    fn default() -> Self {
        Self { timeout: Duration::from_secs(60), patience: Duration::from_secs(30), authorities: None }
    }
}

/// A client of an Excom server. Cheap to clone; clones are one client.
///
/// A token that the server refreshes is taken over. It is shown nowhere.
#[derive(Clone)]
pub struct Client(pub(crate) Arc<Inner>);

pub(crate) struct Inner {
    /// What stands before every path, without a slash at its end.
    pub(crate) address: String,
    pub(crate) http: reqwest::Client,
    token: Mutex<HeaderValue>,
    pub(crate) options: Options,
    pub(crate) reactor: Reactor,
}

impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Client({})", self.0.address)
    }
}

impl Client {
    /// A client of the server at an address, such as `https://excom.example:8794`, that asks with a token. Nothing is
    /// asked yet.
    ///
    /// # Errors
    /// [`ErrorKind::Configuration`] for an address or a token that cannot be one.
    pub fn new(address: &str, token: &str) -> Result<Self> {
        Self::with(address, token, Options::default())
    }

    /// The same with options.
    ///
    /// # Errors
    /// As [`Client::new`]; when the authorities are no certificates in PEM.
    pub fn with(address: &str, token: &str, options: Options) -> Result<Self> {
        let mut http = reqwest::Client::builder()
            .user_agent(concat!("excom/", env!("CARGO_PKG_VERSION")))
            .connect_timeout(CONNECT)
            .tcp_keepalive(ALIVE)
            // Elsewhere it would be somebody else's word, and the token somebody else's.
            .redirect(Policy::none());
        if let Some(authorities) = &options.authorities {
            http = http.tls_certs_merge(certificates(authorities)?);
        }
        let http = http.build().map_err(|cause| {
            Error::new(ErrorKind::Configuration, "a client of HTTP cannot be made").because(because(&cause))
        })?;
        Ok(Self(Arc::new(Inner {
            address: checked(address)?,
            http,
            token: Mutex::new(bearer(token)?),
            options,
            reactor: Reactor::start("excom-client")?,
        })))
    }

    /// The server's address.
    pub fn address(&self) -> &str {
        &self.0.address
    }
}

impl Inner {
    /// What is said in the head of the next request.
    pub(crate) fn token(&self) -> HeaderValue {
        self.token.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Takes over a newer token.
    pub(crate) fn refresh(&self, token: &HeaderValue) {
        if let Some(newer) = token.to_str().ok().and_then(|token| bearer(token).ok()) {
            *self.token.lock().unwrap_or_else(PoisonError::into_inner) = newer;
        }
    }
}

/// An address without what must not be in one.
fn checked(address: &str) -> Result<String> {
    let wrong = |why: &str| {
        // What is before an @ may be a password.
        let shown = if address.contains('@') { "…" } else { address };
        let message = format!("the server's address `{shown}` {why}");
        Err(Error::new(ErrorKind::Configuration, message)
            .hint("write it as http://127.0.0.1:8794 or https://excom.example"))
    };
    let url = match Url::parse(address) {
        Ok(url) if matches!(url.scheme(), "http" | "https") && url.has_host() => url,
        _ => return wrong("is none of http:// or https://"),
    };
    if !url.username().is_empty() || url.password().is_some() {
        let message = "the server's address has a name or a password in it, and a server takes only tokens";
        return Err(Error::new(ErrorKind::Configuration, message).hint("leave out what is before the @"));
    }
    if url.query().is_some() || url.fragment().is_some() {
        return wrong("has something behind its path");
    }
    Ok(url.as_str().trim_end_matches('/').to_owned())
}

fn bearer(token: &str) -> Result<HeaderValue> {
    let wrong = |why: &str| {
        Error::new(ErrorKind::Configuration, format!("the token {why}"))
            .hint("`excom token NAME` makes one; it is a single line")
    };
    let token = token.trim();
    if token.is_empty() {
        return Err(wrong("is empty"));
    }
    let mut bearer = HeaderValue::try_from(format!("Bearer {token}"))
        .map_err(|_| wrong("has characters that no token has"))?;
    bearer.set_sensitive(true);
    Ok(bearer)
}

fn certificates(pem: &[u8]) -> Result<Vec<Certificate>> {
    let wrong = || {
        Error::new(ErrorKind::Configuration, "the authorities of the client are no certificates in PEM")
            .hint("give the authority's certificate, which begins with -----BEGIN CERTIFICATE-----")
    };
    let found = Certificate::from_pem_bundle(pem).map_err(|cause| wrong().because(because(&cause)))?;
    if found.is_empty() { Err(wrong()) } else { Ok(found) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_address_is_refused_and_a_password_is_not_shown() {
        for wrong in ["", "excom.example", "ftp://excom.example", "http://", "http://x/?a=1", "http://x/#a"] {
            assert_eq!(Client::new(wrong, "t").unwrap_err().kind(), ErrorKind::Configuration, "{wrong}");
        }
        for wrong in ["http://ana:hunter2@x", "ftp://ana:hunter2@x", "ana:hunter2@x:y"] {
            let told = format!("{:?}", Client::new(wrong, "t").unwrap_err());
            assert!(!told.contains("hunter2"), "{told}");
        }
        assert_eq!(
            Client::new("HTTP://Excom.example:80/below/", "t").unwrap().address(),
            "http://excom.example/below"
        );
    }

    #[test]
    fn a_token_is_a_line_and_shown_nowhere() {
        for wrong in ["", " \n", "a\nb", "a\u{7f}"] {
            let error = Client::new("http://x", wrong).unwrap_err();
            assert!(!format!("{error:?}").contains("a\n"), "{error:?}");
        }
        let client = Client::new("http://x", "hunter2\n").unwrap();
        assert_eq!(format!("{client:?}"), "Client(http://x)");
        assert!(!format!("{:?}", client.0.token()).contains("hunter2"));
        client.0.refresh(&HeaderValue::from_static("newer"));
        assert_eq!(client.0.token(), "Bearer newer");
    }

    #[test]
    fn authorities_are_certificates() {
        let options = Options { authorities: Some(b"nonsense".to_vec()), ..Options::default() };
        assert_eq!(Client::with("https://x", "t", options).unwrap_err().kind(), ErrorKind::Configuration);
    }
}
