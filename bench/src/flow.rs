//! The group `flow`: the local runner with durable XComs, embedded SQLite, defaults.
//!
//! There is no reference to be faster than. Beside are what runs tasks without keeping anything, and Airflow's
//! own way to run a DAG in one process.

mod airflow;
mod peers;

use std::sync::Arc;
use std::time::Instant;

use excom::config::{Settings, Sources};
use excom::prelude::*;
use excom::{DagDefinition, RunOptions, Runner};
use serde_json::value::RawValue;
use tokio::runtime::Runtime;

use crate::Place;
use crate::goals::Goal;
use crate::payload::{Kind, kilobytes};
use crate::report::{Beside, Row};
use crate::system::resident;

type Result<T> = std::result::Result<T, Box<dyn std::error::Error>>;

const ROUNDS: usize = 5;
const CHAIN: usize = 100;
const RUNS: usize = 1000;
/// How many runs go on at the same time: as many as tasks do unless told.
const AT_ONCE: usize = 32;
const MAPPED: i64 = 10_000;

/// Measures a row of this group; none when it is of another group.
pub(crate) fn measure(goal: &Goal) -> Result<Option<Vec<Row>>> {
    let mut rows = Vec::new();
    match goal.name.as_str() {
        "linear-100x1000" => {
            let airflow = airflow::chain();
            for kind in Kind::BOTH {
                let rounds = rounds(|| linear(kind))?;
                let row = Row::new(goal, kind.name(), "/s", rounds, |ours, _| ours);
                rows.push(row.beside(peers::chains(CHAIN, RUNS)?).beside(airflow.clone()));
            }
        }
        "one-chain" => {
            for kind in Kind::BOTH {
                let rounds = rounds(|| one_chain(kind))?;
                rows.push(Row::new(goal, kind.name(), "us", rounds, |ours, _| ours));
            }
        }
        "mapped-10000" => {
            let mut grown = 0.0_f64;
            let rounds = rounds(|| {
                let (rate, memory) = mapped()?;
                grown = grown.max(memory);
                Ok(rate)
            })?;
            let row = Row::new(goal, "integers", "/s", rounds, |ours, _| ours);
            rows.push(row.beside(vec![("MiB above start, at most".into(), Beside::Figure(grown))]));
        }
        _ => return Ok(None),
    }
    Ok(Some(rows))
}

fn rounds(mut measure: impl FnMut() -> Result<f64>) -> Result<Vec<(f64, Option<f64>)>> {
    (0..ROUNDS).map(|_| Ok((measure()?, None))).collect()
}

/// A runner as a DAG program has it, but for its logs and its terminal.
fn runner(place: &Place) -> Result<Runner> {
    let settings = Settings::load(&Sources { home: Some(place.file("home")), ..Sources::default() })?;
    Ok(Runner::new(excom::embedded::open(&settings)?))
}

fn runtime() -> Result<Runtime> {
    Ok(tokio::runtime::Builder::new_multi_thread().enable_all().build()?)
}

#[task]
async fn step(value: Box<RawValue>) -> Box<RawValue> {
    value
}

/// A hundred tasks, each of which hands on what it got.
fn chain(kind: Kind) -> DagDefinition {
    let text = kilobytes(kind, 1).remove(0).as_str().to_owned();
    DagDefinition::new("chain", move |dag| {
        let value = RawValue::from_string(text.clone()).expect("payloads are JSON");
        let mut last = step(dag, value);
        for _ in 1..CHAIN {
            last = step(dag, last);
        }
    })
}

/// Tasks a second, over many runs of the chain.
fn linear(kind: Kind) -> Result<f64> {
    let (place, runtime) = (Place::new()?, runtime()?);
    let (runner, chain) = (Arc::new(runner(&place)?), Arc::new(chain(kind)));
    let begin = Instant::now();
    runtime.block_on(async {
        let mut workers = tokio::task::JoinSet::new();
        for worker in 0..AT_ONCE {
            let (runner, chain) = (runner.clone(), chain.clone());
            workers.spawn(async move {
                for run in (worker..RUNS).step_by(AT_ONCE) {
                    let options = RunOptions::new().run_id(format!("scheduled__{run:06}"));
                    let report = runner.run(&chain, options).await?;
                    assert!(report.succeeded());
                }
                Ok::<_, excom_core::Error>(())
            });
        }
        while let Some(ended) = workers.join_next().await {
            ended.expect("a worker does not panic")?;
        }
        Ok::<_, excom_core::Error>(())
    })?;
    Ok((CHAIN * RUNS) as f64 / begin.elapsed().as_secs_f64())
}

/// Microseconds for each task of a chain that is alone, the median of twenty runs.
fn one_chain(kind: Kind) -> Result<f64> {
    let (place, runtime) = (Place::new()?, runtime()?);
    let (runner, chain) = (runner(&place)?, chain(kind));
    let mut times = Vec::new();
    for run in 0..20 {
        let options = RunOptions::new().run_id(format!("scheduled__{run:06}"));
        let begin = Instant::now();
        let report = runtime.block_on(runner.run(&chain, options))?;
        times.push(begin.elapsed().as_secs_f64() * 1e6 / CHAIN as f64);
        assert!(report.succeeded());
    }
    times.sort_by(f64::total_cmp);
    Ok(times[times.len() / 2])
}

#[task]
fn numbers() -> Vec<i64> {
    (0..MAPPED).collect()
}

#[task]
async fn twice(number: i64) -> i64 {
    number * 2
}

#[task]
fn sum(numbers: Mapped<i64>) -> excom::Result<i64> {
    let mut sum = 0;
    for element in numbers.iter() {
        sum += element?.1;
    }
    Ok(sum)
}

#[dag]
fn doubles(dag: &Dag) {
    sum(dag, twice(dag, expand(numbers(dag))));
}

/// Tasks a second of one run with a mapped task, and the memory that it took, in MiB.
fn mapped() -> Result<(f64, f64)> {
    let (place, runtime) = (Place::new()?, runtime()?);
    let runner = runner(&place)?;
    // What a first run needs once, such as the pages of the program, is not of the instances.
    let small = DagDefinition::new("small", |dag| {
        sum(dag, twice(dag, expand([1])));
    });
    runtime.block_on(runner.run(&small, RunOptions::new()))?;
    let before = resident()?;
    let begin = Instant::now();
    let report = runtime.block_on(runner.run(&doubles(), RunOptions::new()))?;
    let rate = MAPPED as f64 / begin.elapsed().as_secs_f64();
    let summed = report.task("sum").map(|task| task.pushed[0].preview.clone());
    assert_eq!(summed.as_deref(), Some((MAPPED * (MAPPED - 1)).to_string().as_str()));
    Ok((rate, resident()? - before))
}
