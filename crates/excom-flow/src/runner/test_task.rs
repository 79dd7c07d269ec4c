//! One task by itself, against the XComs of a run that was: it reads what that run left, and what it pushes and
//! sets is told and not stored.

use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;
use excom_core::engine::{LocalChannel, Receipt, TaskAnswer};
use excom_core::{
    Answer, Caller, Engine, Payload, PullOptions, Result, SequenceKey, Slice, TaskChannel, TaskInstanceKey,
    TaskState, UNMAPPED, Value, XComKey, memory,
};
use jiff::SignedDuration;

use super::execute::execute;
use super::recorder::Recorder;
use super::{Runner, number, stored_params};
use crate::cancel::Cancellation;
use crate::dag::{DagDefinition, Graph};
use crate::error::invalid;
use crate::instance::TaskInstance;
use crate::outcome::{Failure, Reschedule, Skip};

/// Who reads for a task that is tested.
const TESTER: Caller = Caller::System("test-task");

/// Which task is tested, against which run.
#[derive(Clone)]
#[non_exhaustive]
pub struct TestOptions {
    /// The run whose XComs and parameters it gets.
    pub run_id: String,
    /// The task.
    pub task_id: String,
    /// Which instance of a mapped task; none of another.
    pub map_index: Option<u32>,
    /// Tells it to stop.
    pub cancellation: Cancellation,
    log: Arc<dyn Fn(&str) + Send + Sync>,
}

impl fmt::Debug for TestOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "TestOptions({} in run {}, map index {:?})", self.task_id, self.run_id, self.map_index)
    }
}

impl TestOptions {
    /// A task of a run, without a place for what it logs.
    pub fn new(run_id: impl Into<String>, task_id: impl Into<String>) -> Self {
        Self {
            run_id: run_id.into(),
            task_id: task_id.into(),
            map_index: None,
            cancellation: Cancellation::new(),
            log: Arc::new(|_| ()),
        }
    }

    /// The same for one instance of a mapped task.
    #[must_use]
    pub fn map_index(mut self, map_index: u32) -> Self {
        self.map_index = Some(map_index);
        self
    }

    /// The same with a way to stop it.
    #[must_use]
    pub fn cancellation(mut self, cancellation: Cancellation) -> Self {
        self.cancellation = cancellation;
        self
    }

    /// The same with somebody who is told each line that the task logs.
    #[must_use]
    pub fn log(mut self, log: impl Fn(&str) + Send + Sync + 'static) -> Self {
        self.log = Arc::new(log);
        self
    }
}

/// What a task that was tested did.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct TestReport {
    /// Which task instance it was.
    pub ti: TaskInstanceKey,
    /// How it ended: `success`, `skipped`, `failed`, or `up_for_reschedule` when it must wait and look again.
    pub state: TaskState,
    /// How long it took.
    pub duration: SignedDuration,
    /// What it would have pushed, by key.
    pub pushed: Vec<(Arc<str>, Value)>,
    /// The variables that it would have set, or deleted.
    pub variables: Vec<(String, Option<String>)>,
    /// What the fields of its operator were rendered to.
    pub rendered: Vec<(String, Value)>,
    /// The tasks that it would have skipped.
    pub skips: Vec<Arc<str>>,
    /// Why it did not succeed.
    pub failure: Option<Failure>,
}

impl Runner {
    /// Runs one task against what a run left: it reads that run's XComs and has its parameters. What it pushes
    /// and sets is in the report and not stored; the run stays as it is. As in a fresh try, what the task
    /// instance itself had pushed is not there. The ledger has its reads, as everybody's.
    ///
    /// What a task does outside of Excom it really does.
    ///
    /// ```
    /// # extern crate excom_flow as excom;
    /// # use std::sync::Arc;
    /// # use excom_core::{Engine, memory};
    /// use excom::prelude::*;
    /// use excom::runner::TestOptions;
    /// use excom::{RunOptions, Runner};
    ///
    /// #[task]
    /// fn measure() -> u64 { 21 }
    /// #[task]
    /// fn double(n: u64) -> u64 { 2 * n }
    ///
    /// #[dag]
    /// fn doubling(dag: &Dag) { double(dag, measure(dag)); }
    ///
    /// # tokio::runtime::Runtime::new()?.block_on(async {
    /// # let engine = Engine::builder(Arc::new(memory::Db::new()), Arc::new(memory::Clock::new())).build();
    /// let runner = Runner::new(engine);
    /// runner.run(&doubling(), RunOptions::new().run_id("manual__1")).await?;
    /// let report = runner.test_task(&doubling(), TestOptions::new("manual__1", "double")).await?;
    /// assert_eq!(report.pushed[0].1.as_str(), "42");
    /// # Ok::<(), excom_core::Error>(())
    /// # })?;
    /// # Ok::<(), excom::BoxError>(())
    /// ```
    ///
    /// # Errors
    /// When there is no such run or task, a mapped task is tested without a map index or another with one, or
    /// the engine cannot be read. What happens in the task is in the report.
    pub async fn test_task(&self, definition: &DagDefinition, options: TestOptions) -> Result<TestReport> {
        let graph = definition.graph()?;
        let info = self.known(&graph, &options.run_id).await?;
        let task = number(&graph, &options.task_id)?;
        let map_index = self.map_index(&graph, task, &options).await?;
        let task_id = graph.tasks()[task as usize].shared_id().clone();
        let ti = TaskInstanceKey::new(graph.dag_id().clone(), info.run.run_id.clone(), task_id, map_index)?;
        let params = stored_params(definition, &info)?;
        let facts = self.facts(definition, &info.run, params, options.cancellation).await?;
        let secret_keys = self.engine.settings().secret_keys.clone();
        let scratch = Engine::builder(Arc::new(memory::Db::new()), self.engine.clock().clone())
            .settings(excom_core::engine::Settings { secret_keys, ..Default::default() })
            .build();
        let attempt = scratch.start(&ti, 1).await?;
        let log = options.log;
        let tested = Arc::new(TestChannel {
            stored: self.engine.channel(TESTER),
            own: scratch.channel(attempt.clone()).with_log(move |line| log(line)),
            ti: ti.clone(),
            order: Mutex::default(),
            variables: Mutex::default(),
            rendered: Mutex::default(),
        });
        let channel = Arc::new(Recorder::new(tested.clone(), ti.clone()));
        let instance = TaskInstance::new(channel.clone(), ti.clone())
            .in_run(Arc::new(facts))
            // Nobody else knows this attempt, so a command that pushes by itself is refused, not stored.
            .as_try(attempt.id, 1)
            .of_task(Arc::new(graph.facts(&graph.tasks()[task as usize])))
            .with_pushes(graph.tasks()[task as usize].settings().do_xcom_push);

        let clock = self.engine.clock();
        let started_at = clock.now();
        let executed = execute(&graph, task, &instance, None, self.max_map_length).await;
        let duration = clock.now().duration_since(started_at);
        let (state, mut failure) = match &executed {
            Ok(_) => (TaskState::Success, None),
            Err(error) if error.is::<Skip>() => (TaskState::Skipped, Some(Failure::of(&**error))),
            Err(error) if error.is::<Reschedule>() => {
                (TaskState::UpForReschedule, Some(Failure::of(&**error)))
            }
            Err(error) => (TaskState::Failed, Some(Failure::of(&**error))),
        };
        if let Some(failure) = &mut failure {
            channel.redact(failure);
        }
        let mut skips = Vec::new();
        if let Ok(executed) = executed {
            for (key, value) in executed.pushes {
                channel.push(&key, value.into()).await?;
            }
            skips =
                executed.skips.iter().map(|skip| graph.tasks()[*skip as usize].shared_id().clone()).collect();
        }
        Ok(TestReport {
            state,
            duration,
            pushed: tested.pushed().await?,
            variables: tested.take_variables(),
            rendered: tested.take_rendered(),
            skips,
            failure,
            ti,
        })
    }

    /// The instance that is meant, which the run must have had.
    async fn map_index(&self, graph: &Graph, task: u32, options: &TestOptions) -> Result<i32> {
        let mapped = graph.tasks()[task as usize].is_mapped();
        let (task_id, run_id) = (&options.task_id, &options.run_id);
        let refused = |what: &str| invalid(format!("task `{task_id}` {what}"));
        let Some(index) = options.map_index else {
            return if mapped {
                Err(refused("is mapped").hint("say which of its instances with a map index, from 0"))
            } else {
                Ok(UNMAPPED)
            };
        };
        if !mapped {
            return Err(refused("is not mapped").hint("leave the map index away"));
        }
        let index = i32::try_from(index).unwrap_or(i32::MAX);
        let mut had = 0;
        let mut found = false;
        let mut known = self.engine.task_instances(graph.dag_id(), run_id);
        while let Some(info) = known.next().await? {
            if *info.key.task_id == **task_id && info.key.is_mapped() && info.state != TaskState::Removed {
                had += 1;
                found |= info.key.map_index == index;
            }
        }
        if found {
            return Ok(index);
        }
        Err(refused(&format!("has no instance {index} in run `{run_id}`")).hint(match had {
            0 => "it was not expanded in that run".to_owned(),
            _ => format!("it has {had} instances there, from 0"),
        }))
    }
}

/// A channel that reads a run's XComs from the engine, and keeps what the task itself pushes and sets to itself.
#[derive(Debug)]
struct TestChannel {
    /// Only read.
    stored: LocalChannel,
    /// Over an engine in memory that ends with the test.
    own: LocalChannel,
    ti: TaskInstanceKey,
    /// What was pushed, in order.
    order: Mutex<Vec<XComKey>>,
    variables: Mutex<HashMap<String, Option<String>>>,
    rendered: Mutex<Vec<(String, Value)>>,
}

impl TestChannel {
    async fn pushed(&self) -> Result<Vec<(Arc<str>, Value)>> {
        let keys = self.order.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let answers = self.own.pull(&keys, PullOptions::default()).await?;
        let value = |answer: Answer| match answer {
            Answer::Null(found) => Ok(found.value),
            answer => answer.value(),
        };
        keys.into_iter().zip(answers).map(|(key, answer)| Ok((key.key, value(answer)?))).collect()
    }

    fn take_variables(&self) -> Vec<(String, Option<String>)> {
        let variables = std::mem::take(&mut *self.variables.lock().unwrap_or_else(PoisonError::into_inner));
        let mut variables: Vec<_> = variables.into_iter().collect();
        variables.sort();
        variables
    }

    fn take_rendered(&self) -> Vec<(String, Value)> {
        std::mem::take(&mut *self.rendered.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

#[async_trait]
impl TaskChannel for TestChannel {
    async fn pull(&self, keys: &[XComKey], options: PullOptions) -> Result<Vec<Answer>> {
        let mut answers = HashMap::new();
        let mut others = Vec::new();
        for (place, key) in keys.iter().enumerate() {
            if key.ti == self.ti {
                let own = self.own.pull(std::slice::from_ref(key), PullOptions::default()).await?.pop();
                // Earlier runs are stored, so a pull that looks at them goes on there.
                if let Some(own) = own.filter(|own| own.found().is_some() || !options.include_prior_dates) {
                    answers.insert(place, own);
                    continue;
                }
            }
            others.push(key.clone());
        }
        let others = if others.is_empty() { Vec::new() } else { self.stored.pull(&others, options).await? };
        let mut others = others.into_iter();
        let in_order = (0..keys.len()).filter_map(|place| answers.remove(&place).or_else(|| others.next()));
        Ok(in_order.collect())
    }

    async fn pull_tasks(&self, keys: &[SequenceKey], options: PullOptions) -> Result<Vec<TaskAnswer>> {
        let mut answers = self.stored.pull_tasks(keys, options).await?;
        for (key, answer) in keys.iter().zip(&mut answers) {
            let own = key.at(UNMAPPED);
            if own.ti == self.ti {
                *answer = TaskAnswer::Single(self.pull(&[own], options).await?.remove(0));
            }
        }
        Ok(answers)
    }

    async fn push(&self, key: &XComKey, value: Payload) -> Result<Receipt> {
        let receipt = self.own.push(key, value).await?;
        let mut order = self.order.lock().unwrap_or_else(PoisonError::into_inner);
        order.retain(|pushed| pushed != key);
        order.push(key.clone());
        Ok(receipt)
    }

    async fn count(&self, key: &SequenceKey) -> Result<u64> {
        self.stored.count(key).await
    }

    async fn slice(&self, key: &SequenceKey, slice: Slice) -> Result<Vec<(i32, Answer)>> {
        self.stored.slice(key, slice).await
    }

    async fn variable(&self, key: &str) -> Result<Option<String>> {
        let own = self.variables.lock().unwrap_or_else(PoisonError::into_inner).get(key).cloned();
        match own {
            Some(own) => Ok(own),
            None => self.stored.variable(key).await,
        }
    }

    async fn set_variable(&self, key: &str, text: Option<&str>) -> Result<()> {
        let mut variables = self.variables.lock().unwrap_or_else(PoisonError::into_inner);
        variables.insert(key.to_owned(), text.map(ToOwned::to_owned));
        Ok(())
    }

    async fn note_rendered(&self, fields: &[(String, Value)]) -> Result<()> {
        *self.rendered.lock().unwrap_or_else(PoisonError::into_inner) = fields.to_vec();
        Ok(())
    }

    fn is_secret(&self, key: &str) -> bool {
        self.stored.is_secret(key)
    }

    fn log(&self, line: &str) {
        self.own.log(line);
    }
}
