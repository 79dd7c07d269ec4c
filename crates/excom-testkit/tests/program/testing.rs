//! `test-task`: one task against a run that was, of which nothing stays.

use excom::core::db::Filter;
use excom::{Caller, EntryInfo, TaskInstanceKey};

use crate::Shell;

/// All that is stored of the run `r1`, and how its tasks stand.
fn stored(shell: &Shell) -> (Vec<EntryInfo>, String) {
    let engine = shell.engine();
    let told = pollster::block_on(async {
        let entries = engine.list(&Caller::user("test"), &Filter::default(), None, 1000).await?.items;
        let tasks = engine.db().task_instances("steps", "r1", None, 1000).await?;
        let ti = TaskInstanceKey::new("steps", "r1", "check", -1)?;
        let run = engine.db().run_info("steps", "r1").await?;
        let told = format!("{tasks:?} {:?} {run:?}", engine.attempts(&ti).await?);
        engine.close().await?;
        Ok::<_, excom::Error>((entries, told))
    });
    told.unwrap()
}

#[test]
fn it_reads_the_run_and_leaves_nothing_behind() {
    let shell = Shell::new();
    shell.steps(&[]).code(0);
    let before = stored(&shell);
    let told = shell.run(&["test-task", "--dag", "steps", "check"]).code(0);
    told.has(&["check: success", "against run r1", "  checked = 3\n", "  return_value = 6\n"]);
    told.has(&["nothing of it was stored"]);
    assert_eq!(told.err, "checking\n", "its log goes to the terminal");
    let told = shell.run(&["test-task", "double", "--dag", "steps", "--map-index", "2"]).code(0);
    told.has(&["double[2]: success", "  return_value = 4\n"]);

    shell.make("fail");
    let told = shell.run(&["test-task", "check", "--dag", "steps", "--run-id", "r1"]).code(1);
    told.has(&["check: failed", "one of them is odd", "  checked = 3\n"]);
    assert_eq!(stored(&shell), before);
}

#[test]
fn a_command_is_tested_as_a_function_is() {
    let shell = Shell::new();
    shell.run(&["--dag", "shapes", "--run-id", "r1"]).code(0);
    let told = shell.run(&["test-task", "small", "--dag", "shapes"]).code(0);
    told.has(&["small: success", "return_value = \"1\""]);
}

#[test]
fn what_is_tested_must_be_there() {
    let shell = Shell::new();
    shell.run(&["test-task", "check", "--dag", "steps"]).code(1).has(&["has no runs yet"]);
    shell.steps(&[]).code(0);
    for (arguments, told) in [
        (&["chek"][..], "nearest: `check`"),
        (&["check", "--run-id", "r9"], "the newest is `r1`"),
        (&["double"], "say which of its instances"),
        (&["double", "--map-index", "3"], "it has 3 instances there"),
        (&["check", "--map-index", "0"], "is not mapped"),
    ] {
        shell.run(&[&["test-task", "--dag", "steps"], arguments].concat()).code(1).has(&[told]);
    }
}
