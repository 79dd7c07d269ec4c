//! Several engines make the same new home at the same moment. (Processes do so in the proofs.)

use std::sync::Barrier;

use super::{Place, close, push, value, value_of};

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
