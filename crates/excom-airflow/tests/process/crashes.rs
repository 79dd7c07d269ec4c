//! Processes that end without a word.

use excom_flow::runner::isolation::{Crash, Outcome};
use rustix::process::{Pid, Signal, kill_process};

use crate::support::{TIMEOUTS, Try, ended, failure, success};

async fn crash(behaviour: &str) -> Crash {
    match Try::new(behaviour).await.run().await {
        Outcome::Crashed(crash) => crash,
        other => panic!("{behaviour} did not crash: {other:?}"),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_panic_is_a_failure() {
    let failure = failure(Try::new("panics").await.run().await);
    assert_eq!(failure.message, "the task panicked: oh no");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_crash_is_told_with_its_signal_or_code_and_the_last_words() {
    let abort = crash("aborts").await;
    assert_eq!((abort.signal, abort.exit_code), (Some(6), None));
    assert!(abort.last_lines.iter().any(|line| line == "the last words"), "{abort:?}");
    assert_eq!(crash("exits_3").await.exit_code, Some(3));
    let killed = crash("is_killed").await;
    assert_eq!(killed.signal, Some(9));
    assert!(killed.to_string().contains("perhaps for lack of memory"), "{killed}");
    assert_eq!(crash("segfaults").await.signal, Some(11));
    // No word is no success.
    assert_eq!(crash("exits_0").await.exit_code, Some(0));
    let early = crash("raw_exits_before_it_connects").await;
    assert_eq!(early.exit_code, Some(7));
    assert!(early.last_lines.iter().any(|line| line == "no configuration"), "{early:?}");
    assert_eq!(crash("raw_breaks_off_and_crashes").await.signal, Some(6));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_overflow_of_the_stack_is_a_crash() {
    let overflow = crash("overflows_its_stack").await;
    assert_eq!(overflow.signal, Some(6));
    assert!(overflow.last_lines.iter().any(|line| line.contains("overflowed its stack")), "{overflow:?}");
}

/// What is pushed while the process is killed is there as a whole, or not at all and what was there before stays.
#[tokio::test(flavor = "multi_thread")]
async fn a_push_of_a_process_that_is_killed_is_whole_or_not_there() {
    let whole = format!("\"{}\"", "é".repeat(400 << 10));
    for (behaviour, signal) in
        [("aborts_in_a_push", 6), ("is_killed_in_a_push", 9), ("raw_is_killed_in_a_frame", 9)]
    {
        let task = Try::new(behaviour).await;
        let outcome = task.run().await;
        let Outcome::Crashed(crash) = outcome else { panic!("{behaviour} did not crash: {outcome:?}") };
        assert_eq!(crash.signal, Some(signal), "{behaviour}");
        let pushed = task.pushed("text").await.unwrap();
        assert!(pushed == "\"before\"" || pushed == whole, "{behaviour}: {} bytes", pushed.len());
        if behaviour.starts_with("raw") {
            assert_eq!(pushed, "\"before\"", "half of a frame is no push");
        }
        // The next try begins clear.
        task.engine.start(&task.order.key, 2).await.unwrap();
        assert_eq!(task.pushed("text").await, None, "{behaviour}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_that_a_task_started_is_left() {
    for behaviour in ["leaves_a_child", "leaves_a_stray_and_aborts"] {
        let task = Try::new(behaviour).await;
        let outcome = task.run().await;
        assert_eq!(
            matches!(outcome, Outcome::Succeeded { .. }),
            behaviour == "leaves_a_child",
            "{outcome:?}"
        );
        let child = task.pushed("child").await.unwrap();
        ended(child.trim_matches('"')).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_task_left_on_purpose_stays_and_holds_nobody() {
    let task = Try::new("leaves_a_server").await;
    assert_eq!(task.run().await, success());
    assert!(task.log().iter().any(|line| line == "the last line before the server"), "{:#?}", task.log());
    let server = task.pushed("child").await.unwrap();
    let server = Pid::from_raw(server.trim_matches('"').parse().unwrap()).unwrap();
    // It is there, and it goes when it is told to.
    kill_process(server, Signal::KILL).unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_program_that_is_not_there_is_a_failure() {
    use excom_flow::runner::isolation::Isolation as _;
    let task = Try::new("succeeds").await;
    let supervisor = excom_airflow::process::Supervisor::new("/nowhere/program");
    let failure = failure(supervisor.run(task.order.clone()).await);
    assert!(
        failure.message.starts_with("the task's program /nowhere/program cannot be started"),
        "{failure:?}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn the_program_may_be_this_one() {
    use excom_flow::runner::isolation::Isolation as _;
    let task = Try::new("succeeds").await;
    let supervisor = excom_airflow::process::Supervisor::of_this_program().unwrap().timeouts(TIMEOUTS);
    // A test executable takes no arguments of supervisors, and says so.
    let outcome = supervisor.run(task.order.clone()).await;
    let Outcome::Crashed(crash) = outcome else { panic!("it ran: {outcome:?}") };
    assert!(crash.last_lines.iter().any(|line| line.contains("comm")), "{crash:?}");
}
