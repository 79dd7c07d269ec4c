//! Files of values that were cut, altered, swapped or removed: each is its own answer, which names the
//! object, and no other value suffers.

use std::fs;
use std::path::PathBuf;

use excom::{Answer, Engine, ObjectName, PullOptions};

use super::{Place, close, key, pull, push, user, value, value_of};

struct Damage {
    place: Place,
    engine: Engine,
}

impl Damage {
    fn new() -> Self {
        let place = Place::new();
        let engine = place.open().unwrap();
        push(&engine, "victim", &value(2_500_000)).unwrap();
        push(&engine, "large", &value(9_000)).unwrap();
        push(&engine, "small", &value(100)).unwrap();
        Self { place, engine }
    }

    fn object(&self, name: &str) -> ObjectName {
        ObjectName::of(&key(name), pull(&self.engine, name).unwrap().found().unwrap().version)
    }

    fn file(&self, name: &str) -> PathBuf {
        self.place.home().values().join(self.object(name).as_str())
    }

    /// Damages the victim's file; then it answers with this code, and everything else as before.
    fn check(self, code: &str, damage: impl FnOnce(&Self, PathBuf)) {
        let object = self.object("victim");
        damage(&self, self.file("victim"));
        let keys = ["victim", "large", "small"].map(key);
        let answers = pollster::block_on(self.engine.pull(&user(), &keys, PullOptions::default())).unwrap();
        assert_eq!(answers[0].code(), code, "{}", answers[0]);
        let (Answer::Corrupt(damaged) | Answer::Lost(damaged)) = &answers[0] else {
            panic!("{}", answers[0])
        };
        assert!(damaged.what.contains(object.as_str()), "{} does not name {object}", damaged.what);
        assert!(!answers[0].hints().is_empty() && answers[0].exit_code() == 6);
        assert_eq!(answers[1].found().unwrap().value, value(9_000));
        assert_eq!(answers[2].found().unwrap().value, value(100));
        // The next push of the same XCom heals it.
        push(&self.engine, "victim", &value(5_000)).unwrap();
        assert_eq!(value_of(&self.engine, "victim"), value(5_000));
        close(self.engine);
    }
}

#[test]
fn cut_anywhere() {
    for part in [0, 1, 5, 500, 999] {
        Damage::new().check("corrupt", |_, file| {
            let length = fs::metadata(&file).unwrap().len();
            fs::File::options().write(true).open(&file).unwrap().set_len(length * part / 1000).unwrap();
        });
    }
}

#[test]
fn one_bit_anywhere() {
    for part in [0, 3, 10, 400, 1000] {
        Damage::new().check("corrupt", |_, file| {
            let mut bytes = fs::read(&file).unwrap();
            let at = (bytes.len() - 1) * part / 1000;
            bytes[at] ^= 1;
            fs::write(&file, bytes).unwrap();
        });
    }
}

#[test]
fn something_behind_the_end() {
    Damage::new().check("corrupt", |_, file| {
        let bytes = [fs::read(&file).unwrap(), b"x".to_vec()].concat();
        fs::write(&file, bytes).unwrap();
    });
}

#[test]
fn the_file_of_another_value() {
    Damage::new().check("corrupt", |damage, file| {
        fs::copy(damage.file("large"), file).unwrap();
    });
}

#[test]
fn a_missing_file() {
    Damage::new().check("lost", |_, file| fs::remove_file(file).unwrap());
}

#[test]
fn a_folder_in_place_of_the_file() {
    let damage = Damage::new();
    let file = damage.file("victim");
    fs::remove_file(&file).unwrap();
    fs::create_dir(&file).unwrap();
    let answer = pull(&damage.engine, "victim").unwrap();
    assert!(answer.found().is_none() && answer.exit_code() >= 6, "{answer}");
    assert_eq!(value_of(&damage.engine, "large"), value(9_000));
}
