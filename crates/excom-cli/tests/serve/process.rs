//! How the server begins, ends and refuses.

use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::thread::sleep;
use std::time::{Duration, Instant};

use crate::{Served, excom};

/// Sends bytes and reads until the other side closes.
pub(crate) fn exchange(address: &str, request: &str) -> String {
    let mut stream = TcpStream::connect(address.trim_start_matches("http://")).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    // The other side may have had enough of it.
    drop(stream.write_all(request.as_bytes()));
    let mut answer = Vec::new();
    drop(stream.read_to_end(&mut answer));
    String::from_utf8(answer).unwrap()
}

pub(crate) fn get(address: &str, path: &str, token: &str) -> String {
    let head = format!("GET {path} HTTP/1.1\r\nhost: excom\r\nconnection: close\r\n");
    exchange(address, &format!("{head}authorization: Bearer {token}\r\n\r\n"))
}

/// Asks until it is ready.
pub(crate) fn ready(server: &Served) {
    let begun = Instant::now();
    while !get(&server.address, "/health/ready", "").starts_with("HTTP/1.1 200") {
        assert!(begun.elapsed() < Duration::from_secs(60));
        sleep(Duration::from_millis(20));
    }
}

#[test]
fn it_serves_until_told_to_stop_and_ends_well() {
    let folder = tempfile::tempdir().unwrap();
    let home = folder.path().join("home");
    let server = Served::start(&home);
    ready(&server);
    let value = get(&server.address, "/api/excom/v1/values/weather/r1/count/-1/rows", &server.token);
    assert!(value.starts_with("HTTP/1.1 404"), "{value}");
    // What is pushed beside it, it pulls.
    let names = ["--dag-id", "weather", "--run-id", "r1", "--task-id", "count", "--key", "rows"];
    assert!(excom(&home).args(["xcom", "push"]).args(names).arg("365").status().unwrap().success());
    let value = get(&server.address, "/api/excom/v1/values/weather/r1/count/-1/rows", &server.token);
    assert!(value.starts_with("HTTP/1.1 200") && value.ends_with("\r\n\r\n365"), "{value}");
    assert!(server.stop().success());
}

#[test]
fn whoever_waits_for_xcoms_is_answered_when_it_stops() {
    let folder = tempfile::tempdir().unwrap();
    let server = Served::start(&folder.path().join("home"));
    ready(&server);
    let head = format!("HTTP/1.1\r\nhost: excom\r\nauthorization: Bearer {}\r\n", server.token);
    let push = "PUT /api/excom/v1/values/weather/r1/count/-1/rows";
    let pushed =
        exchange(&server.address, &format!("{push} {head}connection: close\r\ncontent-length: 1\r\n\r\n7"));
    assert!(pushed.starts_with("HTTP/1.1 201"), "{pushed}");
    let asked = "{\"dag_id\": \"weather\", \"run_id\": \"r1\", \"xcoms\": [
        {\"task_id\": \"count\", \"key\": \"rows\", \"map_index\": -1}, {\"task_id\": \"load\"}]}";
    let head = format!("{head}accept: text/event-stream\r\ncontent-length: {}\r\n\r\n", asked.len());
    let mut stream = TcpStream::connect(server.address.trim_start_matches("http://")).unwrap();
    stream.write_all(format!("POST /api/excom/v1/wait {head}{asked}").as_bytes()).unwrap();
    let mut told = String::new();
    let mut piece = [0; 4096];
    while !told.contains("event: answer") {
        let length = stream.read(&mut piece).unwrap();
        assert!(length > 0, "{told}");
        told.push_str(std::str::from_utf8(&piece[..length]).unwrap());
    }
    assert!(server.stop().success());
    stream.read_to_string(&mut told).unwrap();
    assert!(told.contains("event: end\ndata: {\"pending\":[1]}"), "{told}");
}

#[test]
fn nonsense_is_answered_and_hurts_nobody() {
    let folder = tempfile::tempdir().unwrap();
    let server = Served::start(&folder.path().join("home"));
    ready(&server);
    assert!(exchange(&server.address, "nonsense\r\n\r\n").starts_with("HTTP/1.1 400"));
    let endless = format!("GET / HTTP/1.1\r\nx: {}\r\n\r\n", "y".repeat(1 << 20));
    let refused = exchange(&server.address, &endless);
    assert!(refused.is_empty() || refused.starts_with("HTTP/1.1 431"), "{refused}");
    // A body over the limit is refused before it is sent.
    let large = "POST /api/excom/v1/pull HTTP/1.1\r\nhost: x\r\nconnection: close\r\ncontent-length: 999999999999\r\n";
    let refused =
        exchange(&server.address, &format!("{large}authorization: Bearer {}\r\n\r\n", server.token));
    assert!(refused.starts_with("HTTP/1.1 413"), "{refused}");
    assert!(get(&server.address, "/health/live", "").starts_with("HTTP/1.1 200"));
    assert!(server.stop().success());
}

#[test]
fn a_database_that_cannot_be_opened_is_told_until_it_can() {
    let folder = tempfile::tempdir().unwrap();
    let home = folder.path().join("home");
    let database = home.join("excom.db");
    std::fs::create_dir_all(&database).unwrap();
    let server = Served::start(&home);
    let begun = Instant::now();
    let not_ready = loop {
        let answer = get(&server.address, "/health/ready", "");
        assert!(begun.elapsed() < Duration::from_secs(60), "{answer}");
        if answer.contains("excom.db") {
            break answer;
        }
        sleep(Duration::from_millis(20));
    };
    assert!(not_ready.starts_with("HTTP/1.1 503"), "{not_ready}");
    assert!(get(&server.address, "/health/live", "").starts_with("HTTP/1.1 200"));
    let refused = get(&server.address, "/api/excom/v1/values/d/r/t/-1/k", &server.token);
    assert!(refused.starts_with("HTTP/1.1 503"), "{refused}");
    // Whoever watches it is told the same in their own words, and nobody else.
    let metrics = get(&server.address, "/metrics", &server.token);
    assert!(metrics.starts_with("HTTP/1.1 200") && metrics.contains("\nexcom_ready 0\n"), "{metrics}");
    assert!(get(&server.address, "/metrics", "nonsense").starts_with("HTTP/1.1 403"));
    std::fs::remove_dir(&database).unwrap();
    ready(&server);
    let metrics = get(&server.address, "/metrics", &server.token);
    assert!(metrics.starts_with("HTTP/1.1 200") && metrics.contains("\nexcom_ready 1\n"), "{metrics}");
    assert!(server.stop().success());
}

#[test]
fn what_it_cannot_serve_with_is_told() {
    let folder = tempfile::tempdir().unwrap();
    let home = folder.path().join("home");
    let told = |command: &mut std::process::Command| {
        let output = command.output().unwrap();
        assert!(!output.status.success());
        String::from_utf8(output.stderr).unwrap()
    };
    let missing = told(excom(&home).arg("serve"));
    assert!(missing.contains("[server] token_secret") && missing.contains("--dev"), "{missing}");
    let short = told(excom(&home).arg("serve").env("EXCOM__SERVER__TOKEN_SECRET", "short"));
    assert!(short.contains("5 bytes") && !short.contains("short\n"), "{short}");
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let taken = told(excom(&home).args(["serve", "--dev", "--listen", &address]));
    assert!(taken.contains(&address), "{taken}");
    let file = folder.path().join("file");
    std::fs::write(&file, "in the way").unwrap();
    let file = told(excom(&file).args(["serve", "--dev"]));
    assert!(file.contains("(from --home) is not a folder") && file.contains("[core] home"), "{file}");
    let nowhere = told(excom(&home).arg("serve").env("EXCOM__SERVER__LISTEN", "8080"));
    assert!(nowhere.contains("[server] listen") && nowhere.contains("127.0.0.1:8794"), "{nowhere}");
}

#[test]
fn a_token_of_the_command_opens_a_server_with_the_same_secret() {
    let folder = tempfile::tempdir().unwrap();
    let home = folder.path().join("home");
    let secret = ("EXCOM__SERVER__TOKEN_SECRET", "a secret of the tests, long enough");
    let token = excom(&home).args(["token", "ana", "--role", "admin"]).envs([secret]).output().unwrap();
    assert!(token.status.success());
    let token = String::from_utf8(token.stdout).unwrap();
    assert_eq!(token.trim().split('.').count(), 3);
    // Nothing shows the secret.
    let shown = excom(&home).args(["config", "list"]).envs([secret]).output().unwrap();
    assert!(!String::from_utf8(shown.stdout).unwrap().contains("long enough"));
}
