//! The server's disk is full: that is told, nothing acknowledged is lost, and it goes on when there is room.

use excom_core::{Caller, ErrorKind, Value, XComKey};
use excom_testkit::mount::Tmpfs;
use excom_testkit::skip::skipped;

use crate::alone::Alone;
use crate::faults::pulled;

#[test]
fn a_full_disk_is_told() {
    let test = "full::a_full_disk_is_told";
    let Some(alone) = Alone::start(test) else { return };
    let disk = match Tmpfs::mount(Alone::DISK) {
        Ok(disk) => disk,
        Err(why) => return skipped(test, &why),
    };
    let small = alone.on(&disk);
    let engine = Alone::engine(&small.url()).unwrap();
    let key = |number: usize| XComKey::new("d", "r", "t", -1, format!("k{number}")).unwrap();
    small.expects(&[key(0)]);
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
    small.crash().unwrap();
    for number in 0..=fitted {
        assert_eq!(pulled(&engine, &key(number)).unwrap(), value(number));
    }
    drop(engine);
    small.end();
}
