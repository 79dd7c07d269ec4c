//! Objects as bytes.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use bytes::Bytes;
use excom_airflow::objects::{Compression, decode, encode};
use excom_core::{ByteStream, Error, ErrorKind, Result};

use crate::{all, pieces, whole};

const LIMIT: u64 = 10 << 20;

/// A text of pseudo-random numbers, so that it is larger than a piece in any compression.
fn large() -> Vec<u8> {
    let mut random = 1u64;
    let mut number = || {
        random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        random >> 11
    };
    let numbers: Vec<u64> = (0..20_000).map(|_| number()).collect();
    serde_json::to_vec(&numbers).unwrap()
}

fn in_pieces(bytes: Vec<u8>, length: usize) -> ByteStream {
    let bytes = Bytes::from(bytes);
    pieces((0..bytes.len()).step_by(length).map(move |at| Ok(bytes.slice(at..bytes.len().min(at + length)))))
}

#[test]
fn a_text_comes_back_in_pieces_of_any_size() {
    for compression in Compression::ALL {
        for (text, length) in [(b"null".to_vec(), 1), (br#"["\u00e9", 1.0]"#.to_vec(), 3), (large(), 7001)] {
            let object = all(encode(in_pieces(text.clone(), length), compression)).unwrap();
            let read = all(decode(in_pieces(object, length), compression, LIMIT, "o")).unwrap();
            assert!(read == text, "{compression}: {} bytes, {} read", text.len(), read.len());
        }
    }
}

/// The bytes that were asked for are counted, so that reading all before giving any would be seen.
#[test]
fn what_is_read_is_given_before_more_is_read() {
    let object = |compression| all(encode(whole(large()), compression)).unwrap();
    for compression in Compression::ALL {
        if compression == Compression::Zip {
            continue;
        }
        let object = Bytes::from(object(compression));
        let asked = Arc::new(AtomicUsize::new(0));
        let (counter, bytes) = (asked.clone(), object.clone());
        let counted = (0..bytes.len()).step_by(1000).map(move |at| {
            let end = bytes.len().min(at + 1000);
            counter.store(end, Ordering::Relaxed);
            Ok(bytes.slice(at..end))
        });
        let mut stream = decode(pieces(counted), compression, LIMIT, "o");
        let first = pollster::block_on(std::future::poll_fn(|cx| stream.as_mut().poll_next(cx)));
        assert!(!first.unwrap().unwrap().is_empty());
        // bzip2 has blocks of 900 kB, larger ones than the text.
        if compression != Compression::Bz2 {
            let asked = asked.load(Ordering::Relaxed);
            assert!(asked < object.len() / 2, "{compression}: {asked} of {}", object.len());
        }
    }
}

#[test]
fn a_text_over_the_limit_is_not_unpacked() {
    let mut text = vec![b' '; 8 << 20];
    text.extend_from_slice(b"1");
    for compression in Compression::ALL {
        let object = all(encode(whole(text.clone()), compression)).unwrap();
        assert!(
            compression == Compression::None || object.len() < 1 << 20,
            "{compression}: {}",
            object.len()
        );
        let (limit, mut read) = (1 << 18, 0);
        let mut stream = decode(whole(object), compression, limit, "o");
        let error = pollster::block_on(async {
            loop {
                match std::future::poll_fn(|cx| stream.as_mut().poll_next(cx)).await.unwrap() {
                    Ok(piece) => read += piece.len() as u64,
                    Err(error) => break error,
                }
            }
        });
        assert_eq!(error.kind(), ErrorKind::Corrupt);
        assert_eq!(error.to_string(), "object o: it holds more than 262144 bytes, the most that is read");
        assert!(read <= limit, "{compression}: {read}");
        let after = pollster::block_on(std::future::poll_fn(|cx| stream.as_mut().poll_next(cx)));
        assert!(after.is_none(), "{compression}");
    }
}

/// `null` as Python's lzma writes it, by the strongest preset and with a dictionary of 1 GiB.
#[test]
fn an_object_that_asks_for_much_memory_is_refused() {
    let object = |begin: &[u8]| {
        let end = b"\x01\0\x03null\0\xa2\x35\xe1\xfe\x0a\x58\x99\x31\0\x01\x1c\x04\x6f\x2c\x9c\xc1\
                    \x1f\xb6\xf3\x7d\x01\0\0\0\0\x04YZ";
        [b"\xfd7zXZ\0\0\x04\xe6\xd6\xb4\x46", begin, end].concat()
    };
    for compression in [Compression::Xz, Compression::Lzma] {
        let strong = object(b"\x02\0\x21\x01\x1c\0\0\0\x10\xcf\x58\xcc");
        assert_eq!(all(decode(whole(strong), compression, LIMIT, "o")).unwrap(), b"null");
        let hostile = object(b"\x02\0\x21\x01\x24\0\0\0\x5e\x1f\xc7\xf9");
        let error = all(decode(whole(hostile), compression, LIMIT, "o")).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Corrupt, "{error:?}");
        assert!(error.to_string().to_lowercase().contains("mem"), "{error:?}");
    }
}

#[test]
fn what_python_alone_reads_is_told() {
    for text in ["[1, NaN]", "{\"a\": -Infinity}"] {
        let error = all(decode(whole(text), Compression::None, LIMIT, "d/r/t/o")).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Corrupt);
        assert!(
            error.to_string().starts_with("object d/r/t/o: the value is not JSON: line 1, column"),
            "{error}"
        );
        assert!(error.hints().iter().any(|hint| hint.contains("NaN")), "{error:?}");
    }
}

/// As Python's readers do.
#[test]
fn objects_of_several_members_are_read_to_the_end() {
    for compression in [Compression::Gzip, Compression::Bz2, Compression::Xz] {
        let member = |text: &'static str| all(encode(whole(text), compression)).unwrap();
        let object = [member("[1,"), member(" 2]")].concat();
        assert_eq!(all(decode(whole(object), compression, LIMIT, "o")).unwrap(), b"[1, 2]");
    }
}

#[test]
fn errors_of_the_stream_come_through() {
    let broken = |bytes: Vec<u8>| -> ByteStream {
        let away: Result<Bytes> = Err(Error::new(ErrorKind::Unavailable, "the store is away").hint("wait"));
        pieces([Ok(bytes.into()), away])
    };
    for compression in Compression::ALL {
        let object = all(encode(whole(large()), compression)).unwrap();
        let half = object[..object.len() / 2].to_vec();
        for stream in
            [decode(broken(half), compression, LIMIT, "o"), encode(broken(b"[1".to_vec()), compression)]
        {
            let error = all(stream).unwrap_err();
            assert_eq!(
                (error.kind(), error.to_string().as_str()),
                (ErrorKind::Unavailable, "the store is away")
            );
            assert_eq!(error.hints(), ["wait"], "{compression}");
        }
    }
}
