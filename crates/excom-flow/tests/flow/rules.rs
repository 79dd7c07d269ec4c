//! Trigger rules, as whole runs: what becomes of a task by what became of those before it.

use excom::prelude::*;
use excom_core::TaskState;
use excom_flow::DagDefinition;
use excom_flow::runner::RunState;

use crate::support::{engine, run, states};

/// Airflow's table: behind success; failure; a skip; one that failed unrun; success and failure; success and
/// skip; failure and skip; all three.
#[test]
fn every_rule_behind_every_mixture() {
    use TriggerRule as Rule;
    let commands = [("s", "true"), ("f", "false"), ("k", "exit 99"), ("u", "true")];
    let mixtures = ["s", "f", "k", "u", "sf", "sk", "fk", "sfk"];
    // r: runs, k: skipped, u: fails unrun.
    let table = [
        (Rule::AllSuccess, "rukuukuu"),
        (Rule::AllFailed, "krkrkkkk"),
        (Rule::AllDone, "rrrrrrrr"),
        (Rule::AllDoneMinOneSuccess, "rukurkkk"),
        (Rule::AllSkipped, "kkrkkkkk"),
        (Rule::OneFailed, "krkrrkrr"),
        (Rule::OneSuccess, "rukurrur"),
        (Rule::OneDone, "rrkkrrrr"),
        (Rule::NoneFailed, "ruruuruu"),
        (Rule::NoneFailedMinOneSuccess, "rukuuruu"),
        (Rule::NoneSkipped, "rrkrrkkk"),
        (Rule::Always, "rrrrrrrr"),
        (Rule::AllDoneSetupSuccess, "rrrrrrrr"),
    ];
    let definition = DagDefinition::new("d", move |dag| {
        let before = commands.map(|(name, command)| dag.bash(name, command));
        before[3].after(before[1]);
        for (rule, _) in table {
            for mixture in mixtures {
                let task = dag.bash(&format!("{rule}-{mixture}"), "true").trigger_rule(rule);
                for part in mixture.chars() {
                    task.after(before["sfku".find(part).unwrap()]);
                }
            }
        }
    });
    assert_eq!(table.len(), Rule::ALL.len());
    let engine = engine();
    run(&engine, &definition);
    for (rule, expected) in table {
        for (mixture, expected) in mixtures.iter().zip(expected.chars()) {
            let expected = match expected {
                'r' => TaskState::Success,
                'k' => TaskState::Skipped,
                _ => TaskState::UpstreamFailed,
            };
            let found = states(&engine, "d", &format!("{rule}-{mixture}"));
            assert_eq!(found, [(-1, expected)], "{rule} behind {mixture}");
        }
    }
}

#[test]
fn every_instance_of_a_mapped_task_counts() {
    let definition = DagDefinition::new("d", |dag| {
        let mapped = dag.add("mapped", excom_flow::Bash::new("exit $CODE")).env_each(&["0", "1", "99"]);
        dag.bash("all_done", "true").after(mapped).trigger_rule(TriggerRule::AllDone);
        dag.bash("one_success", "true").after(mapped).trigger_rule(TriggerRule::OneSuccess);
        dag.bash("none_skipped", "true").after(mapped).trigger_rule(TriggerRule::NoneSkipped);
        dag.bash("all_success", "true").after(mapped);
    });
    let engine = engine();
    run(&engine, &definition);
    let (success, failed, skipped) = (TaskState::Success, TaskState::Failed, TaskState::Skipped);
    assert_eq!(states(&engine, "d", "mapped"), [(0, success), (1, failed), (2, skipped)]);
    assert_eq!(states(&engine, "d", "all_done"), [(-1, success)]);
    assert_eq!(states(&engine, "d", "one_success"), [(-1, success)]);
    assert_eq!(states(&engine, "d", "none_skipped"), [(-1, skipped)]);
    assert_eq!(states(&engine, "d", "all_success"), [(-1, TaskState::UpstreamFailed)]);
}

/// Expands the exit codes of a command.
trait Codes {
    fn env_each(self, codes: &[&str]) -> Self;
}

impl Codes for excom_flow::Handle<'_, excom_flow::Bash> {
    fn env_each(self, codes: &[&str]) -> Self {
        let codes: Vec<String> = codes.iter().map(|code| (*code).to_owned()).collect();
        self.env("CODE", expand(codes))
    }
}

#[test]
fn a_run_is_judged_by_its_last_tasks() {
    let state_of = |last_rule: TriggerRule| {
        let definition = DagDefinition::new("d", move |dag| {
            let broken = dag.bash("broken", "false");
            dag.bash("last", "true").after(broken).trigger_rule(last_rule);
        });
        run(&engine(), &definition).state
    };
    // What failed on the way does not matter when what is last went well.
    assert_eq!(state_of(TriggerRule::AllDone), RunState::Success);
    assert_eq!(state_of(TriggerRule::AllSkipped), RunState::Success);
    assert_eq!(state_of(TriggerRule::AllSuccess), RunState::Failed);
}
