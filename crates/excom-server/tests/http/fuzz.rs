//! Nonsense from the network: whole requests, claims, and sets of keys, each a seed that is changed at random, over and
//! over. Nothing panics, nothing is an error of the server (5xx), and the server answers as before afterwards.
//!
//! A run is as long as a test; `EXCOM_FUZZ_SECONDS=600` makes it longer, and what it finds tells the seed number with which
//! `EXCOM_FUZZ_SEED` repeats it. A finding becomes a file in `seeds/`.

use std::hash::{BuildHasher as _, RandomState};
use std::io::Write as _;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::time::{Duration, Instant};

use axum::body::Body;
use axum::http::{Method, Request, header};
use excom_server::{KeyPlaces, Keys, Role};
use hyper_util::rt::TokioIo;
use hyper_util::service::TowerToHyperService;
use jsonwebtoken::Algorithm;
use serde_json::{Value as Json, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use crate::auth::{claims, forged};
use crate::client::{SECRET, Server, send};

/// How many inputs a run has that is not given a time.
const INPUTS: u64 = 4_000;

/// SplitMix64: the same number gives the same input.
struct Random(u64);

impl Random {
    fn number(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        mixed ^ (mixed >> 31)
    }

    fn below(&mut self, bound: usize) -> usize {
        (self.number() % bound.max(1) as u64) as usize
    }

    fn one_of<'a, T: ?Sized>(&mut self, of: &[&'a T]) -> &'a T {
        of[self.below(of.len())]
    }
}

/// What parsers stumble over.
const TRICKS: [&[u8]; 48] = [
    b"\0",
    b"\r",
    b"\n",
    b"\r\n",
    b"\r\n\r\n",
    b"%",
    b"%00",
    b"%2f",
    b"%2e%2e%2f",
    b"%ff",
    b"%c0%ae",
    b"%ed%a0%80",
    b"..",
    b"/",
    b"//",
    b"~",
    b"?",
    b"&",
    b"=",
    b"#",
    b"+",
    b"\"",
    b"\\",
    b"\\u0000",
    b"\\ud800",
    b"{",
    b"}",
    b"[",
    b"]",
    b"{}",
    b"null",
    b"-0",
    b"1e999",
    b"-1",
    b"9223372036854775808",
    b"-9223372036854775809",
    b"4294967296",
    b"2147483648",
    b"0000-00-00T00:00:00Z",
    b"9999-12-31T23:59:60+23:59",
    b"-271821-04-20T00:00:00Z",
    b"\xff\xfe",
    b"\xed\xa0\x80",
    b"\xf0\x9f\x92\xa3",
    b"\xe2\x80\xae",
    b"transfer-encoding: chunked\n",
    b"content-length: 5\n",
    b"{{TASK}}",
];

/// What they may count or nest too deep.
const REPEATED: [&[u8]; 5] = [b"[", b"{\"a\":", b"a", b"%41", b"-"];

/// A seed with a few changes.
fn changed(random: &mut Random, seed: &[u8], others: &[Vec<u8>]) -> Vec<u8> {
    let mut bytes = seed.to_vec();
    for _ in 0..=random.below(4) {
        let (at, upto) = (random.below(bytes.len() + 1), random.below(bytes.len() + 1));
        let (from, to) = (at.min(upto), at.max(upto).min(at.min(upto) + 64));
        match random.below(9) {
            0 if at < bytes.len() => bytes[at] ^= 1 << random.below(8),
            1 if at < bytes.len() => bytes[at] = random.number() as u8,
            2 | 3 => drop(bytes.splice(at..at, random.one_of(&TRICKS).iter().copied())),
            4 => drop(bytes.drain(from..to)),
            5 => {
                let piece = bytes[from..to].to_vec();
                drop(bytes.splice(at..at, piece));
            }
            6 => drop(bytes.splice(from..to, random.one_of(&TRICKS).iter().copied())),
            7 => {
                let other = &others[random.below(others.len())];
                bytes.truncate(at);
                bytes.extend_from_slice(&other[random.below(other.len() + 1)..]);
            }
            _ => {
                let (byte, times) = (random.one_of(&REPEATED), random.below(300));
                drop(bytes.splice(at..at, byte.repeat(times)));
            }
        }
    }
    bytes
}

/// Looks at inputs until the run ends; what is found tells how to get there again.
fn run(seeds: &[Vec<u8>], mut look: impl FnMut(&[u8])) {
    let number = |name: &str| std::env::var(name).ok().map(|text| text.parse::<u64>().unwrap());
    let repeated = number("EXCOM_FUZZ_SEED");
    let seconds = number("EXCOM_FUZZ_SECONDS");
    let begun = Instant::now();
    let first = repeated.unwrap_or_else(|| RandomState::new().hash_one(0) >> 16);
    let mut count = 0;
    let mut try_one = |bytes: &[u8], what: &str| {
        if let Err(panic) = catch_unwind(AssertUnwindSafe(|| look(bytes))) {
            drop(writeln!(std::io::stderr(), "{what}: {:?}", String::from_utf8_lossy(bytes)));
            std::panic::resume_unwind(panic);
        }
    };
    seeds.iter().for_each(|seed| try_one(seed, "a seed"));
    loop {
        let goes_on = match (repeated, seconds) {
            (Some(_), _) => count == 0,
            (None, Some(seconds)) => begun.elapsed() < Duration::from_secs(seconds),
            (None, None) => count < INPUTS,
        };
        if !goes_on {
            break;
        }
        let mut random = Random(first + count);
        let seed = &seeds[random.below(seeds.len())];
        try_one(&changed(&mut random, seed, seeds), &format!("EXCOM_FUZZ_SEED={}", first + count));
        count += 1;
    }
    drop(writeln!(std::io::stderr(), "{count} inputs from {} seeds in {:?}", seeds.len(), begun.elapsed()));
}

/// The requests in `seeds/`, with placeholders for tokens and lengths. Lines of heads end as HTTP has it.
fn requests() -> Vec<Vec<u8>> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/http/seeds");
    let mut paths: Vec<_> = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    paths.sort();
    paths.iter().map(|path| std::fs::read(path).unwrap()).collect()
}

fn replaced(bytes: &[u8], name: &str, value: &str) -> Vec<u8> {
    let mut out = Vec::with_capacity(bytes.len());
    let mut rest = bytes;
    while let Some(at) = rest.windows(name.len()).position(|window| window == name.as_bytes()) {
        out.extend_from_slice(&rest[..at]);
        out.extend_from_slice(value.as_bytes());
        rest = &rest[at + name.len()..];
    }
    out.extend_from_slice(rest);
    out
}

/// What the server says to bytes, as it says it on a connection.
fn exchanged(server: &Server, bytes: &[u8]) -> Vec<u8> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let (mut client, connection) = tokio::io::duplex(1 << 20);
        let service = TowerToHyperService::new(server.router());
        let serve =
            hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(connection), service);
        let talk = async move {
            drop(client.write_all(bytes).await);
            drop(client.shutdown().await);
            let mut answer = Vec::new();
            drop(client.read_to_end(&mut answer).await);
            answer
        };
        let (_, answer) = tokio::join!(serve, talk);
        answer
    })
}

#[test]
fn requests_of_any_bytes_are_answered_or_refused() {
    let server = Server::new();
    server.run("r1");
    let task = server.running("extract", -1);
    task.push("extract/k", &json!({"a": [1, "x"]})).is(201);
    let person = server.person(Role::Admin);
    run(&requests(), |bytes| {
        let (head, body) = match bytes.windows(2).position(|window| window == b"\n\n") {
            Some(end) => bytes.split_at(end + 2),
            None => (bytes, &[][..]),
        };
        let head = String::from_utf8_lossy(head).replace("\r\n", "\n").replace('\n', "\r\n");
        let head = replaced(head.as_bytes(), "{{LENGTH}}", &body.len().to_string());
        let request = [head, body.to_vec()].concat();
        let request = replaced(&request, "{{TASK}}", &task.token);
        let request = replaced(&request, "{{PERSON}}", &person);
        let request = replaced(&request, "{{ID}}", &task.id);
        let answer = exchanged(&server, &request);
        let text = String::from_utf8_lossy(&answer);
        for line in text.lines().filter(|line| line.starts_with("HTTP/1.")) {
            let status: u16 = line[9..12].parse().unwrap();
            assert!(status < 500, "{text}");
        }
    });
    server.call("", Method::GET, "/health/ready", None).is(200);
}

#[test]
fn tokens_of_any_bytes_are_read_or_refused() {
    let server = Server::new();
    server.run("r1");
    let task = server.running("extract", -1);
    let good = claims(&server, &task.id);
    let seeds = [task.token, server.person(Role::Admin), forged(Algorithm::HS256, b"x", &good)];
    let seeds: Vec<Vec<u8>> = seeds.map(String::into_bytes).to_vec();
    run(&seeds, |bytes| {
        let token = String::from_utf8_lossy(bytes);
        if axum::http::HeaderValue::try_from(format!("Bearer {token}")).is_ok() {
            let status = server
                .call(&token, Method::GET, "/execution/xcoms/weather/r1/extract/k", None)
                .status
                .as_u16();
            assert!([401, 403, 404].contains(&status), "{status}");
        }
    });
}

#[test]
fn claims_of_any_kind_are_read_or_refused() {
    let server = Server::new();
    server.run("r1");
    let task = server.running("extract", -1);
    let mut person = json!({"sub": "ana", "role": "read", "aud": ["urn:excom:api"], "jti": "x"});
    let good = claims(&server, &task.id);
    (person["iat"], person["exp"]) = (good["iat"].clone(), good["exp"].clone());
    let seeds = [good, person].map(|claims| claims.to_string().into_bytes());
    run(&seeds, |bytes| {
        let Ok(claims) = serde_json::from_slice::<Json>(bytes) else { return };
        let token = forged(Algorithm::HS512, SECRET, &claims);
        for path in ["/execution/xcoms/weather/r1/extract/k", "/api/excom/v1/values/weather/r1/extract/-1/k"]
        {
            let status = server.call(&token, Method::GET, path, None).status.as_u16();
            assert!([403, 404, 422].contains(&status), "{status}");
        }
    });
}

#[test]
fn sets_of_keys_of_any_bytes_are_read_or_refused() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("keys");
    let mut places = KeyPlaces::default();
    places.public = Some(path.display().to_string());
    let server = Server::new();
    let token = forged(Algorithm::HS512, SECRET, &claims(&server, "01936a5e-7b1c-7000-8000-000000000001"));
    run(&crate::keys::seeds(), |bytes| {
        std::fs::write(&path, bytes).unwrap();
        if let Ok(keys) = Keys::at(&places) {
            // No set makes a secret trusted.
            let request = Request::builder().uri("/execution/xcoms/weather/r1/extract/k");
            let request = request.header(header::AUTHORIZATION, format!("Bearer {token}"));
            let answer = send(server.with_keys(keys), request.body(Body::empty()).unwrap());
            assert_eq!(answer.status, 403, "{answer:?}");
        }
    });
}
