//! Who read what, and what came of it.

use super::{Harness, attempt, ti, user, xcom};
use crate::db::{ReadTarget, Scope};
use crate::entry::Writer;
use crate::{PullOptions, TaskInstanceKey};

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
    h.engine.pull_tasks(&second, &[sequence.clone()], PullOptions::default()).await.unwrap();
    // An element that was handed over without a pull.
    let version = h.engine.db().entries(&[here.clone()]).await.unwrap()[0].as_ref().unwrap().version;
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
