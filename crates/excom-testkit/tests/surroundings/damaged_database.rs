//! A database file that was overwritten or cut: an error that names it and says what to do, or one value's
//! answer; never a panic, and never a wrong value.

use std::fs;
use std::os::unix::fs::FileExt as _;
use std::path::PathBuf;

use excom::{Engine, ErrorKind, Result};
use excom_testkit::home;
use excom_testkit::random::Random;

use super::{Place, close, is_clear, pull, push, value};

const VALUES: usize = 300;

/// A home with many values in the database, a few of them files.
fn filled() -> (Place, PathBuf) {
    let place = Place::new();
    let engine = place.open().unwrap();
    for i in 0..VALUES {
        push(&engine, &format!("k{i}"), &value(size(i))).unwrap();
    }
    close(engine);
    let path = place.home().database();
    // All of it in the one file.
    let connection = rusqlite::Connection::open(&path).unwrap();
    connection.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(())).unwrap();
    connection.close().unwrap();
    (place, path)
}

fn size(i: usize) -> usize {
    if i.is_multiple_of(50) { 9_000 } else { 200 + i * 7 }
}

/// What became of the values after damage.
#[derive(Debug, Default)]
struct Found {
    whole: usize,
    damaged: usize,
    gone: usize,
    refused: usize,
}

/// Looks at everything: each value is whole, or a clear answer or error says what is wrong.
fn look(place: &Place, opened: Result<Engine>) -> Found {
    let path = place.home().database();
    let mut found = Found::default();
    let engine = match opened {
        Ok(engine) => engine,
        Err(error) => {
            assert_eq!(error.kind(), ErrorKind::Corrupt, "{error:?}");
            is_clear(&error, &path);
            found.refused = VALUES;
            return found;
        }
    };
    for i in 0..VALUES {
        match pull(&engine, &format!("k{i}")) {
            Ok(answer) => match answer.code() {
                "found" => {
                    assert_eq!(answer.found().unwrap().value, value(size(i)), "a wrong value of k{i}");
                    found.whole += 1;
                }
                "corrupt" => found.damaged += 1,
                // Its row cannot be found any more.
                "missing" => found.gone += 1,
                code => panic!("{code}: {answer}"),
            },
            Err(error) => {
                assert_eq!(error.kind(), ErrorKind::Corrupt, "{error:?}");
                is_clear(&error, &path);
                found.refused += 1;
            }
        }
    }
    // Its state is told; it may also be too damaged for that.
    match pollster::block_on(engine.health()) {
        Ok(health) => {
            // What a row says of itself is not looked at there: whoever reads it is told.
            assert!(!health.problems.is_empty() || found.gone == 0, "{found:?}");
        }
        Err(error) => assert_eq!(error.kind(), ErrorKind::Corrupt, "{error:?}"),
    }
    // A push works, or says that it cannot.
    if let Err(error) = push(&engine, "new", &value(300)) {
        assert_eq!(error.kind(), ErrorKind::Corrupt, "{error:?}");
    }
    found
}

#[test]
fn bytes_overwritten_anywhere() {
    let (place, path) = filled();
    let whole = fs::read(&path).unwrap();
    let mut random = Random::new(11);
    let mut readable = 0;
    for _ in 0..12 {
        fs::write(&path, &whole).unwrap();
        let file = fs::File::options().write(true).open(&path).unwrap();
        let at = 100 + random.below(whole.len() as u64 - 200);
        let noise: Vec<u8> = (0..64).map(|_| random.number() as u8).collect();
        file.write_all_at(&noise, at).unwrap();
        drop(file);
        let found = look(&place, place.open());
        readable += found.whole;
        remove_wal(&place);
    }
    // Damage in one place does not take everything.
    assert!(readable > VALUES, "only {readable} values were readable in all rounds");
}

#[test]
fn a_page_in_the_middle_overwritten() {
    let (place, path) = filled();
    let whole = fs::read(&path).unwrap();
    let pages = whole.len() / 8192;
    let mut hurt = 0;
    for page in (1..pages).step_by(pages.div_ceil(12)) {
        let mut bytes = whole.clone();
        bytes[page * 8192..(page + 1) * 8192].fill(0xAA);
        fs::write(&path, bytes).unwrap();
        let found = look(&place, place.open());
        hurt += VALUES - found.whole;
        remove_wal(&place);
    }
    assert!(hurt > 0, "no page that was overwritten mattered");
}

#[test]
fn the_header_overwritten() {
    let (place, path) = filled();
    let file = fs::File::options().write(true).open(&path).unwrap();
    file.write_all_at(&[0x55; 100], 0).unwrap();
    drop(file);
    let error = place.open().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Corrupt, "{error:?}");
    is_clear(&error, &path);
}

#[test]
fn a_file_that_was_cut() {
    let (place, path) = filled();
    let whole = fs::read(&path).unwrap();
    for part in [1, 10, 30, 50, 90] {
        fs::write(&path, &whole[..whole.len() * part / 100]).unwrap();
        let found = look(&place, place.open());
        assert!(found.whole < VALUES, "{part} % of the file hold everything: {found:?}");
        remove_wal(&place);
    }
}

#[test]
fn a_value_altered_with_other_tools() {
    let (place, path) = filled();
    let connection = rusqlite::Connection::open(&path).unwrap();
    let changed = connection
        .execute(
            "UPDATE excom_entry SET head = replace(head, 'counter', 'COUNTER') WHERE size BETWEEN 1000 AND 2000",
            [],
        )
        .unwrap();
    connection.close().unwrap();
    assert!(changed > 0);
    let engine = place.open().unwrap();
    let codes: Vec<&str> = (0..VALUES).map(|i| pull(&engine, &format!("k{i}")).unwrap().code()).collect();
    assert_eq!(codes.iter().filter(|code| **code == "corrupt").count(), changed);
    assert_eq!(codes.iter().filter(|code| **code == "found").count(), VALUES - changed);
    close(engine);
    home::check_integrity(&place.settings).unwrap();
}

/// The next round begins with a file of its own; a log of the one before would be read into it.
fn remove_wal(place: &Place) {
    for suffix in ["-wal", "-shm"] {
        let mut path = place.home().database().into_os_string();
        path.push(suffix);
        drop(fs::remove_file(path));
    }
}
