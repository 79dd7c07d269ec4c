//! A full disk: a small file system in memory, filled to the last byte.

use excom::config::Settings;
use excom::{ErrorKind, Value};
use excom_testkit::mount::Tmpfs;
use excom_testkit::{home, skip};

use super::{close, pull, push, value, value_of};

fn with_full_disk(test: &str, check: impl FnOnce(&Tmpfs, &Settings)) {
    match Tmpfs::mount(6 << 10) {
        Ok(disk) => {
            let settings = home::settings(&disk.folder().join("home")).unwrap();
            check(&disk, &settings);
        }
        Err(why) => skip::skipped(test, &why),
    }
}

/// Pushes until nothing fits any more; the error must say so.
fn push_until_full(engine: &excom::Engine, prefix: &str, value: &Value) -> usize {
    for i in 0..10_000 {
        if let Err(error) = push(engine, &format!("{prefix}_{i}"), value) {
            assert_eq!(error.kind(), ErrorKind::Full, "{error:?}");
            assert!(!error.hints().is_empty() && error.exit_code() == 7, "{error:?}");
            return i;
        }
    }
    panic!("the disk does not get full");
}

#[test]
fn small_values_on_a_full_disk() {
    with_full_disk("full::small_values_on_a_full_disk", |disk, settings| {
        let engine = excom::embedded::open(settings).unwrap();
        let small = value(1_000);
        push(&engine, "before", &small).unwrap();
        let filler = disk.fill().unwrap();
        let fitted = push_until_full(&engine, "small", &small);
        // What was acknowledged is there, now and after space is free again.
        assert_eq!(value_of(&engine, "before"), small);
        for i in 0..fitted {
            assert_eq!(value_of(&engine, &format!("small_{i}")), small);
        }
        assert!(pull(&engine, &format!("small_{fitted}")).unwrap().found().is_none());
        std::fs::remove_file(filler).unwrap();
        push(&engine, "after", &small).unwrap();
        close(engine);
        home::check_integrity(settings).unwrap();
        let engine = excom::embedded::open(settings).unwrap();
        for name in ["before", "after"] {
            assert_eq!(value_of(&engine, name), small);
        }
        close(engine);
    });
}

#[test]
fn large_values_on_a_full_disk() {
    with_full_disk("full::large_values_on_a_full_disk", |disk, settings| {
        let engine = excom::embedded::open(settings).unwrap();
        let large = value(700_000);
        let reserve = disk.folder().join("reserve");
        std::fs::write(&reserve, vec![0; 1 << 20]).unwrap();
        push(&engine, "before", &large).unwrap();
        let fitted = push_until_full(&engine, "large", &large);
        assert!(fitted > 0, "a disk of 6 MiB is full at once");
        for i in 0..fitted {
            assert_eq!(value_of(&engine, &format!("large_{i}")), large);
        }
        let whole = fitted + 1;
        let files = home::value_files(settings).unwrap();
        assert!(files.len() == whole && !files.iter().any(|file| file.ends_with(".part")), "{files:?}");
        // Nothing at all fits any more: still a clear answer, and earlier values stay readable.
        let filler = disk.fill().unwrap();
        assert_eq!(push(&engine, "more", &large).unwrap_err().kind(), ErrorKind::Full);
        assert_eq!(value_of(&engine, "before"), large);
        assert_eq!(home::value_files(settings).unwrap(), files);
        std::fs::remove_file(filler).unwrap();
        std::fs::remove_file(reserve).unwrap();
        push(&engine, "after", &large).unwrap();
        // A delete frees the file's space at once.
        let scope = excom::core::db::Scope::Key(super::key("large_0"));
        pollster::block_on(engine.delete(&super::user(), &scope)).unwrap();
        push(&engine, "later", &large).unwrap();
        assert_eq!(value_of(&engine, "after"), large);
        close(engine);
        home::check_integrity(settings).unwrap();
    });
}

#[test]
fn a_new_home_on_a_full_disk() {
    with_full_disk("full::a_new_home_on_a_full_disk", |disk, settings| {
        let filler = disk.fill().unwrap();
        let error = excom::embedded::open(settings).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Full, "{error:?}");
        assert!(!error.hints().is_empty(), "{error:?}");
        // What the attempt left is no obstacle.
        std::fs::remove_file(filler).unwrap();
        let engine = excom::embedded::open(settings).unwrap();
        push(&engine, "k", &value(9_000)).unwrap();
        assert_eq!(value_of(&engine, "k"), value(9_000));
        close(engine);
    });
}
