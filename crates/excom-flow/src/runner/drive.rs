//! The way of a run through an engine: it is noted, executed, and its end told; meanwhile the engine is maintained.

use std::collections::BTreeSet;
use std::future::poll_fn;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::Poll;
use std::time::Duration;

use excom_core::db::DagRun;
use excom_core::{Error, ErrorKind, Result, TaskInstanceKey, TaskState, UNMAPPED};
use tokio::task::JoinHandle;

use super::execution::{Execution, Shared};
use super::past::Past;
use super::{Event, RunReport, Runner, version};
use crate::cancel::Cancellation;
use crate::dag::{DagDefinition, Graph};
use crate::instance::{PreviousRun, RunFacts};
use crate::params::Params;

impl Runner {
    /// Runs what is not done of a run, to its end.
    pub(super) async fn drive(
        &self,
        definition: &DagDefinition,
        graph: Graph,
        mut run: DagRun,
        params: Params,
        cancellation: Cancellation,
        past: Past,
    ) -> Result<RunReport> {
        let versioned = definition.versioned(&graph)?;
        let other_version = version::differs(&self.engine, &run, &versioned).await?;
        run.version = Some(versioned.version.clone());
        let clock = self.engine.clock().clone();
        let started_at = clock.now();
        let run_id = run.run_id.clone();
        let key = |task_id: &Arc<str>| {
            TaskInstanceKey::new(run.dag_id.clone(), run_id.clone(), task_id.clone(), UNMAPPED)
        };
        let keys: Vec<TaskInstanceKey> =
            graph.tasks().iter().map(|task| key(task.shared_id())).collect::<Result<_>>()?;
        // Together, so that both are in one commit.
        let (noted, started) =
            tokio::join!(version::note(&self.engine, &run, &versioned), self.engine.start_run(&run));
        noted.and(started)?;
        let scheduled: Vec<_> = (0..)
            .zip(&keys)
            .filter(|(task, _)| !past.knows(*task))
            .map(|(_, key)| (key.clone(), TaskState::Scheduled))
            .collect();
        for states in scheduled.chunks(1000) {
            self.engine.set_states(states).await?;
        }
        let mut facts = self.facts(definition, &run, params, cancellation).await?;
        facts.start_date = Some(started_at);
        facts.contract = Some(versioned.contract.clone());
        let any = match keys.into_iter().next() {
            Some(key) => key,
            None => key(&"none".into())?,
        };
        let total = graph.tasks().len();
        let task_facts = graph.tasks().iter().map(|task| Arc::new(graph.facts(task))).collect();
        let shared = Shared {
            engine: self.engine.clone(),
            graph,
            any,
            run: Arc::new(facts),
            logs: self.logs.clone(),
            reporter: self.reporter.clone(),
            max_map_length: self.max_map_length,
            isolation: self.isolation.clone(),
            facts: task_facts,
        };
        shared.report(&Event::RunStarted {
            dag_id: &run.dag_id,
            run_id: &run_id,
            tasks: total,
            at: started_at,
        });

        let troubles = Arc::default();
        let maintenance = self.maintain(&troubles);
        // On the runtime's own threads, where waking up a task is cheapest.
        let mut execution =
            Background(tokio::spawn(Execution::new(Arc::new(shared), self.parallelism, past).run()));
        let mut ended = (&mut execution.0)
            .await
            .map_err(|e| Error::new(ErrorKind::Other, "the runner panicked").because(e))?;
        drop(maintenance);
        ended.warnings.extend(other_version);
        ended.warnings.extend(take(&troubles).into_iter().map(|trouble| format!("maintenance: {trouble}")));
        // A program of short runs never lives to see a minute of maintenance.
        let kept = async {
            self.engine.set_run_state(&run.dag_id, &run_id, ended.state).await?;
            self.engine.upkeep().await?;
            self.engine.close().await
        };
        if let Err(error) = kept.await {
            ended.warnings.push(format!("the engine could not be maintained: {error}"));
        }
        let report = RunReport {
            dag_id: run.dag_id,
            run_id,
            state: ended.state,
            started_at,
            duration: clock.now().duration_since(started_at),
            tasks: ended.tasks,
            warnings: ended.warnings,
        };
        if let Some(reporter) = &self.reporter {
            reporter.report(&Event::RunFinished { report: &report });
        }
        Ok(report)
    }

    /// What the task instances of a run share.
    pub(super) async fn facts(
        &self,
        definition: &DagDefinition,
        run: &DagRun,
        params: Params,
        cancellation: Cancellation,
    ) -> Result<RunFacts> {
        let previous = self.engine.db().last_success(run).await?;
        Ok(RunFacts {
            params,
            logical_date: run.logical_date,
            run_after: Some(run.run_after),
            conf: run.conf.clone(),
            previous_success: previous.map(|info| PreviousRun {
                start_date: info.started_at,
                end_date: info.ended_at,
                ..PreviousRun::default()
            }),
            template_searchpath: definition.template_folders().to_vec(),
            native_templates: definition.native_templates(),
            home: self.home.clone(),
            cancellation,
            contracts: self.contracts,
            ..RunFacts::default()
        })
    }

    /// Drives the engine's background work from the second second on; shorter runs need none.
    fn maintain(&self, troubles: &Arc<Troubles>) -> Background<()> {
        let (engine, troubles) = (self.engine.clone(), troubles.clone());
        Background(tokio::spawn(async move {
            tokio::time::sleep(Duration::from_secs(1)).await;
            // By a clock that does not really wait (a test's), the work would spin for ever.
            let mut nap = engine.clock().sleep(Duration::from_millis(1));
            if poll_fn(|context| Poll::Ready(nap.as_mut().poll(context).is_ready())).await {
                return;
            }
            let note = |error: &Error| {
                troubles.lock().unwrap_or_else(PoisonError::into_inner).insert(error.to_string());
            };
            engine.maintain(note).await;
        }))
    }
}

/// What maintenance could not do, each once.
type Troubles = Mutex<BTreeSet<String>>;

fn take(troubles: &Troubles) -> BTreeSet<String> {
    std::mem::take(&mut *troubles.lock().unwrap_or_else(PoisonError::into_inner))
}

/// Work of the runtime that ends with whoever started it.
struct Background<T>(JoinHandle<T>);

impl<T> Drop for Background<T> {
    fn drop(&mut self) {
        self.0.abort();
    }
}
