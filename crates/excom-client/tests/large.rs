//! Values that are larger than the memory that they may take, alone in a process whose memory is looked at.

#![allow(clippy::unwrap_used, reason = "helpers of tests are tests too")]

use std::future::poll_fn;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::thread;

use bytes::Bytes;
use excom_client::Client;
use excom_core::{Payload, XComKey};
use pollster::block_on;

/// How many pieces of 1 MiB a value has.
const PIECES: usize = 300;

const SIZE: usize = (PIECES << 20) + 2;

/// What a client may take more than before, whatever it carries.
const MOST: u64 = 64 << 20;

/// A server that throws away what it is sent, and sends as much to who asks.
fn server() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = format!("http://{}", listener.local_addr().unwrap());
    thread::spawn(move || {
        for stream in listener.incoming() {
            serve(&stream.unwrap());
        }
    });
    address
}

fn serve(stream: &TcpStream) {
    let (mut reader, mut writer) = (BufReader::new(stream), stream);
    let head = lines(&mut reader);
    let ok = "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\nconnection: close\r\n";
    if head[0].starts_with("PUT") {
        let mut size = 0;
        loop {
            let piece = usize::from_str_radix(line(&mut reader).trim(), 16).unwrap();
            let mut bytes = vec![0; piece + 2];
            reader.read_exact(&mut bytes).unwrap();
            size += piece;
            if piece == 0 {
                break;
            }
        }
        let receipt = format!(
            r#"{{"version": "0c5b1e7a40000001", "size": {size}, "kind": "string", "offloaded": true, "already": false, "warnings": []}}"#
        );
        write!(writer, "{ok}content-length: {}\r\n\r\n{receipt}", receipt.len()).unwrap();
    } else {
        write!(writer, "{ok}content-length: {SIZE}\r\n\r\n\"").unwrap();
        let piece = vec![b'x'; 1 << 20];
        for _ in 0..PIECES {
            writer.write_all(&piece).unwrap();
        }
        writer.write_all(b"\"").unwrap();
    }
}

/// The lines of a head.
fn lines(reader: &mut BufReader<&TcpStream>) -> Vec<String> {
    let mut lines = Vec::new();
    loop {
        let next = line(reader);
        if next.trim().is_empty() {
            return lines;
        }
        lines.push(next);
    }
}

/// One line.
fn line(reader: &mut BufReader<&TcpStream>) -> String {
    let mut line = String::new();
    reader.read_line(&mut line).unwrap();
    line
}

/// The most memory that this process ever had, in bytes.
fn memory() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap_or("0 kB");
    line.trim().trim_end_matches(" kB").parse::<u64>().unwrap() << 10
}

#[test]
fn a_value_of_any_size_takes_little_memory() {
    let client = Client::new(&server(), "t").unwrap();
    let key = XComKey::new("weather", "r1", "count", -1, "rows").unwrap();
    let before = memory();
    let quote = || std::iter::once(Bytes::from_static(b"\""));
    let pieces = quote().chain((0..PIECES).map(|_| vec![b'x'; 1 << 20].into())).chain(quote());
    let stream = Payload::Stream(Box::pin(futures_util::stream::iter(pieces.map(Ok))));
    let receipt = block_on(client.push(&key, stream)).unwrap();
    assert_eq!(receipt.size, SIZE as u64);
    let Ok(payload) = block_on(client.open(&key)).unwrap() else { panic!("it is there") };
    let (mut stream, mut size) = (payload.into_stream(), 0);
    while let Some(piece) = block_on(poll_fn(|context| stream.as_mut().poll_next(context))) {
        size += piece.unwrap().len();
    }
    assert_eq!(size, SIZE);
    let grown = memory().saturating_sub(before);
    assert!(grown < MOST, "{grown} bytes more than before");
}
