//! Attempts: fencing, clearing, deferral, and what states explain.

use super::{Harness, attempt, large, refused, text, ti, user, value, xcom};
use crate::answer::Answer;
use crate::attempt::{Attempt, AttemptId, Caller, TaskState};
use crate::db::{Scope, StartMode};
use crate::{Clock, ErrorKind};

/// A process of an earlier try that writes late is refused, by name and reason.
pub async fn a_zombie_writes_nothing(h: &Harness) {
    let key = xcom("t", "k");
    let zombie = h.start("t", -1).await;
    h.push(&zombie, &key, "1").await;
    let second = Caller::Attempt(h.engine.start(&ti("t", -1), 2).await.unwrap());
    h.push(&second, &key, "2").await;

    for json in ["3".to_owned(), large(3)] {
        refused(h.engine.push(&zombie, &key, value(&json).into()).await, ErrorKind::Superseded);
        refused(
            h.engine.push(&zombie, &xcom("other", "k"), value(&json).into()).await,
            ErrorKind::Superseded,
        );
    }
    let error = h.engine.push(&zombie, &key, value("3").into()).await.unwrap_err();
    assert!(error.to_string().contains("try 2 started at"), "{error}");
    refused(h.engine.clear(&zombie, &Scope::TaskInstance(ti("t", -1))).await, ErrorKind::Superseded);
    refused(h.engine.set_attempt_state(attempt(&zombie), TaskState::Failed).await, ErrorKind::Superseded);
    refused(h.engine.start_attempt(attempt(&zombie), 1, StartMode::Fresh).await, ErrorKind::Superseded);
    refused(h.engine.start_attempt(attempt(&zombie), 1, StartMode::Resume).await, ErrorKind::Superseded);

    assert_eq!(text(&h.pull(&key).await), "2");
    // What a refused push had stored on the way is collected.
    h.engine.collect_abandoned(std::time::Duration::ZERO).await.unwrap();
    assert_eq!(h.objects().await, h.stored(0, 2));
}

/// A failed attempt pushes its operator links before the next one starts.
pub async fn links_are_pushed_after_failure(h: &Harness) {
    let failed = h.start("t", -1).await;
    h.engine.set_attempt_state(attempt(&failed), TaskState::UpForRetry).await.unwrap();
    h.push(&failed, &xcom("t", "_link_Logs"), "\"url\"").await;
    assert_eq!(text(&h.pull(&xcom("t", "_link_Logs")).await), "\"url\"");
    let done = h.start("u", -1).await;
    h.engine.set_attempt_state(attempt(&done), TaskState::Success).await.unwrap();
    h.push(&done, &xcom("u", "_link_Logs"), "\"url\"").await;
}

/// Resuming is the same attempt: nothing is cleared, and it goes on writing.
pub async fn a_deferral_keeps_everything(h: &Harness) {
    let me = h.start("t", -1).await;
    for state in [TaskState::Deferred, TaskState::UpForReschedule] {
        h.push(&me, &xcom("t", "before"), "1").await;
        h.engine.set_attempt_state(attempt(&me), state).await.unwrap();
        let started = h.engine.start_attempt(attempt(&me), 1, StartMode::Resume).await.unwrap();
        assert_eq!((started.number, started.cleared), (1, 0));
        assert_eq!(text(&h.pull(&xcom("t", "before")).await), "1");
        h.push(&me, &xcom("t", "after"), "2").await;
    }
    let stranger = Attempt { ti: ti("t", -1), id: h.engine.clock().attempt_id() };
    refused(h.engine.start_attempt(&stranger, 1, StartMode::Resume).await, ErrorKind::NotStarted);
    assert_eq!(text(&h.pull(&xcom("t", "before")).await), "1");
}

/// A fresh try clears the task instance's XComs, whoever pushed them, and keeps them in the history.
pub async fn a_retry_begins_clear(h: &Harness) {
    let first = h.start("t", -1).await;
    h.push(&first, &xcom("t", "a"), "1").await;
    h.push(&user(), &xcom("t", "b"), &large(2)).await;
    h.push(&user(), &xcom("t2", "a"), "3").await;
    h.engine.set_attempt_state(attempt(&first), TaskState::UpForRetry).await.unwrap();
    assert_eq!(text(&h.pull(&xcom("t", "a")).await), "1", "it stays until the next try starts");

    let second = Attempt { ti: ti("t", -1), id: h.engine.clock().attempt_id() };
    let started = h.engine.start_attempt(&second, 2, StartMode::Fresh).await.unwrap();
    assert_eq!((started.number, started.cleared), (2, 2));
    let answer = h.pull(&xcom("t", "a")).await;
    assert!(matches!(&answer, Answer::NotYet(n) if n.state == TaskState::Running), "{answer:?}");
    assert!(answer.to_string().contains("an earlier value was cleared"), "{answer}");
    h.engine.set_attempt_state(&second, TaskState::Success).await.unwrap();
    let answer = h.pull(&xcom("t", "a")).await;
    assert!(matches!(&answer, Answer::Cleared(c) if c.by == "the start of try 2"), "{answer:?}");
    assert_eq!(text(&h.pull(&xcom("t2", "a")).await), "3");
    let past = h.engine.history(&user(), &xcom("t", "b"), 10).await.unwrap();
    let old = h.engine.pull_past(&user(), &xcom("t", "b"), past[0].info.version).await.unwrap().unwrap();
    assert_eq!(old.as_str(), large(2));
}

/// A mapped instance's retry leaves its neighbours alone.
pub async fn a_mapped_instance_clears_only_itself(h: &Harness) {
    for i in 0..3 {
        let me = h.start("t", i).await;
        h.push(&me, &ti("t", i).return_value(), &i.to_string()).await;
    }
    h.start("t", 1).await;
    assert!(h.pull(&ti("t", 1).return_value()).await.found().is_none());
    assert_eq!(text(&h.pull(&ti("t", 0).return_value()).await), "0");
    assert_eq!(text(&h.pull(&ti("t", 2).return_value()).await), "2");
}

/// A start that is repeated by a slow network clears nothing that was pushed since.
pub async fn starting_twice_is_starting_once(h: &Harness) {
    let me = h.start("t", -1).await;
    h.push(&me, &xcom("t", "k"), "1").await;
    let again = h.engine.start_attempt(attempt(&me), 1, StartMode::Fresh).await.unwrap();
    assert_eq!((again.number, again.cleared), (1, 0));
    assert_eq!(text(&h.pull(&xcom("t", "k")).await), "1");
    // Nor does one that comes so late that the try has failed, and retention has looked at it.
    h.engine.set_attempt_state(attempt(&me), TaskState::UpForRetry).await.unwrap();
    h.engine.prune().await.unwrap();
    let late = h.engine.start_attempt(attempt(&me), 1, StartMode::Fresh).await.unwrap();
    assert_eq!((late.number, late.cleared), (1, 0));
    let info = h.engine.task_instance(&ti("t", -1)).await.unwrap().unwrap();
    assert_eq!(info.state, TaskState::UpForRetry);
    assert_eq!(text(&h.pull(&xcom("t", "k")).await), "1");
}

/// An attempt that nobody started cannot write, nor can one of another task instance.
pub async fn an_unknown_attempt_writes_nothing(h: &Harness) {
    let stranger = Caller::attempt(ti("t", -1), h.engine.clock().attempt_id());
    refused(h.engine.push(&stranger, &xcom("t", "k"), value("1").into()).await, ErrorKind::NotStarted);
    let other = h.start("other", -1).await;
    let disguised = Caller::attempt(ti("t", -1), attempt(&other).id);
    refused(h.engine.push(&disguised, &xcom("t", "k"), value("1").into()).await, ErrorKind::NotStarted);
    h.start("t", -1).await;
    refused(h.engine.push(&stranger, &xcom("t", "k"), value("1").into()).await, ErrorKind::NotStarted);
    refused(h.engine.push(&disguised, &xcom("t", "k"), value(&large(1)).into()).await, ErrorKind::NotStarted);
    assert!(h.pull(&xcom("t", "k")).await.found().is_none());
    // What was refused, or had nothing to remove, makes no DAG known: hints go on naming those that are.
    h.push(&user(), &xcom("t", "k"), "1").await;
    let misspelt = crate::TaskInstanceKey::new("dd", "r", "t", -1).unwrap();
    let nobody = Caller::attempt(misspelt.clone(), h.engine.clock().attempt_id());
    refused(h.engine.push(&nobody, &misspelt.return_value(), value("1").into()).await, ErrorKind::NotStarted);
    refused(h.engine.start_attempt(attempt(&nobody), 1, StartMode::Resume).await, ErrorKind::NotStarted);
    assert_eq!(h.engine.clear(&user(), &Scope::TaskInstance(misspelt.clone())).await.unwrap(), 0);
    assert_eq!(h.engine.delete(&user(), &Scope::Key(misspelt.return_value())).await.unwrap(), 0);
    let answer = h.pull(&misspelt.return_value()).await;
    assert!(matches!(&answer, Answer::Missing(m) if m.near.dags == ["d".into()]), "{answer:?}");
    assert_eq!(h.engine.db().run_info("dd", "r").await.unwrap(), None);
}

/// The producer's state explains why there is no value.
pub async fn states_explain_absence(h: &Harness) {
    let key = xcom("t", "k");
    assert!(matches!(h.pull(&key).await, Answer::Missing(_)));
    for state in TaskState::ALL {
        h.engine.set_states(&[(ti("t", -1), state)]).await.unwrap();
        let answer = h.pull(&key).await;
        let fits = match state {
            TaskState::Skipped => matches!(answer, Answer::Skipped(_)),
            s if s.is_finished() => matches!(&answer, Answer::Missing(m) if m.state == Some(state)),
            _ => matches!(&answer, Answer::NotYet(n) if n.state == state),
        };
        assert!(fits, "{state}: {answer:?}");
        assert_eq!(answer.exit_code(), 3);
        assert_eq!(answer.or_none().unwrap(), None);
    }
}

/// A state that somebody sets is that of the attempt under way; one that ended keeps what it had.
pub async fn a_state_from_outside_is_the_attempts_too(h: &Harness) {
    let first = h.start("t", -1).await;
    h.engine.set_attempt_state(attempt(&first), TaskState::UpForRetry).await.unwrap();
    let second = h.start("t", -1).await;
    h.engine.set_states(&[(ti("t", -1), TaskState::Failed)]).await.unwrap();
    let known = h.engine.task_instance(&ti("t", -1)).await.unwrap().unwrap();
    assert_eq!((known.state, known.attempt.unwrap().state), (TaskState::Failed, TaskState::Failed));
    let states = h.engine.attempts(&ti("t", -1)).await.unwrap().into_iter().map(|attempt| attempt.state);
    assert_eq!(states.collect::<Vec<_>>(), [TaskState::UpForRetry, TaskState::Failed]);
    h.push(&second, &xcom("t", "k"), "1").await;
}

/// Every attempt of a task instance stays known, with its try number as a label only.
pub async fn attempts_are_remembered(h: &Harness) {
    for try_number in [1, 1, 7] {
        let attempt = Attempt { ti: ti("t", 0), id: h.engine.clock().attempt_id() };
        h.engine.start_attempt(&attempt, try_number, StartMode::Fresh).await.unwrap();
        h.clock.advance(std::time::Duration::from_secs(2));
        h.engine.set_attempt_state(&attempt, TaskState::UpForRetry).await.unwrap();
    }
    let attempts = h.engine.attempts(&ti("t", 0)).await.unwrap();
    assert_eq!(
        attempts.iter().map(|a| (a.number, a.try_number)).collect::<Vec<_>>(),
        [(1, 1), (2, 1), (3, 7)]
    );
    for attempt in &attempts {
        assert_eq!(attempt.ended_at.unwrap().duration_since(attempt.started_at).as_secs(), 2);
        assert_eq!(attempt.state, TaskState::UpForRetry);
    }
    let known = h.engine.task_instance(&ti("t", 0)).await.unwrap().unwrap();
    assert_eq!(known.attempt.as_ref(), attempts.last());
    assert_eq!(h.engine.task_instance(&ti("t", 1)).await.unwrap(), None);
    assert!(!attempts.iter().any(|a| a.id == AttemptId(uuid::Uuid::nil())));
    assert!(h.clock.now() > attempts[0].started_at);
}
