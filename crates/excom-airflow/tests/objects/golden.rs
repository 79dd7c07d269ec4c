//! What Airflow wrote once.

use std::fs;
use std::path::Path;

use excom_airflow::objects::{Compression, decode};
use excom_core::{ErrorKind, Value};

use crate::{all, backend, files, pusher, whole, written};

const REFERENCES: &str = include_str!("golden/references.jsonl");
const BASE: &str = "file:///golden";

fn folder() -> &'static Path {
    Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/objects/golden"))
}

#[test]
fn what_airflow_wrote_is_read() {
    let backend = backend(files(folder()), BASE, Compression::None);
    let rows = written(REFERENCES);
    assert_eq!(rows.len(), 2 * Compression::ALL.len());
    for row in rows {
        let reference = Value::of(&row.reference).unwrap();
        let found = pollster::block_on(backend.resolve(&pusher(&row.name), reference)).unwrap();
        assert_eq!(String::from_utf8(all(found).unwrap()).unwrap(), row.text, "{}", row.reference);
    }
}

/// Formats with a checksum find every altered bit, all of them every byte that is missing.
#[test]
fn damage_is_found_as_far_as_the_format_can() {
    for row in written(REFERENCES) {
        let compression: Compression = row.compression.parse().unwrap();
        let object = fs::read(folder().join(row.reference.strip_prefix("file:///golden/").unwrap())).unwrap();
        let read = |object: &[u8]| {
            let text = all(decode(whole(object.to_vec()), compression, 1 << 20, "golden"));
            text.map_err(|error| assert_eq!(error.kind(), ErrorKind::Corrupt, "{error:?}"))
        };
        for length in 0..object.len() {
            let text = read(&object[..length]);
            assert_eq!(text, Err(()), "{compression} of {}: {length} of {} bytes", row.name, object.len());
        }
        if matches!(compression, Compression::None | Compression::Lz4 | Compression::Zstd) {
            continue;
        }
        for bit in 0..object.len() * 8 {
            let mut altered = object.clone();
            altered[bit / 8] ^= 1 << (bit % 8);
            // Times and names in headers may be any.
            if let Ok(text) = read(&altered) {
                assert_eq!(text, row.text.as_bytes(), "{compression} of {}: bit {bit}", row.name);
            }
        }
    }
}
