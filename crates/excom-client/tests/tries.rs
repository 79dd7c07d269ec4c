//! What is sent, how often, and what comes of it, with a server whose answers are written down beforehand.

#![allow(clippy::unwrap_used, reason = "helpers of tests are tests too")]

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use excom_client::{Client, Options, Try};
use excom_core::{
    Error, ErrorKind, Payload, PullOptions, Result, SequenceKey, TaskInstanceKey, Value, Version, XComKey,
};
use pollster::block_on;

/// What is done with a request.
#[derive(Clone, Copy)]
enum Does {
    /// It is answered with a status, lines of a head, and a document.
    Says(&'static str, &'static str, &'static str),
    /// The connection is closed.
    HangsUp,
}

/// A request as it came.
#[derive(Debug, Clone, Default)]
struct Came {
    line: String,
    head: Vec<(String, String)>,
    body: Vec<u8>,
    /// Whether the body came to its end.
    whole: bool,
}

impl Came {
    fn header(&self, name: &str) -> Option<&str> {
        self.head.iter().find(|(found, _)| found == name).map(|(_, value)| &**value)
    }
}

/// A server that does as it is told, and the last of it for ever.
struct Server {
    address: String,
    came: Arc<Mutex<Vec<Came>>>,
}

impl Server {
    fn that(does: &'static [Does]) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = format!("http://{}", listener.local_addr().unwrap());
        let came = Arc::new(Mutex::new(Vec::new()));
        let noted = Arc::clone(&came);
        thread::spawn(move || {
            for (place, stream) in listener.incoming().enumerate() {
                let mut stream = stream.unwrap();
                let does = does[place.min(does.len() - 1)];
                let request = read(&stream);
                noted.lock().unwrap().push(request);
                if let Does::Says(status, head, text) = does {
                    let head = format!(
                        "HTTP/1.1 {status}\r\n{head}content-length: {}\r\nconnection: close",
                        text.len()
                    );
                    drop(write!(stream, "{head}\r\n\r\n{text}"));
                }
                drop(stream.shutdown(Shutdown::Both));
            }
        });
        Self { address, came }
    }

    fn client(&self) -> Client {
        self.patient(Duration::from_secs(30))
    }

    fn patient(&self, patience: Duration) -> Client {
        let mut options = Options::default();
        options.patience = patience;
        Client::with(&self.address, "hunter2", options).unwrap()
    }

    fn came(&self) -> Vec<Came> {
        self.came.lock().unwrap().clone()
    }
}

fn read(stream: &TcpStream) -> Came {
    let mut reader = BufReader::new(stream);
    let mut came = Came::default();
    reader.read_line(&mut came.line).unwrap();
    loop {
        let mut line = String::new();
        reader.read_line(&mut line).unwrap();
        let Some((name, value)) = line.trim_end().split_once(": ") else { break };
        came.head.push((name.to_lowercase(), value.to_owned()));
    }
    if let Some(length) = came.header("content-length").map(|length| length.parse().unwrap()) {
        came.body.resize(length, 0);
        came.whole = reader.read_exact(&mut came.body).is_ok();
    } else if came.header("transfer-encoding") == Some("chunked") {
        loop {
            let mut size = String::new();
            if reader.read_line(&mut size).unwrap_or(0) == 0 {
                break;
            }
            let size = usize::from_str_radix(size.trim_end(), 16).unwrap();
            let mut piece = vec![0; size + 2];
            if reader.read_exact(&mut piece).is_err() {
                break;
            }
            if size == 0 {
                came.whole = true;
                break;
            }
            came.body.extend_from_slice(&piece[..size]);
        }
    } else {
        came.whole = true;
    }
    came
}

const JSON: &str = "content-type: application/json\r\n";
const NO_INDEXES: Does = Does::Says("200 OK", JSON, r#"{"indexes": []}"#);
const BUSY: Does = Does::Says(
    "503 Service Unavailable",
    JSON,
    r#"{"detail": {"reason": "unavailable", "message": "away"}}"#,
);
const PUSHED: Does = Does::Says(
    "201 Created",
    JSON,
    r#"{"version": "0c5b1e7a40000001", "size": 1, "kind": "number", "offloaded": false, "already": false, "warnings": []}"#,
);

fn key() -> XComKey {
    XComKey::new("weather", "r1", "count", -1, "rows").unwrap()
}

fn sequence() -> SequenceKey {
    key().sequence()
}

#[test]
fn what_is_busy_or_away_for_a_while_is_asked_again() {
    const LIMITED: Does =
        Does::Says("429 Too Many Requests", "content-type: application/json\r\nretry-after: 0\r\n", "{}");
    const PROXY: Does = Does::Says("502 Bad Gateway", "content-type: text/html\r\n", "<html>");
    const CUT: Does = Does::Says(
        "200 OK",
        "content-type: application/json\r\ntransfer-encoding: chunked\r\n",
        "5\r\n{\"ind",
    );
    let server = Server::that(&[BUSY, LIMITED, PROXY, Does::HangsUp, CUT, NO_INDEXES]);
    assert_eq!(block_on(server.client().indexes(&sequence())).unwrap(), [] as [i32; 0]);
    let came = server.came();
    assert_eq!(came.len(), 6);
    assert!(came.iter().all(|came| came.header("authorization") == Some("Bearer hunter2")));
    assert!(came[0].line.starts_with("GET /api/excom/v1/indexes/weather/r1/count/rows HTTP"), "{came:?}");
}

#[test]
fn it_is_asked_only_for_so_long() {
    let server = Server::that(&[BUSY]);
    let error = block_on(server.patient(Duration::from_millis(400)).indexes(&sequence())).unwrap_err();
    assert_eq!((error.kind(), error.to_string().as_str()), (ErrorKind::Unavailable, "away"));
    assert!((2..10).contains(&server.came().len()));
    let server = Server::that(&[BUSY]);
    block_on(server.patient(Duration::ZERO).indexes(&sequence())).unwrap_err();
    assert_eq!(server.came().len(), 1);
    let nobody = Server::that(&[BUSY]).address.replace("127.0.0.1", "127.0.0.2");
    let mut options = Options::default();
    options.patience = Duration::from_millis(400);
    let client = Client::with(&nobody, "hunter2", options).unwrap();
    let error = block_on(client.indexes(&sequence())).unwrap_err();
    assert_eq!(error.exit_code(), 7);
    let told = format!("{error:?}");
    assert!(told.contains(&nobody) && told.contains("refused") && !told.contains("hunter2"), "{told}");
}

#[test]
fn what_is_not_safe_is_asked_once() {
    let server = Server::that(&[Does::HangsUp]);
    let new = Try {
        ti: TaskInstanceKey::new("weather", "r1", "count", -1).unwrap(),
        try_number: None,
        max_tries: 0,
    };
    assert_eq!(block_on(server.client().queue(&new)).unwrap_err().kind(), ErrorKind::Unavailable);
    assert_eq!(server.came().len(), 1);
    let server = Server::that(&[BUSY]);
    block_on(server.client().queue(&new)).unwrap_err();
    assert_eq!(server.came().len(), 1);
    // What is refused for itself is refused again.
    const REFUSES: Does =
        Does::Says("409 Conflict", JSON, r#"{"detail": {"reason": "superseded", "message": "replaced"}}"#);
    let server = Server::that(&[REFUSES]);
    let error = block_on(server.client().push(&key(), Value::of(&7).unwrap().into())).unwrap_err();
    assert_eq!((error.kind(), error.exit_code(), server.came().len()), (ErrorKind::Superseded, 5, 1));
}

#[test]
fn a_push_is_repeated_as_the_same_version() {
    let server = Server::that(&[Does::HangsUp, BUSY, PUSHED]);
    block_on(server.client().push(&key(), Value::of(&7).unwrap().into())).unwrap();
    let came = server.came();
    assert_eq!(came.len(), 3);
    assert!(came[0].line.starts_with("PUT /api/excom/v1/values/weather/r1/count/-1/rows HTTP"), "{came:?}");
    let versions: Vec<Version> =
        came.iter().map(|came| came.header("excom-version").unwrap().parse().unwrap()).collect();
    assert!(versions.iter().all(|version| *version == versions[0]));
    assert!(came.iter().all(|came| came.body == b"7" && came.header("excom-secret").is_none()));

    let server = Server::that(&[PUSHED]);
    let secret = Value::of("hunter3").unwrap().into_secret();
    block_on(server.client().push(&key(), secret.into())).unwrap();
    assert_eq!(server.came()[0].header("excom-secret"), Some("true"));
}

/// A value of so many bytes that is streamed, and then fails if it is to.
fn streamed(bytes: usize, error: Option<ErrorKind>) -> Payload {
    let piece = |i| Ok(if i == 0 { b"\"".to_vec() } else { vec![b'x'; 100_000] }.into());
    let end = match error {
        None => Ok(b"\"".to_vec().into()),
        Some(kind) => Err(Error::new(kind, "the source is gone")),
    };
    let pieces: Vec<Result<_>> = (0..bytes / 100_000).map(piece).chain([end]).collect();
    Payload::Stream(Box::pin(futures_util::stream::iter(pieces)))
}

#[test]
fn a_stream_is_repeated_as_long_as_it_can_be_had_again() {
    let server = Server::that(&[Does::HangsUp, PUSHED]);
    block_on(server.client().push(&key(), streamed(500_000, None))).unwrap();
    assert_eq!(server.came().len(), 2);

    let server = Server::that(&[Does::HangsUp, PUSHED]);
    let error = block_on(server.client().push(&key(), streamed(5_000_000, None))).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unavailable);
    let came = server.came();
    assert_eq!(came.len(), 1);
    assert!(came[0].whole && came[0].body.len() > 4_000_000);
    assert!(format!("{error:?}").contains(came[0].header("excom-version").unwrap()), "{error:?}");

    // Nobody is there at first.
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = format!("http://{}", listener.local_addr().unwrap());
    drop(listener);
    let mut options = Options::default();
    options.patience = Duration::from_millis(300);
    let client = Client::with(&address, "t", options).unwrap();
    let error = block_on(client.push(&key(), streamed(5_000_000, None))).unwrap_err();
    assert!(format!("{error:?}").contains("it was tried"), "{error:?}");
}

#[test]
fn a_stream_that_fails_is_no_value() {
    let server = Server::that(&[PUSHED]);
    let error =
        block_on(server.client().push(&key(), streamed(5_000_000, Some(ErrorKind::Lost)))).unwrap_err();
    assert_eq!((error.kind(), error.to_string().as_str()), (ErrorKind::Lost, "the source is gone"));
    let error = block_on(server.client().push(&key(), streamed(5_000, Some(ErrorKind::Lost)))).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Lost);
    // Nothing was sent of the second; and of the first not the end.
    while server.came().is_empty() {
        thread::yield_now();
    }
    let came = server.came();
    assert_eq!((came.len(), came[0].whole), (1, false));
}

#[test]
fn a_token_that_expired_is_told() {
    const REFUSES: Does =
        Does::Says("403 Forbidden", JSON, r#"{"detail": "Invalid auth token: it expired"}"#);
    let server = Server::that(&[REFUSES]);
    let error = block_on(server.client().push(&key(), streamed(500_000, None))).unwrap_err();
    assert_eq!((error.kind(), error.exit_code()), (ErrorKind::Forbidden, 5));
    assert!(error.hints()[0].contains("excom token"), "{error:?}");
}

#[test]
fn a_newer_token_is_taken_over() {
    const REFRESHES: Does = Does::Says(
        "200 OK",
        "content-type: application/json\r\nrefreshed-api-token: hunter3\r\n",
        r#"{"indexes": []}"#,
    );
    let server = Server::that(&[REFRESHES, NO_INDEXES]);
    let (client, other) = (server.client(), server.client());
    let clone = client.clone();
    block_on(client.indexes(&sequence())).unwrap();
    block_on(clone.indexes(&sequence())).unwrap();
    block_on(other.indexes(&sequence())).unwrap();
    let tokens: Vec<_> =
        server.came().iter().map(|came| came.header("authorization").unwrap().to_owned()).collect();
    assert_eq!(tokens, ["Bearer hunter2", "Bearer hunter3", "Bearer hunter2"]);
}

#[test]
fn what_is_no_excom_is_told_as_such() {
    const PAGE: Does = Does::Says("200 OK", "content-type: text/html\r\n", "<html>");
    const LEADS: Does = Does::Says("302 Found", "location: https://elsewhere.example/\r\n", "");
    const OTHER: Does = Does::Says("200 OK", JSON, r#"{"hello": "world"}"#);
    const FEWER: Does = Does::Says("200 OK", JSON, r#"{"answers": []}"#);
    for (does, kind) in [
        (&[PAGE], ErrorKind::Incompatible),
        (&[LEADS], ErrorKind::Configuration),
        (&[OTHER], ErrorKind::Incompatible),
        (&[FEWER], ErrorKind::Incompatible),
    ] {
        let server = Server::that(does);
        let error = block_on(server.client().pull(&[key()], PullOptions::default())).unwrap_err();
        assert_eq!(error.kind(), kind, "{error:?}");
        assert_eq!(server.came().len(), 1);
    }
}

#[test]
fn more_than_a_request_takes_are_several() {
    // Each answers nothing, which is too little for the first already.
    let server = Server::that(&[Does::Says("200 OK", JSON, r#"{"answers": []}"#)]);
    let keys: Vec<XComKey> = (0..10_001).map(|index| key().at(index)).collect();
    block_on(server.client().pull(&keys, PullOptions::default())).unwrap_err();
    let body = String::from_utf8(server.came()[0].body.clone()).unwrap();
    assert_eq!(body.matches("\"task_id\"").count(), 10_000);
}
