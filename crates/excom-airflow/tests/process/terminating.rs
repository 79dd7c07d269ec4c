//! Tasks that are made to end: cancelled, out of time, or dropped.

use std::time::Duration;

use excom_airflow::process::Timeouts;
use excom_flow::runner::isolation::Outcome;

use crate::support::{TIMEOUTS, Try, ended, failure, success};

async fn cancelled_when(task: &Try, line: &str) -> Outcome {
    let cancel = async {
        let line = task.logged(line).await;
        task.order.run.cancellation.cancel();
        line
    };
    tokio::join!(task.run(), cancel).0
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cancelled_task_may_end_in_order() {
    let patient = Timeouts { kill: Duration::from_secs(120), ..TIMEOUTS };
    let task = Try::new("waits").await.timeouts(patient);
    let failure = failure(cancelled_when(&task, "waiting").await);
    assert_eq!(failure.message, "the run was cancelled while the task ran");
    let task = Try::new("ends_well_when_cancelled").await.timeouts(patient);
    assert_eq!(cancelled_when(&task, "waiting").await, success());
    assert_eq!(task.pushed("end").await.unwrap(), "\"in order\"");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_task_that_does_not_hear_is_killed_with_all_that_it_started() {
    let task = Try::new("hangs_with_strays").await;
    let failure = failure(cancelled_when(&task, "stray ").await);
    assert_eq!(failure.message, "the run was cancelled while the task ran");
    let line = task.logged("stray ").await;
    for process in line.split(' ').filter(|word| word.parse::<u32>().is_ok()) {
        ended(process).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_task_that_takes_too_long_is_ended() {
    for behaviour in ["waits", "hangs"] {
        let mut task = Try::new(behaviour).await;
        task.order.timeout = Some(Duration::from_millis(300));
        let failure = failure(task.run().await);
        assert_eq!(failure.message, "the task took longer than its limit of 300ms, and was ended");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_process_that_is_stopped_is_ended_all_the_same() {
    let task = Try::new("stops").await;
    let failure = failure(cancelled_when(&task, " stops").await);
    assert_eq!(failure.message, "the run was cancelled while the task ran");
    let line = task.logged(" stops").await;
    ended(line.split(' ').nth(1).unwrap()).await;
    let mut task = Try::new("stops").await;
    task.order.timeout = Some(Duration::from_secs(1));
    let failure = crate::support::failure(task.run().await);
    assert_eq!(failure.message, "the task took longer than its limit of 1s, and was ended");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_try_that_is_dropped_is_killed() {
    let task = Try::new("hangs").await;
    let line = tokio::select! {
        outcome = task.run() => panic!("it ended: {outcome:?}"),
        line = task.logged(" hangs") => line,
    };
    let process = line.split(' ').find(|word| word.parse::<u32>().is_ok()).unwrap();
    ended(process).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_process_that_never_connects_is_ended() {
    let timeouts = Timeouts { startup: Duration::from_millis(300), ..TIMEOUTS };
    let failure = failure(Try::new("raw_never_connects").await.timeouts(timeouts).run().await);
    assert_eq!(failure.message, "the task's process did not connect within 300ms");
}
