//! The server's disk is full: that is told, nothing acknowledged is lost, and it goes on when there is room.

use std::os::unix::fs::{MetadataExt as _, chown, symlink};
use std::sync::Arc;

use excom_core::{Caller, Engine, ErrorKind, Value, XComKey, memory};
use excom_db::mysql::{Db, Options};
use excom_testkit::mount::Tmpfs;
use excom_testkit::mysql::Mysql;
use excom_testkit::skip::skipped;

use crate::support::pulled;

#[test]
fn a_full_disk_is_told() {
    let test = "full::a_full_disk_is_told";
    if let Err(why) = Mysql::available() {
        return skipped(test, &why);
    }
    let disk = match Tmpfs::mount(24 << 10) {
        Ok(disk) => disk,
        Err(why) => return skipped(test, &why),
    };
    let server = Mysql::start().unwrap();
    let owner = std::fs::metadata(server.data()).unwrap();
    let folder = disk.folder().join("small");
    std::fs::create_dir(&folder).unwrap();
    for made in [disk.folder(), &folder] {
        chown(made, Some(owner.uid()), Some(owner.gid())).unwrap();
    }
    // The folder of a database may lie elsewhere.
    symlink(&folder, server.data().join("small")).unwrap();
    let db = pollster::block_on(Db::open(&server.url("small"), &Options::default())).unwrap();
    let engine = Engine::builder(Arc::new(db), Arc::new(memory::Clock::new())).build();
    let key = |number: usize| XComKey::new("d", "r", "t", -1, format!("k{number}")).unwrap();
    // Hardly compressed.
    let value = |number: usize| {
        let mut state = number as u64 + 1;
        let text: String = (0..6_000)
            .map(|_| {
                state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
                char::from(b'0' + (state >> 33) as u8 % 74)
            })
            .filter(|char| *char != '\\')
            .collect();
        Value::of(&text).unwrap()
    };
    let push = |number: usize| {
        pollster::block_on(engine.push(&Caller::user("test"), &key(number), value(number).into())).map(drop)
    };
    push(0).unwrap();
    let filler = disk.fill().unwrap();
    let mut fitted = 1;
    let error = loop {
        match push(fitted) {
            Ok(()) => fitted += 1,
            Err(error) => break error,
        }
        assert!(fitted < 10_000, "the disk does not get full");
    };
    assert_eq!(error.kind(), ErrorKind::Full, "{error:?}");
    assert!(error.to_string().contains("nothing was written"), "{error:?}");
    assert!(!error.hints().is_empty(), "{error:?}");
    for number in 0..fitted {
        assert_eq!(pulled(&engine, &key(number)).unwrap(), value(number));
    }
    assert_eq!(pulled(&engine, &key(fitted)).unwrap_err().kind(), ErrorKind::NoValue);
    std::fs::remove_file(filler).unwrap();
    push(fitted).unwrap();
    server.crash().unwrap();
    for number in 0..=fitted {
        assert_eq!(pulled(&engine, &key(number)).unwrap(), value(number));
    }
    drop(engine);
    drop(server);
}
