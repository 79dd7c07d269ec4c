//! A clear stands whatever a backend says when it is told of it.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::fmt;
use std::sync::Arc;

use async_trait::async_trait;
use excom_core::db::Scope;
use excom_core::{
    Caller, Engine, Error, ErrorKind, PullOptions, Result, TaskInstanceKey, Value, XComBackend, memory,
};

/// A backend that cannot be told anything.
#[derive(Debug)]
struct Away;

impl fmt::Display for Away {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("away")
    }
}

#[async_trait]
impl XComBackend for Away {
    fn name(&self) -> &'static str {
        "away"
    }

    fn inline_limit(&self) -> u64 {
        1000
    }

    async fn clear(&self, _: &TaskInstanceKey) -> Result<()> {
        Err(Error::new(ErrorKind::Unavailable, "nobody answers"))
    }
}

#[test]
fn a_backend_that_is_away_stops_no_retry() {
    pollster::block_on(async {
        let (db, clock) = (Arc::new(memory::Db::new()), Arc::new(memory::Clock::new()));
        let engine = Engine::builder(db, clock).backend(Arc::new(Away)).build();
        let ti = TaskInstanceKey::new("d", "r", "t", -1)?;
        let first = engine.start(&ti, 1).await?;
        engine.push(&Caller::Attempt(first), &ti.xcom("k")?, Value::of(&1)?.into()).await?;
        engine.start(&ti, 2).await?;
        let told = engine.upkeep().await.unwrap_err();
        assert_eq!(told.kind(), ErrorKind::Unavailable);
        assert!(told.to_string().contains("`away` was not told that d/r/t was cleared"), "{told}");
        engine.upkeep().await?;

        let ana = Caller::user("ana");
        engine.push(&ana, &ti.xcom("k")?, Value::of(&2)?.into()).await?;
        assert_eq!(engine.clear(&ana, &Scope::TaskInstance(ti.clone())).await?, 1);
        let answers = engine.pull(&ana, &[ti.xcom("k")?], PullOptions::default()).await?;
        assert!(answers[0].found().is_none());
        assert!(engine.upkeep().await.is_err());
        Ok::<(), Error>(())
    })
    .unwrap();
}
