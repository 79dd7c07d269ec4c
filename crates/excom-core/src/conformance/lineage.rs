//! Who read what, and what came of it.

use super::{Harness, attempt, refused, ti, user, xcom};
use crate::db::{ReadTarget, Scope};
use crate::engine::{Direction, Settings, Trace, TraceOptions, Traced};
use crate::entry::Writer;
use crate::{ErrorKind, PullOptions, TaskInstanceKey, XComKey};

/// What the attempts of a task instance read, in its run and in others, and what each pushed.
pub async fn reads_and_pushes_of_an_attempt_are_known(h: &Harness) {
    let elsewhere = TaskInstanceKey::new("d", "r0", "source", -1).unwrap().return_value();
    let here = xcom("source", "k");
    h.push(&user(), &elsewhere, "1").await;
    h.push(&user(), &here, "2").await;
    for i in 0..3 {
        h.push(&user(), &ti("m", i).return_value(), "3").await;
    }
    let first = h.start("t", 4).await;
    h.pull_as(&first, &here).await;
    h.clock.advance(std::time::Duration::from_secs(1));
    h.pull_as(&first, &elsewhere).await;
    h.push(&first, &ti("t", 4).return_value(), "4").await;
    h.push(&first, &ti("t", 4).return_value(), "5").await;
    h.push(&first, &xcom("other", "k"), "6").await;
    h.push(&user(), &ti("t", 4).xcom("by hand").unwrap(), "7").await;
    // Others read the same: a neighbour, the same task in another run, a person.
    for reader in [ti("t", 5), TaskInstanceKey::new("d", "r0", "t", 4).unwrap()] {
        let reader = crate::Caller::Attempt(h.engine.start(&reader, 1).await.unwrap());
        h.pull_as(&reader, &here).await;
        h.pull_as(&reader, &elsewhere).await;
    }
    h.pull(&here).await;
    h.clock.advance(std::time::Duration::from_secs(1));
    let second = h.start("t", 4).await;
    let sequence = ti("m", 0).return_value().sequence();
    h.engine.pull_tasks(&second, std::slice::from_ref(&sequence), PullOptions::default()).await.unwrap();
    // An element that was handed over without a pull.
    let version =
        h.engine.db().entries(std::slice::from_ref(&here)).await.unwrap()[0].as_ref().unwrap().version;
    h.engine.note_read(&second, &here, version).await.unwrap();
    h.engine.note_read(&second, &here, version).await.unwrap();
    h.engine.flush_reads().await.unwrap();

    let reads = h.engine.db().reads_of(&ti("t", 4)).await.unwrap();
    let told: Vec<_> = reads.iter().map(|read| (read.attempt, read.count, &read.target)).collect();
    let of_elsewhere =
        reads.iter().find(|read| matches!(&read.target, ReadTarget::Entry(k, _) if *k == elsewhere));
    assert_eq!(told[0], (Some(1), 1, &ReadTarget::Entry(here.clone(), version)));
    assert_eq!((told[1].0, told[1].1, of_elsewhere), (Some(1), 1, Some(&reads[1])));
    assert_eq!(told.len(), 4, "{reads:#?}");
    assert!(told[2..].contains(&(Some(2), 1, &ReadTarget::Sequence(sequence))), "{reads:#?}");
    assert!(told[2..].contains(&(Some(2), 2, &ReadTarget::Entry(here.clone(), version))), "{reads:#?}");
    assert!(
        reads.iter().all(|read| read.task.as_ref() == Some(&ti("t", 4)) && read.reader == "task d/r/t[4]")
    );
    assert!(h.engine.db().reads_of(&ti("nothing", -1)).await.unwrap().is_empty());
    let readers = h.engine.readers(&user(), &here).await.unwrap();
    assert_eq!(readers.iter().filter(|row| row.task.is_none()).count(), 1, "the person: {readers:#?}");

    // The first attempt's pushes are history by now, and are known as its own.
    let pushed = async |number| {
        let pushed = h.engine.db().pushed_by(&ti("t", 4), number).await.unwrap();
        assert!(
            pushed.iter().all(|info| info.writer == Writer::Attempt(number) && info.key.ti == ti("t", 4))
        );
        pushed.into_iter().map(|info| (info.key.key.to_string(), info.preview)).collect::<Vec<_>>()
    };
    let first_pushes = pushed(1).await;
    assert!(first_pushes.contains(&("return_value".into(), "4".into())), "{first_pushes:?}");
    assert!(first_pushes.contains(&("return_value".into(), "5".into())), "{first_pushes:?}");
    assert_eq!(first_pushes.len(), 2);
    assert!(pushed(2).await.is_empty());
    h.push(&second, &ti("t", 4).xcom("z").unwrap(), "8").await;
    assert_eq!(pushed(2).await, [("z".to_owned(), "8".to_owned())]);
    assert_eq!(attempt(&second).ti, ti("t", 4));
    h.engine.delete(&user(), &Scope::TaskInstance(ti("t", 4))).await.unwrap();
    assert!(pushed(1).await.is_empty() && pushed(2).await.is_empty());
}

/// A trace in one line: `what(children)`, `+n` for more, `*` for what is shown before, `…` for
/// what is deeper.
fn told(trace: &Trace) -> String {
    let what = match &trace.what {
        Traced::Version(version) => {
            let ended = if version.ended.is_some() { "(ended)" } else { "" };
            format!("{}={}{ended}", version.info.key.ti.task_id, version.info.preview)
        }
        Traced::Unknown { key, .. } => format!("?{}", key.ti.task_id),
        Traced::Sequence { key, elements } => format!("{}*{elements}", key.task_id),
        Traced::Reader { reader, attempt, .. } => {
            let number = attempt.map_or(String::new(), |number| format!("#{number}"));
            format!("{}{number}", reader.rsplit('/').next().unwrap_or_default())
        }
    };
    let mut parts: Vec<String> = trace.children.iter().map(told).collect();
    if trace.more > 0 {
        parts.push(format!("+{}", trace.more));
    }
    let inside = if parts.is_empty() { String::new() } else { format!("({})", parts.join(" ")) };
    let mark = if trace.repeated { "*" } else { "" };
    format!("{what}{mark}{}{inside}", if trace.cut { "…" } else { "" })
}

fn to(direction: Direction, depth: u32) -> TraceOptions {
    TraceOptions { direction, depth, ..TraceOptions::backwards() }
}

async fn traced(h: &Harness, key: &XComKey, direction: Direction, depth: u32) -> String {
    told(&h.engine.trace(&user(), key, None, to(direction, depth)).await.unwrap().unwrap())
}

/// Backwards to what was read before it was pushed, forwards to what was pushed after it was read.
pub async fn traces_go_backwards_and_forwards(h: &Harness) {
    use Direction::{Backwards, Forwards};
    let tick = || h.clock.advance(std::time::Duration::from_secs(1));
    let value = |task: &str| ti(task, -1).return_value();
    assert_eq!(h.engine.trace(&user(), &value("a"), None, to(Direction::Backwards, 5)).await.unwrap(), None);
    h.push(&user(), &value("a"), "1").await;
    tick();
    let b = h.start("b", -1).await;
    h.pull_as(&b, &value("a")).await;
    tick();
    h.push(&b, &value("b"), "2").await;
    tick();
    // Two that read both; the second is read by nobody. What is read after the push is no origin.
    let c = h.start("c", -1).await;
    for key in ["a", "b"] {
        h.pull_as(&c, &value(key)).await;
        tick();
    }
    h.push(&c, &value("c"), "3").await;
    tick();
    h.push(&user(), &value("late"), "9").await;
    h.pull_as(&c, &value("late")).await;
    h.pull(&value("b")).await;
    assert_eq!(traced(h, &value("c"), Backwards, 9).await, "c=3(a=1 b=2(a=1))");
    assert_eq!(traced(h, &value("c"), Backwards, 1).await, "c=3(a=1 b=2…)");
    assert_eq!(traced(h, &value("c"), Backwards, 0).await, "c=3…");
    assert_eq!(traced(h, &value("a"), Forwards, 1).await, "a=1(b#1(b=2…) c#1(c=3))");
    assert_eq!(traced(h, &value("a"), Forwards, 9).await, "a=1(b#1(b=2(c#1(c=3) user ana)) c#1(c=3))");
    assert_eq!(traced(h, &value("late"), Forwards, 9).await, "late=9(c#1)", "it pushed before it read");

    // A second try of `b` reads nothing: what it pushes has no origin, and the version before keeps its own.
    let before = h.engine.db().entries(&[value("b")]).await.unwrap()[0].as_ref().unwrap().version;
    let b = h.start("b", -1).await;
    h.push(&b, &value("b"), "22").await;
    assert_eq!(traced(h, &value("b"), Backwards, 9).await, "b=22");
    let past = h
        .engine
        .trace(&user(), &value("b"), Some(before), to(Direction::Backwards, 9))
        .await
        .unwrap()
        .unwrap();
    assert_eq!(told(&past), "b=2(ended)(a=1)");
    assert_eq!(traced(h, &value("c"), Backwards, 9).await, "c=3(a=1 b=2(ended)(a=1))");
    let Traced::Version(version) = &past.what else { panic!("{past:?}") };
    assert_eq!((version.try_number, &version.info.writer), (Some(1), &Writer::Attempt(1)));
    assert_eq!(version.ended.as_ref().unwrap().by, "the start of try 1");

    // A whole sequence: its elements are as deep as it would be.
    for i in 0..2 {
        let me = h.start("m", i).await;
        h.pull_as(&me, &value("a")).await;
        h.push(&me, &ti("m", i).return_value(), &i.to_string()).await;
    }
    tick();
    let sum = h.start("sum", -1).await;
    h.engine.pull_tasks(&sum, &[value("m").sequence()], PullOptions::default()).await.unwrap();
    h.push(&sum, &value("sum"), "1").await;
    assert_eq!(traced(h, &value("sum"), Backwards, 9).await, "sum=1(m*2(m=0(a=1) m=1(a=1)))");
    let forwards = traced(h, &ti("m", 1).return_value(), Forwards, 9).await;
    assert_eq!(forwards, "m=1(sum#1(sum=1))");

    // A task that pushed another's XCom; what was deleted is gone with its reads; what retention forgot was
    // read all the same.
    h.push(&c, &value("other"), "5").await;
    let other = traced(h, &value("other"), Backwards, 9).await;
    assert_eq!(other, "other=5(a=1 b=2(ended)(a=1) late=9)");
    h.engine.delete(&user(), &Scope::Key(value("b"))).await.unwrap();
    assert_eq!(traced(h, &value("c"), Backwards, 9).await, "c=3(a=1)");
    h.push(&user(), &value("late"), "10").await;
    h.clock.advance(std::time::Duration::from_secs(31 * 24 * 3600));
    h.engine.prune().await.unwrap();
    assert_eq!(traced(h, &value("other"), Backwards, 9).await, "other=5(a=1 ?late)");

    // Access rules hold for each node.
    let own_run = h.with(Settings {
        access: crate::engine::Access { reads: crate::engine::Reads::Run, ..Default::default() },
        ..Settings::default()
    });
    let far = TaskInstanceKey::new("d", "r0", "far", -1).unwrap().return_value();
    h.push(&user(), &far, "\"hidden\"").await;
    h.pull_as(&sum, &far).await;
    h.push(&sum, &value("sum"), "2").await;
    h.engine.flush_reads().await.unwrap();
    let seen = own_run.trace(&sum, &value("sum"), None, to(Direction::Backwards, 9)).await.unwrap().unwrap();
    assert!(told(&seen).contains("?far") && !format!("{seen:?}").contains("hidden"), "{seen:?}");
    refused(own_run.trace(&sum, &far, None, to(Direction::Backwards, 9)).await, ErrorKind::Forbidden);
}

/// Twenty children, and how many more; what is in the tree before is not expanded again.
pub async fn traces_are_bounded(h: &Harness) {
    let (source, half) = (ti("source", -1).return_value(), ti("half", -1).return_value());
    h.push(&user(), &source, "0").await;
    let half_way = h.start("half", -1).await;
    h.pull_as(&half_way, &source).await;
    h.push(&half_way, &half, "1").await;
    for i in 0..30 {
        let me = h.start("m", i).await;
        h.pull_as(&me, &half).await;
        h.push(&me, &ti("m", i).return_value(), "2").await;
    }
    h.engine.flush_reads().await.unwrap();
    let forwards = h.engine.trace(&user(), &half, None, to(Direction::Forwards, 3)).await.unwrap().unwrap();
    assert_eq!((forwards.children.len(), forwards.more), (20, 10));
    let sum = h.start("sum", -1).await;
    let sequence = ti("m", 0).return_value().sequence();
    h.engine.pull_tasks(&sum, &[sequence], PullOptions::default()).await.unwrap();
    h.push(&sum, &ti("sum", -1).return_value(), "3").await;
    let backwards = traced(h, &ti("sum", -1).return_value(), Direction::Backwards, 9).await;
    assert!(backwards.starts_with("sum=3(m*30(m=2(half=1(source=0)) m=2(half=1*) "), "{backwards}");
    assert!(backwards.ends_with(" +10))"), "{backwards}");
}
