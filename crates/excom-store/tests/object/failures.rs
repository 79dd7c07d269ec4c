//! What is told when a store refuses, is away, or cannot be used: what, where, why, what to do, and no secret.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use excom_core::{Error, ErrorKind, ValueStore as _};
use excom_store::ObjectStorage;

use super::support::{bytes, create, name, read};

const SECRET: &str = "hunter2/secret";

/// A server with an answer for each method: a status, headers, and a body.
struct Server {
    port: u16,
    ended: Arc<AtomicBool>,
}

type Answer = (&'static str, &'static str, String);

impl Server {
    fn start(answer: impl Fn(&str) -> Answer + Send + 'static) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let server = Self { port: listener.local_addr().unwrap().port(), ended: Arc::default() };
        let ended = server.ended.clone();
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                if ended.load(Ordering::Relaxed) {
                    return;
                }
                let _ = serve(&stream, &answer);
            }
        });
        server
    }

    /// The same answer to everything.
    fn saying(status: &'static str, body: impl Into<String>) -> Self {
        let body = body.into();
        Self::start(move |_| (status, "", body.clone()))
    }

    fn store(&self) -> ObjectStorage {
        store(&format!("http://127.0.0.1:{}", self.port))
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.ended.store(true, Ordering::Relaxed);
        let _ = TcpStream::connect((Ipv4Addr::LOCALHOST, self.port));
    }
}

fn serve(stream: &TcpStream, answer: &impl Fn(&str) -> Answer) -> std::io::Result<()> {
    let mut reader = BufReader::new(stream);
    let (mut first, mut length) = (String::new(), 0);
    reader.read_line(&mut first)?;
    loop {
        let mut line = String::new();
        reader.read_line(&mut line)?;
        match line.trim().to_ascii_lowercase().split_once(':') {
            Some(("content-length", value)) => length = value.trim().parse().unwrap_or(0),
            Some(_) => {}
            None => break,
        }
    }
    std::io::copy(&mut reader.take(length), &mut std::io::sink())?;
    let method = first.split(' ').next().unwrap_or_default();
    let (status, headers, body) = answer(method);
    let own = if headers.contains("Content-Length") {
        String::new()
    } else {
        format!("Content-Length: {}\r\n", body.len())
    };
    let head = format!("HTTP/1.1 {status}\r\n{own}{headers}Connection: close\r\n\r\n");
    let body = if method == "HEAD" { "" } else { body.as_str() };
    let mut stream = stream;
    stream.write_all(format!("{head}{body}").as_bytes())
}

fn options(pairs: &[(&str, &str)]) -> Vec<(String, String)> {
    pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
}

fn store(endpoint: &str) -> ObjectStorage {
    let options = options(&[
        ("AWS_ENDPOINT_URL", endpoint),
        ("AWS_ACCESS_KEY_ID", "AKIATEST"),
        ("AWS_SECRET_ACCESS_KEY", SECRET),
    ]);
    ObjectStorage::open("s3://aws_default@team-a/xcom", options).unwrap()
}

fn code(code: &str) -> String {
    format!("<Error><Code>{code}</Code><Message>not with {SECRET} today</Message><Key>k</Key></Error>")
}

#[track_caller]
fn told<T: std::fmt::Debug>(result: Result<T, Error>, kind: ErrorKind, parts: &[&str]) {
    let error = result.unwrap_err();
    let shown = format!("{error:?}");
    assert_eq!(error.kind(), kind, "{shown}");
    for part in parts {
        assert!(shown.contains(part), "no `{part}` in: {shown}");
    }
    assert!(!shown.contains(SECRET), "{shown}");
}

#[test]
fn refusals_tell_what_where_why_and_what_to_do() {
    use ErrorKind::{Configuration, Exists, Full, Lost, ReadOnly};
    let k = name("k", 1);
    let at = "s3://team-a/xcom";

    let server = Server::saying("403 Forbidden", code("AccessDenied"));
    let denied = ["AccessDenied: not with … today", at, "s3:ListBucket", "connection `aws_default`"];
    told(create(&server.store(), &k, b"x"), ReadOnly, &[&denied[..], &["cannot write d/r/t/-1/k/"]].concat());
    told(read(&server.store(), &k), Configuration, &[&denied[..], &["cannot read d/r/t"]].concat());
    told(
        pollster::block_on(server.store().check()),
        Configuration,
        &[&denied[..], &["cannot list"]].concat(),
    );
    told(
        pollster::block_on(server.store().delete(&k)),
        ReadOnly,
        &["403 Forbidden", at, "cannot remove d/r"],
    );

    let server = Server::saying("403 Forbidden", code("QuotaExceeded"));
    told(create(&server.store(), &k, b"x"), Full, &["QuotaExceeded", at, "nothing was written"]);

    let server = Server::saying("404 Not Found", code("NoSuchKey"));
    told(read(&server.store(), &k), Lost, &["d/r/t/-1/k/", "is gone from", at]);

    let server = Server::saying("412 Precondition Failed", code("PreconditionFailed"));
    // It is asked whether the name is really there, and says no in a way that counts as a yes.
    told(create(&server.store(), &k, b"x"), Exists, &["exists in", at]);

    let server = Server::start(|method| match method {
        "PUT" => ("409 Conflict", "", code("ConditionalRequestConflict")),
        _ => ("404 Not Found", "", code("NoSuchKey")),
    });
    told(create(&server.store(), &k, b"x"), ErrorKind::Unavailable, &["being written", "try again"]);

    let server = Server::saying("301 Moved Permanently", code("PermanentRedirect"));
    told(read(&server.store(), &k), Configuration, &["region", "AWS_REGION"]);

    let server = Server::saying("400 Bad Request", code("ExpiredToken"));
    told(read(&server.store(), &k), Configuration, &["ExpiredToken", "credentials are"]);
}

#[test]
fn a_store_that_is_away_is_asked_again_and_then_told() {
    let server = Server::saying("503 Slow Down", code("SlowDown"));
    told(read(&server.store(), &name("k", 1)), ErrorKind::Unavailable, &["SlowDown", "try again"]);
    let port = server.port;
    drop(server);
    let nobody = store(&format!("http://127.0.0.1:{port}"));
    let parts = ["cannot list s3://team-a/xcom", "refused", "check the network"];
    told(pollster::block_on(nobody.check()), ErrorKind::Unavailable, &parts);
}

/// Bytes that stop coming are no end of the object.
#[test]
fn a_cut_answer_is_an_error() {
    let headers = "Content-Length: 100\r\nETag: \"1\"\r\nLast-Modified: Sat, 21 Nov 2026 10:00:00 GMT\r\n";
    let server = Server::start(move |_| ("200 OK", headers, "only this".to_owned()));
    let cut = read(&server.store(), &name("k", 1));
    // The client asks for the rest, and gets an answer to another question.
    told(cut, ErrorKind::Other, &["cannot read d/r/t", "a proxy, a gateway"]);
}

/// The answer that an upload is complete gets lost, and the repeated request finds no upload any more.
#[test]
fn an_upload_whose_last_answer_was_lost_is_found() {
    let posts = AtomicUsize::new(0);
    let server = Server::start(move |method| {
        let there = "ETag: \"1\"\r\nLast-Modified: Sat, 21 Nov 2026 10:00:00 GMT\r\n";
        let begun = "<InitiateMultipartUploadResult><UploadId>u</UploadId></InitiateMultipartUploadResult>";
        match (method, posts.fetch_add(usize::from(method == "POST"), Ordering::Relaxed)) {
            ("POST", 0) => ("200 OK", "", begun.to_owned()),
            ("POST", 1) => ("502 Bad Gateway", "", String::new()),
            ("POST", _) => ("404 Not Found", "", code("NoSuchUpload")),
            ("HEAD", 0 | 1) => ("404 Not Found", "", String::new()),
            _ => ("200 OK", there, String::new()),
        }
    });
    let pushed = create(&server.store(), &name("k", 1), &bytes(9_000_000));
    // Whether it is the same object is found out by who pushes.
    told(pushed, ErrorKind::Exists, &["exists in s3://"]);
}

#[test]
fn a_store_that_overwrites_does_not_pass_its_check() {
    let list = "<ListBucketResult></ListBucketResult>";
    let headers = "ETag: \"1\"\r\nLast-Modified: Sat, 21 Nov 2026 10:00:00 GMT\r\n";
    let server = Server::start(move |_| ("200 OK", headers, list.to_owned()));
    let parts = ["overwrites objects", "If-None-Match", "conditional writes"];
    told(pollster::block_on(server.store().check()), ErrorKind::Configuration, &parts);
}

#[test]
fn settings_that_cannot_work_are_told_at_once() {
    let open = |location: &str, pairs: &[(&str, &str)]| ObjectStorage::open(location, options(pairs));
    let half = [("AWS_SECRET_ACCESS_KEY", SECRET)];
    told(
        open("s3://b/p", &half),
        ErrorKind::Configuration,
        &["s3://b/p cannot be used", "AWS_ACCESS_KEY_ID"],
    );
    told(open("s3://b--use1-az4--x-s3", &[]), ErrorKind::Configuration, &["directory bucket"]);
    told(open("az://c", &[]), ErrorKind::Configuration, &["AZURE_STORAGE_ACCOUNT_NAME"]);
    let broken = format!("\"{SECRET}\"");
    let key = [("GOOGLE_SERVICE_ACCOUNT_KEY", broken.as_str())];
    told(open("gs://b", &key), ErrorKind::Configuration, &["gs://b cannot be used", "GOOGLE_APPLICATION"]);
    told(open("b/p", &[]), ErrorKind::Configuration, &["no scheme", "s3://bucket/prefix"]);
}

#[test]
fn without_credentials_the_machine_is_asked_and_the_settings_are_named() {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let nobody = format!("http://127.0.0.1:{}", listener.local_addr().unwrap().port());
    drop(listener);
    let options = options(&[("AWS_METADATA_ENDPOINT", &nobody), ("AWS_ENDPOINT_URL", &nobody)]);
    let store = ObjectStorage::open("s3://b", options).unwrap();
    let parts = ["AWS_ACCESS_KEY_ID", "aws configure export-credentials"];
    told(pollster::block_on(store.check()), ErrorKind::Unavailable, &parts);
}
