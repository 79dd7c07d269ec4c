//! A home that cannot be written. Root may write whatever the modes say, so the file system itself is
//! made read-only.

use excom::config::Settings;
use excom::embedded::{Home, open, open_existing};
use excom::{Engine, ErrorKind};
use excom_testkit::mount::Tmpfs;
use excom_testkit::{home, skip};

use super::{close, is_clear, pull, push, value, value_of};

/// A home with a small and a large value, on a file system that is read-only then.
fn with_read_only_home(test: &str, check: impl FnOnce(&Settings)) {
    match Tmpfs::mount(8 << 10) {
        Ok(disk) => {
            let settings = home::settings(&disk.folder().join("home")).unwrap();
            let engine = open(&settings).unwrap();
            push(&engine, "small", &value(100)).unwrap();
            push(&engine, "large", &value(9_000)).unwrap();
            close(engine);
            disk.make_read_only().unwrap();
            check(&settings);
        }
        Err(why) => skip::skipped(test, &why),
    }
}

fn can_be_read(engine: &Engine) {
    assert_eq!(value_of(engine, "small"), value(100));
    assert_eq!(value_of(engine, "large"), value(9_000));
    assert_eq!(pull(engine, "none").unwrap().code(), "missing");
}

#[test]
fn opening_for_writing_says_why_not() {
    with_read_only_home("read_only::opening_for_writing_says_why_not", |settings| {
        let error = open(settings).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::ReadOnly, "{error:?}");
        is_clear(&error, &Home::of(settings).database());
    });
}

#[test]
fn values_are_read_all_the_same() {
    with_read_only_home("read_only::values_are_read_all_the_same", |settings| {
        let engine = open_existing(settings).unwrap().unwrap();
        can_be_read(&engine);
        let error = push(&engine, "small", &value(50)).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::ReadOnly, "{error:?}");
        let error = push(&engine, "large", &value(9_500)).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::ReadOnly, "{error:?}");
        can_be_read(&engine);
        close(engine);
    });
}

#[test]
fn a_new_home_where_nothing_can_be_written() {
    with_read_only_home("read_only::a_new_home_where_nothing_can_be_written", |settings| {
        let other = home::settings(&Home::of(settings).folder().join("inner")).unwrap();
        let error = open(&other).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::ReadOnly, "{error:?}");
        is_clear(&error, Home::of(&other).folder());
        assert!(open_existing(&other).unwrap().is_none());
    });
}
