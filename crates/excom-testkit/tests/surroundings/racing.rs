//! Several at the same thing: engines that make one new home (processes do so in the proofs), and pushes
//! beside deletes that take the folders away under them.

use std::sync::Barrier;

use excom::core::db::Scope;

use super::{Place, close, key, push, user, value, value_of};

#[test]
fn eight_threads_make_one_home() {
    for _ in 0..5 {
        let place = Place::new();
        let barrier = Barrier::new(8);
        std::thread::scope(|scope| {
            for i in 0..8 {
                let (place, barrier) = (&place, &barrier);
                scope.spawn(move || {
                    barrier.wait();
                    let engine = place.open().unwrap();
                    push(&engine, &format!("k{i}"), &value(i * 2_000)).unwrap();
                    close(engine);
                });
            }
        });
        let engine = place.open().unwrap();
        for i in 0..8 {
            assert_eq!(value_of(&engine, &format!("k{i}")), value(i * 2_000));
        }
        close(engine);
    }
}

#[test]
fn folders_that_deletes_remove_do_not_disturb_pushes() {
    let place = Place::new();
    let engine = place.open().unwrap();
    std::thread::scope(|scope| {
        for _ in 0..12 {
            scope.spawn(|| {
                // One key for all, so that each one's delete empties the others' folder.
                for _ in 0..200 {
                    push(&engine, "k", &value(5_000)).unwrap();
                    pollster::block_on(engine.delete(&user(), &Scope::Key(key("k")))).unwrap();
                }
            });
        }
    });
    close(engine);
}
