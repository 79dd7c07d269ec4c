//! Callers that ask at the same time share statements; each is told what concerns it.

use excom_core::attempt::{Attempt, AttemptId, Caller};
use excom_core::db::{MetadataDb as _, Push, Pushed, StartMode};
use excom_core::entry::{Stored, Version};
use excom_core::value::ContentHash;
use excom_core::{ErrorKind, Result, TaskInstanceKey, Value, XComKey};
use excom_db::postgres::Db;
use futures_util::future::join_all;
use jiff::Timestamp;

use crate::support::{Database, server};

fn key(task: usize) -> XComKey {
    XComKey::new("d", "r", format!("t{task}"), -1, "k").unwrap()
}

fn push(caller: Caller, key: XComKey, number: usize) -> Push {
    let value = Value::of(&number).unwrap();
    Push {
        key,
        version: Version::from_code(number as i64 + 1).unwrap(),
        caller,
        size: value.size(),
        hash: ContentHash::of(value.as_str().as_bytes()),
        shape: value.shape(),
        secret: false,
        result: false,
        preview: String::new(),
        stored: Stored::Inline(value),
        at: Timestamp::UNIX_EPOCH,
    }
}

/// All at once: they are polled one after the other before the first has its answer.
fn push_all(db: &Db, pushes: &[Push]) -> Vec<Result<Pushed>> {
    pollster::block_on(join_all(pushes.iter().map(|push| db.push(push))))
}

fn started(db: &Db, ti: &TaskInstanceKey, number: u128) -> Attempt {
    let attempt = Attempt { ti: ti.clone(), id: AttemptId(uuid::Uuid::from_u128(number)) };
    pollster::block_on(db.start_attempt(&attempt, 1, StartMode::Fresh, Timestamp::UNIX_EPOCH)).unwrap();
    attempt
}

#[test]
fn each_push_has_its_own_answer() {
    let Some(server) = server() else { return };
    let database = Database::new(server);
    let db = database.open();
    let old = Caller::Attempt(started(&db, &key(0).ti, 1));
    let current = Caller::Attempt(started(&db, &key(0).ti, 2));
    let user = || Caller::user("test");
    // The second time their run is known, so that they can share.
    for round in 0..2 {
        let base = round * 100;
        let pushes = [
            push(user(), key(1), base),
            push(user(), key(2), base + 1),
            push(old.clone(), key(0), base + 2),
            push(current.clone(), key(0), base + 3),
            push(Caller::user("nu\0l"), key(3), base + 4),
            push(user(), key(2), base + 5),
            push(user(), key(2), base + 1),
            push(old.clone(), key(4), base + 6),
            push(current.clone(), key(5), base + 7),
        ];
        let [one, two, superseded, own, nul, other, again, elsewhere, allowed] =
            push_all(&db, &pushes).try_into().unwrap();
        assert!([one, own, other, allowed].into_iter().all(|pushed| pushed.unwrap() == Pushed::Written));
        assert_eq!(superseded.unwrap_err().kind(), ErrorKind::Superseded);
        assert_eq!(elsewhere.unwrap_err().kind(), ErrorKind::Superseded);
        assert_eq!(nul.unwrap_err().kind(), ErrorKind::InvalidValue);
        let mut twice = [two.unwrap(), again.unwrap()].map(|pushed| pushed == Pushed::Already);
        twice.sort_unstable();
        assert_eq!(twice, [false, true]);
    }
    let count = "SELECT (SELECT count(*) FROM excom.entry), (SELECT count(*) FROM excom.history)";
    assert_eq!(database.sql(count), "4|6");
    let numbers =
        "SELECT string_agg(number::text, ',' ORDER BY task, writer) FROM excom.entry WHERE writer = ''";
    assert_eq!(database.sql(numbers), "2", "the current attempt wrote it");
}

#[test]
fn pushes_share_transactions() {
    let Some(server) = server() else { return };
    let database = Database::new(server);
    let db = database.open();
    let pushes = |base: usize| -> Vec<Push> {
        (0..32).map(|task| push(Caller::user("test"), key(task), base + task)).collect()
    };
    // The run is made known by whoever comes first, names by all together.
    pollster::block_on(db.push(&push(Caller::user("test"), key(99), 99))).unwrap();
    for base in [0, 100] {
        assert!(push_all(&db, &pushes(base)).into_iter().all(|pushed| pushed.unwrap() == Pushed::Written));
        let transactions = "SELECT count(DISTINCT xmin::text) < count(*) / 2, count(*) FROM excom.entry";
        assert_eq!(database.sql(transactions), "t|33", "from {base} on");
    }
}

#[test]
fn each_pull_has_its_own_answer() {
    let Some(server) = server() else { return };
    let database = Database::new(server);
    let db = database.open();
    let pushes: Vec<Push> = (0..150).map(|task| push(Caller::user("test"), key(task), task)).collect();
    assert!(push_all(&db, &pushes).into_iter().all(|pushed| pushed.is_ok()));
    // Some are not there, some calls ask for several, one for the same twice, one for none, one for very many.
    let calls: Vec<Vec<usize>> = vec![
        vec![3],
        vec![200],
        vec![7, 201, 5],
        vec![],
        vec![9, 9],
        (0..150).collect(),
        vec![202, 11],
        vec![12],
    ];
    let keys: Vec<Vec<XComKey>> = calls.iter().map(|call| call.iter().copied().map(key).collect()).collect();
    let found = pollster::block_on(join_all(keys.iter().map(|keys| db.entries(keys))));
    for (call, found) in calls.iter().zip(found) {
        let found: Vec<Option<usize>> = found
            .unwrap()
            .into_iter()
            .map(|entry| match entry?.stored {
                Stored::Inline(value) => value.get().ok(),
                Stored::Offloaded(reference) => panic!("{reference:?}"),
            })
            .collect();
        let expected: Vec<Option<usize>> = call.iter().map(|task| (*task < 150).then_some(*task)).collect();
        assert_eq!(found, expected);
    }
}

#[test]
fn who_gives_up_holds_up_nobody() {
    let Some(server) = server() else { return };
    let database = Database::new(server);
    let db = database.open();
    let pushes: Vec<Push> = (0..16).map(|task| push(Caller::user("test"), key(task), task)).collect();
    assert!(push_all(&db, &pushes).into_iter().all(|pushed| pushed.is_ok()));
    let keys: Vec<Vec<XComKey>> = (0..16).map(|task| vec![key(task)]).collect();
    pollster::block_on(async {
        for _ in 0..20 {
            // One has its answer; all others, which were sent with it or after it, are dropped.
            let asked = keys.iter().map(|keys| db.entries(keys));
            let (first, _, rest) = futures_util::future::select_all(asked).await;
            assert!(first.unwrap()[0].is_some());
            drop(rest);
            assert!(db.entries(&keys[0]).await.unwrap()[0].is_some());
        }
    });
}
