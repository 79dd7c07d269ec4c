//! Clients that begin and do not go on are cut off, wherever they stop.

use std::convert::Infallible;
use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use axum::body::Body;
use axum::http::{Method, Request, header};
use excom_core::memory;
use excom_server::{Role, Service, ServiceOptions, Tls};
use futures_util::stream;
use rcgen::{CertificateParams, KeyPair};
use tokio::time::sleep;

use crate::client::Server;

/// Which time of a service is short; all others are long, so that a machine that is busy makes no difference.
type Short = fn(&mut ServiceOptions) -> &mut Duration;

const HANDSHAKE: Short = |options| &mut options.handshake_timeout;
const HEAD: Short = |options| &mut options.head_timeout;
const BODY: Short = |options| &mut options.body_pause;

/// What a service says to somebody who sends something and then waits; it must hang up by itself.
fn said_to(server: &Server, tls: Option<Tls>, short: Option<Short>, sent: &str) -> String {
    said_late(server, tls, short, sent, Duration::ZERO)
}

/// The same to somebody who does not listen at first.
fn said_late(server: &Server, tls: Option<Tls>, short: Option<Short>, sent: &str, late: Duration) -> String {
    let mut options = ServiceOptions::default();
    for time in [HANDSHAKE, HEAD, BODY] {
        *time(&mut options) = Duration::from_secs(60);
    }
    if let Some(short) = short {
        *short(&mut options) = Duration::from_millis(50);
    }
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let service = Service::bind("127.0.0.1:0", options).await.unwrap();
        let service = match tls {
            Some(tls) => service.with_tls(tls),
            None => service,
        };
        service.readiness().open(&server.app.clone());
        let (address, sent) = (service.address(), sent.to_owned());
        let (stop, stopped) = tokio::sync::oneshot::channel();
        let client = thread::spawn(move || {
            let mut stream = TcpStream::connect(address).unwrap();
            stream.write_all(sent.as_bytes()).unwrap();
            thread::sleep(late);
            let mut answer = Vec::new();
            drop(stream.read_to_end(&mut answer));
            let _ = stop.send(());
            String::from_utf8_lossy(&answer).into_owned()
        });
        let _ = service.run(async { drop(stopped.await) }).await;
        client.join().unwrap()
    })
}

#[test]
fn who_stops_in_the_middle_is_cut_off() {
    let server = Server::new();
    let token = server.person(Role::Admin);
    assert_eq!(said_to(&server, None, Some(HEAD), ""), "");
    assert!(!said_to(&server, None, Some(HEAD), "GET /health/live HTTP/1.1\r\nhost:").contains("200"));
    let value = "/api/excom/v1/values/weather/r1/extract/-1/k";
    for (method, path, status) in [("PUT", value, 400), ("POST", "/api/excom/v1/pull", 408)] {
        let head = format!("{method} {path} HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {token}\r\n");
        for body in ["content-length: 10\r\n\r\n[1,", "transfer-encoding: chunked\r\n\r\n5\r\n[1,2,\r\n"] {
            let answer = said_to(&server, None, Some(BODY), &format!("{head}{body}"));
            assert!(answer.starts_with(&format!("HTTP/1.1 {status} ")), "{answer}");
        }
    }
    server.call(&token, Method::GET, value, None).is(404);
}

/// Whoever goes on and on, a little at a time, holds what has come for so long only.
#[test]
fn what_is_read_whole_has_a_time() {
    let server = Server::set(|options| options.body_time = Duration::from_millis(50));
    let token = server.person(Role::Admin);
    let value = "/api/excom/v1/values/weather/r1/extract/-1/k";
    for (method, path, secret) in
        [(Method::POST, "/api/excom/v1/pull", "false"), (Method::PUT, value, "true")]
    {
        let slowly = stream::unfold((), async |()| {
            sleep(Duration::from_millis(1)).await;
            Some((Ok::<_, Infallible>(" "), ()))
        });
        let request = Request::builder().method(method).uri(path);
        let request = request.header(header::AUTHORIZATION, format!("Bearer {token}"));
        let request = request.header("excom-secret", secret).body(Body::from_stream(slowly)).unwrap();
        assert!(server.send(request).is(408).text.contains("took too long"), "{path}");
    }
    server.call(&token, Method::GET, value, None).is(404);
}

#[test]
fn who_does_not_take_an_answer_is_cut_off() {
    let server = Server::new();
    let token = server.person(Role::Admin);
    // More than the system keeps for a connection.
    let size = 60 << 20;
    let value = "/api/excom/v1/values/weather/r1/extract/-1/k";
    let backend = memory::Backend::new(Arc::new(memory::Store::new()), 1000);
    let server = server.with_backend(backend);
    let large = serde_json::Value::from("x".repeat(size));
    server.call(&token, Method::PUT, value, Some(&large)).is(201);
    let asked = format!(
        "GET {value} HTTP/1.1\r\nhost: x\r\nconnection: close\r\nauthorization: Bearer {token}\r\n\r\n"
    );
    assert!(said_to(&server, None, None, &asked).len() > size);
    let cut = said_late(&server, None, Some(BODY), &asked, Duration::from_secs(2));
    assert!(cut.starts_with("HTTP/1.1 200") && cut.len() < size, "{}", cut.len());
}

/// Of a value that is a stream, of one that is not, and of an earlier version.
#[test]
fn heads_of_values_tell_their_length() {
    let server = Server::offloading();
    let token = server.person(Role::Admin);
    let value = "/api/excom/v1/values/weather/r1/extract/-1/k";
    for text in ["x".repeat(100_000), "x".to_owned()] {
        server.call(&token, Method::PUT, value, Some(&text.clone().into())).is(201);
        let path = format!("/api/excom/v1/history{}", value.strip_prefix("/api/excom/v1/values").unwrap());
        let history = server.call(&token, Method::GET, &path, None).json();
        let past = history["history"].as_array().unwrap().last().map(|past| {
            (format!("{value}?version={}", past["version"].as_str().unwrap()), "x".repeat(100_000))
        });
        for (path, text) in past.into_iter().chain([(value.to_owned(), text)]) {
            let length = text.len() + 2;
            for method in ["GET", "HEAD"] {
                let told = said_to(
                    &server,
                    None,
                    None,
                    &format!(
                        "{method} {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\
                         authorization: Bearer {token}\r\n\r\n"
                    ),
                );
                let (head, body) = told.split_once("\r\n\r\n").unwrap();
                let tells = head.contains(&format!("\r\ncontent-length: {length}\r\n"));
                let chunked = head.contains("\r\ntransfer-encoding: chunked\r\n");
                match method {
                    "HEAD" => assert!(tells && body.is_empty(), "{head}"),
                    _ => assert!(tells && body.len() == length || chunked && body.len() > length, "{head}"),
                }
            }
        }
    }
}

/// What is stored of a secret is longer than what is told of it.
#[test]
fn heads_of_secrets_tell_the_length_of_their_texts() {
    let server = Server::new();
    let token = server.person(Role::Admin);
    let value = "/api/excom/v1/values/weather/r1/extract/-1/k";
    let text = "\"hunter2\"";
    let push = Request::put(value)
        .header(header::AUTHORIZATION, format!("Bearer {token}"))
        .header("excom-secret", "true")
        .body(Body::from(text));
    server.send(push.unwrap()).is(201);
    let told = server.call(&token, Method::HEAD, value, None).is(200);
    assert_eq!(
        (told.head["content-length"].as_bytes(), &*told.text),
        (text.len().to_string().as_bytes(), "")
    );
    assert_eq!(told.head["excom-secret"], "true");
    assert_eq!(server.call(&token, Method::GET, value, None).is(200).text, text);
}

#[test]
fn who_does_not_begin_with_tls_is_cut_off() {
    let folder = tempfile::tempdir().unwrap();
    let key = KeyPair::generate().unwrap();
    let certificate = CertificateParams::new(["localhost".to_owned()]).unwrap().self_signed(&key).unwrap();
    let (cert_file, key_file) = (folder.path().join("cert.pem"), folder.path().join("key.pem"));
    std::fs::write(&cert_file, certificate.pem()).unwrap();
    std::fs::write(&key_file, key.serialize_pem()).unwrap();
    let tls = Tls::at(cert_file, key_file).unwrap();
    assert!(!format!("{tls:?}").contains("PRIVATE"));
    let server = Server::new();
    assert_eq!(said_to(&server, Some(tls.clone()), Some(HANDSHAKE), ""), "");
    assert!(
        !said_to(&server, Some(tls), Some(HANDSHAKE), "GET /health/live HTTP/1.1\r\nhost: x\r\n\r\n")
            .contains("HTTP")
    );
}
