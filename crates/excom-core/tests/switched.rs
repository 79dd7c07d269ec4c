//! After another backend was selected, values that were stored before it are read where they are.

#![allow(clippy::unwrap_used, reason = "a test panics when it does not hold")]

use std::sync::Arc;

use excom_core::db::Scope;
use excom_core::memory::{Backend, Clock, Db, Store};
use excom_core::{Answer, Caller, Engine, ErrorKind, PullOptions, Value, ValueStore, XComBackend, XComKey};

fn key(task: &str) -> XComKey {
    XComKey::new("d", "r", task, -1, "k").unwrap()
}

fn over(store: &Arc<Store>) -> Arc<dyn XComBackend> {
    Arc::new(Backend::new(store.clone(), 10))
}

#[test]
fn old_values_are_read_and_purged_where_they_are() {
    let (ana, long) = (Caller::user("ana"), |n: u32| Value::of(&format!("{n}").repeat(100)).unwrap());
    let (db, clock) = (Arc::new(Db::new()), Arc::new(Clock::new()));
    let (old, new) = (Arc::new(Store::named("old")), Arc::new(Store::named("new")));
    let keys = excom_core::seal::SealKeys::new("k1", [1; 32]);
    let engine = || Engine::builder(db.clone(), clock.clone()).keys(keys.clone());
    pollster::block_on(async {
        let before = engine().backend(over(&old)).build();
        for task in ["a", "b"] {
            before.push(&ana, &key(task), long(1).into()).await.unwrap();
        }
        let after = engine().backend(over(&new)).reading(over(&old)).build();
        after.push(&ana, &key("b"), long(2).into()).await.unwrap();
        after.push(&ana, &key("c"), long(3).into()).await.unwrap();
        assert_eq!(new.list(None, 9).await.unwrap().len(), 2);

        let wanted = [key("c"), key("a"), key("none"), key("b")];
        let answers = after.pull(&ana, &wanted, PullOptions::default()).await.unwrap();
        let values: Vec<_> = answers.iter().map(|answer| answer.found().map(|f| f.value.clone())).collect();
        assert_eq!(values, [Some(long(3)), Some(long(1)), None, Some(long(2))]);

        // An engine that gets another backend is the same.
        let changed = before.with_backend(over(&new));
        let names: Vec<_> = changed.backends().map(|backend| backend.store().map(str::to_owned)).collect();
        assert_eq!(names, [Some("new".to_owned()), Some("old".to_owned())]);
        let answers = changed.pull(&ana, &wanted, PullOptions::default()).await.unwrap();
        let again: Vec<_> = answers.iter().map(|answer| answer.found().map(|f| f.value.clone())).collect();
        assert_eq!(again, values);

        // Without the old store the answer says which one is wanted, and the others are there.
        let forgetful = engine().backend(over(&new)).build();
        let answers = forgetful.pull(&ana, &wanted[..2], PullOptions::default()).await.unwrap();
        assert!(answers[0].found().is_some());
        assert!(matches!(&answers[1], Answer::Unavailable(why) if why.what.contains("`old`")), "{answers:?}");

        // What is deleted goes from where it is, as soon as somebody knows that place.
        let error = forgetful.delete(&ana, &Scope::Key(key("a"))).await.map(drop);
        assert!(error.is_ok() && old.list(None, 9).await.unwrap().len() == 2);
        assert_eq!(forgetful.purge_loose().await.unwrap_err().kind(), ErrorKind::Configuration);
        after.purge_loose().await.unwrap();
        assert_eq!(old.list(None, 9).await.unwrap().len(), 1, "an earlier version of b");
        after.delete(&ana, &Scope::Key(key("b"))).await.unwrap();
        assert!(old.list(None, 9).await.unwrap().is_empty());
    });
}
