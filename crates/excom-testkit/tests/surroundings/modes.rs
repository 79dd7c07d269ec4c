//! Everything in a home is for its owner only.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use super::{Place, close, push, value};

/// Checks a folder and all in it; returns how many files there are.
fn check(folder: &Path) -> usize {
    assert_eq!(mode(folder), 0o700, "{}", folder.display());
    let mut files = 0;
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            files += check(&path);
        } else {
            assert_eq!(mode(&path), 0o600, "{}", path.display());
            files += 1;
        }
    }
    files
}

fn mode(path: &Path) -> u32 {
    fs::metadata(path).unwrap().permissions().mode() & 0o777
}

#[test]
fn files_are_0600_and_folders_0700() {
    let place = Place::new();
    let engine = place.open().unwrap();
    push(&engine, "small", &value(100)).unwrap();
    push(&engine, "large", &value(9_000)).unwrap();
    pollster::block_on(engine.health()).unwrap();
    // The database with its WAL, shared memory and turnstile, the key, and a value.
    assert!(check(place.home().folder()) >= 6);
    close(engine);
    assert!(check(place.home().folder()) >= 3);
}
