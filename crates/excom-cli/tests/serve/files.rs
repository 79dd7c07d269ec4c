//! What the server has from files that change while it runs: certificate, keys of tokens, access log.

use std::fs;
use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::path::Path;
use std::sync::Arc;
use std::thread::sleep;
use std::time::{Duration, Instant};

use excom_testkit::certificates::{Authority, Certificate};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};
use serde_json::Value as Json;

use crate::process::{exchange, get, ready};
use crate::{Served, excom};

/// Tries until something is so.
fn until<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let begun = Instant::now();
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(begun.elapsed() < Duration::from_secs(60), "{what}");
        sleep(Duration::from_millis(20));
    }
}

/// Asks over TLS, trusting one authority.
fn get_secure(address: &str, root: &str, path: &str, token: &str) -> Result<String, std::io::Error> {
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_slice(root.as_bytes()).unwrap()).unwrap();
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
    let config = Arc::new(config.with_root_certificates(roots).with_no_client_auth());
    let name = ServerName::try_from("localhost").unwrap();
    let connection = ClientConnection::new(config, name).map_err(std::io::Error::other)?;
    let mut stream =
        StreamOwned::new(connection, TcpStream::connect(address.trim_start_matches("https://")).unwrap());
    let head = format!("GET {path} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n");
    stream.write_all(format!("{head}authorization: Bearer {token}\r\n\r\n").as_bytes())?;
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer)?;
    Ok(String::from_utf8(answer).unwrap())
}

fn write(folder: &Path, signed: &Certificate) -> [String; 2] {
    let files = [("certificate.pem", &signed.certificate), ("key.pem", &signed.key)];
    files.map(|(name, text)| {
        fs::write(folder.join(name), text).unwrap();
        folder.join(name).display().to_string()
    })
}

#[test]
fn tls_is_spoken_with_the_certificate_that_is_there_now() {
    let folder = tempfile::tempdir().unwrap();
    let (first, second) = (Authority::new("first").unwrap(), Authority::new("second").unwrap());
    let [certificate, key] = write(folder.path(), &first.sign("excom", &["localhost"]).unwrap());
    let settings = [("EXCOM__SERVER__TLS_CERTIFICATE", &*certificate), ("EXCOM__SERVER__TLS_KEY", &key)];
    let server = Served::set(&folder.path().join("home"), &settings);
    assert!(server.address.starts_with("https://"), "{}", server.address);
    // Who begins and says nothing keeps nobody waiting.
    let _silent = TcpStream::connect(server.address.trim_start_matches("https://")).unwrap();
    let ask = |root: &Authority, path: &str| get_secure(&server.address, root.root(), path, &server.token);
    until("not ready", || ask(&first, "/health/ready").unwrap().starts_with("HTTP/1.1 200").then_some(()));
    let value = ask(&first, "/api/excom/v1/values/weather/r1/count/-1/rows").unwrap();
    assert!(value.starts_with("HTTP/1.1 404"), "{value}");
    // Nothing is told to whoever does not speak it.
    let plain = server.address.replace("https://", "");
    let mut stream = TcpStream::connect(&plain).unwrap();
    stream.write_all(b"GET /health/live HTTP/1.1\r\nhost: x\r\n\r\n").unwrap();
    let mut answer = Vec::new();
    drop(stream.read_to_end(&mut answer));
    assert!(!answer.starts_with(b"HTTP"), "{answer:?}");

    assert!(ask(&second, "/health/live").is_err());
    write(folder.path(), &second.sign("excom", &["localhost"]).unwrap());
    server.signal("-HUP");
    until("the old certificate", || ask(&second, "/health/live").ok());
    // What cannot be used leaves things as they are.
    fs::write(&certificate, "nonsense").unwrap();
    server.signal("-HUP");
    for _ in 0..5 {
        assert!(ask(&second, "/health/live").unwrap().starts_with("HTTP/1.1 200"));
    }
    assert!(server.stop().success());
}

#[test]
fn a_certificate_that_cannot_be_used_is_told() {
    let folder = tempfile::tempdir().unwrap();
    let authority = Authority::new("ours").unwrap();
    let [certificate, key] = write(folder.path(), &authority.sign("excom", &["localhost"]).unwrap());
    let other = folder.path().join("other.pem");
    fs::write(&other, authority.sign("other", &["localhost"]).unwrap().key).unwrap();
    let (gone, other) = (folder.path().join("gone.pem").display().to_string(), other.display().to_string());
    for (certificate, key, why) in [
        (&gone, &key, "gone.pem cannot be read"),
        (&certificate, &gone, "gone.pem cannot be read"),
        (&key, &key, "key.pem has no certificate in PEM"),
        (&certificate, &certificate, "certificate.pem has no private key in PEM"),
        (&certificate, &other, "cannot be used with the key in"),
    ] {
        let mut command = excom(&folder.path().join("home"));
        command.args(["serve", "--dev"]).env("EXCOM__SERVER__TLS_CERTIFICATE", certificate);
        let output = command.env("EXCOM__SERVER__TLS_KEY", key).output().unwrap();
        let told = String::from_utf8(output.stderr).unwrap();
        assert!(!output.status.success() && told.contains(why), "{why}: {told}");
        assert!(!told.contains("PRIVATE KEY"), "{told}");
    }
}

#[test]
fn every_request_is_a_line_without_secrets() {
    let folder = tempfile::tempdir().unwrap();
    let log = folder.path().join("access.log");
    let settings = [("EXCOM__SERVER__ACCESS_LOG", log.to_str().unwrap())];
    let server = Served::set(&folder.path().join("home"), &settings);
    ready(&server);
    let path = "/api/excom/v1/values/weather/r1/count/-1/rowskey?hidden=parameter";
    let pushed = format!(
        "PUT {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\ncorrelation-id: mine-7\r\nauthorization: Bearer {}\r\n\
         content-length: 6\r\n\r\n987654",
        server.token
    );
    let answer = exchange(&server.address, &pushed);
    assert!(answer.starts_with("HTTP/1.1 201") && answer.contains("correlation-id: mine-7"), "{answer}");
    let named = path.trim_end_matches("?hidden=parameter");
    let value = get(&server.address, named, &server.token);
    assert!(value.ends_with("987654"), "{value}");
    assert!(get(&server.address, "/api/excom/v1/pull", "nonsense").starts_with("HTTP/1.1 405"));
    assert!(get(&server.address, path, "nonsense").starts_with("HTTP/1.1 403"));
    assert!(get(&server.address, "/nowhere/at/all", "").starts_with("HTTP/1.1 404"));
    let lines = || {
        let text = fs::read_to_string(&log).unwrap_or_default();
        text.lines().map(|line| serde_json::from_str::<Json>(line).unwrap()).collect::<Vec<_>>()
    };
    // A line comes when its answer is sent.
    let last = |line: &Json| line["status"] == 404 && line["route"] == "none";
    let found = until("no line", || Some(lines()).filter(|lines| lines.iter().any(last)));
    let of = |method: &str, status: u16| {
        let found = found.iter().find(|line| line["method"] == method && line["status"] == status);
        found.unwrap_or_else(|| panic!("{method} {status} in {found:?}"))
    };
    let route = "/api/excom/v1/values/{dag_id}/{run_id}/{task_id}/{map_index}/{*key}";
    let push = of("PUT", 201);
    assert_eq!(
        (&push["route"], &push["subject"], &push["role"]),
        (&route.into(), &"dev".into(), &"admin".into())
    );
    assert_eq!(push["request_id"], "mine-7");
    let refused = of("GET", 403);
    assert_eq!((&refused["route"], &refused["subject"]), (&route.into(), &Json::Null));
    let read = found.iter().find(|line| line["route"] == route && line["status"] == 200).unwrap();
    assert_eq!((&read["bytes"], &read["method"]), (&6.into(), &"GET".into()));
    assert!(
        read["micros"].as_u64().unwrap() > 0 && read["client"].as_str().unwrap().starts_with("127.0.0.1:")
    );
    let ids: std::collections::BTreeSet<&str> =
        found.iter().map(|line| line["request_id"].as_str().unwrap()).collect();
    assert_eq!(ids.len(), found.len());

    // Somebody moves it away.
    let moved = folder.path().join("access.log.1");
    fs::rename(&log, &moved).unwrap();
    server.signal("-HUP");
    until("no new file", || {
        get(&server.address, "/health/live", "");
        Some(()).filter(|()| lines().iter().any(|line| line["route"] == "/health/live"))
    });
    let token = server.token.clone();
    assert!(server.stop().success());
    let all = fs::read_to_string(&moved).unwrap() + &fs::read_to_string(&log).unwrap();
    for hidden in
        [&*token, token.rsplit('.').next().unwrap(), "Bearer", "987654", "parameter", "rowskey", "nowhere"]
    {
        assert!(!all.contains(hidden), "{hidden} in {all}");
    }
}

#[test]
fn keys_of_tokens_are_files_in_airflows_names_and_read_again() {
    let folder = tempfile::tempdir().unwrap();
    let home = folder.path().join("home");
    let authority = Authority::new("keys").unwrap();
    let private = |name: &str| {
        let path = folder.path().join(name);
        fs::write(&path, authority.sign(name, &[]).unwrap().key).unwrap();
        path.display().to_string()
    };
    let (ours, theirs) = (private("ours.pem"), private("theirs.pem"));
    let token = |key: &str| {
        let mut command = excom(&home);
        command.args(["token", "ana", "--role", "read"]).env("AIRFLOW__API_AUTH__JWT_PRIVATE_KEY_PATH", key);
        let output = command.output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap().trim().to_owned()
    };
    let (first, second) = (token(&ours), token(&theirs));
    let server = Served::set(&home, &[("AIRFLOW__API_AUTH__JWT_PRIVATE_KEY_PATH", &ours)]);
    ready(&server);
    let status = |token: &str| {
        let answer = get(&server.address, "/api/excom/v1/values/weather/r1/count/-1/rows", token);
        answer["HTTP/1.1 ".len()..][..3].to_owned()
    };
    assert_eq!([&*server.token, &first, &second].map(status), ["404", "404", "403"]);
    fs::copy(&theirs, &ours).unwrap();
    server.signal("-HUP");
    until("the old key", || (status(&second) == "404").then_some(()));
    assert_eq!(status(&first), "403");
    // Without its file the key stays.
    fs::remove_file(&ours).unwrap();
    server.signal("-HUP");
    assert_eq!(status(&second), "404");
    assert!(server.stop().success());
}

/// A task that runs: the token with which it asks.
fn running(server: &Served) -> String {
    let post = |path: &str, body: &str| {
        let head = format!("POST /api/excom/v1/{path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n");
        let head =
            format!("{head}authorization: Bearer {}\r\ncontent-length: {}\r\n\r\n", server.token, body.len());
        exchange(&server.address, &(head + body))
    };
    post("runs", r#"{"dag_id": "weather", "run_id": "r1", "logical_date": "2026-11-21T10:00:00Z"}"#);
    let queued = post("task-instances", r#"{"dag_id": "weather", "run_id": "r1", "task_id": "count"}"#);
    let queued: Json = serde_json::from_str(queued.split("\r\n\r\n").nth(1).unwrap()).unwrap();
    let body = r#"{"state": "running", "hostname": "here", "unixname": "me", "pid": 1, "start_date": "2026-11-21T10:00:01Z"}"#;
    let path = format!("/execution/task-instances/{}/run", queued["id"].as_str().unwrap());
    let head = format!(
        "PATCH {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\ncontent-type: application/json\r\n"
    );
    let token = queued["token"].as_str().unwrap();
    let head = format!("{head}authorization: Bearer {token}\r\ncontent-length: {}\r\n\r\n", body.len());
    let started = exchange(&server.address, &(head + body));
    let token = started.lines().find_map(|line| line.strip_prefix("refreshed-api-token: "));
    token.unwrap_or_else(|| panic!("{started}")).to_owned()
}

#[test]
fn connections_are_read_again_and_written_nowhere() {
    let folder = tempfile::tempdir().unwrap();
    let (file, log) = (folder.path().join("connections.json"), folder.path().join("access.log"));
    fs::write(&file, r#"{"a": "http://ana:hunter2@first"}"#).unwrap();
    let settings = [
        ("EXCOM__SERVER__CONNECTIONS", file.to_str().unwrap()),
        ("EXCOM__SERVER__ACCESS_LOG", log.to_str().unwrap()),
        ("AIRFLOW_CONN_B", "http://ana:hunter2@environment"),
    ];
    let home = folder.path().join("home");
    let server = Served::set(&home, &settings);
    ready(&server);
    let token = running(&server);
    let host = |id: &str| {
        let answer = get(&server.address, &format!("/execution/connections/{id}"), &token);
        let told: Json = serde_json::from_str(answer.split("\r\n\r\n").nth(1).unwrap()).unwrap();
        told["host"].as_str().map(str::to_owned)
    };
    assert_eq!((host("a").as_deref(), host("b").as_deref()), (Some("first"), Some("environment")));
    fs::write(&file, r#"{"a": "http://ana:hunter2@second"}"#).unwrap();
    server.signal("-HUP");
    until("the old connection", || (host("a").as_deref() == Some("second")).then_some(()));
    assert!(get(&server.address, "/execution/connections/a", &server.token).starts_with("HTTP/1.1 403"));
    assert!(server.stop().success());
    let written = fs::read_to_string(&log).unwrap();
    assert!(written.contains("/execution/connections/{*id}") && !written.contains("hunter2"), "{written}");
    for entry in fs::read_dir(&home).unwrap() {
        let path = entry.unwrap().path();
        let bytes = if path.is_file() { fs::read(&path).unwrap() } else { Vec::new() };
        assert!(!bytes.windows(7).any(|part| part == b"hunter2"), "{}", path.display());
    }
}

#[test]
fn connections_that_cannot_be_read_are_told_at_the_start() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("connections.json");
    fs::write(&file, r#"{"a": "http://ana:hunter2@host:x"}"#).unwrap();
    let gone = folder.path().join("gone.json");
    for (name, value, why) in [
        (
            "EXCOM__SERVER__CONNECTIONS",
            file.to_str().unwrap(),
            "connections.json: the connection `a` has a port",
        ),
        ("EXCOM__SERVER__CONNECTIONS", gone.to_str().unwrap(), "gone.json cannot be read"),
        (
            "AIRFLOW_CONN_MY_DB",
            "http://ana:hunter2@host:x",
            "AIRFLOW_CONN_MY_DB has a port that is no number",
        ),
    ] {
        let mut command = excom(&folder.path().join("home"));
        let output = command.args(["serve", "--dev"]).env(name, value).output().unwrap();
        let told = String::from_utf8(output.stderr).unwrap();
        assert!(output.status.code() == Some(1) && told.contains(why), "{why}: {told}");
        assert!(!told.contains("hunter2"), "{told}");
    }
}
