//! A client of HTTP as plain as can be, so that what is measured is the server.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use serde_json::{Value as Json, json};

use crate::engine::Result;

/// What was answered.
pub(super) struct Answered {
    pub(super) status: u16,
    head: String,
    pub(super) body: Vec<u8>,
}

impl Answered {
    /// An answer of which all has come, or none yet.
    pub(super) fn parse(read: &[u8]) -> Result<Option<Self>> {
        let Some(end) = read.windows(4).position(|window| window == b"\r\n\r\n") else { return Ok(None) };
        let head = std::str::from_utf8(&read[..end])?;
        let length = head.lines().find_map(|line| line.strip_prefix("content-length: "));
        let length: usize = length.ok_or("an answer without its length")?.parse()?;
        let Some(body) = read.get(end + 4..end + 4 + length) else { return Ok(None) };
        let status = head.split(' ').nth(1).unwrap_or_default().parse()?;
        Ok(Some(Self { status, body: body.to_vec(), head: head.to_owned() }))
    }
}

/// A connection that stays open.
pub(super) fn connect(address: SocketAddr) -> Result<TcpStream> {
    let stream = TcpStream::connect(address)?;
    stream.set_nodelay(true)?;
    stream.set_read_timeout(Some(Duration::from_secs(60)))?;
    Ok(stream)
}

/// A request without its body.
pub(super) fn head(line: &str, token: &str, body: usize) -> String {
    format!(
        "{line} HTTP/1.1\r\nhost: excom\r\nauthorization: Bearer {token}\r\ncontent-type: application/json\r\n\
         content-length: {body}\r\n\r\n"
    )
}

/// Sends a request, and reads its answer.
pub(super) fn exchange(mut stream: &TcpStream, request: &[u8]) -> Result<Answered> {
    stream.write_all(request)?;
    let (mut read, mut piece) = (Vec::new(), [0; 8 << 10]);
    loop {
        match stream.read(&mut piece)? {
            0 => return Err("the server closed the connection".into()),
            count => read.extend_from_slice(&piece[..count]),
        }
        if let Some(answer) = Answered::parse(&read)? {
            return Ok(answer);
        }
    }
}

/// Sends a document, and reads the answer to it.
pub(super) fn call(address: SocketAddr, line: &str, token: &str, body: &Json) -> Result<Answered> {
    let body = body.to_string();
    exchange(&connect(address)?, (head(line, token, body.len()) + &body).as_bytes())
}

/// Starts a task instance with the token that waited in a queue, as a worker does. Returns the token for all the rest.
pub(super) fn started(address: SocketAddr, id: &str, queued: &str) -> Result<String> {
    let begin = json!({
        "state": "running", "hostname": "bench", "unixname": "bench", "pid": 1, "start_date": "2026-11-21T10:00:00Z",
    });
    let answer = call(address, &format!("PATCH /execution/task-instances/{id}/run"), queued, &begin)?;
    let refreshed = answer.head.lines().find_map(|line| line.strip_prefix("refreshed-api-token: "));
    let told = || format!("{}: {}", answer.status, String::from_utf8_lossy(&answer.body));
    Ok(refreshed.ok_or_else(told)?.to_owned())
}
