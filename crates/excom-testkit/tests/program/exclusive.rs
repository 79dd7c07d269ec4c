//! Exclusive mode for whole runs: a DAG that keeps to what it declares does not notice, one that does not is told.

use excom::Caller;

use crate::Shell;

/// A shell in exclusive mode, where tasks read only what they declare.
fn exclusive() -> Shell {
    Shell::new().with("EXCOM__XCOM__MODE", "exclusive").with("EXCOM__XCOM__READS", "declared")
}

#[test]
fn a_dag_runs_in_exclusive_mode_with_all_its_values_in_files() {
    for isolate in [&[][..], &["--isolate"]] {
        let shell = exclusive();
        shell.steps(isolate).code(0).has(&["run steps r1: success", "the sum is 6"]);
        let engine = shell.engine();
        let all =
            pollster::block_on(engine.list(&Caller::user("ana"), &Default::default(), None, 100)).unwrap();
        assert!(all.items.len() > 5 && all.items.iter().all(|info| info.offloaded), "{all:?}");
    }
}

#[test]
fn a_task_that_pulls_what_it_does_not_declare_fails() {
    let shell = exclusive();
    shell.run(&["--dag", "curious", "--run-id", "r1"]).code(1).has(&[
        "run curious r1: failed",
        "forbidden: `return_value` of task `secret` may not be read: [xcom] reads = \"declared\" (from \
         EXCOM__XCOM__READS)",
    ]);
    // Observed, it goes on, and it is known what it did.
    let shell = exclusive().with("EXCOM__XCOM__OBSERVE", "true");
    shell.run(&["--dag", "curious", "--run-id", "r1"]).code(0);
    let refusals = pollster::block_on(shell.engine().refusals(9)).unwrap();
    let told: Vec<_> = refusals.iter().map(|row| (&*row.task_id, &*row.target, row.count)).collect();
    assert_eq!(told, [("tell", "curious/secret", 1)]);
}
