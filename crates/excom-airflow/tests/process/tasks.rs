//! Tasks that do what tasks do.

use std::sync::Arc;
use std::time::Duration;

use excom_core::Value;
use excom_flow::runner::isolation::Outcome;
use excom_flow::{Reschedule, RunFacts, Skip};

use crate::support::{Try, failure, success};

#[tokio::test(flavor = "multi_thread")]
async fn a_task_pushes_logs_and_knows_its_run() {
    let mut task = Try::new("succeeds").await;
    let mut run = RunFacts::default();
    run.params = [("n".to_owned(), Value::parse("3").unwrap())].into_iter().collect();
    run.home = Some("/some/where".into());
    run.logical_date = Some("2026-11-20T00:00:00Z".parse().unwrap());
    task.order.run = Arc::new(run);
    (task.order.try_number, task.order.retries) = (2, 3);
    let Outcome::Succeeded(done) = task.run().await else { panic!("{:#?}", task.log()) };
    assert_eq!(task.pushed("rows").await.unwrap(), "365");
    // To the byte, also what MessagePack cannot say.
    let exact = r#"{"b": 123456789012345678901234567890, "a":1.0}"#;
    assert_eq!(done.pushes, [(task.order.key.return_value(), Value::parse(exact).unwrap())]);
    assert_eq!(done.skips, ["left".into()]);
    let log = task.log();
    for line in [
        "a line of output",
        "try 2 pushed 4 bytes",
        "n is 3 in Some(\"/some/where\") at Some(\"2026-11-20\")",
    ] {
        assert!(log.iter().any(|logged| logged == line), "{line} is not in {log:#?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_task_pulls_answers_with_their_cause() {
    let task = Try::new("pulls").await;
    task.given("number", -1, "12345678901234567890123").await;
    task.given("mapped", 0, "\"a\"").await;
    task.given("mapped", 2, "null").await;
    let failure = failure(task.run().await);
    assert!(failure.message.contains("task `numbre` never pushed `return_value`"), "{failure:?}");
    assert!(failure.hints.iter().any(|hint| hint.contains("`number`")), "{failure:?}");
    let log = task.log();
    let line = |begin: &str| {
        log.iter()
            .find(|line| line.starts_with(begin))
            .unwrap_or_else(|| panic!("{begin} is not in {log:#?}"))
    };
    assert_eq!(line("code "), "code not_yet");
    assert!(line("number ").contains("Single(Found(Found { value: Value(12345678901234567890123)"));
    assert!(
        line("mapped ").contains("items: [(0, Found") && line("mapped ").contains("(2, Null"),
        "{}",
        line("mapped ")
    );
    assert_eq!((line("count ").as_str(), line("last ").as_str()), ("count 2", "last 2 null"));
}

#[tokio::test(flavor = "multi_thread")]
async fn refusals_of_the_engine_arrive_with_hints() {
    let failure = failure(Try::new("too_large").await.run().await);
    assert!(failure.message.contains("keeps at most 1.0 MiB"), "{failure:?}");
    assert!(!failure.hints.is_empty(), "{failure:?}");
    let refused = crate::support::failure(Try::new("leaves_what_is_refused").await.run().await);
    assert_eq!(refused.message, "the XCom key is empty");
}

#[tokio::test(flavor = "multi_thread")]
async fn much_and_many_pass() {
    assert_eq!(Try::new("large").await.run().await, success());
    let task = Try::new("many").await;
    assert_eq!(task.run().await, success());
    assert_eq!(task.pushed("key 31").await.unwrap(), "31");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_task_ends_in_every_way() {
    let failed = failure(Try::new("fails").await.run().await);
    assert_eq!(
        (failed.message.as_str(), &failed.hints[..]),
        ("no room", &["remove something".to_owned()][..])
    );
    assert_eq!(Try::new("skips").await.run().await, Outcome::Skipped(Skip::because("no rows")));
    let later = Reschedule::after(Duration::from_millis(1500));
    assert_eq!(Try::new("reschedules").await.run().await, Outcome::Reschedule(later));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_program_without_the_task_says_what_it_has() {
    let mut task = Try::new("succeeds").await;
    task.order.key = excom_core::TaskInstanceKey::new("dag", "run", "tusk", -1).unwrap();
    let failed = failure(task.run().await);
    assert_eq!(failed.message, "DAG `dag` of this program has no task `tusk`");
    assert_eq!(failed.hints, ["it has `task`"]);
    task.order.key = excom_core::TaskInstanceKey::new("dog", "run", "task", -1).unwrap();
    assert_eq!(failure(task.run().await).message, "this program has no DAG `dog`");
}

#[tokio::test(flavor = "multi_thread")]
async fn floods_of_output_and_log_are_read_with_bounded_lines() {
    let task = Try::new("floods_output").await;
    assert_eq!(task.run().await, success());
    assert!(task.log_count() > 100_000, "{}", task.log_count());
    assert!(task.log().iter().all(|line| line.len() < 20_000));
    let task = Try::new("floods_log").await;
    assert_eq!(task.run().await, success());
    assert!(task.log_count() >= 100_000, "{}", task.log_count());
}
