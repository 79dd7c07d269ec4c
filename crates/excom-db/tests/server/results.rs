//! What is kept of results beside their entries.

use std::sync::Arc;
use std::time::Duration;

use excom_core::db::Scope;
use excom_core::{Caller, Engine, MetadataDb, Value, XComKey, memory};

const DAY: Duration = Duration::from_secs(24 * 3600);

/// A mark is one row for each XCom, which a delete and the end of its run remove. How many rows there are is told by the
/// test, for the database that it has.
pub(crate) fn marks_go_with_what_they_mark(db: Arc<dyn MetadataDb>, rows: impl Fn() -> String) {
    let clock = Arc::new(memory::Clock::new());
    let engine = Engine::builder(db, clock.clone()).build();
    let (ana, key) = (Caller::user("ana"), XComKey::new("d", "r", "t", -1, "return_value").unwrap());
    let mark = async || engine.push_result(&ana, &key, Value::null().into()).await.unwrap();
    pollster::block_on(async {
        engine.push(&ana, &key, Value::null().into()).await.unwrap();
        assert_eq!(rows(), "0", "who marks nothing writes none");
        for _ in 0..2 {
            mark().await;
            assert_eq!(rows(), "1");
        }
        let whole = Scope::TaskInstance(key.ti.clone());
        for scope in [Scope::Key(key.clone()), whole] {
            engine.delete(&ana, &scope).await.unwrap();
            assert_eq!(rows(), "0");
            mark().await;
        }
        assert_eq!(engine.db().results("d", "r").await.unwrap().join(" "), "t");
        clock.advance(91 * DAY);
        engine.prune().await.unwrap();
        assert!(engine.db().results("d", "r").await.unwrap().is_empty(), "it expired");
        for _ in 0..6 {
            clock.advance(91 * DAY);
            engine.prune().await.unwrap();
        }
        assert_eq!(engine.db().run_info("d", "r").await.unwrap(), None);
        assert_eq!(rows(), "0");
    });
}
