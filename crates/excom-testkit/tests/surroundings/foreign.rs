//! Files that are not ours, or newer than we are: refused, and not a byte of them changed.

use std::fs;

use excom::ErrorKind;
use excom::embedded::open_existing;

use super::{Place, close, is_clear, push, value};

fn refused_untouched(place: &Place) {
    let path = place.home().database();
    let before = fs::read(&path).unwrap();
    let error = place.open().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Incompatible, "{error:?}");
    is_clear(&error, &path);
    assert!(fs::read(&path).unwrap() == before, "the file was changed");
    let error = open_existing(&place.settings).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Incompatible, "{error:?}");
    assert!(fs::read(&path).unwrap() == before, "the file was changed");
}

#[test]
fn a_newer_schema() {
    let place = Place::new();
    let engine = place.open().unwrap();
    push(&engine, "k", &value(100)).unwrap();
    close(engine);
    let newer = rusqlite::Connection::open(place.home().database()).unwrap();
    newer.pragma_update(None, "user_version", 99).unwrap();
    newer.close().unwrap();
    refused_untouched(&place);
}

/// Other programs keep their files in either mode.
#[test]
fn the_database_of_another_program() {
    for mode in ["delete", "wal"] {
        let place = Place::new();
        fs::create_dir_all(place.home().folder()).unwrap();
        let other = rusqlite::Connection::open(place.home().database()).unwrap();
        other.pragma_update(None, "journal_mode", mode).unwrap();
        other.execute_batch("CREATE TABLE song (title TEXT); INSERT INTO song VALUES ('x')").unwrap();
        other.close().unwrap();
        refused_untouched(&place);
    }
}

#[test]
fn a_file_that_is_no_database() {
    let place = Place::new();
    fs::create_dir_all(place.home().folder()).unwrap();
    let path = place.home().database();
    let text = "Dear diary, ".repeat(1000);
    fs::write(&path, &text).unwrap();
    let error = place.open().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Corrupt, "{error:?}");
    is_clear(&error, &path);
    assert_eq!(fs::read_to_string(&path).unwrap(), text, "the file was changed");
}

#[test]
fn a_folder_where_the_database_should_be() {
    let place = Place::new();
    let path = place.home().database();
    fs::create_dir_all(&path).unwrap();
    let error = place.open().unwrap_err();
    is_clear(&error, &path);
    assert!(matches!(error.kind(), ErrorKind::ReadOnly | ErrorKind::Configuration), "{error:?}");
    assert!(path.is_dir());
}

#[test]
fn a_file_where_the_home_or_its_values_should_be() {
    let place = Place::new();
    fs::write(place.home().folder(), "x").unwrap();
    let error = place.open().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Configuration, "{error:?}");
    is_clear(&error, place.home().folder());

    let place = Place::new();
    fs::create_dir_all(place.home().folder()).unwrap();
    fs::write(place.home().values(), "x").unwrap();
    let error = place.open().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Configuration, "{error:?}");
    is_clear(&error, &place.home().values());
}
