//! Frames: two lengths, a JSON header, and bytes.

use std::io::{self, Read, Write};

use bytes::Bytes;

/// The longest header, in bytes.
pub(super) const HEADER_BYTES: usize = 1 << 20;

/// The most bytes of a value in one frame.
pub(super) const BODY_BYTES: usize = 256 << 10;

/// What is sent and received.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Frame {
    pub(super) header: Vec<u8>,
    pub(super) body: Bytes,
}

/// Writes a frame whole.
pub(super) fn write(to: &mut impl Write, frame: &Frame) -> io::Result<()> {
    let mut head = Vec::with_capacity(8 + frame.header.len());
    head.extend_from_slice(&(frame.header.len() as u32).to_le_bytes());
    head.extend_from_slice(&(frame.body.len() as u32).to_le_bytes());
    head.extend_from_slice(&frame.header);
    to.write_all(&head)?;
    to.write_all(&frame.body)?;
    to.flush()
}

/// The next frame; none when the other side has ended between two. An error says what is wrong with it.
pub(super) fn read(from: &mut impl Read) -> Result<Option<Frame>, String> {
    let mut lengths = [0; 8];
    match fill(from, &mut lengths)? {
        0 => return Ok(None),
        8 => {}
        some => return Err(format!("its output ended {some} bytes into a frame")),
    }
    let length = |at: usize| u32::from_le_bytes([0, 1, 2, 3].map(|i| lengths[at + i])) as usize;
    let (header, body) = (length(0), length(4));
    if header > HEADER_BYTES || body > BODY_BYTES {
        return Err(format!(
            "its frame begins with {:?}: a header of {header} bytes and {body} bytes of a value, where \
             {HEADER_BYTES} and {BODY_BYTES} are the most (only frames may go to standard output; \
             everything else belongs to standard error)",
            String::from_utf8_lossy(&lengths)
        ));
    }
    let mut bytes = vec![0; header + body];
    let found = fill(from, &mut bytes)?;
    if found < bytes.len() {
        return Err(format!("its output ended {} bytes into a frame of {}", 8 + found, 8 + bytes.len()));
    }
    let body = bytes.split_off(header).into();
    Ok(Some(Frame { header: bytes, body }))
}

/// Reads until the buffer is full or the input ends; how much it was.
fn fill(from: &mut impl Read, buffer: &mut [u8]) -> Result<usize, String> {
    let mut filled = 0;
    while filled < buffer.len() {
        match from.read(&mut buffer[filled..]) {
            Ok(0) => break,
            Ok(length) => filled += length,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(format!("its output cannot be read: {error}")),
        }
    }
    Ok(filled)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_come_back_and_nothing_else_does() {
        let frames = [
            Frame { header: b"{}".to_vec(), body: Bytes::new() },
            Frame { header: Vec::new(), body: Bytes::from(vec![7; BODY_BYTES]) },
        ];
        let mut bytes = Vec::new();
        for frame in &frames {
            write(&mut bytes, frame).unwrap();
        }
        let mut rest = &bytes[..];
        for frame in &frames {
            assert_eq!(read(&mut rest).unwrap().as_ref(), Some(frame));
        }
        assert_eq!(read(&mut rest), Ok(None));

        for cut in [1, 7, 8, 9] {
            assert!(read(&mut &bytes[..cut]).unwrap_err().contains("ended"), "{cut}");
        }
        let error = read(&mut &b"Traceback (most recent call last)"[..]).unwrap_err();
        assert!(error.contains("\"Tracebac\"") && error.contains("standard error"), "{error}");
        let long = [2u32.to_le_bytes(), (BODY_BYTES as u32 + 1).to_le_bytes()].concat();
        assert!(read(&mut &long[..]).is_err());
    }
}
