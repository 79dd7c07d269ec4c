//! What becomes of an operator's fields is kept before it executes.

use std::borrow::Cow;
use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;
use excom_core::engine::{LocalChannel, Receipt, TaskAnswer};
use excom_core::value::Payload;
use excom_core::{
    Answer, Engine, Error, ErrorKind, PullOptions, SequenceKey, Slice, TaskChannel, TaskInstanceKey, Value,
    XComKey, memory,
};

use super::{Field, Operated, Operator};
use crate::instance::TaskInstance;
use crate::work::{Arguments, Running, Work as _};

/// Keeps what was rendered, or refuses to, and the lines of the log.
#[derive(Debug)]
struct Keeper {
    inner: LocalChannel,
    refuses: bool,
    kept: Mutex<Vec<(String, Value)>>,
    lines: Mutex<Vec<String>>,
}

#[async_trait]
impl TaskChannel for Keeper {
    async fn pull(&self, keys: &[XComKey], options: PullOptions) -> excom_core::Result<Vec<Answer>> {
        self.inner.pull(keys, options).await
    }

    async fn pull_tasks(
        &self,
        keys: &[SequenceKey],
        options: PullOptions,
    ) -> excom_core::Result<Vec<TaskAnswer>> {
        self.inner.pull_tasks(keys, options).await
    }

    async fn push(&self, key: &XComKey, value: Payload) -> excom_core::Result<Receipt> {
        self.inner.push(key, value).await
    }

    async fn count(&self, key: &SequenceKey) -> excom_core::Result<u64> {
        self.inner.count(key).await
    }

    async fn slice(&self, key: &SequenceKey, slice: Slice) -> excom_core::Result<Vec<(i32, Answer)>> {
        self.inner.slice(key, slice).await
    }

    async fn variable(&self, _: &str) -> excom_core::Result<Option<String>> {
        Ok(None)
    }

    async fn set_variable(&self, _: &str, _: Option<&str>) -> excom_core::Result<()> {
        Ok(())
    }

    async fn note_rendered(&self, fields: &[(String, Value)]) -> excom_core::Result<()> {
        if self.refuses {
            return Err(Error::new(ErrorKind::Full, "no room is left"));
        }
        *self.kept.lock().unwrap_or_else(PoisonError::into_inner) = fields.to_vec();
        Ok(())
    }

    fn log(&self, line: &str) {
        self.lines.lock().unwrap_or_else(PoisonError::into_inner).push(line.to_owned());
    }
}

#[derive(Debug, Clone)]
struct Two {
    first: Field,
    second: Field,
}

impl Operator for Two {
    type Output = String;

    fn fields(&mut self) -> Vec<(Cow<'static, str>, &mut Field)> {
        vec![("first".into(), &mut self.first), ("second".into(), &mut self.second)]
    }

    async fn execute(self, _: TaskInstance) -> crate::Result<String> {
        Ok(self.first.text()?)
    }
}

fn start(refuses: bool) -> Arc<Keeper> {
    let engine = Engine::builder(Arc::new(memory::Db::new()), Arc::new(memory::Clock::new())).build();
    let key = TaskInstanceKey::new("d", "r", "t", -1).unwrap();
    let attempt = pollster::block_on(engine.start(&key, 1)).unwrap();
    let inner = engine.channel(attempt);
    let keeper = Arc::new(Keeper { inner, refuses, kept: Mutex::default(), lines: Mutex::default() });
    let ti = TaskInstance::new(keeper.clone(), key);
    let two = Two { first: "in {{ run_id }}".into(), second: "plain".into() };
    let Running::Graceful(running) = Operated(two).start(ti, Arguments::new(Vec::new())) else {
        panic!("an operator hears of the cancellation");
    };
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).build().unwrap();
    let returned = runtime.block_on(running).unwrap().unwrap();
    assert_eq!(returned.as_str(), "\"in r\"");
    keeper
}

#[test]
fn rendered_fields_are_kept_in_their_order() {
    let keeper = start(false);
    let kept = keeper.kept.lock().unwrap();
    let shown: Vec<(&str, &str)> = kept.iter().map(|(name, value)| (&**name, value.as_str())).collect();
    assert_eq!(shown, [("first", "\"in r\""), ("second", "\"plain\"")]);
}

#[test]
fn a_task_runs_also_when_its_rendered_fields_cannot_be_kept() {
    let keeper = start(true);
    let lines = keeper.lines.lock().unwrap();
    assert_eq!(*lines, ["what the fields were rendered to is not kept: no room is left"]);
}
