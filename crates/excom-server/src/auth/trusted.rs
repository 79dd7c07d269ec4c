//! Public keys by which tokens are checked, and where they come from. The algorithm of each is fixed by its own type:
//! what a token says of itself chooses nothing.

use std::path::{Path, PathBuf};
use std::time::Duration;

use aws_lc_rs::signature::{Ed25519KeyPair, KeyPair as _};
use excom_core::{Error, ErrorKind, Result};
use jsonwebtoken::jwk::{AlgorithmParameters, EllipticCurve, Jwk, PublicKeyUse, ThumbprintHash};
use jsonwebtoken::{Algorithm, AlgorithmFamily, DecodingKey, EncodingKey};
use serde::Deserialize;
use serde_json::{Value as Json, json};

use super::keys::Signing;

/// The most bytes of a set of keys, and the most keys that are looked at.
const SET_BYTES: usize = 1 << 20;
const SET_KEYS: usize = 100;

/// How long an address may take to answer.
const ANSWER: Duration = Duration::from_secs(5);

/// A key by which tokens are checked.
#[derive(Clone)]
pub(super) struct Trusted {
    /// The name that tokens have to have; any when it has none.
    pub(super) kid: Option<String>,
    pub(super) algorithm: Algorithm,
    pub(super) key: DecodingKey,
}

/// Where public keys are.
#[derive(Debug, Clone)]
pub(super) enum Place {
    File(PathBuf),
    /// Of `http://` or `https://`.
    Address(String),
}

impl Place {
    pub(super) fn of(text: &str) -> Self {
        let address = ["https://", "http://"].iter().any(|scheme| text.starts_with(scheme));
        if address { Self::Address(text.to_owned()) } else { Self::File(PathBuf::from(text)) }
    }

    /// The keys that are there now.
    ///
    /// # Errors
    /// [`ErrorKind::Configuration`] when what is there has no key that can be used; [`ErrorKind::Unavailable`] when an
    /// address does not answer.
    pub(super) async fn keys(&self, algorithm: Option<Algorithm>) -> Result<Vec<Trusted>> {
        match self {
            Self::File(path) => in_file(path, algorithm),
            Self::Address(address) => in_set(&fetched(address).await?, address, algorithm),
        }
    }
}

/// The public keys in a file: PEM, or a JWKS.
///
/// # Errors
/// [`ErrorKind::Configuration`] when it cannot be read, or has no key that can be used.
pub(super) fn in_file(path: &Path, algorithm: Option<Algorithm>) -> Result<Vec<Trusted>> {
    let (text, place) = (read(path)?, path.display().to_string());
    if text.trim_ascii_start().starts_with(b"{") {
        return in_set(&text, &place, algorithm);
    }
    let parts = pem::parse_many(&text)
        .map_err(|cause| unusable(&place, "is neither PEM nor a JWKS").because(cause))?;
    if parts.is_empty() {
        return Err(unusable(&place, "is neither PEM nor a JWKS"));
    }
    let key = |part: &pem::Pem| match part.tag() {
        "PUBLIC KEY" | "RSA PUBLIC KEY" => {
            let found = of_pem(&pem::encode(part), algorithm);
            found.ok_or_else(|| unusable(&place, "has a key that is none of RSA, P-256, P-384 or Ed25519"))
        }
        tag => Err(unusable(&place, &format!("has a {tag}, where only public keys belong"))),
    };
    parts.iter().take(SET_KEYS).map(key).collect()
}

/// A public key in PEM.
fn of_pem(text: &str, algorithm: Option<Algorithm>) -> Option<Trusted> {
    let text = text.as_bytes();
    let (algorithm, key) = if let Ok(key) = DecodingKey::from_ed_pem(text) {
        (Algorithm::EdDSA, key)
    } else if let Ok(key) = DecodingKey::from_ec_pem(text) {
        // A point that is not compressed: a byte, and two coordinates.
        let algorithm = match key.as_bytes().len() {
            65 => Algorithm::ES256,
            97 => Algorithm::ES384,
            _ => return None,
        };
        (algorithm, key)
    } else {
        (of_rsa(algorithm), DecodingKey::from_rsa_pem(text).ok()?)
    };
    Some(Trusted { kid: None, algorithm, key })
}

/// The algorithm of an RSA key, whose type leaves a choice.
fn of_rsa(algorithm: Option<Algorithm>) -> Algorithm {
    algorithm.filter(|algorithm| algorithm.family() == AlgorithmFamily::Rsa).unwrap_or(Algorithm::RS256)
}

/// A JSON Web Key Set (RFC 7517), with keys of kinds that nobody here knows.
#[derive(Deserialize)]
struct Set {
    keys: Vec<Json>,
}

/// The keys of a set that can check tokens. Others, and secrets, are passed over.
pub(super) fn in_set(text: &[u8], place: &str, algorithm: Option<Algorithm>) -> Result<Vec<Trusted>> {
    let set: Set =
        serde_json::from_slice(text).map_err(|cause| unusable(place, "is no JWKS").because(cause))?;
    let keys = set.keys.into_iter().take(SET_KEYS).filter_map(|key| serde_json::from_value::<Jwk>(key).ok());
    let keys: Vec<Trusted> = keys.filter_map(|key| of_jwk(&key, algorithm)).collect();
    if keys.is_empty() {
        return Err(unusable(place, "has no public key of RSA, P-256, P-384 or Ed25519 for signatures"));
    }
    Ok(keys)
}

fn of_jwk(key: &Jwk, chosen: Option<Algorithm>) -> Option<Trusted> {
    if key.common.public_key_use.as_ref().is_some_and(|used| *used != PublicKeyUse::Signature) {
        return None;
    }
    let said = key.common.key_algorithm.map(|said| said.to_string().parse::<Algorithm>());
    let algorithm = match (&key.algorithm, &said) {
        (AlgorithmParameters::RSA(_), Some(Ok(said))) => *said,
        (AlgorithmParameters::RSA(_), None) => of_rsa(chosen),
        (AlgorithmParameters::EllipticCurve(params), _) => match params.curve {
            EllipticCurve::P256 => Algorithm::ES256,
            EllipticCurve::P384 => Algorithm::ES384,
            _ => return None,
        },
        (AlgorithmParameters::OctetKeyPair(params), _) if params.curve == EllipticCurve::Ed25519 => {
            Algorithm::EdDSA
        }
        _ => return None,
    };
    let key_decoded = DecodingKey::from_jwk(key).ok()?;
    let agrees = key_decoded.family() == algorithm.family() && said.is_none_or(|said| said == Ok(algorithm));
    agrees.then(|| Trusted { kid: key.common.key_id.clone(), algorithm, key: key_decoded })
}

/// What an address answers.
async fn fetched(address: &str) -> Result<Vec<u8>> {
    let away = |cause: reqwest::Error| {
        Error::new(
            ErrorKind::Unavailable,
            format!("the keys that tokens are checked with cannot be had from {address}"),
        )
        .because(cause.without_url())
        .hint("check [server] token_keys, and that this machine reaches it")
    };
    // Elsewhere it would be somebody else's word.
    let client = reqwest::Client::builder().timeout(ANSWER).redirect(reqwest::redirect::Policy::none());
    let mut answer = client.build().map_err(away)?.get(address).send().await.map_err(away)?;
    if !answer.status().is_success() {
        let message = format!(
            "{address}, which should have the keys that tokens are checked with, answers {}",
            answer.status()
        );
        return Err(Error::new(ErrorKind::Unavailable, message).hint("check [server] token_keys"));
    }
    let mut text = Vec::new();
    while let Some(part) = answer.chunk().await.map_err(away)? {
        if text.len() + part.len() > SET_BYTES {
            return Err(unusable(address, &format!("has over {SET_BYTES} bytes")));
        }
        text.extend_from_slice(&part);
    }
    Ok(text)
}

/// The private key in a file, and its public half.
///
/// # Errors
/// [`ErrorKind::Configuration`] when it cannot be read, or is no key that can sign.
pub(super) fn signing(
    path: &Path,
    kid: Option<&str>,
    algorithm: Option<Algorithm>,
) -> Result<(Signing, Trusted)> {
    let (text, place) = (read(path)?, path.display().to_string());
    let wrong = || {
        unusable(&place, "has no private key in PEM that can sign: RSA, P-256, P-384 or Ed25519")
            .hint("`openssl pkcs8 -topk8 -nocrypt -in KEY` writes others in the form that is read")
    };
    let (found, key, public) = private(&text, algorithm).ok_or_else(wrong)?;
    if let Some(chosen) = algorithm.filter(|chosen| *chosen != found) {
        return Err(unusable(
            &place,
            &format!("has a key for {found:?}, and [server] token_algorithm is {chosen:?}"),
        ));
    }
    let algorithm = found;
    let kid = kid.map_or_else(|| public.thumbprint(ThumbprintHash::SHA256), str::to_owned);
    let check = DecodingKey::from_jwk(&public).map_err(|_| wrong())?;
    Ok((
        Signing { algorithm, kid: Some(kid.clone()), key },
        Trusted { kid: Some(kid), algorithm, key: check },
    ))
}

fn private(text: &[u8], algorithm: Option<Algorithm>) -> Option<(Algorithm, EncodingKey, Jwk)> {
    if let Ok(key) = EncodingKey::from_ed_pem(text) {
        let pair = Ed25519KeyPair::from_pkcs8(key.inner()).ok()?;
        let x = base64(pair.public_key().as_ref());
        let public = serde_json::from_value(json!({"kty": "OKP", "crv": "Ed25519", "x": x})).ok()?;
        return Some((Algorithm::EdDSA, key, public));
    }
    if let Ok(key) = EncodingKey::from_ec_pem(text) {
        let fits = |algorithm| Some((algorithm, Jwk::from_encoding_key(&key, algorithm).ok()?));
        let (algorithm, public) = fits(Algorithm::ES256).or_else(|| fits(Algorithm::ES384))?;
        return Some((algorithm, key, public));
    }
    let key = EncodingKey::from_rsa_pem(text).ok()?;
    let algorithm = of_rsa(algorithm);
    let public = Jwk::from_encoding_key(&key, algorithm).ok()?;
    Some((algorithm, key, public))
}

fn base64(bytes: &[u8]) -> String {
    use base64::Engine as _;
    base64::engine::general_purpose::URL_SAFE_NO_PAD.encode(bytes)
}

fn read(path: &Path) -> Result<Vec<u8>> {
    std::fs::read(path).map_err(|cause| {
        Error::new(ErrorKind::Configuration, format!("the key file {} cannot be read", path.display()))
            .because(cause)
            .hint("check that it is there, and that its mode lets this user read")
    })
}

fn unusable(place: &str, why: &str) -> Error {
    Error::new(ErrorKind::Configuration, format!("{place} {why}"))
        .hint("[server] token_private_key takes one private key, token_keys public ones in PEM or as a JWKS")
}
