//! Tokens that private keys sign and public ones check, from files and from an address.

use std::io::{Read as _, Write as _};
use std::net::TcpListener;
use std::path::PathBuf;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use axum::http::Method;
use excom_server::{KeyPlaces, Keys, Role, TokenRules};
use jsonwebtoken::jwk::{Jwk, ThumbprintHash};
use jsonwebtoken::{Algorithm, DecodingKey, EncodingKey, Header};
use rcgen::{KeyPair, PKCS_ECDSA_P256_SHA256, PKCS_ECDSA_P384_SHA384, PKCS_ED25519, PKCS_RSA_SHA256};
use serde_json::{Value as Json, json};
use tempfile::TempDir;

use crate::auth::claims;
use crate::client::Server;

/// A key of somebody who issues tokens.
struct Issuer {
    algorithm: Algorithm,
    pair: KeyPair,
    kid: Option<String>,
}

impl Issuer {
    fn new(algorithm: Algorithm, kid: &str) -> Self {
        let kind = match algorithm {
            Algorithm::RS256 | Algorithm::RS512 => &PKCS_RSA_SHA256,
            Algorithm::ES256 => &PKCS_ECDSA_P256_SHA256,
            Algorithm::ES384 => &PKCS_ECDSA_P384_SHA384,
            _ => &PKCS_ED25519,
        };
        Self { algorithm, pair: KeyPair::generate_for(kind).unwrap(), kid: Some(kid.to_owned()) }
    }

    fn private(&self) -> EncodingKey {
        let pem = self.pair.serialize_pem();
        match self.algorithm {
            Algorithm::RS256 | Algorithm::RS512 => EncodingKey::from_rsa_pem(pem.as_bytes()).unwrap(),
            Algorithm::ES256 | Algorithm::ES384 => EncodingKey::from_ec_pem(pem.as_bytes()).unwrap(),
            _ => EncodingKey::from_ed_pem(pem.as_bytes()).unwrap(),
        }
    }

    /// Its public key as one of a set.
    fn jwk(&self) -> Json {
        let mut key = match self.algorithm {
            Algorithm::EdDSA => {
                use base64::Engine as _;
                let raw = self.pair.public_key_raw();
                let x = base64::engine::general_purpose::URL_SAFE_NO_PAD.encode(raw);
                json!({"kty": "OKP", "crv": "Ed25519", "x": x})
            }
            algorithm => {
                serde_json::to_value(Jwk::from_encoding_key(&self.private(), algorithm).unwrap()).unwrap()
            }
        };
        key["kid"] = self.kid.clone().into();
        key
    }

    fn token(&self, claims: &Json) -> String {
        self.signed(self.algorithm, claims)
    }

    fn signed(&self, algorithm: Algorithm, claims: &Json) -> String {
        let header = Header { kid: self.kid.clone(), ..Header::new(algorithm) };
        jsonwebtoken::encode(&header, claims, &self.private()).unwrap()
    }
}

const KINDS: [Algorithm; 4] = [Algorithm::RS256, Algorithm::ES256, Algorithm::ES384, Algorithm::EdDSA];

/// A folder with files.
struct Files(TempDir);

impl Files {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn write(&self, name: &str, text: &str) -> PathBuf {
        let path = self.0.path().join(name);
        std::fs::write(&path, text).unwrap();
        path
    }
}

fn trusting(public: &str) -> KeyPlaces {
    let mut places = KeyPlaces::default();
    places.public = Some(public.to_owned());
    places
}

fn set(issuers: &[&Issuer]) -> String {
    json!({"keys": issuers.iter().map(|issuer| issuer.jwk()).collect::<Vec<_>>()}).to_string()
}

/// Asks a server with a token of another issuer for what is not there; what is told when the token is refused.
fn asked(server: &Server, token: &str) -> (u16, String) {
    let answer = server.call(token, Method::GET, "/execution/xcoms/weather/r1/extract/k", None);
    (answer.status.as_u16(), answer.text)
}

fn some_claims(server: &Server) -> Json {
    claims(server, "01936a5e-7b1c-7000-8000-000000000001")
}

#[test]
fn a_private_key_of_every_kind_signs_what_its_public_half_checks() {
    for algorithm in KINDS {
        let (issuer, files) = (Issuer::new(algorithm, "ours"), Files::new());
        let mut places = KeyPlaces::default();
        places.private = Some(files.write("key.pem", &issuer.pair.serialize_pem()));
        let keys = Keys::at(&places).unwrap();
        assert!(!format!("{keys:?}").contains("PRIVATE"));
        let server = Server::trusting(keys);
        server.run("r1");
        let task = server.running("extract", -1);
        task.push("extract/k", &json!(1)).is(201);
        let header = jsonwebtoken::decode_header(&task.token).unwrap();
        assert_eq!(header.alg, algorithm);
        // The name is the one that Airflow gives the key, and everybody can check it.
        let jwk: Jwk = serde_json::from_value(issuer.jwk()).unwrap();
        assert_eq!(header.kid, Some(jwk.thumbprint(ThumbprintHash::SHA256)));
        let mut validation = jsonwebtoken::Validation::new(algorithm);
        validation.set_audience(&["urn:airflow.apache.org:task"]);
        (validation.validate_exp, validation.validate_nbf) = (false, false);
        let check = DecodingKey::from_jwk(&jwk).unwrap();
        jsonwebtoken::decode::<Json>(&task.token, &check, &validation).unwrap();
    }
}

#[test]
fn public_keys_are_read_as_pem_and_as_a_set() {
    let (issuers, files) =
        (KINDS.map(|algorithm| Issuer::new(algorithm, &format!("{algorithm:?}"))), Files::new());
    let pem: String = issuers.iter().map(|issuer| issuer.pair.public_key_pem()).collect();
    let pem = files.write("keys.pem", &pem);
    let jwks = files.write("keys.json", &set(&issuers.each_ref()));
    let stranger = Issuer::new(Algorithm::ES256, "ES256");
    for file in [pem, jwks] {
        let server = Server::trusting(Keys::at(&trusting(&file.display().to_string())).unwrap());
        for issuer in &issuers {
            assert_eq!(asked(&server, &issuer.token(&some_claims(&server))).0, 404, "{:?}", issuer.algorithm);
        }
        let (status, told) = asked(&server, &stranger.token(&some_claims(&server)));
        assert!(status == 403 && told.contains("signature"), "{told}");
    }
}

#[test]
fn a_key_checks_only_tokens_of_its_own_name_and_algorithm() {
    let files = Files::new();
    let (rsa, ed) = (Issuer::new(Algorithm::RS256, "rsa"), Issuer::new(Algorithm::EdDSA, "ed"));
    let file = files.write("keys.json", &set(&[&rsa, &ed]));
    let server = Server::trusting(Keys::at(&trusting(&file.display().to_string())).unwrap());
    let good = some_claims(&server);
    let refused = |token: &str, rule: &str| {
        let (status, told) = asked(&server, token);
        assert!(status == 403 && told.contains(rule), "{told}");
    };
    assert_eq!(asked(&server, &rsa.token(&good)).0, 404);
    refused(&rsa.signed(Algorithm::RS512, &good), "`alg`");
    for kid in [None, Some("another")] {
        let nameless =
            Issuer { kid: kid.map(str::to_owned), pair: KeyPair::generate_for(&PKCS_ED25519).unwrap(), ..ed };
        refused(&nameless.token(&good), "`kid`");
    }
    let other = Issuer { kid: rsa.kid, pair: KeyPair::generate_for(&PKCS_ED25519).unwrap(), ..ed };
    refused(&other.token(&good), "`alg`");
}

#[test]
fn a_public_key_is_no_secret() {
    let (issuer, files) = (Issuer::new(Algorithm::RS256, "rsa"), Files::new());
    let file = files.write("keys.json", &set(&[&issuer]));
    let server = Server::trusting(Keys::at(&trusting(&file.display().to_string())).unwrap());
    let good = some_claims(&server);
    let jwk = issuer.jwk();
    let public: [Vec<u8>; 5] = [
        issuer.pair.public_key_pem().into_bytes(),
        issuer.pair.public_key_pem().trim_end().as_bytes().to_vec(),
        issuer.pair.public_key_raw().to_vec(),
        jwk.to_string().into_bytes(),
        jwk["n"].as_str().unwrap().as_bytes().to_vec(),
    ];
    for secret in public {
        for algorithm in [Algorithm::HS256, Algorithm::HS384, Algorithm::HS512] {
            for kid in [None, Some("rsa".to_owned())] {
                let header = Header { kid, ..Header::new(algorithm) };
                let token = jsonwebtoken::encode(&header, &good, &EncodingKey::from_secret(&secret)).unwrap();
                assert_eq!(asked(&server, &token).0, 403);
            }
        }
    }
    // A key that comes with the token is nobody's word, and neither is an address in it.
    let thief = Issuer::new(Algorithm::RS256, "rsa");
    let mut header = Header { kid: Some("rsa".to_owned()), ..Header::new(Algorithm::RS256) };
    header.jwk = Some(serde_json::from_value(thief.jwk()).unwrap());
    header.jku = Some("http://127.0.0.1:1/keys.json".to_owned());
    header.x5u = header.jku.clone();
    let token = jsonwebtoken::encode(&header, &good, &thief.private()).unwrap();
    assert_eq!(asked(&server, &token).0, 403);
}

#[test]
fn a_signature_of_zeros_is_none() {
    use base64::Engine as _;
    for (algorithm, length) in [(Algorithm::ES256, 64), (Algorithm::ES384, 96), (Algorithm::EdDSA, 64)] {
        let (issuer, files) = (Issuer::new(algorithm, "k"), Files::new());
        let file = files.write("keys.json", &set(&[&issuer]));
        let server = Server::trusting(Keys::at(&trusting(&file.display().to_string())).unwrap());
        let good = issuer.token(&some_claims(&server));
        let (signed, _) = good.rsplit_once('.').unwrap();
        for length in [0, 1, length - 1, length, length + 1] {
            let zeros = base64::engine::general_purpose::URL_SAFE_NO_PAD.encode(vec![0; length]);
            assert_eq!(asked(&server, &format!("{signed}.{zeros}")).0, 403, "{algorithm:?} {length}");
        }
    }
}

#[test]
fn what_is_no_key_for_signatures_is_passed_over_in_a_set() {
    let (issuer, files) = (Issuer::new(Algorithm::ES256, "good"), Files::new());
    let mut for_encryption = Issuer::new(Algorithm::ES256, "enc").jwk();
    for_encryption["use"] = "enc".into();
    let mut contradicts = Issuer::new(Algorithm::RS256, "bad").jwk();
    contradicts["alg"] = "HS256".into();
    let others = json!([
        {"kty": "oct", "kid": "secret", "k": "YSBzZWNyZXQgb2YgdGhlIHRlc3RzLCBsb25nIGVub3VnaA", "alg": "HS512"},
        {"kty": "OKP", "kid": "x", "crv": "X25519", "x": "AAAA"},
        {"kty": "new", "kid": "y"},
        {"kty": "EC", "kid": "z", "crv": "P-256", "x": "!!", "y": "!!"},
        {"kty": "EC", "kid": "w", "crv": "Ed25519", "x": "AA", "y": "AA"},
        7, null, for_encryption, contradicts,
    ]);
    let nothing = files.write("nothing.json", &json!({"keys": others}).to_string());
    let told = Keys::at(&trusting(&nothing.display().to_string())).unwrap_err().to_string();
    assert!(told.contains("nothing.json has no public key"), "{told}");
    let mut keys = others.as_array().unwrap().clone();
    keys.push(issuer.jwk());
    let some = files.write("some.json", &json!({"keys": keys}).to_string());
    let server = Server::trusting(Keys::at(&trusting(&some.display().to_string())).unwrap());
    let good = some_claims(&server);
    assert_eq!(asked(&server, &issuer.token(&good)).0, 404);
    let header = Header { kid: Some("secret".to_owned()), ..Header::new(Algorithm::HS512) };
    let secret = EncodingKey::from_secret(b"a secret of the tests, long enough");
    assert_eq!(asked(&server, &jsonwebtoken::encode(&header, &good, &secret).unwrap()).0, 403);
}

#[test]
fn files_without_a_key_are_told() {
    let (issuer, files) = (Issuer::new(Algorithm::ES256, "k"), Files::new());
    let private = files.write("private.pem", &issuer.pair.serialize_pem());
    let public = files.write("public.pem", &issuer.pair.public_key_pem());
    let nonsense = files.write("nonsense", "nonsense");
    let told = |public: Option<&PathBuf>, private: Option<&PathBuf>, algorithm: Option<&str>| {
        let mut places = KeyPlaces::default();
        places.public = public.map(|path| path.display().to_string());
        places.private = private.cloned();
        places.algorithm = algorithm.map(str::to_owned);
        let error = Keys::at(&places).unwrap_err();
        assert!(!error.hints().is_empty(), "{error}");
        error.to_string()
    };
    let gone = files.0.path().join("gone");
    assert!(told(Some(&gone), None, None).contains("gone cannot be read"));
    assert!(told(Some(&nonsense), None, None).contains("nonsense is neither PEM nor a JWKS"));
    assert!(told(Some(&private), None, None).contains("has a PRIVATE KEY, where only public keys belong"));
    assert!(told(None, Some(&gone), None).contains("gone cannot be read"));
    for wrong in [&nonsense, &public] {
        assert!(told(None, Some(wrong), None).contains("has no private key in PEM"));
    }
    assert!(told(None, Some(&private), Some("RS256")).contains("has a key for ES256"));
    assert!(told(None, Some(&private), Some("none")).contains("`none` is no algorithm"));
    assert!(Keys::secret_with(b"a secret of the tests, long enough", Some("RS256")).is_err());
}

#[test]
fn issuer_audience_and_leeway_are_looked_at_as_they_are_set() {
    let (issuer, files) = (Issuer::new(Algorithm::EdDSA, "k"), Files::new());
    let mut places = KeyPlaces::default();
    places.private = Some(files.write("key.pem", &issuer.pair.serialize_pem()));
    places.kid = Some("k".to_owned());
    let mut rules = TokenRules::default();
    rules.audience = vec!["ours".to_owned(), "theirs".to_owned()];
    rules.issuer = Some("https://airflow.example".to_owned());
    rules.leeway = Duration::from_secs(60);
    let server = Server::trusting(Keys::at(&places).unwrap().with_rules(rules));
    // What the server issues follows its own rules.
    server.run("r1");
    server.running("extract", -1).push("extract/k", &json!(1)).is(201);
    let mut good = some_claims(&server);
    (good["aud"], good["iss"]) = (json!(["theirs", "others"]), json!("https://airflow.example"));
    let with = |name: &str, value: Json| {
        let mut claims = good.clone();
        claims[name] = value;
        asked(&server, &issuer.token(&claims))
    };
    let now = good["iat"].as_i64().unwrap();
    assert_eq!(with("exp", json!(now - 59)).0, 200);
    for (name, value, rule) in [
        ("exp", json!(now - 61), "`exp`"),
        ("aud", json!("urn:airflow.apache.org:task"), "`aud`"),
        ("iss", json!("https://other.example"), "`iss`"),
        ("iss", json!(null), "claims"),
    ] {
        let (status, told) = with(name, value);
        assert!(status == 403 && told.contains(rule), "{told}");
    }
}

/// What an address answers, and how often it was asked.
struct Address {
    url: String,
    answer: Arc<Mutex<Option<String>>>,
    asked: Arc<AtomicUsize>,
}

impl Address {
    /// One that answers with a document; without any it hangs up.
    fn new(answer: Option<String>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}/keys.json", listener.local_addr().unwrap());
        let (answer, asked) = (Arc::new(Mutex::new(answer)), Arc::new(AtomicUsize::new(0)));
        let (now, count) = (Arc::clone(&answer), Arc::clone(&asked));
        thread::spawn(move || {
            for stream in listener.incoming() {
                let mut stream = stream.unwrap();
                count.fetch_add(1, Ordering::SeqCst);
                if let Some(text) = &*now.lock().unwrap() {
                    let mut request = [0; 4096];
                    drop(stream.read(&mut request));
                    let head = format!(
                        "HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: {}\r\n\r\n",
                        text.len()
                    );
                    drop(stream.write_all(format!("{head}{text}").as_bytes()));
                }
            }
        });
        Self { url, answer, asked }
    }

    fn answers(&self, answer: Option<String>) {
        *self.answer.lock().unwrap() = answer;
    }

    fn asked(&self) -> usize {
        self.asked.load(Ordering::SeqCst)
    }
}

fn refreshed(keys: &Keys) -> Result<(), excom_core::Error> {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(keys.refresh())
}

#[test]
fn keys_at_an_address_are_asked_for_when_a_token_needs_them_and_kept() {
    let (first, second) = (Issuer::new(Algorithm::ES256, "first"), Issuer::new(Algorithm::EdDSA, "second"));
    let address = Address::new(Some(set(&[&first])));
    let keys = Keys::at(&trusting(&address.url)).unwrap();
    let server = Server::trusting(keys.clone());
    let good = some_claims(&server);
    assert_eq!(asked(&server, &first.token(&good)).0, 404);
    assert_eq!(asked(&server, &first.token(&good)).0, 404);
    assert_eq!(address.asked(), 1);
    // However many come with names that nobody knows, the address is not asked more often.
    for _ in 0..5 {
        let (status, told) = asked(&server, &second.token(&good));
        assert!(status == 403 && told.contains("`kid`"), "{told}");
    }
    assert_eq!(address.asked(), 1);
    // What is there next is known at the next refresh; what is away, or nonsense, changes nothing.
    address.answers(Some(set(&[&second])));
    refreshed(&keys).unwrap();
    assert_eq!((asked(&server, &second.token(&good)).0, asked(&server, &first.token(&good)).0), (404, 403));
    for answer in
        [None, Some("nonsense".to_owned()), Some(format!("{{\"keys\": [{}]}}", " ".repeat(2 << 20)))]
    {
        address.answers(answer);
        assert!(refreshed(&keys).is_err());
        assert_eq!(asked(&server, &second.token(&good)).0, 404);
    }
}

#[test]
fn before_keys_were_had_nobody_is_told_that_a_token_is_wrong() {
    let issuer = Issuer::new(Algorithm::ES256, "k");
    let address = Address::new(None);
    let keys = Keys::at(&trusting(&address.url)).unwrap();
    let server = Server::trusting(keys.clone());
    let token = issuer.token(&some_claims(&server));
    let (status, told) = asked(&server, &token);
    assert!(status == 503 && told.contains("not to be had now"), "{told}");
    let told = refreshed(&keys).unwrap_err();
    assert!(told.to_string().contains(&address.url) && !told.hints().is_empty(), "{told:?}");
    address.answers(Some(set(&[&issuer])));
    refreshed(&keys).unwrap();
    assert_eq!(asked(&server, &token).0, 404);
}

#[test]
fn without_a_private_key_nothing_is_signed() {
    let (issuer, files) = (Issuer::new(Algorithm::ES256, "k"), Files::new());
    let file = files.write("keys.pem", &issuer.pair.public_key_pem());
    let keys = Keys::at(&trusting(&file.display().to_string())).unwrap();
    let server = Server::trusting(keys.clone());
    let lifetime = Duration::from_secs(60);
    let told =
        excom_server::person_token(keys, server.clock.clone(), "ana", Role::Read, lifetime).unwrap_err();
    assert!(told.to_string().contains("no key that signs"), "{told}");
    // A token near its end goes on being good, and no newer one comes.
    let mut claims = some_claims(&server);
    claims["exp"] = json!(claims["iat"].as_i64().unwrap() + 20);
    let answer =
        server.call(&issuer.token(&claims), Method::GET, "/execution/xcoms/weather/r1/extract/k", None);
    assert_eq!(answer.is(404).refreshed(), None);
}

/// Files with keys of every kind, for whoever changes them at random.
pub(crate) fn seeds() -> Vec<Vec<u8>> {
    let issuers = KINDS.map(|algorithm| Issuer::new(algorithm, "k"));
    let mut seeds = vec![set(&issuers.each_ref()).into_bytes()];
    seeds.extend(issuers.iter().map(|issuer| set(&[issuer]).into_bytes()));
    seeds.extend(issuers.iter().map(|issuer| issuer.pair.public_key_pem().into_bytes()));
    seeds
}
