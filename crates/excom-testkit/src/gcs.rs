//! A Google Cloud Storage for a test: just enough of its XML API for a client that puts, uploads in parts, gets,
//! lists and deletes, in threads of the test's own process.
//!
//! It is strict where a mistake would cost values: a put is refused by its generation, parts must be there and of
//! at least 5 MiB but the last, and lists come in pages of three.

use std::collections::BTreeMap;
use std::io::{self, BufReader, Write as _};
use std::net::{Ipv4Addr, Shutdown, TcpListener, TcpStream};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::Result;

/// The bucket that exists.
pub const BUCKET: &str = "values";

const TOKEN: &str = "ya29.secret-of-the-test";

/// How many objects a page of a list has.
const PAGE: usize = 3;

/// The least that a part has, but the last.
const LEAST_PART: usize = 5 << 20;

const MODIFIED: &str = "Sat, 21 Nov 2026 10:00:00 GMT";

/// A running server. It ends when it is dropped.
#[derive(Debug)]
pub struct Gcs {
    port: u16,
    shared: Arc<Mutex<State>>,
}

#[derive(Debug, Default)]
struct State {
    objects: BTreeMap<String, Object>,
    uploads: BTreeMap<u64, Upload>,
    /// The generation of the next object, the id of the next upload.
    next: u64,
    connections: Vec<TcpStream>,
    ended: bool,
}

#[derive(Debug, Clone)]
struct Object {
    bytes: Arc<Vec<u8>>,
    generation: u64,
}

#[derive(Debug)]
struct Upload {
    name: String,
    parts: BTreeMap<usize, Vec<u8>>,
}

#[derive(Debug)]
struct Request {
    method: String,
    bucket: String,
    /// Behind the bucket; empty for the bucket itself.
    name: String,
    query: BTreeMap<String, String>,
    /// Names in lower case.
    headers: BTreeMap<String, String>,
    body: Vec<u8>,
}

struct Response {
    status: &'static str,
    headers: Vec<(&'static str, String)>,
    body: Arc<Vec<u8>>,
}

impl Gcs {
    /// Starts the server.
    ///
    /// # Errors
    /// When no port is free.
    pub fn start() -> Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
        let port = listener.local_addr()?.port();
        let shared = Arc::new(Mutex::new(State::default()));
        let state = shared.clone();
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let mut locked = lock(&state);
                if locked.ended {
                    return;
                }
                locked.connections.extend(stream.try_clone());
                drop(locked);
                let state = state.clone();
                // Ends with the connection, which the drop of the server ends.
                std::thread::spawn(move || serve(&stream, &state));
            }
        });
        Ok(Self { port, shared })
    }

    /// What a client is set to.
    pub fn options(&self) -> Vec<(String, String)> {
        let url = format!("http://127.0.0.1:{}", self.port);
        [("GOOGLE_BASE_URL", url.as_str()), ("GOOGLE_BEARER_TOKEN", TOKEN)]
            .map(|(name, value)| (name.to_owned(), value.to_owned()))
            .to_vec()
    }

    /// How many uploads were begun and neither completed nor aborted.
    pub fn unfinished(&self) -> usize {
        lock(&self.shared).uploads.len()
    }
}

impl Drop for Gcs {
    fn drop(&mut self) {
        let mut state = lock(&self.shared);
        state.ended = true;
        for connection in state.connections.drain(..) {
            drop(connection.shutdown(Shutdown::Both));
        }
        drop(state);
        // Wakes the thread that waits for connections.
        drop(TcpStream::connect((Ipv4Addr::LOCALHOST, self.port)));
    }
}

fn lock(state: &Mutex<State>) -> MutexGuard<'_, State> {
    state.lock().unwrap_or_else(PoisonError::into_inner)
}

fn serve(stream: &TcpStream, state: &Mutex<State>) {
    let mut reader = BufReader::new(stream);
    while let Ok(Some(request)) = Request::read(&mut reader) {
        let response = answer(&request, state);
        if response.write(stream, request.method == "HEAD").is_err() {
            return;
        }
    }
}

fn answer(request: &Request, state: &Mutex<State>) -> Response {
    if request.headers.get("authorization") != Some(&format!("Bearer {TOKEN}")) {
        return Response::error("401 Unauthorized", "AuthenticationRequired");
    }
    if request.bucket != BUCKET {
        return Response::error("404 Not Found", "NoSuchBucket");
    }
    let mut state = lock(state);
    let upload = request.query.get("uploadId").map(|id| id.parse::<u64>().unwrap_or_default());
    match (request.method.as_str(), upload) {
        ("GET", None) if request.name.is_empty() => state.list(request),
        ("GET" | "HEAD", None) => state.get(request),
        ("PUT", None) => state.put(request),
        ("DELETE", None) => match state.objects.remove(&request.name) {
            Some(_) => Response::empty("204 No Content"),
            None => Response::error("404 Not Found", "NoSuchKey"),
        },
        ("POST", None) if request.query.contains_key("uploads") => state.begin(request),
        ("PUT", Some(id)) => state.part(request, id),
        ("POST", Some(id)) => state.complete(request, id),
        ("DELETE", Some(id)) => match state.uploads.remove(&id) {
            Some(_) => Response::empty("204 No Content"),
            None => Response::error("404 Not Found", "NoSuchUpload"),
        },
        _ => Response::error("400 Bad Request", "InvalidRequest"),
    }
}

impl State {
    fn number(&mut self) -> u64 {
        self.next += 1;
        self.next
    }

    fn store(&mut self, name: &str, bytes: Vec<u8>) -> u64 {
        let generation = self.number();
        self.objects.insert(name.to_owned(), Object { bytes: Arc::new(bytes), generation });
        generation
    }

    fn put(&mut self, request: &Request) -> Response {
        let found = self.objects.get(&request.name).map_or(0, |object| object.generation);
        let wanted = request.headers.get("x-goog-if-generation-match");
        if wanted.is_some_and(|wanted| *wanted != found.to_string()) {
            return Response::error("412 Precondition Failed", "PreconditionFailed");
        }
        let generation = self.store(&request.name, request.body.clone());
        Response::empty("200 OK").of(generation)
    }

    fn get(&self, request: &Request) -> Response {
        let Some(object) = self.objects.get(&request.name) else {
            return Response::error("404 Not Found", "NoSuchKey");
        };
        let mut response = Response::empty("200 OK").of(object.generation);
        response.body = object.bytes.clone();
        let range = request.headers.get("range").and_then(|range| range.strip_prefix("bytes="));
        if let Some((first, last)) = range.and_then(|range| range.split_once('-')) {
            let first = first.parse().unwrap_or(0).min(object.bytes.len());
            let end = last.parse().map_or(object.bytes.len(), |last: usize| last + 1).min(object.bytes.len());
            let whole = object.bytes.len();
            response.status = "206 Partial Content";
            response.headers.push(("Content-Range", format!("bytes {first}-{}/{whole}", end.max(1) - 1)));
            response.body = Arc::new(object.bytes[first..end.max(first)].to_vec());
        }
        response
    }

    fn list(&self, request: &Request) -> Response {
        let none = String::new();
        let of = |name: &str| request.query.get(name).unwrap_or(&none);
        let after = of("start-after").max(of("continuation-token"));
        let mut found =
            self.objects.iter().filter(|(name, _)| name.starts_with(of("prefix")) && *name > after);
        let page: Vec<_> = found.by_ref().take(PAGE).collect();
        let mut xml = String::from("<ListBucketResult>");
        if let (Some(_), Some((last, _))) = (found.next(), page.last()) {
            xml.push_str(&format!("<NextContinuationToken>{}</NextContinuationToken>", escaped(last)));
        }
        for (name, object) in page {
            xml.push_str(&format!(
                "<Contents><Key>{}</Key><Size>{}</Size><ETag>\"{}\"</ETag>\
                 <LastModified>2026-11-21T10:00:00.000Z</LastModified></Contents>",
                escaped(name),
                object.bytes.len(),
                object.generation
            ));
        }
        Response::xml(&(xml + "</ListBucketResult>"))
    }

    fn begin(&mut self, request: &Request) -> Response {
        let id = self.number();
        self.uploads.insert(id, Upload { name: request.name.clone(), parts: BTreeMap::new() });
        Response::xml(&format!(
            "<InitiateMultipartUploadResult><Bucket>{BUCKET}</Bucket><Key>{}</Key><UploadId>{id}</UploadId>\
             </InitiateMultipartUploadResult>",
            escaped(&request.name)
        ))
    }

    fn part(&mut self, request: &Request, id: u64) -> Response {
        let number = request.query.get("partNumber").and_then(|number| number.parse().ok());
        match (self.uploads.get_mut(&id).filter(|upload| upload.name == request.name), number) {
            (Some(upload), Some(number @ 1..=10_000)) => {
                upload.parts.insert(number, request.body.clone());
                Response::empty("200 OK").of(number as u64)
            }
            (None, _) => Response::error("404 Not Found", "NoSuchUpload"),
            _ => Response::error("400 Bad Request", "InvalidPart"),
        }
    }

    fn complete(&mut self, request: &Request, id: u64) -> Response {
        let Some(upload) = self.uploads.get(&id).filter(|upload| upload.name == request.name) else {
            return Response::error("404 Not Found", "NoSuchUpload");
        };
        let wanted = String::from_utf8_lossy(&request.body).matches("<PartNumber>").count();
        let numbers: Vec<usize> = upload.parts.keys().copied().collect();
        let short = upload.parts.values().rev().skip(1).any(|part| part.len() < LEAST_PART);
        if numbers != (1..=wanted).collect::<Vec<_>>() || short {
            return Response::error("400 Bad Request", if short { "EntityTooSmall" } else { "InvalidPart" });
        }
        let bytes = upload.parts.values().flatten().copied().collect();
        self.uploads.remove(&id);
        let generation = self.store(&request.name, bytes);
        Response::xml(&format!(
            "<CompleteMultipartUploadResult><Location>x</Location><Bucket>{BUCKET}</Bucket><Key>{}</Key>\
             <ETag>\"{generation}\"</ETag></CompleteMultipartUploadResult>",
            escaped(&request.name)
        ))
        .of(generation)
    }
}

impl Request {
    /// The next request of a connection; none at its end.
    fn read(reader: &mut impl io::BufRead) -> io::Result<Option<Self>> {
        let mut line = String::new();
        if reader.read_line(&mut line)? == 0 {
            return Ok(None);
        }
        let mut words = line.split_whitespace();
        let (method, target) =
            (words.next().unwrap_or_default().to_owned(), words.next().unwrap_or_default());
        let (path, query) = target.split_once('?').unwrap_or((target, ""));
        let path = path.trim_start_matches('/');
        let (bucket, name) = path.split_once('/').unwrap_or((path, ""));
        let (bucket, name) = (unescaped(bucket), unescaped(name));
        let pairs = query.split('&').map(|pair| pair.split_once('=').unwrap_or((pair, "")));
        let query =
            pairs.map(|(name, value)| (unescaped(name), unescaped(&value.replace('+', " ")))).collect();
        let mut headers = BTreeMap::new();
        loop {
            let mut line = String::new();
            reader.read_line(&mut line)?;
            let Some((name, value)) = line.trim_end().split_once(':') else { break };
            headers.insert(name.to_ascii_lowercase(), value.trim().to_owned());
        }
        let length = headers.get("content-length").and_then(|length| length.parse().ok()).unwrap_or(0);
        let mut body = vec![0; length];
        reader.read_exact(&mut body)?;
        Ok(Some(Self { method, bucket, name, query, headers, body }))
    }
}

impl Response {
    fn empty(status: &'static str) -> Self {
        Self { status, headers: Vec::new(), body: Arc::default() }
    }

    fn xml(text: &str) -> Self {
        Self { body: Arc::new(text.as_bytes().to_vec()), ..Self::empty("200 OK") }
    }

    fn error(status: &'static str, code: &str) -> Self {
        Self {
            status,
            ..Self::xml(&format!("<Error><Code>{code}</Code><Message>As asked.</Message></Error>"))
        }
    }

    /// With what is told of an object.
    fn of(mut self, generation: u64) -> Self {
        self.headers.push(("ETag", format!("\"{generation}\"")));
        self.headers.push(("x-goog-generation", generation.to_string()));
        self.headers.push(("Last-Modified", MODIFIED.to_owned()));
        self
    }

    fn write(&self, mut stream: &TcpStream, head_only: bool) -> io::Result<()> {
        let mut head = format!("HTTP/1.1 {}\r\nContent-Length: {}\r\n", self.status, self.body.len());
        for (name, value) in &self.headers {
            head.push_str(&format!("{name}: {value}\r\n"));
        }
        stream.write_all(format!("{head}\r\n").as_bytes())?;
        if head_only {
            return Ok(());
        }
        stream.write_all(&self.body)
    }
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}

/// Text of a URL with its `%XX` as the bytes that they stand for.
fn unescaped(text: &str) -> String {
    let mut pieces = text.split('%');
    let mut bytes = pieces.next().unwrap_or_default().as_bytes().to_vec();
    for piece in pieces {
        let byte = piece.get(..2).and_then(|code| u8::from_str_radix(code, 16).ok());
        bytes.push(byte.unwrap_or(b'%'));
        bytes.extend_from_slice(piece.get(2..).unwrap_or_default().as_bytes());
    }
    String::from_utf8_lossy(&bytes).into_owned()
}
