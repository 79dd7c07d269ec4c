//! Processes that speak Airflow's words, or none that anybody knows.

use std::time::Duration;

use excom_flow::Reschedule;
use excom_flow::runner::isolation::{Crash, Outcome};

use crate::support::{Try, failure, success};

#[tokio::test(flavor = "multi_thread")]
async fn a_task_that_speaks_only_airflow_runs() {
    let task = Try::new("raw_speaks_only_airflow").await;
    task.given("mapped", 0, "\"a\"").await;
    task.given("mapped", 5, "\"b\"").await;
    let outcome = task.run().await;
    let Outcome::Succeeded(done) = outcome else { panic!("{outcome:?}: {:#?}", task.log()) };
    assert_eq!((done.pushes.len(), &done.skips[..]), (0, &["left".into(), "right".into()][..]));
    assert_eq!(task.pushed("return_value").await.unwrap(), r#"{"n":41,"f":2.5}"#);
    let log = task.log();
    assert!(log.iter().any(|line| line == "warning: from airflow's words rows=3"), "{log:#?}");
    assert!(log.iter().any(|line| line == "no record"), "{log:#?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn airflow_s_ends_are_outcomes() {
    assert_eq!(failure(Try::new("raw_wants_a_retry").await.run().await).message, "busy");
    let later = Reschedule::after(Duration::from_secs(2));
    assert_eq!(Try::new("raw_wants_a_reschedule").await.run().await, Outcome::Reschedule(later));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_no_frame_ends_the_task() {
    for (behaviour, message) in [
        ("raw_sends_no_message_pack", "a frame that is not an array"),
        ("raw_sends_a_map", "a frame that is not an array"),
        ("raw_sends_nothing", "an empty frame"),
        ("raw_sends_4_gib", "a frame of 4294967295 bytes"),
    ] {
        let failure = failure(Try::new(behaviour).await.run().await);
        assert!(failure.message.contains(message), "{behaviour}: {failure:?}");
    }
    let broken = Try::new("raw_breaks_off").await.run().await;
    assert!(matches!(broken, Outcome::Crashed(Crash { exit_code: Some(0), .. })), "{broken:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn every_request_has_an_answer() {
    let task = Try::new("raw_asks_what_nobody_knows").await;
    assert_eq!(task.run().await, success(), "{:#?}", task.log());
}

#[tokio::test(flavor = "multi_thread")]
async fn the_first_word_on_the_end_counts() {
    let task = Try::new("raw_ends_twice").await;
    assert_eq!(task.run().await, success(), "{:#?}", task.log());
    assert!(task.log().iter().any(|line| line.contains("second time")), "{:#?}", task.log());
    assert_eq!(Try::new("raw_succeeds_and_exits_1").await.run().await, success());
    assert_eq!(Try::new("raw_succeeds_and_stays").await.run().await, success());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_process_that_stops_talking_is_ended() {
    let failure = failure(Try::new("raw_closes_early").await.run().await);
    assert!(failure.message.contains("closed its connection and went on for 300ms"), "{failure:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_process_that_does_not_listen_holds_nobody() {
    let mut task = Try::new("raw_does_not_listen").await;
    task.given("large", -1, &format!("\"{}\"", "x".repeat(900 << 10))).await;
    task.order.timeout = Some(Duration::from_secs(1));
    assert!(failure(task.run().await).message.contains("took longer than its limit"));
}
