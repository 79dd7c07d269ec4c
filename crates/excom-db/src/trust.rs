//! What is wrong with a server that answers, as answers that say what to do: TLS does not trust it, or it is another.

use std::error::Error as Cause;

use excom_core::{Error, ErrorKind};
use rustls::CertificateError;

/// Spellings of the parameters that say whom to trust.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Spelling {
    /// The parameter with the file of an authority.
    pub(crate) authority: &'static str,
    /// What trusts the authority and any name.
    pub(crate) any_name: &'static str,
}

/// The answer about a server whose certificate was refused, if that is why it could not be connected to.
pub(crate) fn refused(error: &(dyn Cause + 'static), place: &str, spelling: Spelling) -> Option<Error> {
    let Spelling { authority, any_name } = spelling;
    let found = alert(error)?;
    let (what, hint) = match found {
        rustls::Error::InvalidCertificate(CertificateError::UnknownIssuer) => (
            "its certificate is of an authority that is not trusted".to_owned(),
            format!("name the file with the authority's certificate in [database] url: `{authority}=FILE`"),
        ),
        rustls::Error::InvalidCertificate(
            CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. },
        ) => (
            format!("its certificate is not for that host ({found})"),
            format!(
                "write the host in [database] url as the certificate names it, or trust any host of that authority: \
                 `{any_name}`"
            ),
        ),
        rustls::Error::InvalidCertificate(_) => (
            format!("its certificate is not valid ({found})"),
            "renew the server's certificate, and look whether the clocks are right".to_owned(),
        ),
        rustls::Error::AlertReceived(_) => (
            format!("it does not accept the client's certificate, or its TLS ({found})"),
            "look at the client's certificate and key that [database] url names, and into the server's log"
                .to_owned(),
        ),
        other => (format!("TLS with it fails ({other})"), "look into the server's log".to_owned()),
    };
    Some(Error::new(ErrorKind::Configuration, format!("{place} is not connected to: {what}")).hint(hint))
}

/// Whether a server's certificate was refused: it will be the next time, too.
pub(crate) fn is_refused(error: &(dyn Cause + 'static)) -> bool {
    alert(error).is_some()
}

/// What TLS said, wherever it is among the causes.
fn alert<'a>(error: &'a (dyn Cause + 'static)) -> Option<&'a rustls::Error> {
    let mut next = Some(error);
    while let Some(cause) = next {
        if let Some(found) = cause.downcast_ref() {
            return Some(found);
        }
        // An error of input and output passes over what it was made of.
        let made_of = cause.downcast_ref::<std::io::Error>().and_then(std::io::Error::get_ref);
        next = match made_of {
            Some(inner) => Some(inner),
            None => cause.source(),
        };
    }
    None
}

/// The answer about a server that is not the one that was known, by what is wrong with it.
pub(crate) fn another(place: &str, told: &str) -> Error {
    Error::new(
        ErrorKind::Unavailable,
        format!(
            "at {place} is not the database that this process opened: {told}; nothing was read or written"
        ),
    )
    .hint("after a failover, let [database] url lead to a server that has all that was acknowledged")
    .hint("if the database was restored or replaced on purpose, start this program again")
}
